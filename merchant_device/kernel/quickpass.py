"""QuickPass (qPBOC, kernel 7): from the first command to the terminal's next act.

The conversation (DOMAIN.md 4): SELECT the directory, SELECT an application, GET PROCESSING OPTIONS, and where there is
more to know READ RECORD. The card's decision is in its verification results; `decision` judges what it has decided.

Three rules hold throughout. Whatever a card answers ends in an `Outcome`, never in an exception. When in doubt no money
moves: a card that approves offline is believed only when it has proved to be genuine, and is not read to the record at
which it pays before all else has been judged. And what a card decided before it left is not asked a second time while
it can still be read.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Mapping
from types import MappingProxyType
from typing import Final

from merchant_device.kernel import card_data, commands
from merchant_device.kernel.authentication import Authorities
from merchant_device.kernel.card_data import CardFault, OtherAccount
from merchant_device.kernel.configuration import KernelConfiguration
from merchant_device.kernel.decision import Conversation, decide
from merchant_device.kernel.entry_point import candidates, preprocess
from merchant_device.kernel.outcomes import (
    EndApplication,
    OnlineRequest,
    Outcome,
    SeePhone,
    TryAgain,
    TryAnotherInterface,
)
from merchant_device.kernel.payment import Payment, Torn
from merchant_device.kernel.risk import (
    is_over_contactless_limit,
    may_approve_offline,
    requires_online,
    requires_verification,
)
from merchant_device.kernel.transaction import TransactionData
from network.emv import CaPublicKey, IadError, TlvError, dol, tlv

_CONDITIONS_NOT_SATISFIED: Final = b"\x69\x85"
# Answers to GET PROCESSING OPTIONS that are outcomes of their own (DOMAIN.md 4.3; 6986 is general practice).
_REFUSALS: Final[Mapping[bytes, Outcome]] = {b"\x69\x84": TryAnotherInterface(), b"\x69\x86": SeePhone()}

_LEFT: Final = "the card left the field"


class TapEnded(RuntimeError):
    """A tap was driven on after its outcome: a fault of the caller, not of the card."""


class _CardLeft(Exception):
    """The card is gone; thrown into the conversation where it waits for an answer."""


class Kernel:
    """A configured kernel; one serves any number of taps, one after another or side by side.

    Parameters
    ----------
    configuration : KernelConfiguration
        The terminal's side.
    ca_keys : mapping of (rid, index) to CaPublicKey
        Keys of certification authorities, for offline data authentication.
    revoked : collection of (rid, index, serial)
        Issuer certificates that are no longer good.
    is_hot : callable or None
        Tells of an account number (digits) whether it is on the terminal's list of stopped cards (EMV 4.4 Book 4,
        6.3.5). May be a set's `__contains__`.

    """

    __slots__ = ("authorities", "configuration", "is_hot")

    def __init__(
        self,
        configuration: KernelConfiguration,
        ca_keys: Mapping[tuple[bytes, int], CaPublicKey] = MappingProxyType({}),
        revoked: Collection[tuple[bytes, int, bytes]] = frozenset(),
        is_hot: Callable[[str], bool] | None = None,
    ) -> None:
        self.configuration = configuration
        self.authorities = Authorities(ca_keys, revoked)
        self.is_hot = is_hot

    def preprocess(self, transaction: TransactionData) -> TryAnotherInterface | None:
        """Tell before a card is asked for that none can pay; a tap finds it too. See `entry_point.preprocess`."""
        return preprocess(self.configuration, transaction)

    def start(self, transaction: TransactionData, torn: Torn | None = None) -> Tap:
        """Begin the conversation with a card that came into the field.

        Parameters
        ----------
        transaction : TransactionData
            The payment.
        torn : Torn or None
            What a tap before this one of the same payment left behind. If it is the same card that comes back, its
            records are read again and the payment it has already decided is concluded: with the data of that tap, so
            that 9F37 and 9F41 are those. With another card, or for another payment, it counts for nothing.

        """
        return Tap(self, transaction, torn if torn is not None and torn.serves(transaction) else None)


class Tap:
    """One card held to the terminal once.

    Send `command` to the card, give its answer to `step`, and go on with what that gives until it is an outcome.

    Attributes
    ----------
    command : bytes
        The first command APDU.
    outcome : Outcome or None
        How it ended; None while it goes on.

    """

    __slots__ = ("_conversation", "command", "outcome")

    def __init__(self, kernel: Kernel, transaction: TransactionData, torn: Torn | None) -> None:
        self._conversation = _converse(kernel, transaction, torn)
        self.command = next(self._conversation)
        self.outcome: Outcome | None = None

    def step(self, response: bytes) -> bytes | Outcome:
        """Take the card's answer to the last command.

        Parameters
        ----------
        response : bytes
            Response APDU, status word included; any bytes at all.

        Returns
        -------
        bytes or Outcome
            The next command APDU, or how the tap ended.

        Raises
        ------
        TapEnded
            When the tap has an outcome already.

        """
        if self.outcome is not None:
            raise TapEnded("the tap has ended; start another")
        try:
            return self._conversation.send(response)
        except StopIteration as ended:
            outcome: Outcome = ended.value
        except CardFault as fault:
            outcome = EndApplication(fault.reason, fault.status_word)
        except IadError as fault:
            outcome = EndApplication(str(fault))
        except TlvError as fault:
            outcome = EndApplication(f"malformed answer: {fault.reason}")
        self.outcome = outcome
        return outcome

    def card_gone(self) -> Outcome:
        """Take note that the card left the field before it answered.

        After the outcome this changes nothing; for an online request the card may well be gone.
        """
        if self.outcome is None:
            try:
                self._conversation.throw(_CardLeft())
            except StopIteration as ended:
                self.outcome = ended.value
        if self.outcome is None:
            raise RuntimeError("the conversation went on without a card")
        return self.outcome


def _converse(kernel: Kernel, transaction: TransactionData, torn: Torn | None) -> Conversation:
    """Talk to a card; ends with an outcome also when the card leaves, with what it had decided by then."""
    configuration = kernel.configuration
    try:
        response = yield commands.select(commands.PPSE)
        if commands.status(response) != commands.SUCCESS:
            return _ended("no directory of applications", response)
        names = candidates(response[:-2], configuration.applications)
        if torn is not None:
            outcome = yield from _resume(kernel, torn)
            if outcome is not None:
                return outcome
        values = transaction.tags()
        values |= configuration.terminal_tags
        tried = False
        for name in names:
            limits = configuration.limits(name)
            if is_over_contactless_limit(limits, transaction):
                continue
            tried = True
            response = yield commands.select(name)
            if commands.status(response) != commands.SUCCESS:
                continue
            file_name, pdol = card_data.application(response[:-2], name)
            online = not configuration.offline or requires_online(configuration, limits, transaction)
            verified = requires_verification(configuration, limits, transaction)
            values["9F66"] = configuration.qualifiers[online][verified]
            response = yield commands.get_processing_options(dol.build(pdol, values))
            status = commands.status(response)
            if status == commands.SUCCESS:
                options = card_data.processing_options(response[:-2])
                approves = not online and may_approve_offline(limits, transaction)
                payment = Payment(transaction, values, file_name, approves, verified, options)
                # What was torn before is overtaken by this decision. A card whose account is not known yet could not be
                # told from another when it comes back.
                torn = Torn(payment) if "94" in options and ("57" in options or "5A" in options) else None
                return (yield from decide(kernel, payment))
            if status in _REFUSALS:
                return _REFUSALS[status]
            if status != _CONDITIONS_NOT_SATISFIED:
                return _ended("processing options refused", response)
            # 6985: this application will not, the card's next one may (EMV Contactless Book B, 3.5.1).
    except _CardLeft:
        return TryAgain(_LEFT, torn)
    if tried:
        return _ended("no application left to try", response)
    return TryAnotherInterface() if names else EndApplication("no application in common")


def _resume(kernel: Kernel, torn: Torn) -> Generator[bytes, bytes, Outcome | None]:
    """Conclude what the card decided before it left; None when this is another card, or one that has moved on.

    A card that has answered no other GET PROCESSING OPTIONS has the same transaction counter, and gives its records
    again after SELECT alone. Once it is known by that, a record that it refuses or that is malformed ends the payment:
    to ask it to decide once more could be to take its money twice. Only another account shows that it is another card.
    """
    payment = torn.payment
    response = yield commands.select(payment.file_name)
    if commands.status(response) != commands.SUCCESS:
        return None
    response = yield commands.get_data("9F36")
    if commands.status(response) != commands.SUCCESS:
        return None
    try:
        if tlv.flat(response[:-2]).get("9F36") != payment.options["9F36"]:
            return None
    except TlvError:
        return None
    try:
        outcome = yield from decide(kernel, payment)
    except OtherAccount:
        # Another card whose counter stands at the same number.
        return None
    if isinstance(outcome, OnlineRequest):
        # The card has been selected since, and no longer waits for its issuer's answer.
        outcome.issuer_authentication = False
    return outcome


def _ended(reason: str, response: bytes) -> EndApplication:
    return EndApplication(reason, response[-2:].hex().upper())
