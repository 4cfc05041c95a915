"""What of a party's rows a watcher wants to know: how much waits, since when, and in which states things are.

Each party says so for its own tables; `network.metrics` reads it when it is asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from network.store import Row


@dataclass(frozen=True, slots=True)
class Backlog:
    """Rows that wait for something.

    Attributes
    ----------
    kind : str
        What they are: ``request``, ``reversal``, ``offline_sale`` ...
    row : type of Row
    waiting : sequence of str
        Which of them wait, all of it: ``column=value`` (an index of the table, or the count is a walk through it),
        ``column`` (anything but null) or ``!column`` (null).
    since : str
        The column with the instant since when.
    is_forwarded : bool
        Whether they are stored to be sent until they are answered (store and forward).
    """

    kind: str
    row: type[Row]
    waiting: Sequence[str]
    since: str
    is_forwarded: bool = False


@dataclass(frozen=True, slots=True)
class Census:
    """How many rows of a small table are in each state.

    Attributes
    ----------
    kind : str
        What they are: ``phone``, ``terminal`` ...
    row : type of Row
    state : str
        The column, which has few values.
    """

    kind: str
    row: type[Row]
    state: str


@dataclass(frozen=True, slots=True)
class Observation:
    """What a party's rows tell.

    Attributes
    ----------
    backlogs : sequence of Backlog
    censuses : sequence of Census
    """

    backlogs: Sequence[Backlog] = ()
    censuses: Sequence[Census] = ()


@runtime_checkable
class Drops(Protocol):
    """A party that counts what it drops."""

    @property
    def dropped(self) -> Mapping[str, int]:
        """Messages by the reason why they came to nothing."""
