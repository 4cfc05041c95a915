"""What the terminal makes of a card's decision: reads what it needs, judges, and concludes.

A card that pays by itself takes the amount off its electronic cash when the last record that its file locator names is
read (general practice, unconfirmed). So whatever forbids the payment is looked for before that record is asked for:
stopped cards, the chain of certificates and the data it protects, processing restrictions, verification. A payment that
is declined for any of these has cost the cardholder nothing. Only the signature over the payment itself (9F4B over
9F69, which the last record holds) can fail afterwards: then the card has paid and the terminal declines. No certificate
of that payment reaches the issuer, whose record of the card's electronic cash stays as it was and is what counts: it
owes the holder the difference, and makes it good (docs/protocol.md, offline sale).

A card that has approved and says in its qualifiers that its issuer is to decide what the terminal does not accept is
read to the end all the same: to an issuer a transaction certificate means that the card has paid.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from functools import lru_cache
from typing import Final, Protocol, TypeAlias

from merchant_device.kernel import card_data, commands
from merchant_device.kernel.authentication import GOOD, NOT_DONE, Authorities, authenticate, supports_dynamic_data
from merchant_device.kernel.card_data import Account, CardFault
from merchant_device.kernel.configuration import KernelConfiguration
from merchant_device.kernel.field55 import chip_data
from merchant_device.kernel.outcomes import (
    ApprovedOffline,
    Cvm,
    Declined,
    OnlineRequest,
    Outcome,
    TryAnotherInterface,
)
from merchant_device.kernel.payment import Payment
from merchant_device.kernel.restrictions import EXPIRED, restriction
from merchant_device.kernel.verification import choose
from network.emv import CardOutcome, IssuerApplicationData

# Card transaction qualifiers 9F6C, byte 1 (DOMAIN.md 4.5; the last one is general practice, unconfirmed).
_ONLINE_IF_NOT_AUTHENTICATED: Final = 0x20
_OTHER_INTERFACE_IF_NOT_AUTHENTICATED: Final = 0x10
_ONLINE_IF_EXPIRED: Final = 0x08

# Names of their own: to look a member up in its class takes longer than to compare it.
_AAC: Final = CardOutcome.AAC
_TC: Final = CardOutcome.TC

_STOPPED: Final = "the card is on the list of stopped cards"

Conversation: TypeAlias = Generator[bytes, bytes, Outcome]
"""Gives commands, takes answers, ends with an outcome."""


class Rules(Protocol):
    """By what a terminal judges; see `Kernel`."""

    @property
    def configuration(self) -> KernelConfiguration:
        """The terminal's side."""
        ...

    @property
    def authorities(self) -> Authorities:
        """Whose certificates are believed."""
        ...

    @property
    def is_hot(self) -> Callable[[str], bool] | None:
        """Whether an account number is of a stopped card; None where there is no list."""
        ...


def decide(rules: Rules, payment: Payment) -> Conversation:
    """Judge what the card has decided in its processing options; reads records where they are needed."""
    configuration = rules.configuration
    options = payment.options
    decision = _decision(options["9F10"])
    if decision is _AAC:
        return _declined("the card declined", payment, options, decision)
    if decision is _TC:
        if not payment.offline_allowed:
            reason = "the card approved offline, which this terminal does not accept"
            return _declined(reason, payment, options, decision)
    elif not configuration.online:
        return _declined("the card wants to ask its issuer, which this terminal cannot", payment, options, decision)
    cvm = choose(configuration, options.get("9F6C"), payment.verification_required, payment.transaction.pin_required)
    if cvm is None:
        return _declined("no way to verify the cardholder in common", payment, options, decision)
    if rules.is_hot is not None and "57" in options and rules.is_hot(card_data.account(options).pan):
        return _declined(_STOPPED, payment, options, decision)
    data: dict[str, bytes] = options
    signed: list[tuple[int, bytes]] = []
    authenticates = configuration.fdda and (decision is _TC or supports_dynamic_data(options["82"]))
    if "94" in options and (authenticates or "57" not in options):
        data = dict(options)
        *places, last = card_data.records(options["94"])
        for place in places:
            yield from _read(place, data, signed)
        # What stands in the last record is not known yet; where the account does, nothing can be judged before it.
        if decision is _TC and "57" in data:
            outcome = _judged(rules, payment, decision, cvm, data, None if last[2] else signed, is_whole=False)
            if isinstance(outcome, Declined | TryAnotherInterface):
                return outcome
        yield from _read(last, data, signed)
    return _judged(rules, payment, decision, cvm, data, signed, is_whole=True)


def _judged(
    rules: Rules,
    payment: Payment,
    decision: CardOutcome,
    cvm: Cvm,
    data: Mapping[str, bytes],
    signed: Sequence[tuple[int, bytes]] | None,
    *,
    is_whole: bool,
) -> Outcome:
    """Conclude from what the card has said; while it is not whole, as if the rest were in order."""
    configuration = rules.configuration
    options = payment.options
    account = card_data.account(data)
    # an account that the options have told was looked up before anything else was asked of the card
    if rules.is_hot is not None and "57" not in options and rules.is_hot(account.pan):
        return _declined(_STOPPED, payment, data, decision)
    oda = NOT_DONE
    # A card that goes online without a signature has not offered one: its issuer will know it by its cryptogram.
    if decision is _TC or (configuration.fdda and "9F4B" in data and supports_dynamic_data(options["82"])):
        oda = authenticate(rules.authorities, payment, data, signed, account.pan, is_whole=is_whole)
        if oda != GOOD:
            first = _first_qualifiers(options)
            if not (first & _ONLINE_IF_NOT_AUTHENTICATED and configuration.online):
                if first & _OTHER_INTERFACE_IF_NOT_AUTHENTICATED:
                    return TryAnotherInterface()
                return _declined(f"the card is not proved to be genuine: {oda}", payment, data, decision)
        elif decision is _TC:
            outcome = _offline(configuration, payment, data, account, cvm, is_whole=is_whole)
            if outcome is not None:
                return outcome
    return OnlineRequest(
        field55=chip_data(payment, data, decision, cvm),
        pan=account.pan,
        track2=account.track2,
        expiry=account.expiry,
        sequence=account.sequence,
        cvm=cvm,
        aid=payment.file_name,
        issuer_authentication=bool(options["82"][0] & 0x04),
        oda=oda,
    )


def _offline(
    configuration: KernelConfiguration,
    payment: Payment,
    data: Mapping[str, bytes],
    account: Account,
    cvm: Cvm,
    *,
    is_whole: bool,
) -> Outcome | None:
    """Conclude what a genuine card has approved; None when its issuer is to be asked all the same."""
    reason = restriction(configuration, payment.transaction, data) if is_whole or "5F24" in data else None
    if reason is EXPIRED and _first_qualifiers(payment.options) & _ONLINE_IF_EXPIRED and configuration.online:
        return None
    if reason is None and cvm is Cvm.ONLINE_PIN:
        reason = "the card approved offline and wants a PIN that only its issuer can check"
    if reason is not None:
        return _declined(reason, payment, data, _TC)
    return ApprovedOffline(
        field55=chip_data(payment, data, _TC, cvm),
        pan=account.pan,
        expiry=account.expiry,
        sequence=account.sequence,
        cvm=cvm,
        aid=payment.file_name,
        balance=card_data.offline_balance(data),
    )


def _read(
    place: tuple[int, int, bool], data: dict[str, bytes], signed: list[tuple[int, bytes]]
) -> Generator[bytes, bytes, None]:
    """Read a record; add what it says to `data`, and the record itself to `signed`, with its file, where it is."""
    file, record, is_signed = place
    response = yield commands.read_record(file, record)
    if commands.status(response) != commands.SUCCESS:
        raise CardFault("a record cannot be read", response[-2:].hex().upper())
    card_data.merge(data, card_data.template(response[:-2], "70"))
    if is_signed:
        signed.append((file, response[:-2]))


# All payments of a card whose results do not change, and those of its like, bring the same data.
@lru_cache(maxsize=256)
def _decision(issuer_application_data: bytes) -> CardOutcome:
    return IssuerApplicationData.parse(issuer_application_data).cvr.outcome


def _first_qualifiers(options: Mapping[str, bytes]) -> int:
    return options.get("9F6C", b"\x00")[0]


def _declined(reason: str, payment: Payment, data: Mapping[str, bytes], decision: CardOutcome) -> Declined:
    return Declined(reason, chip_data(payment, data, decision, Cvm.NO_CVM))
