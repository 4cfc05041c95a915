"""Decimalisation: digits out of a cryptogram, as PVV, CVV and EMV key derivation option B make them."""

_LETTERS_TO_DIGITS = str.maketrans("ABCDEF", "012345")
_DROP_LETTERS = str.maketrans("", "", "ABCDEF")
_DROP_DIGITS = str.maketrans("", "", "0123456789")


def scan_digits(data: bytes, count: int) -> str:
    """Return `count` decimal digits of `data`: its hex digits 0-9 in order, then A-F in order as 0-5."""
    text = data.hex().upper()
    letters = text.translate(_DROP_DIGITS).translate(_LETTERS_TO_DIGITS)
    return (text.translate(_DROP_LETTERS) + letters)[:count]
