"""The reader seam: what carries command APDUs to a card and its answers back, whatever it is made of."""

from __future__ import annotations

from typing import Protocol


class CardGone(Exception):
    """The card left the field before it answered, or no answer of it came through."""


class ReaderError(Exception):
    """The reader itself cannot be used; the message says why and, where it helps, what to do."""


class Reader(Protocol):
    """A contactless reader with at most one card in its field.

    Every call blocks and belongs to one thread, but `close`, which any thread may call.
    """

    @property
    def present(self) -> bool:
        """Whether a card is in the field."""
        ...

    def wait_for_card(self, seconds: float) -> bool:
        """Wait for a card and begin a new session with it, as if it had just come into the field.

        Parameters
        ----------
        seconds : float
            The longest to wait.

        Returns
        -------
        bool
            Whether a card is there.

        Raises
        ------
        ReaderError
            The reader itself is gone or does not work.
        """
        ...

    def wait_until_gone(self, seconds: float) -> bool:
        """Wait until no card is in the field, at most `seconds`; tell whether that is so."""
        ...

    def transmit(self, apdu: bytes) -> bytes:
        """Send a command APDU and give the response APDU, status word included.

        Raises
        ------
        CardGone
            When no card is there, or it leaves before it has answered.
        """
        ...

    def release(self) -> None:
        """End the session with the card, so that other programs may use it; the next begins with `wait_for_card`."""
        ...

    def close(self) -> None:
        """Let go of the card and the reader."""
        ...


class Card(Protocol):
    """Anything that answers APDUs."""

    def transmit(self, apdu: bytes) -> bytes:
        """Answer one command APDU, status word included."""
        ...
