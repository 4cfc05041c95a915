"""What operators ask of the switch; decided in a turn like everything else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from network.keys import SecurityModuleError
from network.party import Command, CommandError, Json, Turn
from switch import membership
from switch.membership import MembershipError
from switch.routing import MAX_MEMBERS
from switch.tables import ACTIVE, SUSPENDED, Member

if TYPE_CHECKING:
    from switch.party import Switch


def decide(switch: Switch, turn: Turn, command: Command) -> Json | CommandError:
    """The answer to a command; a `CommandError` where it cannot be carried out."""
    carry_out = _COMMANDS.get(command.name)
    if carry_out is None:
        return CommandError(f"the switch knows no command {command.name!r}")
    try:
        return carry_out(switch, turn, command)
    except (MembershipError, SecurityModuleError) as error:
        return CommandError(str(error))


def _list_members(switch: Switch, turn: Turn, _: Command) -> Json:
    members: list[Member] = []
    for state in (ACTIVE, SUSPENDED):
        members += turn.store.scan(Member, "state", state, MAX_MEMBERS)
    return [_described(switch, member) for member in sorted(members, key=lambda one: one.member_id)]


def _add_member(switch: Switch, turn: Turn, command: Command) -> Json:
    member = membership.add_member(
        turn.store,
        switch.module,
        member_id=_text(command, "member_id"),
        name=_text(command, "name"),
        master_key=switch.module.load(_text(command, "master_key")),
        now=turn.now,
        currency=switch.configuration.currency,
    )
    return _described(switch, member)


def _add_route(switch: Switch, turn: Turn, command: Command) -> Json:
    prefix, member_id = _text(command, "prefix"), _text(command, "member_id")
    membership.add_route(turn.store, prefix=prefix, member_id=member_id, now=turn.now)
    switch.routing.put(prefix, member_id)
    return {"prefix": prefix, "member_id": member_id}


def _reset_keys(switch: Switch, turn: Turn, command: Command) -> Json:
    member_id = _text(command, "member_id")
    if turn.store.find(Member, "member_id", member_id) is None:
        raise MembershipError(f"there is no member {member_id}")
    if not switch.links.reset_keys(turn, member_id):
        raise MembershipError(f"member {member_id} is not signed on")
    return {"member_id": member_id, "keys": "offered"}


def _suspend(switch: Switch, turn: Turn, command: Command) -> Json:
    return _described(switch, membership.suspend(turn.store, _text(command, "member_id")))


def _resume(switch: Switch, turn: Turn, command: Command) -> Json:
    return _described(switch, membership.resume(turn.store, _text(command, "member_id")))


_COMMANDS = {
    "list_members": _list_members,
    "add_member": _add_member,
    "add_route": _add_route,
    "reset_keys": _reset_keys,
    "suspend_member": _suspend,
    "resume_member": _resume,
}


def _described(switch: Switch, member: Member) -> dict[str, Json]:
    session = switch.links.sessions.get(member.member_id)
    return {
        "member_id": member.member_id,
        "name": member.name,
        "state": member.state,
        "link": None if session is None else session.link,
        "signed_on": session is not None,
        "ready": session is not None and session.ready,
        "joined_at": member.joined_at,
    }


def _text(command: Command, name: str) -> str:
    value = command.arguments.get(name)
    if not isinstance(value, str):
        raise MembershipError(f"{command.name} needs a text {name}")
    return value
