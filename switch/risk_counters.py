"""What risk sensing remembers of earlier sales: how many in a window, and where the last one was.

It is memory: bounded, gone after a restart, and exactly undone where a turn is not committed. What is least recently
used is forgotten first where there is more than `MOST_KEYS`.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Hashable
from math import asin, cos, radians, sin, sqrt
from typing import Final, NamedTuple

from network.party import SECOND, Instant

MOST_KEYS: Final = 50_000
"""Devices, merchants, cards or places that one counter knows at a time."""

SLOTS: Final = 64
"""Parts of a window: so exactly it moves on, and so many entries a key has at most, and one."""

_EARTH_RADIUS: Final = 6371.0


class Place(NamedTuple):
    """Latitude and longitude, in degrees."""

    latitude: float
    longitude: float

    def kilometres_to(self, other: Place) -> float:
        """The distance along the ground (haversine formula)."""
        north, other_north = radians(self.latitude), radians(other.latitude)
        half_north = (other_north - north) / 2
        half_east = radians(other.longitude - self.longitude) / 2
        part = sin(half_north) ** 2 + cos(north) * cos(other_north) * sin(half_east) ** 2
        return 2 * _EARTH_RADIUS * asin(sqrt(min(1.0, part)))


class _Window:
    """The sales of one key: entries of slot, count and amount, oldest first, and their sums."""

    __slots__ = ("amount", "count", "entries")

    def __init__(self) -> None:
        self.entries: deque[list[int]] = deque()
        self.count = 0
        self.amount = 0

    def forget_before(self, slot: int) -> None:
        entries = self.entries
        while entries and entries[0][0] < slot:
            _, count, amount = entries.popleft()
            self.count -= count
            self.amount -= amount


class WindowCounter:
    """Counts sales and adds up their amounts over the last `seconds`, by key."""

    def __init__(self, seconds: int) -> None:
        self._slot = max(1, seconds * SECOND // SLOTS)
        # a plain dict takes the longer to find its first key, the more were taken out before it
        self._windows: OrderedDict[Hashable, _Window] = OrderedDict()
        self._added: list[tuple[_Window, int, int]] = []

    def begin(self) -> None:
        """A turn begins: what was added before stands."""
        if self._added:
            self._added.clear()

    def rolled_back(self) -> None:
        """Take back what was added since `begin`."""
        for window, slot, amount in self._added:
            for entry in window.entries:
                if entry[0] == slot:
                    entry[1] -= 1
                    entry[2] -= amount
                    window.count -= 1
                    window.amount -= amount
                    break
        self._added.clear()

    def add(self, key: Hashable, now: Instant, amount: int) -> tuple[int, int]:
        """Add a sale; gives count and amount of the window that ends with it."""
        slot = now // self._slot
        windows = self._windows
        window = windows.get(key)
        if window is None:
            self._make_room(slot)
            window = windows[key] = _Window()
        else:
            # what was used last stands last
            windows.move_to_end(key)
        window.forget_before(slot - SLOTS + 1)
        entries = window.entries
        if entries and entries[-1][0] >= slot:
            entry = entries[-1]
            slot = entry[0]
            entry[1] += 1
            entry[2] += amount
        else:
            entries.append([slot, 1, amount])
        window.count += 1
        window.amount += amount
        self._added.append((window, slot, amount))
        return window.count, window.amount

    def __len__(self) -> int:
        return len(self._windows)

    def _make_room(self, slot: int) -> None:
        """Forget up to two keys whose window is over, or the first where there are too many."""
        for _ in range(2):
            first = next(iter(self._windows), None)
            if first is None:
                return
            entries = self._windows[first].entries
            if len(self._windows) < MOST_KEYS and entries and entries[-1][0] > slot - SLOTS:
                return
            del self._windows[first]


class LastPlaces:
    """When and where each key was last."""

    def __init__(self) -> None:
        self._last: OrderedDict[Hashable, tuple[Instant, Place]] = OrderedDict()
        self._before: list[tuple[Hashable, tuple[Instant, Place] | None]] = []

    def begin(self) -> None:
        """A turn begins: what was noted before stands."""
        if self._before:
            self._before.clear()

    def rolled_back(self) -> None:
        """Take back what was noted since `begin`."""
        for key, before in reversed(self._before):
            self._last.pop(key, None)
            if before is not None:
                self._last[key] = before
        self._before.clear()

    def move(self, key: Hashable, now: Instant, place: Place) -> tuple[float, Instant]:
        """Note where a key is now; gives how many kilometres it came, and in which time."""
        before = self._last.pop(key, None)
        if before is None and len(self._last) >= MOST_KEYS:
            del self._last[next(iter(self._last))]
        self._last[key] = (now, place)
        self._before.append((key, before))
        return (0.0, 0) if before is None else (before[1].kilometres_to(place), max(0, now - before[0]))

    def __len__(self) -> int:
        return len(self._last)
