"""PIN verification values over a keyed cipher: Visa PVV and IBM 3624 with offset.

Only the security module calls this.
"""

from dataclasses import dataclass, field

from network.keys.ciphers import Transform
from network.keys.decimalisation import scan_digits
from network.keys.errors import PinBlockError
from network.keys.pin_block import check_pan, check_pin

DEFAULT_DECIMALISATION = "0123456789012345"

_SUMS = {f"{a}{b}": str((a + b) % 10) for a in range(10) for b in range(10)}
_DIFFERENCES = {f"{a}{b}": str((a - b) % 10) for a in range(10) for b in range(10)}


@dataclass(frozen=True, slots=True)
class ValidationData:
    """Which digits of the PAN IBM 3624 enciphers.

    Parameters
    ----------
    start : int
        Index of the first digit taken from the PAN.
    length : int
        How many digits are taken, 1 to 16.
    pad : str
        Hex digit that fills up to 16 on the right.
    decimalisation : str
        16 decimal digits, what each hex digit 0 to F becomes.
    """

    start: int = 0
    length: int = 16
    pad: str = "F"
    decimalisation: str = DEFAULT_DECIMALISATION
    _digits: dict[int, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        table = self.decimalisation
        if self.start < 0 or not 1 <= self.length <= 16:
            raise ValueError("validation data: start from 0, length 1 to 16")
        if len(self.pad) != 1 or self.pad not in "0123456789ABCDEF":
            raise ValueError("validation data: pad must be one hex digit")
        if len(table) != 16 or not (table.isascii() and table.isdigit()):
            raise ValueError("a decimalisation table has 16 decimal digits")
        object.__setattr__(self, "_digits", str.maketrans("0123456789abcdef", table))

    def decimalised(self, text: str) -> str:
        """Return lower-case hex digits as the decimal digits they become."""
        return text.translate(self._digits)


def pvv(encrypt: Transform, key_index: str, pan: str, pin: str) -> str:
    """Return the 4-digit PIN verification value.

    The cipher takes the 11 rightmost digits of the PAN but for the check digit, the key index and the first
    4 digits of the PIN; its result is decimalised.

    Raises
    ------
    PinBlockError
        Malformed PIN or PAN.
    ValueError
        The key index is not one digit.
    """
    check_pin(pin)
    check_pan(pan)
    if len(key_index) != 1 or key_index not in "0123456789":
        raise ValueError("a PVV key index is one digit")
    if len(pan) < 12:
        raise PinBlockError("PVV needs a PAN of at least 12 digits")
    return scan_digits(encrypt(bytes.fromhex(pan[-12:-1] + key_index + pin[:4])), 4)


def natural_pin(encrypt: Transform, pan: str, validation: ValidationData, length: int) -> str:
    """Return the IBM 3624 natural PIN of `length` digits.

    Raises
    ------
    PinBlockError
        The PAN is malformed or too short for the validation data.
    """
    check_pan(pan)
    digits = pan[validation.start : validation.start + validation.length]
    if not digits:
        raise PinBlockError("the PAN is too short for the validation data")
    return validation.decimalised(encrypt(bytes.fromhex(digits.ljust(16, validation.pad))).hex()[:length])


def add_offset(natural: str, offset: str) -> str:
    """Return the PIN: natural PIN and offset added digit by digit, modulo 10."""
    return "".join([_SUMS[n + o] for n, o in zip(natural, offset, strict=True)])


def offset_between(natural: str, pin: str) -> str:
    """Return the offset that turns the natural PIN into `pin`."""
    return "".join([_DIFFERENCES[p + n] for n, p in zip(natural, pin, strict=True)])
