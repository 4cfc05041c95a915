"""What a party is: a deterministic machine that takes turns.

A party does no I/O, reads no clock, starts no thread and rolls no dice of its own. A runtime hands it a
`Turn`: everything that has arrived, the timers that are due, the time, a source of randomness and a unit
of work on its store. The party decides, and says what to send and which timers to set. **Nothing that a
turn sends leaves before the turn's commit**; a turn that fails leaves no trace.

`take_turn` holds that rule for every runtime, and the rule that one bad message never harms the others of
its turn: a turn that raises is rolled back and its events are taken again one by one, so that only the one
that cannot be decided is dropped.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from random import Random
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, TypeAlias, runtime_checkable

from typing_extensions import TypeAliasType

from network.store import Store, StoreError, UnitOfWork

if TYPE_CHECKING:
    from network.tracing import Beginning, Ending, Tracing

Instant: TypeAlias = int
"""A point in time: microseconds since 1970-01-01T00:00:00Z."""

LinkName: TypeAlias = str
TimerKey: TypeAlias = tuple[str, str]
"""What a timer is for: its kind (timers of one kind have one length, as a rule) and whose it is."""

Json = TypeAliasType("Json", "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None")
"""What a command and its answer are made of."""

Endpoint: TypeAlias = Callable[[bytes, Callable[[bytes], None]], None]
"""What answers on a local link (a card on its reader, a PIN pad): given a request and where to put the answer."""

TURN_LIMIT: Final = 1024
"""Most messages, commands and timers, of each, that a runtime puts into one turn."""

SECOND: Instant = 1_000_000
CHINA_STANDARD_TIME = timezone(timedelta(hours=8), "CST")
"""Local time of every date and time element in the messages."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def local_time(instant: Instant) -> datetime:
    """The date and time in China Standard Time at `instant`."""
    return (_EPOCH + timedelta(microseconds=instant)).astimezone(CHINA_STANDARD_TIME)


def instant_of(moment: datetime) -> Instant:
    """The instant of an aware `datetime`."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


class Received(NamedTuple):
    """A message body (framing removed) that arrived over a link."""

    link: LinkName
    body: bytes


class LinkChange(NamedTuple):
    """A link came up or went down."""

    link: LinkName
    up: bool


class Command(NamedTuple):
    """What an operator or an application asks of the party; answered in this turn or a later one.

    `ticket` names the command when it is answered with `Turn.answer`; an answer is wanted once.
    """

    name: str
    arguments: Mapping[str, Json]
    ticket: int


class CommandError(Exception):
    """A command that cannot be carried out, with the reason for the person who gave it."""


@dataclass(slots=True)
class Work:
    """What a turn works on, in arrival order within each kind."""

    link_changes: list[LinkChange]
    inbox: list[Received]
    commands: list[Command]
    due: list[TimerKey]

    def __len__(self) -> int:
        return len(self.link_changes) + len(self.inbox) + len(self.commands) + len(self.due)

    def take(self, limit: int) -> Work:
        """Take out of this all link changes, at most `limit` messages and as many commands, first come first."""
        taken = Work(self.link_changes, self.inbox[:limit], self.commands[:limit], [])
        self.link_changes, self.inbox, self.commands = [], self.inbox[limit:], self.commands[limit:]
        return taken

    def one_by_one(self) -> Iterator[Work]:
        """The same events, each as work of its own."""
        for change in self.link_changes:
            yield Work([change], [], [], [])
        for received in self.inbox:
            yield Work([], [received], [], [])
        for command in self.commands:
            yield Work([], [], [command], [])
        for key in self.due:
            yield Work([], [], [], [key])


class Turn:
    """One turn of a party.

    Attributes
    ----------
    now : Instant
        When the turn began.
    local : datetime
        The same in China Standard Time.
    random : Random
        The only randomness a party may use.
    store : UnitOfWork
        The party's rows; committed by the runtime after the turn.
    link_changes, inbox, commands, due
        What has arrived and which timers are due.
    sent, timers, answers
        What the party wants to happen after the commit.
    counted_answers, counted_waits
        What the party counts, for who watches it: taken over after the commit, or dropped by a runtime that counts
        nothing.
    tracing : Tracing or None
        By which the party says what part it has in which payment; None where nobody follows payments.
    parts
        What it has said.
    notes
        What it wants in the log once the turn is committed.
    """

    __slots__ = (
        "_local",
        "answers",
        "commands",
        "counted_answers",
        "counted_waits",
        "due",
        "inbox",
        "link_changes",
        "notes",
        "now",
        "parts",
        "random",
        "sent",
        "store",
        "timers",
        "tracing",
    )

    def __init__(
        self, now: Instant, random: Random, store: UnitOfWork, work: Work, tracing: Tracing | None = None
    ) -> None:
        self.now = now
        self.random = random
        self.store = store
        self.link_changes: Sequence[LinkChange] = work.link_changes
        self.inbox: Sequence[Received] = work.inbox
        self.commands: Sequence[Command] = work.commands
        self.due: Sequence[TimerKey] = work.due
        self.sent: list[tuple[LinkName, bytes]] = []
        self.timers: list[tuple[TimerKey, Instant | None]] = []
        self.answers: list[tuple[int, Json | CommandError]] = []
        self.counted_answers: list[tuple[str, str]] = []
        self.counted_waits: list[tuple[str, int]] = []
        self.tracing = tracing
        self.parts: list[Beginning | Ending] = []
        self.notes: list[tuple[str, str | None, dict[str, Json]]] = []
        self._local: datetime | None = None

    @property
    def local(self) -> datetime:
        """`now` in China Standard Time."""
        if self._local is None:
            self._local = local_time(self.now)
        return self._local

    def send(self, link: LinkName, body: bytes) -> None:
        """Send `body` over `link` after the commit. A link that is down drops it."""
        self.sent.append((link, body))

    def timer(self, key: TimerKey, at: Instant | None) -> None:
        """Set the timer `key` to fall due at `at`; None stops it. A second setting replaces the first."""
        self.timers.append((key, at))

    def answer(self, ticket: int, result: Json | CommandError) -> None:
        """Answer the command that bore `ticket`."""
        self.answers.append((ticket, result))

    def note(self, event: str, part: str | None, **facts: Json) -> None:
        """Have something written into the log that who follows an incident must know; never what must not be logged.

        Parameters
        ----------
        event
            What happened: one of a few, as the log's lines are limited by it.
        part
            The key of the party's part of the payment (`network.tracing`), whose trace the line will name.
        facts
            Which terminal, trace number, retrieval reference, member.
        """
        self.notes.append((event, part, facts))

    def count_answer(self, mti: str, response_code: str) -> None:
        """An answer was given, or by who asks received: of message type `mti`, with DE39 `response_code`."""
        self.counted_answers.append((mti, response_code))

    def count_wait(self, mti: str, microseconds: int) -> None:
        """The answer of message type `mti` to what this party had sent on was so long in coming, or did not come."""
        self.counted_waits.append((mti, microseconds))


class Party(Protocol):
    """A party of the network, as the runtimes see it."""

    name: str

    def start(self, turn: Turn) -> None:
        """First turn of a process: set again the timers of what the store says is pending."""

    def turn(self, turn: Turn) -> None:
        """Decide everything that has arrived: decode all, load once, decide in arrival order."""

    def rolled_back(self) -> None:
        """Forget whatever the party remembers of a turn that was not committed."""


class Standing(NamedTuple):
    """How a party stands in the network.

    Attributes
    ----------
    members : mapping
        Whom it exchanges messages with, by institution id: whether that one is signed on and has its keys.
    reason : str or None
        Why the party cannot serve as things stand; None where it can.
    """

    members: Mapping[str, bool]
    reason: str | None


@runtime_checkable
class Stationed(Protocol):
    """A party that knows how it stands with others, and what it still awaits of them."""

    def standing(self, store: Store) -> Standing:
        """How it stands now, as far as memory and what is committed say; asked from any thread."""

    def drain(self) -> None:
        """Take nothing new upon itself: the process is about to end. What it is owed an answer to goes on."""

    def awaits(self, store: UnitOfWork) -> bool:
        """Whether somebody waits for an answer that the party cannot give before another has answered it."""


@contextmanager
def calm_collector() -> Iterator[None]:
    """Let the garbage collector look rarely, and not at what exists now.

    Turns make many short-lived objects and hardly a cycle; at its default pace the collector takes a tenth of
    the computing of a sale. For processes that run turns, once they are set up.
    """
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


class Failure(NamedTuple):
    """An event that no turn could decide, and why. It changed nothing and is dropped."""

    work: Work
    error: Exception


def take_turn(
    party: Party,
    now: Instant,
    random: Random,
    store: UnitOfWork,
    work: Work,
    deliver: Callable[[Turn], None],
    tracing: Tracing | None = None,
) -> list[Failure]:
    """Let `party` decide `work`, commit, and only then `deliver` what the turn wants to happen.

    A turn that raises is rolled back and its events are taken again singly, so that one that cannot be
    decided harms no other. `deliver` is called once for each turn that was committed.

    Returns
    -------
    list of Failure
        The events that raise even when they are alone; empty as a rule.

    Raises
    ------
    network.store.StoreError
        The store itself fails. What was delivered stands; of the rest nothing was committed.
    """
    turn = Turn(now, random, store, work, tracing)
    try:
        party.turn(turn)
        store.commit()
    except StoreError:
        raise
    except Exception as error:  # whatever a bad message can provoke: it must not stop the party
        store.rollback()
        party.rolled_back()
        if len(work) <= 1:
            turn = Turn(now, random, store, Work([], [], [], []))
            for command in work.commands:
                turn.answer(command.ticket, CommandError(f"{command.name} failed: {type(error).__name__}"))
            deliver(turn)
            return [Failure(work, error)]
    else:
        deliver(turn)
        return []
    failures: list[Failure] = []
    for single in work.one_by_one():
        failures += take_turn(party, now, random, store, single, deliver, tracing)
    return failures
