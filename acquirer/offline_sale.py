"""Offline sales: what a card has approved by itself, told to the acquirer afterwards (0220).

The goods are gone when the message comes, so it is recorded whoever sends it, if only its MAC is right: also when
terminal or merchant are suspended by now. From the 0230 on it is the acquirer's, which sends it to the switch until
that has answered (`acquirer.advice`); the merchant is credited when the issuer has accepted the card's TC.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Final

from acquirer.advice import Advices
from acquirer.books import post_sale
from acquirer.context import Context
from acquirer.devices import attestation_objects
from acquirer.mapping import (
    CODE_ENTRY,
    CardData,
    card_data,
    interbank_request,
    is_offline_sale,
    refusal_of_kind,
    take_answer,
)
from acquirer.numbering import Moment
from acquirer.sale import DIGEST_LENGTH, NOT_FOUND, holder_of, insert_holder, recorded
from acquirer.tables import ACCEPTED, APPROVED, DECLINED, OFFLINE, TOMBSTONE, Transaction
from acquirer.terminal_data import TerminalDataError, for_switch, objects_of
from acquirer.terminal_link import HEADER_LENGTH, TerminalRequest
from network.iso8583 import Message
from network.iso8583.message import Value
from network.party import Turn
from network.store import UnitOfWork
from network.tracing import ADDITIONAL, attributes_of, context_in, with_context

_REPEATED: Final = (3, 4, 11, 41, 42, 49, 60)
"""Elements of the 0220 that its answer repeats where they came."""

_TERMINALS_OWN: Final = (12, 13)
"""When the card approved, which is for the terminal to say."""


_EARLIER: Final = 16
"""Transactions with one number that are looked at; a terminal that begins its numbers anew so often is none."""


def _earlier(store: UnitOfWork, holder: Transaction | None, digest: bytes) -> Transaction | None:
    """The recorded offline sale that an 0220 tells again, from the number's latest holder back.

    It may have lost its number since: to a sale of a later session, or to the reversal of one.
    """
    row = holder
    for _ in range(_EARLIER):
        if row is None or (row.kind == OFFLINE and row.digest == digest):
            return row
        row = None if row.before is None else store.find(Transaction, "reference", row.before)
    return None


class OfflineSales:
    """See the module's text."""

    def __init__(self, context: Context, advices: Advices) -> None:
        self._context = context
        self._advices = advices

    def request(self, turn: Turn, moment: Moment, request: TerminalRequest) -> None:
        """Decide an 0220 whose sender is known and whose MAC is right."""
        currency = self._context.configuration.currency
        fields = request.message.fields
        if not is_offline_sale(fields):
            self._refuse(turn, moment, request, refusal_of_kind("0220", fields))
            return
        card, amount, chip = card_data(fields), fields.get(4), fields.get(55)
        entry_mode = fields.get(22)
        if (
            not request.trace
            or card is None
            or not isinstance(entry_mode, str)
            or entry_mode.startswith(CODE_ENTRY)
            or not isinstance(amount, str)
            or not isinstance(chip, bytes)
            or fields.get(49, currency) != currency
        ):
            self._refuse(turn, moment, request, "30")
            return
        if int(amount) <= 0:
            self._refuse(turn, moment, request, "13")
            return
        # what the card signed, not the bytes of the message: sent again after a sign-on it has another MAC
        digest = blake2b(b"|".join((card.pan.encode(), amount.encode(), chip)), digest_size=DIGEST_LENGTH).digest()
        holder = holder_of(turn.store, request.trace)
        known = _earlier(turn.store, holder, digest)
        if known is not None:
            self._answer(turn, request, known)
        elif holder is not None and holder.session == request.terminal.session:
            self._refuse(turn, moment, request, NOT_FOUND if holder.status == TOMBSTONE else "94")
        else:
            self._accept(turn, moment, request, card, int(amount), digest)

    def answered(self, turn: Turn, message: Message, reference: str) -> None:
        """An 0230 that is to be believed came for the offline sale `reference`."""
        code = self._advices.answered(turn, message, reference)
        if code is None:
            return
        row = turn.store.find(Transaction, "reference", reference)
        if row is None or row.status != ACCEPTED:
            raise LookupError(f"advice {reference} has lost its offline sale")
        turn.store.change(row)
        take_answer(row, message.fields, code, turn.now)
        row.status = APPROVED if code == "00" else DECLINED
        if row.status == APPROVED:
            post_sale(turn, row)

    def _accept(
        self, turn: Turn, moment: Moment, request: TerminalRequest, card: CardData, amount: int, digest: bytes
    ) -> None:
        """Record the sale and its advice, and answer it."""
        context = self._context
        store = turn.store
        terminal = request.terminal
        fields = request.message.fields
        attestation = attestation_objects(store, terminal, turn.now, context.configuration)
        try:
            additional = for_switch(terminal, objects_of(fields.get(59)), attestation)
        except TerminalDataError:
            # the goods are gone: what cannot be handed on of the device is not worth the sale
            additional = for_switch(terminal, {}, attestation)
        stan = context.numbers.take(store)
        row = recorded(context, turn, moment, request, stan, ACCEPTED, OFFLINE, card, amount, digest)
        insert_holder(store, row)
        header = context.switch.header
        message = interbank_request(row, fields, card, request.merchant, context.acquirer_id, None, header, additional)
        message.mti = "0220"
        message.fields |= {n: fields[n] for n in _TERMINALS_OWN if n in fields}
        if turn.tracing is not None:
            told = {**attributes_of(fields, "0220"), "fourparty.rrn": row.rrn}
            part, parent = _part(request), context_in(fields.get(ADDITIONAL))
            followed = turn.tracing.begin(turn, part, "0220 at the acquirer", parent, told)
            element = with_context(message.fields.get(ADDITIONAL), followed)
            if element is not None:
                message.fields[ADDITIONAL] = element
        self._advices.store_message(turn, row, message)
        self._answer(turn, request, row)

    def _answer(self, turn: Turn, request: TerminalRequest, row: Transaction) -> None:
        """0230 with 00: the sale is the acquirer's, whatever the issuer makes of it."""
        fields = request.message.fields
        reference = row.reference
        out: dict[int, Value] = {n: fields[n] for n in _REPEATED if n in fields}
        out |= {12: reference[8:14], 13: reference[4:8], 37: row.rrn, 39: "00"}
        if row.settlement_date is not None:
            out[15] = row.settlement_date
        if turn.tracing is not None:
            turn.tracing.end(turn, _part(request), "00")
        header = request.body[:HEADER_LENGTH]
        self._context.terminals.answer(turn, request.link, header, request.terminal, "0230", out)

    def _refuse(self, turn: Turn, moment: Moment, request: TerminalRequest, code: str) -> None:
        context = self._context
        rrn = context.new_retrieval_reference(turn.store, moment)
        context.terminals.refuse(turn, moment, request.link, request.message, request.terminal, code, rrn)


def _part(request: TerminalRequest) -> str:
    """By which this party's part in an 0220 is known to who follows payments."""
    return f"0220|{request.trace}"
