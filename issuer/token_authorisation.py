"""Authorisation by token: the payer's phone stands for the card.

The switch has found the token good and put the card in its place; DE59 T1 tells which token it was. All checks of the
card hold, and the token has its own besides: its status, domain and expiry, its transaction counter, and the
cryptogram, which is made with the limited-use key that the counter belongs to. What a phone proves by its cryptogram,
that its holder was verified on it (CDCVM), stands for the PIN.

A payer's code (DE22 03) comes with chip data that sign no amount, since it was not known when the code was made, or
without any: then the switch vouches for the code, which this issuer let it make for a holder who was verified.
"""

from __future__ import annotations

from typing import Final

from issuer.authorisation import (
    SALE_CHECKS,
    authorise,
    card_found,
    not_expired,
    pin_right,
    pin_tries_left,
    status_good,
)
from issuer.case import Case, Check
from issuer.chip import APPROVED_ARC, read_chip_data, scheme_of
from issuer.requests import BALANCE, SALE, TokenUse
from issuer.tables import APPROVED, Authorisation
from issuer.token_tables import (
    CODE,
    CONTACTLESS,
    IN_USE,
    SUSPENDED,
    Token,
    TokenPayment,
)
from network.emv import CardOutcome
from network.keys.limited_use import limited_use_key_number
from network.ledger import LedgerAccount
from network.store import UnitOfWork

CODE_MODE: Final = "03"
_DOMAIN_OF: Final = {"07": CONTACTLESS, CODE_MODE: CODE}
_SUPPORTED: Final = {("07", SALE), ("07", BALANCE), (CODE_MODE, SALE)}


class TokenCase(Case):
    """A request by token; `token` is set by the check that finds it."""

    __slots__ = ("token", "used")

    token: Token
    used: TokenUse

    @property
    def key_number(self) -> int:
        """Which limited-use key the transaction counter belongs to; -1 for a counter of zero, which there is not."""
        counter = 0 if self.chip is None else self.chip.counter
        return limited_use_key_number(counter, self.token.uses_per_key) if counter else -1

    def decline_authentication(self, code: str) -> bytes | None:
        """Tag 91 for a decline, once the cryptogram was found right."""
        chip = self.chip
        scheme = None if chip is None else scheme_of(chip, self.keys, self.module)
        if chip is None or scheme is None:
            return None
        arc = code.encode("ascii")
        answer = self.module.make_limited_use_arpc(
            *scheme, self.used.number, self.token.sequence, self.key_number, chip.atc, chip.cryptogram, arc
        )
        return answer + arc


def _token_case(case: Case) -> TokenCase:
    if not isinstance(case, TokenCase):
        raise TypeError("a check of tokens was given a request by card")
    return case


def token_transaction_supported(case: Case) -> str | None:
    """40: not a sale contactless or by code, nor a contactless balance enquiry; 12: another currency."""
    request = case.request
    if request.mti != "0200" or (request.entry_mode, request.processing_code) not in _SUPPORTED:
        return "40"
    return None if request.fields[49] == case.configuration.currency else "12"


def token_known(case: Case) -> str | None:
    """14: no such token here, it stands for another card, it was deleted, or DE23 is not its sequence number."""
    case = _token_case(case)
    token = case.turn.store.find(Token, "token_index", case.used.token_index)
    if token is None or token.pan_index != case.request.pan_index:
        return "14"
    case.token = token
    sequence = f"0{token.sequence}"
    good = token.status in (IN_USE, SUSPENDED) and case.request.fields.get(23, sequence) == sequence
    return None if good else "14"


def token_good(case: Case) -> str | None:
    """62: suspended; 57: used in another domain than it is for [G]; 54: its month of expiry is over."""
    case = _token_case(case)
    token = case.token
    if token.status != IN_USE:
        return "62"
    if _DOMAIN_OF[case.request.entry_mode] not in token.domains.split(","):
        return "57"
    return "54" if token.expiry < case.calendar.year_month else None


def token_data_there(case: Case) -> str | None:
    """30: chip data that are malformed, or missing where the phone was tapped."""
    case.chip = read_chip_data(case.request.fields.get(55))
    vouched_for = case.request.entry_mode == CODE_MODE and 55 not in case.request.fields
    return "30" if case.chip is None and not vouched_for else None


def token_counter_unused(case: Case) -> str | None:
    """05 [G]: a counter that is not above the highest one accepted, or of a key that was not issued or was revoked."""
    case = _token_case(case)
    token, chip = case.token, case.chip
    if chip is None:
        return None
    if chip.counter <= token.highest_atc or not token.first_key <= case.key_number < token.end_key:
        return "05"
    return None


def token_cryptogram_right(case: Case) -> str | None:
    """05 [G]: a wrong cryptogram, one that is no request, or one over another amount: DE4, of a code none (zero)."""
    case = _token_case(case)
    token, chip, request = case.token, case.chip, case.request
    if chip is None:
        return None
    scheme = scheme_of(chip, case.keys, case.module)
    if scheme is None or chip.data is None:
        return "05"
    answer = case.module.check_limited_use_ac(
        *scheme,
        case.used.number,
        token.sequence,
        case.key_number,
        chip.atc,
        chip.data,
        chip.cryptogram,
        APPROVED_ARC,
    )
    if answer is None:
        return "05"
    case.turn.store.change(token)
    token.highest_atc = chip.counter
    is_code = request.entry_mode == CODE_MODE
    if not is_code:  # who showed a code is not there to hear the answer
        case.response_cryptogram = answer
    signed = 0 if is_code else request.amount
    if chip.outcome is not CardOutcome.ARQC or (chip.amount != signed and request.processing_code == SALE):
        return "05"
    return None


def holder_verified(case: Case) -> str | None:
    """As `pin_right`, but who was verified on the phone needs no PIN, whatever the amount."""
    verified = case.request.entry_mode == CODE_MODE if case.chip is None else case.chip.verified_on_device
    return None if verified and 52 not in case.request.fields else pin_right(case)


def daily_code_amount_kept(case: Case) -> str | None:
    """61: more than the token may pay by code in a local day."""
    case = _token_case(case)
    if case.request.entry_mode != CODE_MODE:
        return None
    used = case.token.code_used_amount if case.token.code_used_on == case.calendar.day else 0
    return "61" if used + case.request.amount > case.configuration.code_daily_limit else None


TOKEN_CHECKS: Final[tuple[Check, ...]] = (
    token_transaction_supported,
    card_found,
    token_known,
    status_good,
    token_good,
    not_expired,
    token_data_there,
    token_counter_unused,
    token_cryptogram_right,
    pin_tries_left,
    holder_verified,
)
"""The checks of a request by token, in their order."""

TOKEN_SALE_CHECKS: Final[tuple[Check, ...]] = (*SALE_CHECKS, daily_code_amount_kept)


def authorise_token(case: TokenCase, settlement: LedgerAccount) -> Authorisation:
    """Decide a new request by token; as `authorise`, and the token's payment is noted for its holder."""
    row = authorise(case, settlement, TOKEN_CHECKS, TOKEN_SALE_CHECKS)
    token = getattr(case, "token", None)
    if token is None:
        return row
    store = case.turn.store
    domain = _DOMAIN_OF[case.request.entry_mode]
    store.change(token)
    token.payments += 1
    payment = TokenPayment.key(token.token_index, token.payments)
    store.insert(TokenPayment(payment, token.token_index, row.reference, domain, case.used.order_number))
    row.token_payment = payment
    if row.status == APPROVED and domain == CODE:
        if token.code_used_on != case.calendar.day:
            token.code_used_on, token.code_used_amount = case.calendar.day, 0
        token.code_used_amount += row.amount
    return row


def give_back(store: UnitOfWork, payment_id: str, original: Authorisation) -> None:
    """A payment by token was undone: what it used of the day's amount by code is free again, while it is that day."""
    payment = store.find(TokenPayment, "payment_id", payment_id)
    token = None if payment is None else store.find(Token, "token_index", payment.token_index)
    if payment is None or token is None or payment.domain != CODE or token.code_used_on != original.used_on:
        return
    store.change(token)
    token.code_used_amount -= original.amount
