"""What the payment is: everything the kernel is told of it before a card comes."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from merchant_device.kernel.configuration import MAX_AMOUNT

GOODS: Final = "00"
"""Transaction type of a purchase, first two digits of the processing code."""

CASH: Final = "01"
"""Transaction type of a cash withdrawal."""


# Not frozen, as one is made in every sale and freezing doubles the price of that; nothing changes it once it is made.
@dataclass(slots=True)
class TransactionData:
    """One payment.

    Attributes
    ----------
    amount : int
        Fen, the other amount included.
    date : str
        YYMMDD, the terminal's own.
    unpredictable_number : bytes
        Four bytes, drawn by the caller.
    amount_other : int
        Fen of it handed out in cash.
    currency : str
        ISO 4217 number, three digits.
    transaction_type : str
        First two digits of the processing code: 00 goods, 01 cash, 20 refund, 31 balance.
    terminal_country : str
        ISO 3166 number, three digits.
    sequence_counter : int
        Tag 9F41, the terminal's count of transactions, at most eight digits.
    pin_required : bool
        Whether the PIN must be asked for whatever limits and card say: the issuer has declined for want of it.

    """

    amount: int
    date: str
    unpredictable_number: bytes
    amount_other: int = 0
    currency: str = "156"
    transaction_type: str = GOODS
    terminal_country: str = "156"
    sequence_counter: int = 0
    pin_required: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.amount_other <= self.amount <= MAX_AMOUNT:
            raise ValueError("amount: 0 to 12 digits of fen, at least amount_other")
        if not 0 <= self.sequence_counter <= 99_999_999:
            raise ValueError("sequence_counter: at most eight digits")
        if len(self.unpredictable_number) != 4:
            raise ValueError("unpredictable_number: four bytes")
        _numeric("date", self.date, 6)
        _numeric("currency", self.currency, 3)
        _numeric("transaction_type", self.transaction_type, 2)
        _numeric("terminal_country", self.terminal_country, 3)

    def tags(self) -> dict[str, bytes]:
        """Give the terminal's objects of this payment, tag to value.

        The terminal verification results are zeros: nothing was verified when the card is asked (qPBOC), and the
        issuer must get the very bytes the card computed over. What authentication finds later is told beside them.
        """
        return {
            "9F37": self.unpredictable_number,
            "95": b"\x00\x00\x00\x00\x00",
            "9A": _numeric("date", self.date, 6),
            "9C": _numeric("transaction_type", self.transaction_type, 2),
            "9F02": bytes.fromhex(f"{self.amount:012}"),
            "5F2A": _numeric("currency", self.currency, 3),
            "9F1A": _numeric("terminal_country", self.terminal_country, 3),
            "9F03": bytes.fromhex(f"{self.amount_other:012}"),
            "9F41": bytes.fromhex(f"{self.sequence_counter:08}"),
        }


# The date is the same all day, the others at every payment of a terminal.
@lru_cache(maxsize=64)
def _numeric(name: str, digits: str, count: int) -> bytes:
    """Pack `count` digits, two a byte, with a zero before an odd number of them."""
    if len(digits) != count or not (digits.isascii() and digits.isdigit()):
        raise ValueError(f"{name}: {count} digits")
    return bytes.fromhex("0" * (count % 2) + digits)
