"""Card numbers and tokens at rest: sealed under a key of the switch's own, found by a keyed index, never in clear."""

from __future__ import annotations

from typing import Final, NamedTuple

from network.iso8583 import Message
from network.keys import Algorithm, KeyHandle, KeyUsage, SecurityModule
from network.keys.pin_block import PAN_LENGTHS
from network.store import UnitOfWork
from switch.tables import DataKey

_PURPOSE: Final = "card data"
_INDEX_PURPOSE: Final = "card index"


class Card(NamedTuple):
    """A card as the issuer knows it, and what the acquirer knows of it.

    Attributes
    ----------
    pan : str
        The card's number.
    expiry : str or None
        YYMM.
    token : str or None
        What stood for it.
    shown_pan, shown_expiry : str or None
        DE2 and DE14 of the acquirer's messages.
    """

    pan: str
    expiry: str | None
    token: str | None
    shown_pan: str | None
    shown_expiry: str | None

    @classmethod
    def plain(cls, pan: str, expiry: str | None) -> Card:
        """A card that shows its own number."""
        return cls(pan, expiry, None, pan, expiry)

    def __repr__(self) -> str:
        return "Card(...)"


class CardData:
    """Seals card numbers with the key of their row as context, and makes their index."""

    def __init__(self, module: SecurityModule) -> None:
        self._module = module
        self._key: KeyHandle | None = None
        self._index_key: KeyHandle | None = None

    def seal(self, store: UnitOfWork, reference: str, card: Card) -> bytes:
        """Seal a card for the transaction `reference`."""
        text = f"{card.pan}={card.expiry or ''}"
        if card.token is not None:
            text += f"={card.token}={card.shown_pan or ''}={card.shown_expiry or ''}"
        return self._module.seal(self._key or self._open(store), text.encode("ascii"), reference.encode("ascii"))

    def unseal(self, store: UnitOfWork, reference: str, sealed: bytes) -> Card:
        """The card of a transaction.

        Raises
        ------
        network.keys.SealError
            The value was changed, or belongs to another transaction.
        """
        pan, expiry, *rest = self.unseal_text(store, reference, sealed).split("=")
        if not rest:
            return Card.plain(pan, expiry or None)
        token, shown_pan, shown_expiry = rest
        return Card(pan, expiry or None, token, shown_pan or None, shown_expiry or None)

    def seal_text(self, store: UnitOfWork, context: str, text: str) -> bytes:
        """Seal any text for the row whose key is `context`."""
        return self._module.seal(self._key or self._open(store), text.encode(), context.encode("ascii"))

    def unseal_text(self, store: UnitOfWork, context: str, sealed: bytes) -> str:
        """The text that was sealed for this row.

        Raises
        ------
        network.keys.SealError
            The value was changed, or belongs to another row.
        """
        return self._module.unseal(self._key or self._open(store), sealed, context.encode("ascii")).decode()

    def index(self, store: UnitOfWork, value: str) -> str:
        """What a number is looked up by: its keyed hash, 32 hexadecimal digits."""
        return self._module.index(self._index_key or self._open_index(store), value.encode()).hex()

    def rolled_back(self) -> None:
        """Forget the keys, which may not be in the store."""
        self._key = self._index_key = None

    def _open(self, store: UnitOfWork) -> KeyHandle:
        self._key = self._stored(store, _PURPOSE, KeyUsage.DATA_ENCRYPTION, Algorithm.AES_256)
        return self._key

    def _open_index(self, store: UnitOfWork) -> KeyHandle:
        self._index_key = self._stored(store, _INDEX_PURPOSE, KeyUsage.MAC_HMAC, Algorithm.HMAC_SHA256)
        return self._index_key

    def _stored(self, store: UnitOfWork, purpose: str, usage: KeyUsage, algorithm: Algorithm) -> KeyHandle:
        row = store.find(DataKey, "purpose", purpose)
        if row is None:
            row = DataKey(purpose, self._module.generate(usage, algorithm))
            store.insert(row)
        return self._module.load(row.block)


def pan_of(message: Message) -> str | None:
    """The PAN of DE2, else of track 2; None when there is none, it is malformed or the two differ."""
    pan, track = message.get(2), message.get(35)
    if isinstance(track, str):
        of_track = track.partition("=")[0]
        if pan is None:
            pan = of_track
        elif pan != of_track:
            return None
    if not isinstance(pan, str) or len(pan) not in PAN_LENGTHS or not (pan.isascii() and pan.isdigit()):
        return None
    return pan
