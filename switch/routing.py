"""Which issuer a card number belongs to: the longest prefix that has a route."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from network.store import UnitOfWork
from switch.tables import ACTIVE, SUSPENDED, Member, Route

MAX_PREFIX: Final = 12
"""Most digits of a prefix; issuer identification numbers have 6 or 8 (ISO/IEC 7812-1), ranges within them more."""

MAX_MEMBERS: Final = 10_000
MAX_ROUTES_OF_MEMBER: Final = 10_000
"""How many rows are read; a network beyond them needs another way to keep its routes."""


class RoutingTable:
    """All routes, in memory. The rows are the truth: `load` reads them again."""

    def __init__(self, routes: Iterable[tuple[str, str]] = ()) -> None:
        self._members: dict[str, str] = {}
        self._lengths: tuple[int, ...] = ()
        for prefix, member_id in routes:
            self.put(prefix, member_id)

    @classmethod
    def load(cls, store: UnitOfWork) -> RoutingTable:
        """The table as the store has it."""
        routes = []
        for state in (ACTIVE, SUSPENDED):
            for member in store.scan(Member, "state", state, MAX_MEMBERS):
                rows = store.scan(Route, "member_id", member.member_id, MAX_ROUTES_OF_MEMBER)
                routes += [(row.prefix, row.member_id) for row in rows]
        return cls(routes)

    def put(self, prefix: str, member_id: str) -> None:
        """Route card numbers that begin with `prefix` to the member."""
        self._members[prefix] = member_id
        if len(prefix) not in self._lengths:
            self._lengths = tuple(sorted({*self._lengths, len(prefix)}, reverse=True))

    def issuer_of(self, pan: str) -> str | None:
        """The member whose route is the longest prefix of `pan`; None when there is no route."""
        for length in self._lengths:
            member_id = self._members.get(pan[:length])
            if member_id is not None:
                return member_id
        return None
