"""What the terminal is and what the payment is: everything the kernel is told before a card comes."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

MAX_AMOUNT: Final = 999_999_999_999
SMALL_AMOUNT_LIMIT: Final = 100_000
"""1000 CNY in fen: at or below it a contactless payment needs neither PIN nor signature."""

_APPLICATIONS: Final = (
    bytes.fromhex("A000000333010101"),  # debit
    bytes.fromhex("A000000333010102"),  # credit
    bytes.fromhex("A000000333010103"),  # quasi-credit
)


@dataclass(frozen=True, slots=True)
class KernelConfiguration:
    """The terminal's side of a contactless payment.

    Attributes
    ----------
    applications : tuple of bytes
        Application identifiers taken, 5 to 16 bytes each; a card's longer identifier matches by its beginning.
    cvm_limit : int
        Fen. Above it the reader demands that the cardholder be verified.
    online_pin_always : bool
        Ask for the PIN at every amount, unless the cardholder was verified on a device of their own.
    online_pin, signature, cdcvm : bool
        Ways of verification the terminal offers; cdcvm is verification on the cardholder's own device.
    terminal_type : str
        Tag 9F35, two digits; 21 is attended, merchant-run, online only (EMV 4.4 Book 4, Annex A1).
    terminal_capabilities : str
        Tag 9F33, six hexadecimal characters (EMV 4.4 Book 4, Annex A2): online PIN, signature and no verification.
    application_version : str
        Tag 9F09, four hexadecimal characters.
    interface_device_serial : str
        Tag 9F1E, eight characters.

    """

    applications: tuple[bytes, ...] = _APPLICATIONS
    cvm_limit: int = SMALL_AMOUNT_LIMIT
    online_pin_always: bool = False
    online_pin: bool = True
    signature: bool = True
    cdcvm: bool = True
    terminal_type: str = "21"
    terminal_capabilities: str = "006800"
    application_version: str = "0030"
    interface_device_serial: str = "00000000"
    terminal_tags: dict[str, bytes] = field(init=False, repr=False, compare=False)
    _qualifiers: tuple[bytes, bytes] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.applications or any(not 5 <= len(name) <= 16 for name in self.applications):
            raise ValueError("applications: at least one identifier, each of 5 to 16 bytes")
        if self.cvm_limit < 0:
            raise ValueError("cvm_limit: not negative, in fen")
        if self.online_pin_always and not self.online_pin:
            raise ValueError("online_pin_always: the terminal has no online_pin")
        serial = self.interface_device_serial
        if len(serial) != 8 or not serial.isascii():
            raise ValueError("interface_device_serial: eight ASCII characters")
        tags = {
            "9F33": _hexadecimal("terminal_capabilities", self.terminal_capabilities, 3),
            "9F35": _hexadecimal("terminal_type", self.terminal_type, 1),
            "9F1E": serial.encode("ascii"),
            "9F09": _hexadecimal("application_version", self.application_version, 2),
        }
        first = 0x20 | (0x04 if self.online_pin else 0) | (0x02 if self.signature else 0)
        third = 0x40 if self.cdcvm else 0
        object.__setattr__(self, "terminal_tags", tags)
        object.__setattr__(self, "_qualifiers", (bytes((first, 0x80, third, 0)), bytes((first, 0xC0, third, 0))))

    def transaction_qualifiers(self, amount: int) -> bytes:
        """Build the terminal transaction qualifiers, tag 9F66, for an amount in fen (DOMAIN.md 4.1).

        An online cryptogram is always demanded: this kernel approves nothing offline.
        """
        return self._qualifiers[self.requires_cvm(amount)]

    def requires_cvm(self, amount: int) -> bool:
        """Tell whether the terminal demands that the cardholder be verified for `amount` fen."""
        return amount > self.cvm_limit or self.online_pin_always


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

    """

    amount: int
    date: str
    unpredictable_number: bytes
    amount_other: int = 0
    currency: str = "156"
    transaction_type: str = "00"
    terminal_country: str = "156"
    sequence_counter: int = 0

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
        issuer must get the very bytes the card computed over.
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


def _hexadecimal(name: str, text: str, size: int) -> bytes:
    try:
        value = bytes.fromhex(text)
    except ValueError:
        value = b""
    if len(value) != size or len(text) != 2 * size:
        raise ValueError(f"{name}: {2 * size} hexadecimal characters")
    return value
