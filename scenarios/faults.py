"""What a scenario may break on purpose, the same in live and in virtual time, and when it was broken.

``stage.faults`` has the verbs. Parties are called by their names (``issuer``, ``switch``, ``acquirer``), member links
by their ends (``acquirer-switch``, ``switch-issuer``). Who breaks things for real is the runtime's: nodes and wires in
virtual time, processes and fault proxies in live runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from scenarios.result import FaultWindow

LINKS: Final = ("acquirer-switch", "switch-issuer")
BREAKABLE_PARTIES: Final = ("issuer", "switch", "acquirer")
LONGEST_DELAY: Final = 600.0


class Breakage(Protocol):
    """Breaks what a scenario says."""

    def crash(self, party: str) -> None:
        """Kill a party at any moment: its memory and its links are gone, what was committed stays."""

    def restart(self, party: str) -> None:
        """Start it again on its store."""

    def freeze(self, party: str) -> None:
        """Let it stand still with all its links, as a process that is stopped."""

    def thaw(self, party: str) -> None:
        """Let it go on."""

    def slow(self, link: str, seconds: float, jitter: float) -> None:
        """Let what is sent over a link arrive so much later, in each direction."""

    def cut(self, link: str) -> None:
        """Take a link down."""

    def mend(self, link: str) -> None:
        """Bring a link up, and to its usual speed."""


class Faults:
    """The verbs of a scenario, and a record of when what was broken.

    Parameters
    ----------
    breakage : Breakage
        Does it.
    clock : callable
        The seconds of the run.
    """

    def __init__(self, breakage: Breakage, clock: Callable[[], float]) -> None:
        self._breakage = breakage
        self._clock = clock
        self._open: dict[str, tuple[float, str]] = {}
        self._closed: list[FaultWindow] = []

    def crash(self, party: str) -> None:
        """Kill a party; see `Breakage`."""
        self._begin(_party(party), f"{party} crashed")
        self._breakage.crash(party)

    def restart(self, party: str) -> None:
        """Start a party that was killed."""
        self._breakage.restart(_party(party))
        self._end(party)

    def freeze(self, party: str) -> None:
        """Let a party stand still."""
        self._begin(_party(party), f"{party} stopped")
        self._breakage.freeze(party)

    def thaw(self, party: str) -> None:
        """Let a party go on that stands still."""
        self._breakage.thaw(_party(party))
        self._end(party)

    def slow(self, link: str, seconds: float, jitter: float = 0.0) -> None:
        """Let what is sent over a link arrive `seconds` later, by at most `jitter` more or less."""
        if not 0 <= jitter <= seconds <= LONGEST_DELAY:
            raise ValueError(f"a link is slow by 0 to {LONGEST_DELAY:g} s, and varies by no more than that")
        self._begin(_link(link), f"{link} slow by {seconds:g} s each way")
        self._breakage.slow(link, seconds, jitter)

    def cut(self, link: str) -> None:
        """Take a link down."""
        self._begin(_link(link), f"{link} cut")
        self._breakage.cut(link)

    def mend(self, link: str) -> None:
        """Bring a link up again, and to its usual speed."""
        self._breakage.mend(_link(link))
        self._end(link)

    def windows(self) -> list[FaultWindow]:
        """When what was broken; what is broken still, until now."""
        now = self._clock()
        going_on = [FaultWindow(_rounded(start), _rounded(now), what) for start, what in self._open.values()]
        return sorted([*self._closed, *going_on], key=lambda window: (window.start, window.what))

    def mend_all(self) -> None:
        """Make whole what a scenario has left broken."""
        for target, (_, what) in list(self._open.items()):
            if target in LINKS:
                self.mend(target)
            elif what.endswith("stopped"):
                self.thaw(target)
            else:
                self.restart(target)

    def _begin(self, target: str, what: str) -> None:
        if target in self._open:
            self._end(target)
        self._open[target] = (self._clock(), what)

    def _end(self, target: str) -> None:
        started = self._open.pop(target, None)
        if started is not None:
            self._closed.append(FaultWindow(_rounded(started[0]), _rounded(self._clock()), started[1]))


class Untouched:
    """Breaks nothing: for a generator beside the one that does."""

    def crash(self, party: str) -> None:
        """Nothing."""

    restart = freeze = thaw = cut = mend = crash

    def slow(self, link: str, seconds: float, jitter: float) -> None:
        """Nothing."""


def _party(party: str) -> str:
    if party not in BREAKABLE_PARTIES:
        raise ValueError(f"{party} is none of the parties that can be broken: {', '.join(BREAKABLE_PARTIES)}")
    return party


def _link(link: str) -> str:
    if link not in LINKS:
        raise ValueError(f"{link} is none of the links that can be broken: {', '.join(LINKS)}")
    return link


def _rounded(seconds: float) -> float:
    return round(max(0.0, seconds), 3)


def wanted_links(breaks: Sequence[str]) -> list[str]:
    """The links among what a scenario says that it breaks."""
    return [one for one in breaks if one in LINKS]
