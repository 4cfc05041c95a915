"""Offline sales (0220): what a card approved by itself, brought to its issuer as a transaction certificate."""

from __future__ import annotations

from typing import Final

from issuer.authorisation import CHIP_MODES, card_data_there, card_known, pay_certificate, record
from issuer.case import Case, Check
from issuer.chip import verify_cryptogram
from issuer.ecash import certificate_redeemed
from issuer.requests import SALE
from issuer.tables import Authorisation
from network.emv import CardOutcome
from network.ledger import LedgerAccount


def offline_sale_supported(case: Case) -> str | None:
    """40: an 0220 that is no offline sale of a chip card; 12: another currency.

    Nothing is left to verify after such a sale: one with a PIN block is none.
    """
    request = case.request
    is_card = request.token is None and request.entry_mode in CHIP_MODES
    if request.processing_code != SALE or not is_card or 52 in request.fields:
        return "40"
    return None if request.fields[49] == case.configuration.currency else "12"


def certificate_right(case: Case) -> str | None:
    """05: no transaction certificate, a wrong one, or one over another amount than DE4."""
    chip = case.chip
    if chip is None or chip.outcome is not CardOutcome.TC or chip.amount != case.request.amount or chip.amount <= 0:
        return "05"
    right = verify_cryptogram(chip, case.card, case.request.pan, case.keys, case.module)
    return "05" if right is None else None


def certificate_unredeemed(case: Case) -> str | None:
    """94: the same certificate was redeemed under another identity."""
    if case.chip is None:
        return "30"
    return "94" if certificate_redeemed(case.turn.store, case.card.pan_index, case.chip.counter) else None


OFFLINE_CHECKS: Final[tuple[Check, ...]] = (
    offline_sale_supported,
    card_known,
    card_data_there,
    certificate_right,
    certificate_unredeemed,
)
"""The checks of an offline sale. Status, expiry and limits are not asked: the card has promised, the goods are gone."""


def authorise_offline(case: Case, settlement: LedgerAccount) -> Authorisation:
    """Decide an offline sale that is new, pay it from the e-cash where it is right, and record that.

    Parameters
    ----------
    case : Case
    settlement : LedgerAccount
        The account of what the issuer owes the network.
    """
    for check in OFFLINE_CHECKS:
        code = check(case)
        if code is not None:
            return record(case, code)
    return pay_certificate(case, settlement)
