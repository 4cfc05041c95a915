"""The QR service: payers' codes, good for a short time and for one sale.

A code of digits is made here on an issuer's request and is a row from then on. An EMVCo code is made by the payer's
phone; the first sale that shows its token and ATC gets a row, and every further one finds it. A code used in a sale
that was then declined stays used.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from network.emv import tlv
from network.emv.qr import PayerCode as EmvCode
from network.emv.qr import QrError, is_domestic_code
from network.party import SECOND, Instant, Turn
from network.store import UnitOfWork
from switch.card_data import CardData
from switch.configuration import Configuration
from switch.routing import RoutingTable
from switch.tables import PayerCode, Token
from switch.tokens import NoFreeNumberError, Tokens

_PREFIX: Final = "62"
_DIGITS: Final = 17
_TRIES: Final = 1000


class Binding(NamedTuple):
    """The order that a code is made for: good for this acquirer, order and amount (fen) only."""

    acquirer: str
    order_number: str
    amount: int


class ShownCode(NamedTuple):
    """A payer's code as it was shown.

    Attributes
    ----------
    code_index : str
        What its row is found by.
    token_index : str or None
        Of an EMVCo code's token; digits say nothing of theirs.
    emv : EmvCode or None
        The EMVCo code.
    """

    code_index: str
    token_index: str | None
    emv: EmvCode | None


class UsedCode(NamedTuple):
    """A code that was taken for a sale.

    Attributes
    ----------
    token : Token or None
        What it stands for.
    chip : bytes or None
        DE55 for the issuer, of an EMVCo code.
    is_bound : bool
        Whether it was made for an order that its payer wanted to pay.
    """

    token: Token | None
    chip: bytes | None
    is_bound: bool


class Codes:
    """Makes codes, and takes each for one sale."""

    def __init__(self, configuration: Configuration, cards: CardData, tokens: Tokens) -> None:
        self._cards = cards
        self._tokens = tokens
        self._life = configuration.code_seconds * SECOND
        self._lead = configuration.code_lead * SECOND

    def make(
        self, turn: Turn, token: Token, routing: RoutingTable, binding: Binding | None = None
    ) -> tuple[str, PayerCode]:
        """Make a code of 19 digits for a token: drawn at random, and of no number that a card or token could have.

        Raises
        ------
        NoFreeNumberError
            No number is free: all that begin with 62 are routed.
        """
        store = turn.store
        for _ in range(_TRIES):
            digits = f"{_PREFIX}{turn.random.randrange(10**_DIGITS):0{_DIGITS}d}"
            if digits.startswith(self._tokens.prefix) or routing.issuer_of(digits) is not None:
                continue
            code_index = self._cards.index(store, digits)
            if store.find(PayerCode, "code_index", code_index) is None:
                break
        else:
            raise NoFreeNumberError(f"{_TRIES} codes in a row are taken")
        row = PayerCode(
            code_index=code_index,
            token_index=token.token_index,
            made_at=turn.now,
            expires_at=turn.now + self._life,
            used_by=None,
            used_at=None,
            acquirer=None if binding is None else binding.acquirer,
            order_number=None if binding is None else binding.order_number,
            amount=None if binding is None else binding.amount,
        )
        store.insert(row)
        return digits, row

    def read(self, store: UnitOfWork, text: str) -> ShownCode | None:
        """Read a code's text; None where it is none."""
        if is_domestic_code(text):
            return ShownCode(self._cards.index(store, text), None, None)
        try:
            emv = EmvCode.parse(text)
        except QrError:
            return None
        index = self._cards.index(store, f"{emv.token}:{emv.atc.hex()}")
        return ShownCode(index, self._tokens.index(store, emv.token), emv)

    def load(self, store: UnitOfWork, texts: list[str]) -> list[str]:
        """Read the rows of codes with one query; gives the indexes of their tokens."""
        shown = [one for text in texts if (one := self.read(store, text)) is not None]
        rows = store.load(PayerCode, "code_index", [one.code_index for one in shown])
        found = [row.token_index for one in shown if (row := rows[one.code_index]) is not None]
        return found + [one.token_index for one in shown if one.token_index is not None]

    def use(
        self, turn: Turn, shown: ShownCode, sale: str, acquirer: str, amount: int, order_number: str | None
    ) -> UsedCode | str:
        """Take a code for the sale whose reference is `sale`; a response code where it cannot be.

        Unknown 14; older than it may be, or used, 54 [G]. A code made for an order is 14 to another acquirer, 13 for
        another amount and 25 for another order, and stays good for its own.
        """
        row = turn.store.find(PayerCode, "code_index", shown.code_index)
        if shown.emv is not None and shown.token_index is not None:
            return self._use_emv(turn, shown.emv, shown, sale, row)
        if row is None or row.acquirer not in (None, acquirer):
            return "14"
        if row.used_by is not None or turn.now > row.expires_at:
            return "54"
        if row.amount not in (None, amount):
            return "13"
        if row.order_number not in (None, order_number):
            return "25"
        turn.store.change(row)
        row.used_by = sale
        row.used_at = turn.now
        token = turn.store.find(Token, "token_index", row.token_index)
        return UsedCode(token, None, row.order_number is not None)

    def withdraw(self, store: UnitOfWork, code_index: str, now: Instant) -> bool:
        """Make a code good for nothing from now on; False where it was used already."""
        row = store.find(PayerCode, "code_index", code_index)
        if row is None:
            return True
        if row.used_by is not None:
            return False
        store.change(row)
        row.expires_at = min(row.expires_at, now - 1)
        return True

    def _use_emv(self, turn: Turn, emv: EmvCode, shown: ShownCode, sale: str, row: PayerCode | None) -> UsedCode | str:
        token = turn.store.find(Token, "token_index", shown.token_index or "")
        if token is None:
            return "14"
        # 9F37 is the time it was made, which the cryptogram covers: own usage of this network
        made_at = int.from_bytes(emv.unpredictable_number) * SECOND
        if row is not None or not made_at - self._lead <= turn.now <= made_at + self._life:
            return "54"
        turn.store.insert(
            PayerCode(
                code_index=shown.code_index,
                token_index=token.token_index,
                made_at=made_at,
                expires_at=made_at + self._life,
                used_by=sale,
                used_at=turn.now,
                acquirer=None,
                order_number=None,
                amount=None,
            )
        )
        # the amount was not known when the code was made
        objects = {"9F26": emv.cryptogram, "9F10": emv.iad, "9F36": emv.atc, "9F37": emv.unpredictable_number}
        return UsedCode(token, tlv.encode_all({**objects, "9F02": bytes(6)}), False)
