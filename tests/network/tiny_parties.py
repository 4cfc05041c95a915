"""The smallest parties that use all that a runtime offers, for the tests of the runtimes."""

from __future__ import annotations

from typing import cast

from network.framing import MAX_BODY
from network.party import SECOND, CommandError, Instant, LinkChange, Received, Turn
from network.store import Row, table


@table("note", key="number", unique=("subject",), indexed=("state=pending",), mutable=("state",))
class Note(Row):
    """What an `Echo` was told; no subject twice."""

    number: int
    subject: bytes
    state: str


@table("tally", key="name", mutable=("value",), cached=True)
class Tally(Row):
    """How many notes there are."""

    name: str
    value: int


TABLES = (Note, Tally)


class Undecidable(Exception):
    """What a bad event provokes; its text must not get out."""


class Echo:
    """Notes every body and answers with it; bodies that begin with ``bad`` cannot be decided.

    Commands: ``count``; ``wait`` answers after `seconds`; ``boom`` fails; ``refuse`` is refused; ``silent`` has no
    answer; ``send`` sends `text` over `link`; ``flood`` sends `size` bytes `times` over `link`; ``huge`` sends a body
    that no framing carries between two that it does; ``keep`` leaves a note pending, which is sent at start-up.
    """

    def __init__(self, name: str = "echo") -> None:
        self.name = name
        self.batches: list[int] = []
        self.changes: list[LinkChange] = []
        self.fired: list[tuple[Instant, str]] = []
        self.rollbacks = 0

    def start(self, turn: Turn) -> None:
        if turn.store.find(Tally, "name", "notes") is None:
            turn.store.insert(Tally("notes", 0))
        for note in turn.store.scan(Note, "state", "pending", 1000):
            turn.timer(("resend", str(note.number)), turn.now + SECOND)

    def turn(self, turn: Turn) -> None:
        self.batches.append(len(turn.inbox))
        for change in turn.link_changes:
            if change.link.startswith("bad"):
                raise Undecidable("secret 6212345678901232")
            self.changes.append(change)
        for received in turn.inbox:
            self._note(turn, received)
        for command in turn.commands:
            self._command(turn, command.name, command.arguments, command.ticket)
        for kind, name in turn.due:
            if kind == "bad":
                raise Undecidable("secret 6212345678901232")
            self.fired.append((turn.now, name))
            if kind == "answer":
                turn.answer(int(name), "waited")
            elif kind == "resend":
                turn.send("peer", b"again:" + name.encode())

    def _note(self, turn: Turn, received: Received, state: str = "done") -> int:
        tally = turn.store.find(Tally, "name", "notes")
        assert tally is not None
        turn.store.change(tally)
        tally.value += 1
        if received.body.startswith(b"bad"):
            raise Undecidable("secret 6212345678901232")
        turn.store.insert(Note(tally.value, received.body, state))
        turn.send(received.link, b"re:" + received.body)
        return tally.value

    def _command(self, turn: Turn, name: str, arguments: object, ticket: int) -> None:
        given = cast("dict[str, str | int | float]", arguments)
        link = str(given.get("link", "peer"))
        if name == "count":
            tally = turn.store.find(Tally, "name", "notes")
            turn.answer(ticket, tally.value if tally else None)
            turn.answer(ticket, "a second answer")
        elif name == "wait":
            turn.timer(("answer", str(ticket)), turn.now + round(float(given["seconds"]) * SECOND))
        elif name == "boom":
            raise Undecidable("secret 6212345678901232")
        elif name == "refuse":
            turn.answer(ticket, CommandError("not today"))
        elif name == "send":
            turn.send(link, str(given["text"]).encode())
            turn.answer(ticket, "sent")
        elif name == "flood":
            for _ in range(int(given["times"])):
                turn.send(link, b"x" * int(given["size"]))
            turn.answer(ticket, "sent")
        elif name == "huge":
            for body in (b"before", b"x" * (MAX_BODY + 1), b"after"):
                turn.send(link, body)
            turn.answer(ticket, "sent")
        elif name == "keep":
            turn.answer(ticket, self._note(turn, Received("nowhere", str(given["text"]).encode()), "pending"))

    def rolled_back(self) -> None:
        self.rollbacks += 1


class Recorder:
    """Remembers what it hears; the command ``send`` sends `bodies` over the link ``peer``."""

    def __init__(self, name: str = "recorder") -> None:
        self.name = name
        self.heard: list[tuple[Instant, bytes]] = []
        self.batches: list[int] = []
        self.changes: list[tuple[Instant, LinkChange]] = []

    def start(self, turn: Turn) -> None:
        pass

    def turn(self, turn: Turn) -> None:
        self.batches.append(len(turn.inbox))
        self.changes += [(turn.now, change) for change in turn.link_changes]
        self.heard += [(turn.now, received.body) for received in turn.inbox]
        for command in turn.commands:
            for body in cast("list[str]", command.arguments["bodies"]):
                turn.send("peer", body.encode())
            turn.answer(command.ticket, None)

    def rolled_back(self) -> None:
        pass
