"""QuickPass (qPBOC, kernel 7), online part: from the first command to the terminal's next act.

The conversation (DOMAIN.md 4): SELECT the directory, SELECT an application, GET PROCESSING OPTIONS; then the card's
decision, read from the card verification results, and the way the cardholder is verified, from the card transaction
qualifiers. Records are read only when the answer to GET PROCESSING OPTIONS has no track 2 data.

Two rules hold throughout. Whatever a card answers ends in an `Outcome`, never in an exception. And when in doubt no
money moves: a card that approves offline is declined here, since nothing has proved that it is genuine.
"""

from __future__ import annotations

from collections.abc import Generator
from functools import lru_cache
from operator import itemgetter
from typing import Final

from merchant_device.kernel import card_data, commands
from merchant_device.kernel.card_data import CardFault
from merchant_device.kernel.configuration import KernelConfiguration, TransactionData
from merchant_device.kernel.outcomes import (
    Cvm,
    Declined,
    EndApplication,
    OnlineRequest,
    Outcome,
    TryAgain,
    TryAnotherInterface,
)
from network.emv import CardOutcome, IadError, IssuerApplicationData, TlvError, dol, tlv

MAX_FIELD55: Final = 255
"""Longest element 55, bytes."""

_TRY_ANOTHER_INTERFACE: Final = b"\x69\x84"
_CONDITIONS_NOT_SATISFIED: Final = b"\x69\x85"

# Order of DOMAIN.md 2, element 55, with the size of each value, which is checked or made so before; 0 of those that
# vary. 9F63 goes along when the card has it.
_FIELD55_OBJECTS: Final = (
    *(("9F26", 8), ("9F27", 1), ("9F10", 0), ("9F37", 4), ("9F36", 2), ("95", 5), ("9A", 3), ("9C", 1), ("9F02", 6)),
    *(("5F2A", 2), ("82", 2), ("9F1A", 2), ("9F03", 6), ("9F33", 3), ("9F34", 3), ("9F35", 1), ("9F1E", 8)),
    *(("84", 0), ("9F09", 2), ("9F41", 4)),
)
_FIELD55_FORMAT: Final = b"".join(
    tlv.encode(tag, bytes(size))[:-size] + b"%b" if size else b"%b" for tag, size in _FIELD55_OBJECTS
)
_field55_values = itemgetter(*(tag for tag, _ in _FIELD55_OBJECTS))

_ARQC_INFORMATION: Final = CardOutcome.ARQC.cryptogram_information

# Tag 9F34 (EMV 4.4 Book 3, Annex C3; Book 4, Annex A4): method, condition, result. The PIN and the signature are not
# checked yet when this is written, hence result 0. No public text gives a code for verification on the cardholder's
# device; method 01 with result 2 is general practice, unconfirmed.
_CVM_RESULTS: Final = {
    Cvm.NO_CVM: b"\x1f\x03\x02",
    Cvm.SIGNATURE: b"\x1e\x03\x00",
    Cvm.ONLINE_PIN: b"\x02\x03\x00",
    Cvm.CDCVM: b"\x01\x00\x02",
}

_Conversation = Generator[bytes, bytes, Outcome]


class TapEnded(RuntimeError):
    """A tap was driven on after its outcome: a fault of the caller, not of the card."""


class Kernel:
    """A configured kernel; one serves any number of taps, one after another or side by side.

    Parameters
    ----------
    configuration : KernelConfiguration
        The terminal's side.

    """

    __slots__ = ("configuration",)

    def __init__(self, configuration: KernelConfiguration) -> None:
        self.configuration = configuration

    def start(self, transaction: TransactionData) -> Tap:
        """Begin the conversation with a card that came into the field."""
        return Tap(self.configuration, transaction)


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

    def __init__(self, configuration: KernelConfiguration, transaction: TransactionData) -> None:
        self._conversation = _converse(configuration, transaction)
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
        except (CardFault, IadError) as fault:
            outcome = EndApplication(str(fault))
        except TlvError as fault:
            outcome = EndApplication(f"malformed answer: {fault.reason}")
        self.outcome = outcome
        return outcome

    def card_gone(self) -> Outcome:
        """Take note that the card left the field before it answered: nothing was decided.

        After the outcome this changes nothing; for an online request the card may well be gone.
        """
        if self.outcome is None:
            self._conversation.close()
            self.outcome = TryAgain("the card left the field")
        return self.outcome


def _converse(configuration: KernelConfiguration, transaction: TransactionData) -> _Conversation:
    response = yield commands.select(commands.PPSE)
    if _status(response) != commands.SUCCESS:
        return _ended("no directory of applications", response)
    names = card_data.candidates(response[:-2], configuration.applications)
    values = transaction.tags()
    values["9F66"] = configuration.transaction_qualifiers(transaction.amount)
    values |= configuration.terminal_tags
    for name in names:
        response = yield commands.select(name)
        if _status(response) != commands.SUCCESS:
            continue
        file_name, pdol = card_data.application(response[:-2], name)
        response = yield commands.get_processing_options(dol.build(pdol, values))
        status = _status(response)
        if status == commands.SUCCESS:
            options = card_data.processing_options(response[:-2])
            return (yield from _decide(configuration, transaction, values, options, file_name))
        if status == _TRY_ANOTHER_INTERFACE:
            return TryAnotherInterface()
        if status != _CONDITIONS_NOT_SATISFIED:
            return _ended("processing options refused", response)
        # 6985: this application will not, the card's next one may (EMV Contactless Book B, 3.5.1).
    return _ended("no application left to try", response) if names else EndApplication("no application in common")


def _decide(
    configuration: KernelConfiguration,
    transaction: TransactionData,
    values: dict[str, bytes],
    options: dict[str, bytes],
    file_name: bytes,
) -> _Conversation:
    decision = _decision(options["9F10"])
    if decision is CardOutcome.AAC:
        return Declined("the card declined")
    if decision is CardOutcome.TC:
        return Declined("the card approved offline, which this terminal does not accept")
    cvm = _cardholder_verification(configuration, transaction.amount, options.get("9F6C"))
    if cvm is None:
        return Declined("no way to verify the cardholder in common")
    if "57" not in options and "94" in options:
        for file, record in card_data.records(options["94"]):
            response = yield commands.read_record(file, record)
            if _status(response) != commands.SUCCESS:
                return _ended("a record cannot be read", response)
            card_data.merge(options, card_data.template(response[:-2], "70"))
    account = card_data.account(options)
    profile = options["82"]
    values["9F26"], values["9F36"], values["82"] = options["9F26"], options["9F36"], profile
    values["9F27"] = _ARQC_INFORMATION
    values["9F34"] = _CVM_RESULTS[cvm]
    return OnlineRequest(
        field55=_field55(values, options["9F10"], file_name, options.get("9F63")),
        pan=account.pan,
        track2=account.track2,
        expiry=account.expiry,
        sequence=account.sequence,
        cvm=cvm,
        aid=file_name,
        issuer_authentication=bool(profile[0] & 0x04),
    )


def _cardholder_verification(configuration: KernelConfiguration, amount: int, qualifiers: bytes | None) -> Cvm | None:
    """Choose from the card transaction qualifiers 9F6C and the terminal's rule; None when no way is left.

    What the card demands is done also below the terminal's limit. A card that gives no qualifiers leaves the choice
    to the terminal.
    """
    first, second = qualifiers or b"\x00\x00"
    if first & 0x80 and configuration.online_pin:
        return Cvm.ONLINE_PIN
    if second & 0x80 and configuration.cdcvm:
        return Cvm.CDCVM
    if first & 0x40 and configuration.signature and not configuration.online_pin_always:
        return Cvm.SIGNATURE
    if configuration.online_pin_always:
        return Cvm.ONLINE_PIN
    if first & 0xC0:
        return None
    if not configuration.requires_cvm(amount):
        return Cvm.NO_CVM
    if qualifiers is None and configuration.online_pin:
        return Cvm.ONLINE_PIN
    return None


# All payments of a card whose results do not change, and those of its like, bring the same data.
@lru_cache(maxsize=256)
def _decision(issuer_application_data: bytes) -> CardOutcome:
    return IssuerApplicationData.parse(issuer_application_data).cvr.outcome


def _field55(values: dict[str, bytes], iad: bytes, file_name: bytes, product: bytes | None) -> bytes:
    """Write element 55; of `values` those whose size varies become whole objects."""
    values["9F10"] = tlv.encode("9F10", iad)
    values["84"] = tlv.encode("84", file_name)
    field55: bytes = _FIELD55_FORMAT % _field55_values(values)
    if product:
        field55 += tlv.encode("9F63", product)
    if len(field55) > MAX_FIELD55:
        raise CardFault(f"chip data longer than {MAX_FIELD55} bytes")
    return field55


def _status(response: bytes) -> bytes:
    if not 2 <= len(response) <= commands.MAX_RESPONSE:
        raise CardFault(f"answer of {len(response)} bytes")
    return response[-2:]


def _ended(reason: str, response: bytes) -> EndApplication:
    return EndApplication(reason, response[-2:].hex().upper())
