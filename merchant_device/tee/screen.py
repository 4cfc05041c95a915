"""What is on the phone's screen while the trusted side has it, and what the cardholder does there.

The party says on its display and PIN pad links what to show; the cardholder's presses go back as positions. Digits
stand nowhere here but in the layout, which says what to draw at each position: which positions were pressed is known
until the entry ends, and never what they mean.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import structlog

from network.party import Json

MAX_TEXT: Final = 1_000
POSITIONS: Final = 10

log = structlog.get_logger(__name__)

Reply = Callable[[bytes], None]


@dataclass(frozen=True, slots=True)
class View:
    """What is shown.

    Attributes
    ----------
    kind : str
        ``idle``, ``message``, ``code`` or ``pin``.
    text : str
        The message, or the content of the code.
    amount : int or None
        Fen.
    expires : int or None
        Instant until which a code is good.
    entry, layout : str
        Of a PIN entry: its identifier, and the digit to draw at each of ten positions.
    minimum, maximum : int
        Digits of the PIN.
    bullets : int
        Positions pressed so far.
    """

    kind: str
    text: str = field(default="", repr=False)
    amount: int | None = None
    expires: int | None = None
    entry: str = ""
    layout: str = field(default="", repr=False)
    minimum: int = 0
    maximum: int = 0
    bullets: int = 0


IDLE: Final = View("idle")


class Screen:
    """The screen's state; links and page may use it from different threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._view = IDLE
        self._behind: View = IDLE
        self._version = 0
        self._pressed: list[int] = []
        self._reply: Reply | None = None
        self.is_closed = False

    def close(self) -> None:
        """The process ends: nobody need wait for changes any more."""
        self.is_closed = True

    def state(self) -> tuple[int, View]:
        """What is shown, and a number that grows with every change."""
        with self._lock:
            return self._version, self._view

    # the party's side: endpoints of its links

    def display(self, request: bytes, reply: Reply) -> None:
        """The end of ``display:T``: show a code or a message, or nothing any more. Nothing is answered."""
        view = _display_view(_object(request))
        if view is None:
            log.warning("display", reason="not a request to the display")
            return
        with self._lock:
            if self._view.kind == "pin":
                self._behind = view  # the PIN pad stays on top until its entry ends
            else:
                self._show(view)

    def pin_pad(self, request: bytes, reply: Reply) -> None:
        """The end of ``pinpad:T``: begin a PIN entry, whose outcome goes to `reply`, or end one without."""
        content = _object(request)
        if content.get("request") == "close":
            with self._lock:
                if self._view.kind == "pin" and content.get("entry", self._view.entry) == self._view.entry:
                    self._end()
            return
        view = _pin_view(content)
        if view is None:
            log.warning("pin pad", reason="not a request to the PIN pad")
            return
        with self._lock:
            if self._view.kind == "pin":
                self._end()
            self._behind = self._view
            self._reply = reply
            self._show(view)

    # the cardholder's side

    def press(self, entry: str, position: int) -> bool:
        """A key of the pad; False when that entry is not on the screen, or its PIN is as long as it may be."""
        with self._lock:
            if not self._is_on(entry) or not 0 <= position < POSITIONS or len(self._pressed) >= self._view.maximum:
                return False
            self._pressed.append(position)
            self._count()
            return True

    def delete(self, entry: str) -> bool:
        """Take back the last key; False when there is none."""
        with self._lock:
            if not self._is_on(entry) or not self._pressed:
                return False
            self._pressed.pop()
            self._count()
            return True

    def finish(self, entry: str) -> bool:
        """The PIN is entered; False when it is too short yet."""
        with self._lock:
            if not self._is_on(entry) or len(self._pressed) < self._view.minimum:
                return False
            self._answer({"entry": entry, "positions": list(self._pressed)})
            return True

    def cancel(self, entry: str) -> bool:
        """The cardholder gives up."""
        with self._lock:
            if not self._is_on(entry):
                return False
            self._answer({"entry": entry, "cancelled": True})
            return True

    def _is_on(self, entry: str) -> bool:
        return self._view.kind == "pin" and entry == self._view.entry

    def _answer(self, content: Mapping[str, Json]) -> None:
        reply = self._reply
        self._end()
        if reply is not None:
            reply(json.dumps(content, separators=(",", ":")).encode())

    def _end(self) -> None:
        self._pressed.clear()
        self._reply = None
        self._show(self._behind)
        self._behind = IDLE

    def _count(self) -> None:
        self._show(replace(self._view, bullets=len(self._pressed)))

    def _show(self, view: View) -> None:
        self._view = view
        self._version += 1


def _object(request: bytes) -> dict[str, Json]:
    try:
        content = json.loads(request)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _display_view(content: Mapping[str, Json]) -> View | None:
    kind, text = content.get("request"), content.get("text", "")
    amount, expires = content.get("amount"), content.get("expires")
    if kind == "clear":
        return IDLE
    if (
        kind not in ("code", "message")
        or not isinstance(text, str)
        or not 1 <= len(text) <= MAX_TEXT
        or not (amount is None or _is_number(amount))
        or not (expires is None or _is_number(expires))
    ):
        return None
    return View(str(kind), text, _number(amount), _number(expires))


def _pin_view(content: Mapping[str, Json]) -> View | None:
    entry, layout, amount = content.get("entry"), content.get("layout"), content.get("amount")
    minimum, maximum = _number(content.get("minimum")), _number(content.get("maximum"))
    if (
        content.get("request") != "pin"
        or not isinstance(entry, str)
        or not 1 <= len(entry) <= 32
        or not isinstance(layout, str)
        or sorted(layout) != list("0123456789")
        or not (amount is None or _is_number(amount))
        or minimum is None
        or maximum is None
        or not 4 <= minimum <= maximum <= 12
    ):
        return None
    return View("pin", "", _number(amount), None, entry, layout, minimum, maximum)


def _is_number(value: Json) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(value: Json) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
