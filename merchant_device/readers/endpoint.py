"""The end of a phone's reader link: a blocking reader on a thread of its own.

The party sends command APDUs and gets response APDUs; an empty answer says that the card is gone. A SELECT of the
contactless directory opens a conversation, so it waits until a card is in the field and begins a new session with it;
every other command belongs to the session that is open.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Final, NamedTuple

import structlog

from merchant_device.readers.interface import CardGone, Reader, ReaderError

SELECT_DIRECTORY: Final = b"\x00\xa4\x04\x00\x0e2PAY.SYS.DDF01"
"""How the first command of a conversation begins (EMV Contactless Book B, 3.3.2)."""

SLICE_SECONDS: Final = 0.25
"""How long the reader is asked at a time to wait for a card; a newer command is seen that soon."""

RETRY_SECONDS: Final = 0.05
"""Until a card is looked for again when one left before it had answered anything."""

PAUSE_SECONDS: Final = 0.5
"""Between two tries of a reader that does not work."""

WATCH_SECONDS: Final = 0.5
"""How often an idle reader is asked whether the card is still there, so that it can be let go of for others."""

SESSION_SECONDS: Final = 120.0
"""How long a card is held that nothing is said to: PIN entry and the acquirer's answer may come in between."""

log = structlog.get_logger(__name__)


class _Asked(NamedTuple):
    number: int
    apdu: bytes
    reply: Callable[[bytes], None]


class ReaderEndpoint:
    """Puts a reader at the end of a link of a `network.live.LiveRuntime`: an `Endpoint` to attach.

    Made on the runtime's loop. The newest command counts: one that still waits for a card is given up, without an
    answer, when another comes, since the conversation it belonged to is over.

    Parameters
    ----------
    reader : Reader
        Used by the thread of this endpoint only.
    card_seconds : float
        The longest to wait for a card.
    """

    def __init__(self, reader: Reader, card_seconds: float) -> None:
        self._reader = reader
        self._card_seconds = card_seconds
        self._loop = asyncio.get_running_loop()
        self._changed = threading.Condition()
        self._asked: _Asked | None = None
        self._number = 0
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="reader", daemon=True)
        self._thread.start()

    def __call__(self, apdu: bytes, reply: Callable[[bytes], None]) -> None:
        """Take a command; `reply` is called on the loop with the answer."""
        with self._changed:
            self._number += 1
            self._asked = _Asked(self._number, apdu, reply)
            self._changed.notify()

    def close(self) -> None:
        """Take no more commands and let go of the reader; blocks for a moment."""
        with self._changed:
            self._closed = True
            self._number += 1
            self._changed.notify()
        self._thread.join(timeout=2 * SLICE_SECONDS + 1)

    def _run(self) -> None:
        last = 0.0  # when the card was spoken to last; zero where no session is open
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(
                        lambda: self._closed or self._asked is not None, WATCH_SECONDS if last else None
                    )
                    if self._closed:
                        return
                    asked, self._asked = self._asked, None
                if asked is not None:
                    self._serve(asked)
                    last = time.monotonic()
                elif last and self._is_over(last):
                    last = 0.0
                    self._reader.release()
        finally:
            self._reader.close()

    def _is_over(self, last: float) -> bool:
        """Whether the card that was spoken to is gone, or nobody has anything to say to it any more."""
        try:
            return time.monotonic() - last > SESSION_SECONDS or not self._reader.present
        except ReaderError:
            return True

    def _serve(self, asked: _Asked) -> None:
        response = b""
        try:
            if asked.apdu.startswith(SELECT_DIRECTORY):
                response = self._begin(asked)
            else:
                response = self._reader.transmit(asked.apdu)
        except CardGone:
            pass
        except ReaderError as error:
            log.warning("reader", reason=str(error))
        if asked.number == self._number and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._answer, asked, response)

    def _begin(self, asked: _Asked) -> bytes:
        """Wait for a card that answers the first command; empty where none does in time, or a newer command came."""
        deadline = time.monotonic() + self._card_seconds
        failing = ""
        while asked.number == self._number:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                break
            try:
                if self._reader.wait_for_card(min(SLICE_SECONDS, remaining)) and asked.number == self._number:
                    return self._reader.transmit(asked.apdu)
            except CardGone:
                # it has only passed by, or the reader has not noticed yet that the last one left
                time.sleep(min(RETRY_SECONDS, remaining))
            except ReaderError as error:
                if str(error) != failing:
                    failing = str(error)
                    log.warning("reader", reason=failing)
                time.sleep(min(PAUSE_SECONDS, remaining))
        return b""

    def _answer(self, asked: _Asked, response: bytes) -> None:
        # on the loop, where commands are given: the last moment to see that the answer is out of date
        if asked.number == self._number and not self._closed:
            asked.reply(response)
