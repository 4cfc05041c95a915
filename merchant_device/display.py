"""The phone's display, as far as the trusted side draws it: what it is told over its link (JSON; no public text)."""

from __future__ import annotations

import json
from typing import Final

from merchant_device.terminal import Terminal
from network.party import Instant, Turn

_CLEAR: Final = b'{"request":"clear"}'


def message(turn: Turn, terminal: Terminal, text: str) -> None:
    """Show a line of text; never anything of a card or its holder."""
    _show(turn, terminal, {"request": "message", "text": text})


def code(turn: Turn, terminal: Terminal, text: str, amount: int | None, expires: Instant | None) -> None:
    """Show a QR code.

    Parameters
    ----------
    text : str
        What the code holds.
    amount : int or None
        Fen to show beside it; None where the payer says how much.
    expires : Instant or None
        When it is not to be shown any more; None of a static code.
    """
    _show(turn, terminal, {"request": "code", "text": text, "amount": amount, "expires": expires})


def clear(turn: Turn, terminal: Terminal) -> None:
    """Show nothing any more, where something is shown."""
    if terminal.shows:
        terminal.shows = False
        turn.send(terminal.display_link, _CLEAR)


def _show(turn: Turn, terminal: Terminal, request: dict[str, str | int | None]) -> None:
    terminal.shows = True
    turn.send(terminal.display_link, json.dumps(request, ensure_ascii=False).encode())
