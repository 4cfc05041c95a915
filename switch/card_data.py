"""Card numbers at rest: sealed under a key of the switch's own, never in clear."""

from __future__ import annotations

from typing import Final

from network.iso8583 import Message
from network.keys import Algorithm, KeyHandle, KeyUsage, SecurityModule
from network.keys.pin_block import PAN_LENGTHS
from network.store import UnitOfWork
from switch.tables import DataKey

_PURPOSE: Final = "card data"


class CardData:
    """Seals PAN and expiry with the reference of their transaction as context."""

    def __init__(self, module: SecurityModule) -> None:
        self._module = module
        self._key: KeyHandle | None = None

    def seal(self, store: UnitOfWork, reference: str, pan: str, expiry: str | None) -> bytes:
        """Seal a PAN and, where there is one, its expiry (YYMM)."""
        return self._module.seal(
            self._key or self._open(store), f"{pan}={expiry or ''}".encode("ascii"), reference.encode("ascii")
        )

    def unseal(self, store: UnitOfWork, reference: str, sealed: bytes) -> tuple[str, str | None]:
        """PAN and expiry of a transaction.

        Raises
        ------
        network.keys.SealError
            The value was changed, or belongs to another transaction.
        """
        clear = self._module.unseal(self._key or self._open(store), sealed, reference.encode("ascii"))
        pan, _, expiry = clear.decode("ascii").partition("=")
        return pan, expiry or None

    def rolled_back(self) -> None:
        """Forget the key, which may not be in the store."""
        self._key = None

    def _open(self, store: UnitOfWork) -> KeyHandle:
        row = store.find(DataKey, "purpose", _PURPOSE)
        if row is None:
            row = DataKey(_PURPOSE, self._module.generate(KeyUsage.DATA_ENCRYPTION, Algorithm.AES_256))
            store.insert(row)
        self._key = self._module.load(row.block)
        return self._key


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
