"""Stopped cards: operators put them on a list, terminals download it (docs/protocol.md, 390).

The pages are written when a terminal asks for the first time after a change, with a new salt, so that a thousand
changes cost no more than one. They are rows: every terminal is given the same pages, also by the next process.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from random import Random
from typing import Final

from acquirer.context import Context
from acquirer.hot_card_tables import HOT_LIST, LISTED, REMOVED, HotCard, HotList, HotPage
from network.hot_cards import NO_CARDS, SALT_LENGTH, HotListPage, pages
from network.iso8583.masking import mask_pan
from network.party import Command, CommandError, Json, Turn
from network.store import UnitOfWork

REASON_LENGTH: Final = 100

_PAN: Final = re.compile(r"[0-9]{13,19}", re.ASCII)
_IDENTIFIER: Final = re.compile(r"[0-9a-f]{32}", re.ASCII)


class HotCards:
    """Keeps the list.

    Attributes
    ----------
    commands : dict
        ``add_hot_card {pan, reason}`` and ``remove_hot_card {id}``; both may be repeated.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self.commands: dict[str, Callable[[Turn, Command], Json]] = {
            "add_hot_card": self._add,
            "remove_hot_card": self._remove,
        }

    def page(self, store: UnitOfWork, number: int, random: Random) -> bytes:
        """DE62 of the answer to a terminal that asks for a page.

        A page behind the last one is empty: its salt tells the terminal, which began with a longer list, to begin
        again.
        """
        row = store.find(HotList, "name", HOT_LIST)
        if row is None or not row.cards:
            return NO_CARDS
        salt = row.salt
        if salt is None:
            salt = self._write(store, row, random.randbytes(SALT_LENGTH))
        if number > row.pages:
            return HotListPage(number, salt, b"", more=False).build()
        found = store.find(HotPage, "number", number)
        if found is None or found.salt != salt:
            raise LookupError(f"page {number} of the stopped cards is not in the store")
        return HotListPage(number, salt, found.digests, more=number < row.pages).build()

    def _write(self, store: UnitOfWork, row: HotList, salt: bytes) -> bytes:
        context = self._context
        listed = store.scan(HotCard, "status", LISTED, row.cards)
        laid_out = pages(salt, [context.unseal_text(_record(one.identifier), one.card).decode() for one in listed])
        store.load(HotPage, "number", [page.number for page in laid_out])
        for page in laid_out:
            found = store.find(HotPage, "number", page.number)
            if found is None:
                store.insert(HotPage(page.number, salt, page.digests))
            else:
                store.change(found)
                found.salt, found.digests = salt, page.digests
        store.change(row)
        row.salt, row.pages = salt, len(laid_out)
        return salt

    def _add(self, turn: Turn, command: Command) -> Json:
        """Put a card on the list; of one that is there already the reason is changed."""
        pan, reason = command.arguments.get("pan"), command.arguments.get("reason")
        if not isinstance(pan, str) or not _PAN.fullmatch(pan):
            raise CommandError("pan is 13 to 19 digits")
        if not isinstance(reason, str) or not 1 <= len(reason) <= REASON_LENGTH or not reason.isprintable():
            raise CommandError(f"reason is 1 to {REASON_LENGTH} printable characters")
        if pan in reason:
            raise CommandError("reason holds the card number")
        context, store = self._context, turn.store
        identifier = context.card_index(pan).hex()
        row = store.find(HotCard, "identifier", identifier)
        if row is None or row.status != LISTED:
            hot_list = self._changed(store)
            most = context.configuration.hot_cards
            if hot_list.cards >= most:
                raise CommandError(f"there are {most} stopped cards already")
            hot_list.cards += 1
            hot_list.salt = None
        if row is None:
            sealed = context.seal_text(_record(identifier), pan.encode())
            row = HotCard(identifier, sealed, mask_pan(pan), reason, LISTED, turn.now, None)
            store.insert(row)
            return hot_card_view(row)
        store.change(row)
        row.reason = reason
        if row.status != LISTED:
            row.status, row.added_at = LISTED, turn.now
        return hot_card_view(row)

    def _remove(self, turn: Turn, command: Command) -> Json:
        identifier = command.arguments.get("id")
        if not isinstance(identifier, str) or not _IDENTIFIER.fullmatch(identifier):
            raise CommandError("id is 32 hexadecimal digits")
        store = turn.store
        row = store.find(HotCard, "identifier", identifier)
        if row is None:
            raise CommandError(f"there is no stopped card {identifier}")
        if row.status == LISTED:
            store.change(row)
            row.status, row.removed_at = REMOVED, turn.now
            hot_list = self._changed(store)
            hot_list.cards -= 1
            hot_list.salt = None
        return hot_card_view(row)

    @staticmethod
    def _changed(store: UnitOfWork) -> HotList:
        row = store.find(HotList, "name", HOT_LIST)
        if row is None:
            row = HotList(HOT_LIST, 0, None, 0)
            store.insert(row)
        store.change(row)
        return row


def hot_card_view(row: HotCard) -> dict[str, Json]:
    """What operators see of a stopped card."""
    return {
        "id": row.identifier,
        "pan": row.pan_masked,
        "reason": row.reason,
        "status": row.status,
        "added_at": row.added_at,
        "removed_at": row.removed_at,
    }


def _record(identifier: str) -> str:
    """What a sealed card number is bound to."""
    return f"hot card|{identifier}"
