"""What operators ask of the switch; decided in a turn like everything else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import ValidationError

from network.keys import SecurityModuleError
from network.party import Command, CommandError, Json, Turn
from switch import membership, risk
from switch.membership import MembershipError
from switch.risk_rules import RiskRules
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
    except ValidationError as error:
        return CommandError("; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()))


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
    tokens = switch.token_prefix
    if prefix.startswith(tokens):
        raise MembershipError(f"numbers that begin with {tokens} are tokens, which belong to no member")
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


def _set_risk_rules(switch: Switch, turn: Turn, command: Command) -> Json:
    rules = RiskRules.model_validate(command.arguments.get("rules"))
    switch.risk.replace(turn, rules)
    return rules.model_dump(mode="json")


def _risk_rules(switch: Switch, _turn: Turn, _: Command) -> Json:
    return switch.risk.rules.model_dump(mode="json")


def _block_device(_: Switch, turn: Turn, command: Command) -> Json:
    acquirer, device_id = _device(turn, command)
    risk.block(turn, acquirer, device_id, "operator")
    return {"acquirer": acquirer, "device_id": device_id, "blocked": True}


def _unblock_device(_: Switch, turn: Turn, command: Command) -> Json:
    acquirer, device_id = _device(turn, command)
    if not risk.unblock(turn, acquirer, device_id, "operator"):
        raise MembershipError(f"device {device_id!r} of {acquirer} is not blocked")
    return {"acquirer": acquirer, "device_id": device_id, "blocked": False}


def _device(turn: Turn, command: Command) -> tuple[str, str]:
    """The acquirer, which is a member, and the device that a command names."""
    acquirer, device_id = _text(command, "acquirer"), _text(command, "device_id")
    is_id = len(acquirer) == 8 and acquirer.isascii() and acquirer.isdigit()
    if not is_id or turn.store.find(Member, "member_id", acquirer) is None:
        raise MembershipError("acquirer is no member's id")
    if not 1 <= len(device_id) <= risk.LONGEST_DEVICE or not device_id.isprintable():
        raise MembershipError(f"a device id has 1 to {risk.LONGEST_DEVICE} printable characters")
    return acquirer, device_id


_COMMANDS = {
    "list_members": _list_members,
    "add_member": _add_member,
    "add_route": _add_route,
    "reset_keys": _reset_keys,
    "suspend_member": _suspend,
    "resume_member": _resume,
    "set_risk_rules": _set_risk_rules,
    "risk_rules": _risk_rules,
    "block_device": _block_device,
    "unblock_device": _unblock_device,
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
