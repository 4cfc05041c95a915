"""Authorisation: the issuer's checks on a request in their order, and what an approval does.

`CHECKS` is the order of docs/protocol.md. A check looks at the `Case` and names the response code (DE39) it declines
with, or None to let the request pass; the first code decides. Three checks leave a trace although the request may be
declined: a right cryptogram uses its counter up, a wrong PIN is counted, a right one resets that count.
"""

from __future__ import annotations

from typing import Final

from issuer.case import Case, Check
from issuer.chip import ChipData, read_chip_data, verify_cryptogram
from issuer.ecash import certificate_redeemed, redeem
from issuer.requests import BALANCE, SALE
from issuer.tables import (
    ACTIVE,
    APPROVED,
    BLOCKED,
    DECLINED,
    LOST,
    PICK_UP,
    STOLEN,
    Account,
    Authorisation,
    Card,
    KeySet,
)
from network.emv import CardOutcome
from network.keys import PinBlockError, PinFormat
from network.ledger import LedgerAccount, Money, post
from network.party import SECOND

CHIP_MODES: Final = ("05", "07")
STRIPE_MODE: Final = "02"
MANUAL_MODE: Final = "01"
ENTRY_MODES: Final = (*CHIP_MODES, STRIPE_MODE, MANUAL_MODE)
"""First two digits of DE22: contact chip and contactless, magnetic stripe, keyed in."""

STATUS_CODES: Final = {LOST: "41", STOLEN: "43", BLOCKED: "62", PICK_UP: "04"}
"""DE39 by a card's status. A status that is none of these and not active is refused like a blocked one."""

_PIN_FORMATS: Final = {"1": PinFormat.WITHOUT_PAN, "2": PinFormat.ISO_0}
"""PIN block formats by the first digit of DE53."""

_ARQC: Final = CardOutcome.ARQC

_CVV_POSITION: Final = slice(12, 15)
"""Where the CVV stands after the separator of track 2: after expiry 4, service code 3 and five zeros."""


def transaction_supported(case: Case) -> str | None:
    """40: another message type, processing code or entry mode than cards here have; 12: another currency."""
    request = case.request
    if request.mti != "0200" or request.processing_code not in (SALE, BALANCE) or request.entry_mode not in ENTRY_MODES:
        return "40"
    return None if request.fields[49] == case.configuration.currency else "12"


def card_known(case: Case) -> str | None:
    """14: no such card, or another sequence number than the card's. Without DE23 any is meant."""
    code = card_found(case)
    if code is not None:
        return code
    return None if case.request.fields.get(23, case.card.sequence) == case.card.sequence else "14"


def card_found(case: Case) -> str | None:
    """14: no such card. Its rows are set down in the case."""
    store = case.turn.store
    card = store.find(Card, "pan_index", case.request.pan_index)
    if card is None:
        return "14"
    account = store.find(Account, "account_id", card.account_id)
    ledger = store.find(LedgerAccount, "account_id", card.account_id)
    keys = store.find(KeySet, "key_set_id", card.key_set_id)
    if account is None or ledger is None or keys is None:
        raise LookupError("a card's account or key set is not there")
    case.card, case.account, case.ledger, case.keys = card, account, ledger, keys
    return None


def status_good(case: Case) -> str | None:
    """41 lost, 43 stolen, 62 blocked, 04 to be picked up."""
    status = case.card.status
    return None if status == ACTIVE else STATUS_CODES.get(status, "62")


def not_expired(case: Case) -> str | None:
    """54: the month of expiry is over, or DE14 is not the card's."""
    expiry = case.card.expiry
    if expiry < case.calendar.year_month or case.request.fields.get(14, expiry) != expiry:
        return "54"
    return None


def card_data_there(case: Case) -> str | None:
    """30, 45, 57: what the way the card was read needs.

    30: read by chip without usable chip data, by stripe without track 2. 45: a chip card read by stripe. 57: a
    number keyed in that belongs to a card not meant for it.
    """
    request = case.request
    mode = request.entry_mode
    if mode in CHIP_MODES:
        case.chip = read_chip_data(request.fields.get(55))
        return "30" if case.chip is None else None
    if mode == STRIPE_MODE:
        if case.card.is_chip:
            return "45"
        return None if 35 in request.fields else "30"
    return None if case.card.manual_entry else "57"


def counter_unused(case: Case) -> str | None:
    """05 [G]: the application transaction counter is not above the highest one accepted.

    A cryptogram is thus good once, and a transaction that was overtaken by a later one of its card is refused too.
    """
    chip = case.chip
    return "05" if chip is not None and chip.counter <= case.card.highest_atc else None


def cryptogram_right(case: Case) -> str | None:
    """05 [G]: a wrong cryptogram, one over another amount than DE4, or a transaction that the card itself declined.

    Without chip data it is the card verification value of the stripe that must be right.
    """
    chip, card = case.chip, case.card
    if chip is None:
        return _stripe_right(case)
    case.response_cryptogram = verify_cryptogram(chip, card, case.request.pan, case.keys, case.module)
    if case.response_cryptogram is None:
        return "05"
    case.turn.store.change(card)
    card.highest_atc = chip.counter
    if chip.amount != case.request.amount and case.request.processing_code == SALE:
        return "05"
    return None if chip.outcome is _ARQC else _certificate_good(case, chip)


def _certificate_good(case: Case, chip: ChipData) -> str | None:
    """05: the card declined; 94: what it approved by itself was paid already.

    A terminal that finds the card's signature wrong may go online with the certificate that came with it. The card has
    taken the amount off its e-cash by then: that pays, and once, also if the certificate comes as an offline sale too.
    """
    if chip.outcome is not CardOutcome.TC or case.request.processing_code != SALE:
        return "05"
    if certificate_redeemed(case.turn.store, case.card.pan_index, chip.counter):
        return "94"
    case.certificate = True
    return None


def _stripe_right(case: Case) -> str | None:
    track = case.request.fields.get(35)
    if not isinstance(track, str):
        return None  # keyed in, and the card is meant for it
    card = case.card
    data = track.partition("=")[2]
    if data[:4] != card.expiry or data[4:7] != card.service_code:
        return "05"
    cvk = case.module.load(case.keys.cvk)
    right = case.module.verify_cvv(cvk, case.request.pan, card.expiry, card.service_code, data[_CVV_POSITION])
    return None if right else "05"


def pin_tries_left(case: Case) -> str | None:
    """75: the tries are spent, and stay so until the issuer resets them."""
    return None if case.card.pin_tries_left > 0 else "75"


def pin_right(case: Case) -> str | None:
    """55 a wrong PIN, or none where the amount needs one; 99 a PIN block that is none under the zone's key."""
    request, card = case.request, case.card
    block = request.fields.get(52)
    if not isinstance(block, bytes):
        return "55" if request.amount > card.pin_free_limit else None
    right = _verify_pin(case, block)
    if right is None:
        return "99"
    tries = case.configuration.pin_tries
    if right:
        if card.pin_tries_left != tries:
            case.turn.store.change(card)
            card.pin_tries_left = tries
        return None
    case.turn.store.change(card)
    card.pin_tries_left -= 1
    return "55"


def _verify_pin(case: Case, block: bytes) -> bool | None:
    """Whether the PIN is right; None where no key in force opens the block."""
    zone, module, keys = case.zone, case.module, case.keys
    pin_format = _PIN_FORMATS[str(case.request.fields.get(53, "2"))[0]]
    pin_keys = [zone.pin_key]
    if case.turn.now <= zone.changed_at + round(case.configuration.key_overlap * SECOND):
        pin_keys.append(zone.old_pin_key)
    for key_block in pin_keys:
        if key_block is None:
            continue
        try:
            return module.verify_pin_offset(
                module.load(key_block),
                block,
                case.request.pan,
                pin_format,
                module.load(keys.pvk),
                case.card.pin_offset,
            )
        except PinBlockError:
            continue
    return None


def amount_positive(case: Case) -> str | None:
    """13: a sale of nothing."""
    return "13" if case.request.amount <= 0 else None


def funds_suffice(case: Case) -> str | None:
    """51: more than the balance and the credit limit together."""
    return "51" if case.request.amount > case.available else None


def sale_limit_kept(case: Case) -> str | None:
    """61: more than the card may pay at once."""
    return "61" if case.request.amount > case.card.sale_limit else None


def daily_amount_kept(case: Case) -> str | None:
    """61: more than the card may pay in a local day."""
    card = case.card
    used = card.used_amount if card.used_on == case.calendar.day else 0
    return "61" if used + case.request.amount > card.daily_amount_limit else None


def daily_count_kept(case: Case) -> str | None:
    """65: as many sales as the card may make in a local day have been made."""
    card = case.card
    used = card.used_count if card.used_on == case.calendar.day else 0
    return "65" if used >= card.daily_count_limit else None


CHECKS: Final[tuple[Check, ...]] = (
    transaction_supported,
    card_known,
    status_good,
    not_expired,
    card_data_there,
    counter_unused,
    cryptogram_right,
    pin_tries_left,
    pin_right,
)
"""The issuer's checks in their order (docs/protocol.md)."""

SALE_CHECKS: Final[tuple[Check, ...]] = (
    amount_positive,
    funds_suffice,
    sale_limit_kept,
    daily_amount_kept,
    daily_count_kept,
)
"""The checks that follow where money is to move."""


def authorise(
    case: Case,
    settlement: LedgerAccount,
    checks: tuple[Check, ...] = CHECKS,
    sale_checks: tuple[Check, ...] = SALE_CHECKS,
) -> Authorisation:
    """Decide a request that is new, post it where it is approved, and record what was decided.

    Parameters
    ----------
    case : Case
    settlement : LedgerAccount
        The account of what the issuer owes the network.
    checks, sale_checks : tuple of Check
        What a request must pass, and what besides where money is to move.

    Returns
    -------
    Authorisation
        The row, inserted in this turn's unit of work.
    """
    for check in checks:
        code = check(case)
        if code is not None:
            return record(case, code)
    if case.request.processing_code == SALE:
        if case.certificate:
            return pay_certificate(case, settlement)
        for check in sale_checks:
            code = check(case)
            if code is not None:
                return record(case, code)
        _pay(case, settlement)
    return record(case, "00")


def _pay(case: Case, settlement: LedgerAccount) -> None:
    """Debit the cardholder, and use up the day's limits."""
    request, turn, card = case.request, case.turn, case.card
    post(
        turn.store,
        transfer_id=f"{request.reference}/sale",
        reference=request.reference,
        debit=case.ledger,
        credit=settlement,
        amount=Money(request.amount, case.configuration.currency),
        settlement_date=settlement_date(case),
        posted_at=turn.now,
    )
    turn.store.change(card)
    if card.used_on != case.calendar.day:
        card.used_on, card.used_amount, card.used_count = case.calendar.day, 0, 0
    card.used_amount += request.amount
    card.used_count += 1


def pay_certificate(case: Case, settlement: LedgerAccount) -> Authorisation:
    """Pay what the card has approved by itself from its e-cash, and record it; a certificate over nothing is 13."""
    request, chip = case.request, case.chip
    if chip is None or request.amount <= 0:
        return record(case, "13")
    ecash = redeem(
        case.turn.store,
        card=case.card,
        counter=chip.counter,
        reference=request.reference,
        amount=Money(request.amount, case.configuration.currency),
        settlement=settlement,
        settlement_date=settlement_date(case),
        now=case.turn.now,
    )
    row = record(case, "00")
    row.account_id = ecash.account_id  # where a reversal puts it back
    return row


def settlement_date(case: Case) -> str:
    """DE15, MMDD, else today's local date."""
    date = case.request.fields.get(15)
    return date if isinstance(date, str) else case.calendar.date


def record(case: Case, code: str) -> Authorisation:
    """Set down what was decided; the row is inserted in this turn's unit of work."""
    request, turn, calendar = case.request, case.turn, case.calendar
    approved = code == "00"
    card = getattr(case, "card", None)
    authentication = case.response_cryptogram
    if authentication is not None and case.chip is not None:
        if approved:
            authentication += b"00"
        else:
            authentication = case.decline_authentication(code)
    row = Authorisation(
        request.reference,
        request.mti,
        request.processing_code,
        APPROVED if approved else DECLINED,
        code,
        request.pan_index,
        None if card is None else card.account_id,
        request.amount,
        request.text(49),
        f"{turn.random.randrange(1_000_000):06d}" if approved else None,
        authentication,
        case.account.account_type if approved else None,
        case.ledger.balance if approved else None,
        case.available if approved else None,
        settlement_date(case),
        calendar.day,
        request.text(37),
        request.text(41),
        request.text(42),
        turn.now,
        None,
        None,
    )
    turn.store.insert(row)
    return row
