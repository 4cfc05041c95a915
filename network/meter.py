"""What a runtime counts as it works, cheap enough for every message; `network.metrics` tells it to who asks.

Everything here is a dictionary increment. One thread counts; others read copies. Labels are bounded whatever comes from
outside: message types that are none count as ``other``, and so does what would make too many of anything.
"""

from __future__ import annotations

from typing import Final

from network.durations import Durations
from network.party import LinkName, Turn

OTHER: Final = "other"
"""The label of what has none of its own."""

NO_TYPE: Final = "none"
"""The message type of what crosses local links: command APDUs, what PIN pads and displays say."""

SERIES_LIMIT: Final = 1_000
"""Most different labels of one count; what is beyond them counts as `OTHER`."""

_MESSAGE_TYPES: Final = tuple(
    f"{version}{kind}{function}0" for version in "0" for kind in "123456789" for function in "0123456789"
)
_TERMINAL_TYPES: Final = {bytes.fromhex(mti): mti for mti in _MESSAGE_TYPES}
_INTERBANK_TYPES: Final = {mti.encode("ascii"): mti for mti in _MESSAGE_TYPES}


def message_type(body: bytes) -> str:
    """The MTI of a message of either dialect, without decoding it; `OTHER` where there is none."""
    if body[:1] == b"\x60":
        return _TERMINAL_TYPES.get(body[11:13], OTHER)
    return _INTERBANK_TYPES.get(body[46:50], OTHER)


class Meter:
    """Counts of one runtime, from its start.

    Attributes
    ----------
    received, sent : dict
        Messages by kind of link (what its name begins with) and message type.
    answers : dict
        Answers by message type and response code, as the party counts them (`Turn.count_answer`).
    waits : dict of str to Durations
        How long the party waited for answers to what it had sent on, by the answer's message type (`Turn.count_wait`).
    turns : Durations
        From a turn's beginning to the end of its delivery, microseconds.
    batches : dict
        Turns by how many events they took.
    links_up, links_wanted : dict
        Links by kind: up now, and kept up by dialling.
    links_opened, links_lost, reconnects : dict
        By kind: how often a link came up, went down, and came up again that is dialled.
    """

    def __init__(self) -> None:
        self.received: dict[tuple[str, str], int] = {}
        self.sent: dict[tuple[str, str], int] = {}
        self.answers: dict[tuple[str, str], int] = {}
        self.waits: dict[str, Durations] = {}
        self.turns = Durations()
        self.batches: dict[int, int] = {}
        self.links_up: dict[str, int] = {}
        self.links_wanted: dict[str, int] = {}
        self.links_opened: dict[str, int] = {}
        self.links_lost: dict[str, int] = {}
        self.reconnects: dict[str, int] = {}
        self._dialled: set[LinkName] = set()
        self._was_up: set[LinkName] = set()

    def came(self, link: LinkName, bodies: list[bytes]) -> None:
        """Messages have come over a network link."""
        _count(self.received, link, bodies)

    def went(self, link: LinkName, bodies: list[bytes]) -> None:
        """Messages have left over a network link."""
        _count(self.sent, link, bodies)

    def came_locally(self, link: LinkName) -> None:
        """Something local (a card, a PIN pad) has answered."""
        key = link.partition(":")[0], NO_TYPE
        self.received[key] = self.received.get(key, 0) + 1

    def went_locally(self, link: LinkName) -> None:
        """Something local was told something."""
        key = link.partition(":")[0], NO_TYPE
        self.sent[key] = self.sent.get(key, 0) + 1

    def dials(self, link: LinkName) -> None:
        """The link is to be kept up."""
        self._dialled.add(link)
        _add(self.links_wanted, link.partition(":")[0])

    def link_up(self, link: LinkName) -> None:
        """The link has come up."""
        kind = link.partition(":")[0]
        _add(self.links_up, kind)
        _add(self.links_opened, kind)
        if link in self._dialled:
            if link in self._was_up:
                _add(self.reconnects, kind)
            self._was_up.add(link)

    def link_down(self, link: LinkName) -> None:
        """The link has gone down."""
        kind = link.partition(":")[0]
        _add(self.links_up, kind, -1)
        _add(self.links_lost, kind)

    def committed(self, turn: Turn) -> None:
        """Take over what the party counted in a turn that stands."""
        answers = self.answers
        for key in turn.counted_answers:
            if key in answers or len(answers) < SERIES_LIMIT:
                answers[key] = answers.get(key, 0) + 1
            else:
                _add_pair(answers, (key[0], OTHER))
        for mti, microseconds in turn.counted_waits:
            durations = self.waits.get(mti)
            if durations is None:
                durations = self.waits[mti if len(self.waits) < SERIES_LIMIT else OTHER] = Durations()
            durations.record(microseconds)

    def turn_over(self, events: int, microseconds: int) -> None:
        """A turn of so many events has ended."""
        self.batches[events] = self.batches.get(events, 0) + 1
        self.turns.record(microseconds)


def _count(counts: dict[tuple[str, str], int], link: LinkName, bodies: list[bytes]) -> None:
    kind = link.partition(":")[0]
    for body in bodies:
        key = kind, message_type(body)
        counts[key] = counts.get(key, 0) + 1


def _add(counts: dict[str, int], key: str, times: int = 1) -> None:
    counts[key] = counts.get(key, 0) + times


def _add_pair(counts: dict[tuple[str, str], int], key: tuple[str, str]) -> None:
    counts[key] = counts.get(key, 0) + 1
