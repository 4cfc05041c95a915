"""The PIN core: the only place where a typed PIN becomes digits, and at once a PIN block.

The PIN pad draws ten keys in an order that is drawn at random for each entry, and answers with the positions that were
touched, not with digits. Which digit stands where is known to the pad, which is part of the trusted side, and to this
module. The core is given the twelve digits of the card number that ISO 9564 format 0 needs, never track data; card
code (`merchant_device.tap`) gets a PIN block, never a PIN.

The link, JSON both ways (no public text gives one):

- asked: ``{"request":"pin","entry":"8 hex","amount":fen or null,"minimum":4,"maximum":12,"layout":"4719250638"}``;
  `layout` gives the digit at each position, 0 to 9 row by row, 9 the bottom one;
  and ``{"request":"close","entry":...}``
- answered: ``{"entry":...,"positions":[...]}`` or ``{"entry":...,"cancelled":true}``.

What is not of that form, or is of another entry, counts for nothing: an answer that comes late is nobody's PIN.
"""

from __future__ import annotations

import hmac
import json
from enum import Enum
from random import Random
from typing import Final, NamedTuple

from merchant_device.keystore import Keystore
from merchant_device.tables import Phone

MAX_ANSWER: Final = 512
"""Longest answer of a PIN pad that is looked at, bytes."""

_POSITIONS: Final = frozenset(range(10))
_ONLY_INTEGERS: Final = frozenset((int,))


class PinEntry(NamedTuple):
    """A PIN being typed.

    Attributes
    ----------
    identifier : str
        Eight hexadecimal digits, drawn for each entry.
    layout : str
        The ten digits in the order of their keys.
    """

    identifier: str
    layout: str

    def __repr__(self) -> str:
        # which digit stands where turns positions, which may be seen on a screen or in a trace, into the PIN
        return f"PinEntry({self.identifier})"


class NoPin(Enum):
    """How an entry ends without a PIN."""

    CANCELLED = "the PIN entry was cancelled"
    LENGTH = "the PIN pad gave no PIN"


class PinCore:
    """Asks for PINs and makes PIN blocks of them.

    Parameters
    ----------
    keystore : Keystore
        Enciphers the block.
    minimum, maximum : int
        Digits of a PIN.
    """

    def __init__(self, keystore: Keystore, minimum: int, maximum: int) -> None:
        self._keystore = keystore
        self._minimum = minimum
        self._maximum = maximum

    def open(self, random: Random, amount: int | None) -> tuple[PinEntry, bytes]:
        """Begin an entry.

        Parameters
        ----------
        random : Random
            The turn's randomness: the layout and the entry's identifier are drawn from it.
        amount : int or None
            Fen to show; None of a balance enquiry.

        Returns
        -------
        tuple of PinEntry and bytes
            What to remember, and what to ask the pad.
        """
        layout = list("0123456789")
        random.shuffle(layout)
        entry = PinEntry(f"{random.getrandbits(32):08x}", "".join(layout))
        shown = "null" if amount is None else f"{amount:d}"
        request = (
            f'{{"request":"pin","entry":"{entry.identifier}","amount":{shown},"minimum":{self._minimum},'
            f'"maximum":{self._maximum},"layout":"{entry.layout}"}}'
        )
        return entry, request.encode()

    @staticmethod
    def close(entry: PinEntry) -> bytes:
        """Tell the pad that it need not wait for a PIN any more; it does not answer."""
        return f'{{"request":"close","entry":"{entry.identifier}"}}'.encode()

    def take(self, entry: PinEntry, phone: Phone, body: bytes, account: str | None) -> bytes | NoPin | None:
        """Take what the pad has answered.

        Parameters
        ----------
        entry : PinEntry
            The entry in progress.
        phone : Phone
            Whose PIN key the block is made with; it must have one.
        body : bytes
            Any bytes at all.
        account : str or None
            The twelve rightmost digits of the card number but for the check digit; None where no card number is
            known, for a block without PAN.

        Returns
        -------
        bytes, NoPin or None
            The PIN block; how the entry ended without one; None where the answer is not one to this entry.
        """
        answer = _answer(entry, body)
        if answer is None:
            return None
        positions = answer.get("positions")
        if positions is None:
            return NoPin.CANCELLED if answer.get("cancelled") is True else None
        # true and 1.0 equal a position and are none, hence the look at the types
        if not isinstance(positions, list) or not _ONLY_INTEGERS.issuperset(map(type, positions)):
            return None
        if not _POSITIONS.issuperset(positions):
            return None
        if not self._minimum <= len(positions) <= self._maximum:
            return NoPin.LENGTH
        layout = entry.layout
        return self._keystore.pin_block(phone, "".join([layout[one] for one in positions]), account)


def account_digits(pan: str) -> str:
    """The part of a card number that ISO 9564 format 0 takes: twelve digits, without the check digit."""
    return pan[-13:-1].rjust(12, "0")


def _answer(entry: PinEntry, body: bytes) -> dict[str, object] | None:
    """The pad's answer where it is an object for this entry."""
    if len(body) > MAX_ANSWER:
        return None
    try:
        answer = json.loads(body.decode())
    except (ValueError, RecursionError):
        return None
    if not isinstance(answer, dict):
        return None
    named = answer.get("entry")
    # not a secret, but whoever could try out identifiers could type somebody else's PIN
    if not isinstance(named, str) or not hmac.compare_digest(named.encode(errors="replace"), entry.identifier.encode()):
        return None
    return answer
