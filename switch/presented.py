"""What a payer presents in place of a card: a token, or a code that stands for one.

The issuer gets the card's number, and the token in DE59 T1 only; the acquirer never sees the card's number. What is
told between acquirer and switch only, or between switch and issuer only, does not pass.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from network.iso8583 import Message
from network.iso8583.additional_data import AdditionalDataError, decode_objects, encode_objects
from network.party import Turn
from network.store import UnitOfWork
from switch.card_data import Card
from switch.codes import Codes, ShownCode
from switch.tables import Token
from switch.tokens import Tokens, domain_of, refusal_of

DETAILED: Final = 59
"""The element that holds the objects."""

_CODE_MODE: Final = "03"
_LONGEST: Final = 600
_LONGEST_RECEIVED: Final = 570
"""Most bytes of DE59 that is taken: the token must find room in it."""

_NOT_FOR_ISSUERS: Final = frozenset({"A3", "A4", "R1", "T1"})
_NOT_FOR_ACQUIRERS: Final = frozenset({"A3", "T1", "R1"})
_OTHER_TRACKS: Final = (36, 45)


class Resolved(NamedTuple):
    """A request whose card is known.

    Attributes
    ----------
    card : Card
    token_index : str or None
        Of the token that stood for it.
    chip : bytes or None
        DE55 for the issuer, of an EMVCo code.
    is_verified : bool
        Whether its payer asked for this very payment.
    """

    card: Card
    token_index: str | None
    chip: bytes | None
    is_verified: bool


class Unresolved(NamedTuple):
    """A request whose token or code may not be used: the response code, and card and token as far as they are known."""

    code: str
    card: Card | None
    token_index: str | None = None


class Presented:
    """Finds the card behind what a request presents, and writes requests and replies for their readers."""

    def __init__(self, tokens: Tokens, codes: Codes) -> None:
        self._tokens = tokens
        self._codes = codes
        self._prefix = tokens.prefix

    def concerns(self, message: Message) -> bool:
        """Whether a request shows a token in DE2, or a code: asked of every request, so it only glances."""
        fields = message.fields
        pan = fields.get(2)
        if isinstance(pan, str) and pan.startswith(self._prefix):
            return True
        return is_by_code(message)

    def load(self, store: UnitOfWork, messages: Iterable[Message]) -> None:
        """Read the rows of tokens and codes that these requests show, with one query a table."""
        numbers, texts = [], []
        for message in messages:
            pan = message.get(2)
            if isinstance(pan, str):
                numbers.append(pan)
            elif (text := _code_in(objects_of(message))) is not None:
                texts.append(text)
        indexes = self._codes.load(store, texts) if texts else []
        indexes += [self._tokens.index(store, number) for number in numbers]
        store.load(Token, "token_index", indexes)

    def shown_code(self, store: UnitOfWork, message: Message, objects: dict[str, str] | None) -> ShownCode | None:
        """The payer's code of a request by code; None where it has none that can be read, or a card's number too."""
        text = _code_in(objects)
        if text is None or 2 in message.fields or 35 in message.fields:
            return None
        return self._codes.read(store, text)

    def is_token(self, pan: str) -> bool:
        """Whether a number is one of the switch's own."""
        return pan.startswith(self._prefix)

    def by_code(
        self, turn: Turn, message: Message, shown: ShownCode, objects: dict[str, str], sale: str, acquirer: str
    ) -> Resolved | Unresolved:
        """Take the code of a request for the sale whose reference is `sale`."""
        amount = message.get(4, "0")
        order_number = _nested(objects, "A5").get("01")
        fen = int(amount) if isinstance(amount, str) else 0
        used = self._codes.use(turn, shown, sale, acquirer, fen, order_number)
        if isinstance(used, str):
            return Unresolved(used, None)
        return self._of_token(turn, message, used.token, used.chip, is_verified=used.is_bound)

    def by_token(self, turn: Turn, message: Message, number: str) -> Resolved | Unresolved:
        """Find the card of the token in DE2 or DE35."""
        token = self._tokens.find(turn.store, number)
        found = self._of_token(turn, message, token, None, is_verified=False)
        if isinstance(found, Unresolved) and found.card is None:
            expiry = message.get(14)
            return Unresolved(found.code, Card.plain(number, expiry if isinstance(expiry, str) else None))
        return found

    def for_issuer(self, message: Message, card: Card, chip: bytes | None, objects: dict[str, str]) -> None:
        """Write a request as the issuer shall see it.

        Parameters
        ----------
        chip
            DE55 of an EMVCo code.
        objects
            What DE59 holds.
        """
        fields = message.fields
        if card.token is not None:
            fields[2] = card.pan
            if card.expiry is not None:
                fields[14] = card.expiry
            if 35 in fields:
                fields[35] = f"{card.pan}={card.expiry or ''}000"
            for number in _OTHER_TRACKS:
                fields.pop(number, None)
            if is_by_code(message):
                fields.pop(55, None)
                if chip is not None:
                    fields[55] = chip
        elif _NOT_FOR_ISSUERS.isdisjoint(objects):
            return
        kept = {tag: value for tag, value in objects.items() if tag not in _NOT_FOR_ISSUERS}
        if card.token is not None:
            kept["T1"] = card.token
        _put(message, kept)

    def for_acquirer(self, message: Message, card: Card | None, reasons: str | None) -> None:
        """Write a reply as the acquirer shall see it.

        Parameters
        ----------
        card
            Where a token stood for it; None for a card's own number.
        reasons
            Names of the rules of risk sensing that fired.
        """
        fields = message.fields
        if card is not None:
            for number, shown in ((2, card.shown_pan), (14, card.shown_expiry)):
                if shown is None:
                    fields.pop(number, None)
                else:
                    fields[number] = shown
            for number in (35, *_OTHER_TRACKS):
                fields.pop(number, None)
        if DETAILED in fields or reasons:
            objects = objects_of(message) or {}
            kept = {tag: value for tag, value in objects.items() if tag not in _NOT_FOR_ACQUIRERS}
            if reasons:
                kept["R1"] = reasons
            _put(message, kept)

    def _of_token(
        self, turn: Turn, message: Message, token: Token | None, chip: bytes | None, *, is_verified: bool
    ) -> Resolved | Unresolved:
        code = refusal_of(token, domain_of(str(message.get(22, ""))), turn.local.strftime("%y%m"))
        if token is None:
            return Unresolved("14", None)
        pan, expiry, number = self._tokens.card(turn.store, token)
        shown_pan, shown_expiry = message.get(2) or _of_track(message), message.get(14)
        card = Card(
            pan,
            expiry,
            number,
            shown_pan if isinstance(shown_pan, str) else None,
            shown_expiry if isinstance(shown_expiry, str) else None,
        )
        if code is not None:
            return Unresolved(code, card, token.token_index)
        return Resolved(card, token.token_index, chip, is_verified)


def is_by_code(message: Message) -> bool:
    """Whether a request is by the payer's code: entry mode (DE22) 03x."""
    mode = message.fields.get(22)
    return isinstance(mode, str) and mode[:2] == _CODE_MODE


def objects_of(message: Message) -> dict[str, str] | None:
    """What DE59 holds; None where it is no sequence of objects, no printable text, or too long."""
    element = message.fields.get(DETAILED, "")
    if isinstance(element, bytes):
        return None
    try:
        return decode_objects(element) if len(element.encode()) <= _LONGEST_RECEIVED else None
    except AdditionalDataError:
        return None


def _code_in(objects: dict[str, str] | None) -> str | None:
    """The text of the payer's code; None where there is none."""
    return None if objects is None else _nested(objects, "A3").get("01")


def _nested(objects: dict[str, str], tag: str) -> dict[str, str]:
    """What an object holds; nothing where it is not there or malformed."""
    try:
        return decode_objects(objects.get(tag, ""))
    except AdditionalDataError:
        return {}


def _of_track(message: Message) -> str | None:
    track = message.get(35)
    return track.partition("=")[0] if isinstance(track, str) else None


def _put(message: Message, objects: dict[str, str]) -> None:
    text = encode_objects(objects)
    while len(text.encode()) > _LONGEST:
        # an issuer's own objects give way to what the switch must say, which stands last
        del objects[next(iter(objects))]
        text = encode_objects(objects)
    if text:
        message.fields[DETAILED] = text
    else:
        message.fields.pop(DETAILED, None)
