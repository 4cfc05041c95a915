"""A payment that a card has decided, and what is kept of it when the card leaves before all was read."""

from __future__ import annotations

from merchant_device.kernel.transaction import TransactionData


class Payment:
    """What was asked and what the card answered to GET PROCESSING OPTIONS.

    Attributes
    ----------
    transaction : TransactionData
    values : dict of tag to value
        The terminal's objects, as the card was told them.
    file_name : bytes
        The application's dedicated file name, 84.
    offline_allowed : bool
        Whether the card may approve by itself: the reader has not demanded that the issuer be asked, nor would it.
    verification_required : bool
        Whether the reader demanded in its qualifiers that the holder be verified.
    options : dict of tag to value
        The card's answer; records are not added to it.

    """

    __slots__ = ("file_name", "offline_allowed", "options", "transaction", "values", "verification_required")

    def __init__(
        self,
        transaction: TransactionData,
        values: dict[str, bytes],
        file_name: bytes,
        offline_allowed: bool,
        verification_required: bool,
        options: dict[str, bytes],
    ) -> None:
        self.transaction = transaction
        self.values = values
        self.file_name = file_name
        self.offline_allowed = offline_allowed
        self.verification_required = verification_required
        self.options = options


class Torn:
    """A payment that a card decided before it left: its records are still to be read.

    Give it to the next tap of the same payment. Holds card data, so it is to be forgotten when the payment ends; what
    it shows of itself is nothing.

    Parameters
    ----------
    payment : Payment
        What was decided.

    """

    __slots__ = ("payment",)

    def __init__(self, payment: Payment) -> None:
        self.payment = payment

    def serves(self, transaction: TransactionData) -> bool:
        """Whether it is the same payment that is to be made: what the card signed cannot be changed any more."""
        own = self.payment.transaction
        return (
            own.amount == transaction.amount
            and own.amount_other == transaction.amount_other
            and own.currency == transaction.currency
            and own.transaction_type == transaction.transaction_type
            and own.terminal_country == transaction.terminal_country
            and own.pin_required == transaction.pin_required
        )

    def __repr__(self) -> str:
        return "Torn()"
