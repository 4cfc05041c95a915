"""Clear PIN blocks: ISO 9564-1 formats 0 to 4 and the block without PAN of Chinese terminals.

Only the security module calls this; clear PINs and clear blocks exist nowhere else.

=========== ===================================================== =============
format      clear block (hex; L length, P PIN digit, F fill)      bound to
=========== ===================================================== =============
ISO_0       0L PP.. FF..  xor  0000 + 12 digits of the PAN        PAN
ISO_1       1L PP.. random                                        nothing
ISO_2       2L PP.. FF..                                          nothing (card)
ISO_3       3L PP.. random A-F  xor  0000 + 12 digits of the PAN  PAN
ISO_4       4L PP.. AA.. + 8 random bytes, enciphered with PAN    PAN
WITHOUT_PAN 0L PP.. FF..                                          nothing
=========== ===================================================== =============
"""

import random
from enum import Enum

from network.keys.ciphers import Transform, xor
from network.keys.errors import PinBlockError, PinTranslationError

PIN_LENGTHS = range(4, 13)
"""ISO 9564-1, 8.1: a PIN has 4 to 12 digits."""

PAN_LENGTHS = range(8, 20)
"""ISO/IEC 7812-1: a PAN has 8 to 19 digits."""


class PinFormat(Enum):
    """PIN block formats. `WITHOUT_PAN` is what DE53 of a terminal message calls 1, `ISO_0` what it calls 2."""

    ISO_0 = "ISO 9564-1 format 0"
    ISO_1 = "ISO 9564-1 format 1"
    ISO_2 = "ISO 9564-1 format 2"
    ISO_3 = "ISO 9564-1 format 3"
    ISO_4 = "ISO 9564-1 format 4"
    WITHOUT_PAN = "format without PAN"

    # That of Enum is a Python function; members are equal to themselves only.
    __hash__ = object.__hash__


# A member looked up on its class costs several times a global of the module.
_ISO_0, _ISO_1, _ISO_3 = PinFormat.ISO_0, PinFormat.ISO_1, PinFormat.ISO_3

_PAN_BOUND = frozenset({PinFormat.ISO_0, PinFormat.ISO_3, PinFormat.ISO_4})
_CONTROL = {
    PinFormat.ISO_0: "0",
    PinFormat.ISO_1: "1",
    PinFormat.ISO_2: "2",
    PinFormat.ISO_3: "3",
    PinFormat.WITHOUT_PAN: "0",
}
_LENGTH_DIGITS = "0123456789ABC"
_FILL_10 = "F" * 10
_LETTER_FILL = frozenset("ABCDEF")


def encode(pin: str, pan: str, pin_format: PinFormat, rng: random.Random) -> bytes:
    """Make the clear 8-byte block of a format other than ISO_4.

    Parameters
    ----------
    pin : str
        4 to 12 digits.
    pan : str
        The PAN, check digit included; only looked at by formats bound to it.
    pin_format : PinFormat
        Any but `ISO_4`.
    rng : random.Random
        Source of the random fill of formats 1 and 3.

    Raises
    ------
    PinBlockError
        PIN or PAN is not of the right length or not digits.
    """
    check_pin(pin)
    if pin_format is _ISO_0:
        return (int(f"0{len(pin):X}{pin}{_FILL_10[len(pin) - 4 :]}", 16) ^ pan_field(pan)).to_bytes(8)
    text = f"{_CONTROL[pin_format]}{len(pin):X}{pin}"
    missing = 16 - len(text)
    if pin_format is _ISO_1:
        text += f"{rng.getrandbits(56):014X}"[:missing]
    elif pin_format is _ISO_3:
        text += "".join(rng.choices("ABCDEF", k=missing))
        return (int(text, 16) ^ pan_field(pan)).to_bytes(8)
    else:
        text += "F" * missing
    return bytes.fromhex(text)


def decode(block: bytes, pan: str, pin_format: PinFormat) -> str:
    """Return the PIN of a clear 8-byte block.

    Parameters
    ----------
    block : bytes
        8 bytes.
    pan, pin_format
        As in `encode`.

    Raises
    ------
    PinBlockError
        The block does not have the format: wrong key, wrong PAN or damaged.
    """
    if len(block) != 8:
        raise PinBlockError(f"a PIN block has 8 bytes, not {len(block)}")
    value = int.from_bytes(block)
    if pin_format is _ISO_0 or pin_format is _ISO_3:
        value ^= pan_field(pan)
    text = f"{value:016X}"
    length = _LENGTH_DIGITS.find(text[1])
    if text[0] != _CONTROL[pin_format] or length < 4:
        raise _malformed(pin_format)
    pin, fill = text[2 : 2 + length], text[2 + length :]
    if not pin.isdigit():
        raise _malformed(pin_format)
    if pin_format is _ISO_3:
        if not _LETTER_FILL.issuperset(fill):
            raise _malformed(pin_format)
    elif pin_format is not _ISO_1 and fill != _FILL_10[length - 4 :]:
        raise _malformed(pin_format)
    return pin


def encipher_format_4(pin: str, pan: str, encrypt: Transform, rng: random.Random) -> bytes:
    """Make the enciphered 16-byte block of format 4 (ISO 9564-1, 9.4.2).

    The PIN field is enciphered, the PAN field XORed into it, and the result enciphered again.

    Raises
    ------
    PinBlockError
        PIN or PAN is not of the right length or not digits.
    """
    check_pin(pin)
    field = bytes.fromhex(f"4{len(pin):X}{pin}".ljust(16, "A")) + rng.randbytes(8)
    return encrypt(xor(encrypt(field), _pan_field_4(pan)))


def decipher_format_4(block: bytes, pan: str, decrypt: Transform) -> str:
    """Return the PIN of an enciphered block of format 4.

    Raises
    ------
    PinBlockError
        The block does not have the format: wrong key, wrong PAN or damaged.
    """
    if len(block) != 16:
        raise PinBlockError(f"a PIN block of format 4 has 16 bytes, not {len(block)}")
    text = decrypt(xor(decrypt(block), _pan_field_4(pan))).hex().upper()
    length = _LENGTH_DIGITS.find(text[1])
    if text[0] != "4" or length < 4 or not text[2 : 2 + length].isdigit():
        raise _malformed(PinFormat.ISO_4)
    if text[2 + length : 16] != "A" * (14 - length):
        raise _malformed(PinFormat.ISO_4)
    return text[2 : 2 + length]


def check_translation(source: PinFormat, target: PinFormat) -> None:
    """Refuse translations that ISO 9564-1, 9.5 (and PCI PIN, requirement 3-3) forbids.

    From a format bound to the PAN to one that is not, a block could be replayed for another card; format 2
    is for the reader and the card alone. The block without PAN is treated as format 1 is.

    Raises
    ------
    PinTranslationError
        The translation is forbidden.
    """
    if PinFormat.ISO_2 in (source, target):
        raise PinTranslationError(f"{PinFormat.ISO_2.value} is not translated: it is for the card only")
    if source in _PAN_BOUND and target not in _PAN_BOUND:
        raise PinTranslationError(f"{source.value} is bound to the PAN, {target.value} is not")


def check_pin(pin: str) -> None:
    """Refuse a PIN that is not 4 to 12 digits.

    Raises
    ------
    PinBlockError
        It is not.
    """
    if len(pin) not in PIN_LENGTHS or not (pin.isascii() and pin.isdigit()):
        raise PinBlockError("a PIN is 4 to 12 digits")


def check_pan(pan: str) -> None:
    """Refuse a PAN that is not 8 to 19 digits.

    Raises
    ------
    PinBlockError
        It is not.
    """
    if len(pan) not in PAN_LENGTHS or not (pan.isascii() and pan.isdigit()):
        raise PinBlockError("a PAN is 8 to 19 digits")


def pan_field(pan: str) -> int:
    """Return the PAN field of formats 0 and 3: the 12 rightmost digits but for the check digit, as hex."""
    check_pan(pan)
    return int(pan[-13:-1], 16)


def _pan_field_4(pan: str) -> bytes:
    """PAN field of format 4: how many digits there are beyond 12, the PAN (at least 12 digits), zeros."""
    check_pan(pan)
    return bytes.fromhex(f"{max(len(pan) - 12, 0)}{pan.zfill(12)}".ljust(32, "0"))


def _malformed(pin_format: PinFormat) -> PinBlockError:
    return PinBlockError(f"PIN block is not of {pin_format.value}: wrong key, wrong PAN or damaged")
