"""Who takes part: members, their zone keys and positions, and the card numbers routed to them.

Functions of a unit of work; the caller commits.
"""

from __future__ import annotations

from network.keys import KeyHandle, KeyUsage, SecurityModule
from network.ledger import CNY, LedgerAccount
from network.member import ZoneKeys
from network.party import Instant
from network.store import UnitOfWork
from switch.routing import MAX_PREFIX
from switch.tables import ACTIVE, SUSPENDED, Member, Route


class MembershipError(ValueError):
    """A member or a route that cannot be; the message says what is wrong with it."""


def position_of(member_id: str) -> str:
    """The account of the switch's books that holds a member's position: what the network owes it."""
    return f"member:{member_id}"


def add_member(
    store: UnitOfWork,
    module: SecurityModule,
    *,
    member_id: str,
    name: str,
    master_key: KeyHandle,
    now: Instant,
    currency: str = CNY,
) -> Member:
    """Let an institution take part: its row, its zone master key and its position in the books.

    Parameters
    ----------
    member_id
        8 digits, as in message headers.
    name
        For people, at most 60 characters.
    master_key
        The zone master key shared with the member: a key encryption key (usage K0).

    Raises
    ------
    MembershipError
        The id is malformed or taken, the name is missing or too long, or the key is of another usage.
    """
    if len(member_id) != 8 or not _digits(member_id):
        raise MembershipError("a member id has 8 digits")
    if not 1 <= len(name) <= 60 or not name.isprintable():
        raise MembershipError("a member's name has 1 to 60 printable characters")
    if master_key.usage is not KeyUsage.KEY_ENCRYPTION:
        raise MembershipError(f"a zone master key is a key encryption key, not one of usage {master_key.usage.name}")
    if store.find(Member, "member_id", member_id) is not None:
        raise MembershipError(f"member {member_id} exists already")
    member = Member(member_id, name, ACTIVE, now)
    store.insert(member)
    store.insert(ZoneKeys(member_id, module.block(master_key), None, None, None, None, now))
    store.insert(LedgerAccount(position_of(member_id), "credit", currency, 0, 0))
    return member


def add_route(store: UnitOfWork, *, prefix: str, member_id: str, now: Instant) -> Route:
    """Route card numbers that begin with `prefix` to a member; a route that is there already is moved to it.

    Raises
    ------
    MembershipError
        The prefix is not 1 to 12 digits, or there is no such member.
    """
    if not 1 <= len(prefix) <= MAX_PREFIX or not _digits(prefix):
        raise MembershipError(f"a route's prefix has 1 to {MAX_PREFIX} digits")
    if store.find(Member, "member_id", member_id) is None:
        raise MembershipError(f"there is no member {member_id}")
    route = store.find(Route, "prefix", prefix)
    if route is None:
        route = Route(prefix, member_id, now)
        store.insert(route)
    else:
        store.change(route)
        route.member_id = member_id
    return route


def suspend(store: UnitOfWork, member_id: str) -> Member:
    """Let the member neither acquire nor issue until `resume`. Its reversals and advices go on: they mend money.

    Raises
    ------
    MembershipError
        There is no such member.
    """
    return _set_state(store, member_id, SUSPENDED)


def resume(store: UnitOfWork, member_id: str) -> Member:
    """Let a suspended member take part again.

    Raises
    ------
    MembershipError
        There is no such member.
    """
    return _set_state(store, member_id, ACTIVE)


def is_suspended(store: UnitOfWork, member_id: str) -> bool:
    """Whether a member may take part in nothing new; true of what is no member."""
    member = store.find(Member, "member_id", member_id)
    return member is None or member.state == SUSPENDED


def _set_state(store: UnitOfWork, member_id: str, state: str) -> Member:
    member = store.find(Member, "member_id", member_id)
    if member is None:
        raise MembershipError(f"there is no member {member_id}")
    store.change(member)
    member.state = state
    return member


def _digits(text: str) -> bool:
    return text.isascii() and text.isdigit()
