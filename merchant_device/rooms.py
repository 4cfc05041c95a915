"""What the phone can do besides taking cards, each in a room of its own that the party knows nothing of.

A room names the local links, timers, commands and requests on the line that are its own; the party brings them to it.
A `Way` is a room in which a payer pays otherwise than by a card held to the phone. `Trust` says whether the device
must prove what it is before a payment goes on.

A room remembers what it must in rows, or in its terminals' memory; what it remembers elsewhere it forgets when told
that the turn was not committed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final, Protocol

from merchant_device.tables import Phone
from merchant_device.terminal import Kind, Terminal
from network.iso8583 import Message
from network.party import Command, Turn

TRANSACTION: Final = "transaction"
PIN: Final = "pin"
"""What a device is attested for (docs/protocol.md, the monitoring link)."""


class Room:
    """A room; one overrides what it needs.

    Attributes
    ----------
    links : sequence of str
        Kinds of links that are its own: ``camera`` of ``camera:10000001``.
    timers, commands : sequence of str
        Kinds of timers, and names of commands that have an argument ``terminal``.
    device_commands : sequence of str
        Names of commands that are about a device and may come before it is a terminal.
    kinds : sequence of Kind
        Requests to the acquirer whose answers it takes.
    """

    links: Sequence[str] = ()
    timers: Sequence[str] = ()
    commands: Sequence[str] = ()
    device_commands: Sequence[str] = ()
    kinds: Sequence[Kind] = ()

    def start(self, turn: Turn) -> None:
        """The first turn of the process."""

    def received(self, turn: Turn, terminal: Terminal, phone: Phone, kind: str, body: bytes) -> str | None:
        """Something has come over a link of the kind `kind`; give why it is of no use, None where it is."""
        return f"unexpected from the {kind}"

    def link_changed(self, turn: Turn, terminal: Terminal, phone: Phone, kind: str, up: bool) -> None:
        """A link of the kind `kind` came up or broke."""

    def signed_on(self, turn: Turn, terminal: Terminal, phone: Phone) -> None:
        """The phone has signed on and has new keys."""

    def due(self, turn: Turn, terminal: Terminal, phone: Phone, timer: str) -> None:
        """A timer of the kind `timer` is due."""

    def command(self, turn: Turn, terminal: Terminal, phone: Phone, command: Command) -> None:
        """Answer the command, or take it up: `Terminal.begin` with a kind of its own, once the phone is idle."""

    def terminal_of(self, turn: Turn, command: Command) -> str | None:
        """Id of the terminal that one of its device commands is about; None where there is none (yet)."""
        return None

    def device_command(self, turn: Turn, command: Command, terminal: Terminal | None, phone: Phone | None) -> None:
        """Answer a command about a device; `terminal` and `phone` are what `terminal_of` named, if installed."""

    def send(self, turn: Turn, terminal: Terminal, phone: Phone, kind: Kind) -> None:
        """The line is free for the command of the kind `kind` that waits: send its first request."""

    def answered(self, turn: Turn, terminal: Terminal, phone: Phone, message: Message, body: bytes) -> str | None:
        """The answer to a request of this room has come; give why it counts as none, None where it does.

        The room closes the exchange (`Terminal.close`) when the answer counts. The command that the request was for may
        have been cancelled meanwhile: it is in progress while the phase is `Phase.ANSWER` and the kind is the room's.
        """
        return "unexpected from the acquirer"

    def unanswered(self, turn: Turn, terminal: Terminal, phone: Phone, kind: Kind, reason: str) -> None:
        """No answer to a request of this room has come in time, or the link broke; the exchange is closed."""

    def told(self, turn: Turn, terminal: Terminal, phone: Phone, message: Message, body: bytes) -> bool:
        """The acquirer has sent something that is no answer; give whether it is this room's."""
        return False

    def rolled_back(self) -> None:
        """Forget what is remembered of the last turn."""


class Way(Room, ABC):
    """A way of paying that a sale offers.

    It begins when the line is free and ends with `code_read` or `refuse` of `merchant_device.payments.Payments`, or
    with `merchant_device.endings.Endings.finish`. While it waits for the payer the phase is `Phase.CODE` (or one of
    the tap's).
    """

    name: str = ""

    @abstractmethod
    def begin(self, turn: Turn, terminal: Terminal, phone: Phone) -> None:
        """Offer it: the phone is signed on and attested, and the line is free."""

    @abstractmethod
    def timed_out(self, turn: Turn, terminal: Terminal, phone: Phone) -> None:
        """The time given to the payer (`Terminal.wait`) is over."""

    @abstractmethod
    def cancel(self, turn: Turn, terminal: Terminal, phone: Phone, reason: str) -> None:
        """Stop offering it; the sale ends at once, or when it is certain that nobody has paid."""


class Trust(Protocol):
    """Says whether a device must be attested before a payment goes on, and sees to it."""

    def needs(self, turn: Turn, terminal: Terminal, phone: Phone, purpose: str) -> bool:
        """Whether the device must be attested for `purpose` now; asked of phones that are bound to a device."""
        ...

    def begin(self, turn: Turn, terminal: Terminal, phone: Phone, purpose: str) -> None:
        """See to it; ends with `Payments.attested`, in this turn or a later one."""
        ...
