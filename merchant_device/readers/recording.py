"""Readers that write down what a card says, and that say it again."""

from __future__ import annotations

import time
from collections.abc import Sequence

from merchant_device.readers.exchanges import ApduLog, CardMoved, Exchange
from merchant_device.readers.interface import CardGone, Reader, ReaderError

_SELECT = 0xA4


class RecordingReader:
    """Another reader, all of whose exchanges go into an APDU log.

    Parameters
    ----------
    reader : Reader
    log : ApduLog
        Closed with the reader.
    """

    def __init__(self, reader: Reader, log: ApduLog) -> None:
        self._reader = reader
        self._log = log

    @property
    def present(self) -> bool:
        """Whether a card is in the field."""
        return self._reader.present

    def wait_for_card(self, seconds: float) -> bool:
        """See `Reader`."""
        found = self._reader.wait_for_card(seconds)
        if found:
            self._log.moved(present=True)
        return found

    def wait_until_gone(self, seconds: float) -> bool:
        """See `Reader`."""
        return self._reader.wait_until_gone(seconds)

    def transmit(self, apdu: bytes) -> bytes:
        """Carry one command to the card and record it; see `Reader`."""
        began = time.perf_counter()
        try:
            response = self._reader.transmit(apdu)
        except CardGone:
            self._log.moved(present=False)
            raise
        self._log.exchanged(Exchange(apdu, response), (time.perf_counter() - began) * 1000)
        return response

    def release(self) -> None:
        """See `Reader`."""
        self._reader.release()

    def close(self) -> None:
        """See `Reader`."""
        self._reader.close()
        self._log.close()


class ReplayMismatch(ReaderError):
    """The terminal sends another command than the one that was recorded."""


class ReplayReader:
    """A card that says again what a log holds, in the same order.

    A command must have the header of the recorded one, a SELECT its data too. The data of other commands may differ:
    a terminal gives each payment another unpredictable number. An issuer sees by that very number that the cryptogram
    is an old one.

    Parameters
    ----------
    steps : sequence of Exchange or CardMoved
        As `read_log` gives them.
    """

    def __init__(self, steps: Sequence[Exchange | CardMoved]) -> None:
        self._steps = list(steps)
        self._next = 0

    @property
    def present(self) -> bool:
        """Whether the card has anything left to say."""
        return self._next < len(self._steps) and self._steps[self._next] != CardMoved(False)

    def wait_for_card(self, seconds: float) -> bool:
        """See `Reader`; goes on to where a card came back, as a session begins anew."""
        while self._next < len(self._steps) and isinstance(self._steps[self._next], CardMoved):
            self._next += 1
        return self.present

    def wait_until_gone(self, seconds: float) -> bool:
        """See `Reader`."""
        return not self.present

    def transmit(self, apdu: bytes) -> bytes:
        """Give the answer that was recorded; see `Reader`.

        Raises
        ------
        CardGone
            The card was gone here, or the log has ended.
        ReplayMismatch
            Another command was recorded.
        """
        if not self.present:
            raise CardGone("the recorded card left the field here")
        step = self._steps[self._next]
        if not isinstance(step, Exchange):
            raise CardGone("the recorded session ended here")
        compared = len(step.command) if step.command[1] == _SELECT else 4
        if apdu[:compared] != step.command[:compared]:
            sent, recorded = apdu[:4].hex().upper(), step.command[:4].hex().upper()
            raise ReplayMismatch(f"step {self._next + 1} of the log: {recorded} was recorded, {sent} is sent")
        self._next += 1
        return step.response

    def release(self) -> None:
        """See `Reader`; a recorded card is nobody else's."""

    def close(self) -> None:
        """See `Reader`."""
        self._next = len(self._steps)
