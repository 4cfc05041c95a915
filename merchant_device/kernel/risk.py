"""Terminal risk management: what the amount demands (EMV Contactless Book B, 3.1.1; DOMAIN.md 4.6)."""

from __future__ import annotations

from merchant_device.kernel.configuration import KernelConfiguration, Limits
from merchant_device.kernel.transaction import GOODS, TransactionData


def is_over_contactless_limit(limits: Limits, transaction: TransactionData) -> bool:
    """Whether the amount is too large for this interface: at the limit already (Book B, 3.1.1.5)."""
    return limits.contactless is not None and transaction.amount >= limits.contactless


def requires_online(configuration: KernelConfiguration, limits: Limits, transaction: TransactionData) -> bool:
    """Whether the reader of a terminal that may approve offline demands that the issuer be asked: TTQ byte 2, 80.

    Above the floor limit (Book B, 3.1.1.6), and for everything that is not a plain purchase: without an amount
    (Book B, 3.1.1.7), with cash, and where the issuer has asked for the PIN. A terminal that is never online cannot
    demand it, see `may_approve_offline`.
    """
    return configuration.online and (
        transaction.amount > limits.floor
        or transaction.amount == 0
        or transaction.transaction_type != GOODS
        or transaction.amount_other > 0
        or transaction.pin_required
    )


def may_approve_offline(limits: Limits, transaction: TransactionData) -> bool:
    """Whether the amount is one that a card may approve by itself: not above the floor limit.

    Where a terminal is never online this is the most it takes (EMV 4.4 Book 3, 10.6.1).
    """
    return transaction.amount <= limits.floor


def requires_verification(configuration: KernelConfiguration, limits: Limits, transaction: TransactionData) -> bool:
    """Whether the reader demands that the cardholder be verified: TTQ byte 2, 40 (DOMAIN.md 4.6: above the limit)."""
    return transaction.amount > limits.cvm or configuration.online_pin_always or transaction.pin_required
