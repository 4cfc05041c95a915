"""Card verification values (CVV; CVN in China), over clear keys. Only the security module calls this."""

from network.keys.ciphers import Transform, xor
from network.keys.decimalisation import scan_digits

CVN2_SERVICE_CODE = "000"
"""Service code that makes the value printed on the card."""

ICVV_SERVICE_CODE = "999"
"""Service code that makes the value in the chip's track 2."""


def card_verification_value(
    encrypt_left: Transform, encrypt_both: Transform, pan: str, expiry: str, service_code: str
) -> str:
    """Return the 3-digit value.

    PAN, expiry and service code are padded with zeros to 32 digits; the first half is enciphered with the
    left key half, the second half XORed in, the result enciphered with both halves and decimalised.

    Parameters
    ----------
    encrypt_left, encrypt_both : callable
        Single DES with the left half of the key, triple DES with the whole key.
    pan : str
        Up to 19 digits.
    expiry : str
        4 digits, in the order the card scheme uses (YYMM on the track).
    service_code : str
        3 digits; 000 for CVN2, 999 for iCVV.

    Raises
    ------
    ValueError
        One of them is malformed.
    """
    for value, lengths, name in (
        (pan, range(8, 20), "PAN"),
        (expiry, (4,), "expiry"),
        (service_code, (3,), "service code"),
    ):
        if len(value) not in lengths or not (value.isascii() and value.isdigit()):
            raise ValueError(f"card verification value: malformed {name}")
    data = bytes.fromhex((pan + expiry + service_code).ljust(32, "0"))
    return scan_digits(encrypt_both(xor(encrypt_left(data[:8]), data[8:])), 3)
