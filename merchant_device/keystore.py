"""The phones' keystore: MACs, PIN blocks and sealed cards, made with keys that stay in the security module."""

from __future__ import annotations

from typing import Final

from merchant_device.tables import SEAL, Phone, Sale, StorageKey, card_context
from network.iso8583 import TERMINAL, Message
from network.keys import KeyHandle, MacAlgorithm, PinFormat, SecurityModule
from network.store import UnitOfWork

NO_MAC: Final = b"\0" * 8
"""What stands in DE64 while a message is packed; the MAC replaces it."""

_HEADER: Final = 11
_MAC: Final = 8


class Keystore:
    """What the device does with keys.

    Parameters
    ----------
    module : SecurityModule
        Holds the storage key that the rows' key blocks are under.
    """

    def __init__(self, module: SecurityModule) -> None:
        self.module = module

    def pack(self, phone: Phone, message: Message) -> bytes:
        """Pack a message whose last element is DE64, with the phone's MAC in it (CUP ECB, DOMAIN.md 2).

        The phone must have keys.
        """
        message[64] = NO_MAC
        packed = TERMINAL.pack(message)
        key = self.module.load(_present(phone.mak))
        return packed[:-_MAC] + self.module.mac(key, MacAlgorithm.CUP_ECB, packed[_HEADER:-_MAC])

    def is_genuine(self, phone: Phone, message: Message, body: bytes) -> bool:
        """Whether DE64 of a message is there and right; `body` is what `message` was unpacked from."""
        if phone.mak is None or 64 not in message.fields:
            return False
        key = self.module.load(phone.mak)
        return self.module.verify_mac(key, MacAlgorithm.CUP_ECB, body[_HEADER:-_MAC], body[-_MAC:])

    def pin_block(self, phone: Phone, pin: str, account: str | None) -> bytes:
        """Encipher a PIN under the phone's PIN key, which must be there.

        `pin` is 4 to 12 digits, checked by the caller. `account` is the 12 digits of the card number that ISO 9564
        format 0 takes, the rightmost but for the check digit; None makes a block without PAN.
        """
        key = self.module.load(_present(phone.pik))
        if account is None:
            return self.module.encrypt_pin(key, pin, "", PinFormat.WITHOUT_PAN)
        # format 0 leaves the check digit out: any digit does in its place
        return self.module.encrypt_pin(key, pin, account + "0", PinFormat.ISO_0)

    def seal_card(self, store: UnitOfWork, reference: str, pan: str, expiry: str) -> bytes:
        """PAN and expiry of the sale `reference`, sealed for its row."""
        return self.module.seal(self._sealing(store), f"{pan}={expiry}".encode(), card_context(reference))

    def open_card(self, store: UnitOfWork, sale: Sale) -> tuple[str, str]:
        """PAN and expiry (YYMM) of a sale by card."""
        if sale.card is None:
            raise LookupError(f"sale {sale.reference} was not paid with a card")
        opened = self.module.unseal(self._sealing(store), sale.card, card_context(sale.reference))
        pan, _, expiry = opened.decode().partition("=")
        return pan, expiry

    def _sealing(self, store: UnitOfWork) -> KeyHandle:
        row = store.find(StorageKey, "purpose", SEAL)
        if row is None:
            raise LookupError("no sealing key: no terminal has been installed")
        return self.module.load(row.block)


def _present(block: str | None) -> str:
    if block is None:
        raise LookupError("the phone has no working keys: it has not signed on")
    return block
