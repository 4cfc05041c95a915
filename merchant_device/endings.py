"""How a command ends: its receipt is made, its ticket answered, and the card forgotten."""

from __future__ import annotations

from typing import Final

from merchant_device import display
from merchant_device.clock import Clock
from merchant_device.kernel import ApprovedOffline, Cvm, OnlineRequest
from merchant_device.receipts import Receipt
from merchant_device.tables import CARD, PAYER_CODE, PHONE, Phone
from merchant_device.terminal import CodeRequest, Kind, Terminal
from network.iso8583 import mask_pan
from network.party import Turn

CVM_NAMES: Final = {cvm: cvm.name.lower() for cvm in Cvm}
"""How rows and receipts name the ways of verifying the cardholder."""


class Endings:
    """Ends sales and balance enquiries.

    Parameters
    ----------
    clock : Clock
        Set to the turn's time by the party.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def finish(
        self,
        turn: Turn,
        terminal: Terminal,
        phone: Phone,
        outcome: str,
        response_code: str | None,
        reason: str | None,
        rrn: str | None = None,
        authorisation_code: str | None = None,
        balance: int | None = None,
        *,
        offline: bool = False,
        way: str | None = None,
        order: str | None = None,
    ) -> None:
        """Answer the command with its receipt; `way` and `order` where what was read does not tell them."""
        row, request = terminal.row, terminal.request
        pan = cvm = None
        if row is not None:
            pan, cvm, way = row.pan_masked, row.cvm, row.way
        elif request is not None:
            way = way_of(terminal, request)
            if not isinstance(request, CodeRequest):
                pan, cvm = mask_pan(request.pan), CVM_NAMES[request.cvm]
        receipt = Receipt(
            outcome,
            response_code,
            reason,
            phone.terminal_id,
            phone.merchant_id,
            terminal.stan or None,
            terminal.batch or None,
            rrn,
            authorisation_code,
            terminal.amount if terminal.kind is Kind.SALE else None,
            balance,
            pan,
            cvm,
            self._clock.receipt,
            way,
            offline,
            order,
        )
        if terminal.shows:
            display.clear(turn, terminal)
        turn.answer(terminal.ticket, receipt.as_json())
        if turn.tracing is not None:
            ended = {"fourparty.outcome": outcome, "fourparty.stan": terminal.stan, "fourparty.rrn": rrn or ""}
            turn.tracing.end(turn, terminal.terminal_id, response_code, ended)
        terminal.end()


def way_of(terminal: Terminal, request: OnlineRequest | ApprovedOffline | CodeRequest) -> str:
    """How it was paid. A payer's phone shows in that its holder confirmed on it; no card does that (own rule)."""
    if isinstance(request, CodeRequest):
        return PAYER_CODE
    again = terminal.again
    return PHONE if request.cvm is Cvm.CDCVM or (again is not None and again.until is not None) else CARD
