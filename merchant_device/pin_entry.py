"""The PIN pad's link: what it is asked and what may come back.

The pad is told an amount to show and how long a PIN is, nothing of the card: neither PAN nor track data reach it.
What it answers is the PIN's digits in ASCII, or nothing when the cardholder gave up.
"""

from __future__ import annotations

from typing import Final

CLOSE: Final = b'{"request":"close"}'
"""The pad need not wait for a PIN any more; it is not answered."""


def pin_request(amount: int | None, minimum: int, maximum: int) -> bytes:
    """Ask for a PIN.

    Parameters
    ----------
    amount : int or None
        Fen to show; None of a balance enquiry.
    minimum, maximum : int
        Digits of the PIN.

    Returns
    -------
    bytes
        A JSON object: ``request`` (``pin``), ``amount``, ``minimum``, ``maximum``.
    """
    shown = b"null" if amount is None else b"%d" % amount
    return b'{"request":"pin","amount":%b,"minimum":%d,"maximum":%d}' % (shown, minimum, maximum)


def is_pin(body: bytes, minimum: int, maximum: int) -> bool:
    """Whether `body` is a PIN of the length asked for."""
    return minimum <= len(body) <= maximum and body.isdigit()
