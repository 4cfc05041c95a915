"""Sign-on, keys and echoes: the two ends of a link come to the same keys whatever is lost, doubled or late."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from switch_world import SWITCH_ID, Peer, World

from network.iso8583 import INTERBANK, InterbankHeader, Message
from network.member import ZoneKeys
from network.party import LinkChange
from switch.refusal import REJECT_SENDER


def request(world: World, fields: dict[int, str | bytes], member_id: str | None = None) -> bytes:
    header = InterbankHeader(destination=SWITCH_ID, source=member_id or world.acquirer.member_id)
    common: dict[int, str | bytes] = {7: "1123100000", 11: "000009", 33: "01020000"}
    return INTERBANK.pack(Message("0820", common | fields, header))


def same_keys(world: World) -> bool:
    """Whether switch and members hold the same keys: a sale with a PIN is approved."""
    stan = len(world.transactions()) + 1
    world.exchange((world.acquirer, world.acquirer.sale(stan)))
    requests = world.taken(world.issuer)
    if len(requests) != 1:
        return False
    world.exchange((world.issuer, world.issuer.answer(requests[0])))
    return [reply[39] for reply in world.taken(world.acquirer)] == ["00"]


def test_both_kinds_of_members_come_to_be_ready(world: World) -> None:
    members = world.command("list_members")
    assert isinstance(members, list)
    assert [(m["member_id"], m["link"], m["ready"], m["state"]) for m in members] == [
        ("01020000", "member:1", True, "active"),
        ("03090000", "issuer:03090000", True, "active"),
    ]
    for peer in (world.acquirer, world.issuer):
        assert peer.zone.pin_key is not None
        assert peer.zone.mac_key is not None
        assert peer.zone.pin_key != peer.zone.mac_key
    assert same_keys(world)


def test_the_switch_speaks_first_on_a_link_that_it_dialled(world: World) -> None:
    world.issuer.lost()
    sent = world.turn(links=[LinkChange("issuer:03090000", True)])
    ((link, body),) = sent
    message = INTERBANK.unpack(body)
    assert (link, message.mti, message[70], message[33]) == ("issuer:03090000", "0820", "301", SWITCH_ID)
    assert world.turn(links=[LinkChange("member:77", True)]) == []


def test_the_echo_is_repeated_until_the_member_has_signed_on(world: World) -> None:
    world.turn(links=[LinkChange("issuer:03090000", False), LinkChange("issuer:03090000", True)])
    world.issuer.lost()
    world.advance(5.1)
    assert world.issuer.session.ready
    world.issuer.network_management.clear()
    world.advance(60)
    assert world.issuer.network_management == []


def test_further_dialled_links_are_configured(tmp_path: Path) -> None:
    world = World(f"sqlite:///{tmp_path}/switch.db", dialled={"line-7": "03090000"})
    world.issuer.link = "line-7"
    world.peers["line-7"] = world.issuer
    world.exchange(links=[LinkChange("line-7", True)])
    assert world.issuer.session.ready


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({70: "001"}, "00"),
        ({70: "002"}, "00"),
        ({70: "301"}, "00"),
        ({70: "101", 53: "1600000000000000"}, "00"),
        ({70: "101", 53: "9600000000000000"}, "30"),
        ({70: "101"}, "30"),
        ({70: "555"}, "40"),
        ({}, "40"),
    ],
)
def test_every_request_is_answered(world: World, fields: dict[int, str | bytes], code: str) -> None:
    sent = world.turn((world.acquirer, request(world, fields)))
    reply = INTERBANK.unpack(sent[0][1])
    assert (reply.mti, reply[39], reply[7], reply[11]) == ("0830", code, "1123100000", "000009")
    assert isinstance(reply.header, InterbankHeader)
    assert (reply.header.source, reply.header.destination) == (SWITCH_ID, "01020000")


def test_keys_are_given_to_members_that_are_signed_on_only(world: World) -> None:
    world.exchange(links=[LinkChange("member:1", False)])
    sent = world.turn((world.acquirer, request(world, {70: "101", 53: "1600000000000000"})))
    assert [INTERBANK.unpack(body)[39] for _, body in sent] == ["77"]


def test_a_member_may_not_reset_the_switchs_keys(world: World) -> None:
    message = INTERBANK.unpack(request(world, {70: "101", 53: "1600000000000000"}))
    message.mti = "0800"
    sent = world.turn((world.acquirer, INTERBANK.pack(message)))
    assert [INTERBANK.unpack(body)[39] for _, body in sent] == ["40"]


def test_sign_off_and_on_again(world: World) -> None:
    world.exchange((world.issuer, request(world, {70: "002"}, world.issuer.member_id)))
    world.exchange((world.acquirer, world.acquirer.sale(1)))
    assert [reply[39] for reply in world.taken(world.acquirer)] == ["91"]
    world.sign_on(world.issuer)
    assert same_keys(world)


@pytest.mark.parametrize("link", ["member:77@03090000", "issuer:03090000"])
def test_a_member_speaks_only_over_a_link_of_its_own(world: World, link: str) -> None:
    """Whom the certificate at the other end names, or whom the switch dials: in another's name nothing is looked at."""
    world.turn(links=[LinkChange(link, True)])
    impostor = Peer(world.acquirer.member_id, link, bytes(16))
    rejected = []
    for body in (request(world, {70: "301"}), request(world, {70: "001"}), world.acquirer.sale(1)):
        for _, sent in world.turn((impostor, body)):
            header = INTERBANK.unpack(sent).header
            assert isinstance(header, InterbankHeader)
            rejected.append(header.reject_code)
    assert rejected == [REJECT_SENDER] * 3
    assert world.transactions() == []
    members = world.command("list_members")
    assert isinstance(members, list)
    assert [one["link"] for one in members if one["member_id"] == "01020000"] == ["member:1"]


def test_a_member_speaks_over_the_link_that_its_certificate_names(world: World) -> None:
    world.exchange(links=[LinkChange("member:1", False)])
    world.acquirer.link = "member:2@01020000"
    world.peers["member:2@01020000"] = world.acquirer
    world.sign_on(world.acquirer)
    assert same_keys(world)


def test_a_repeated_sign_on_changes_nothing(world: World) -> None:
    world.turn((world.issuer, request(world, {70: "001"}, world.issuer.member_id)))
    assert same_keys(world)


def test_a_sign_on_over_another_link_waits_for_the_first_to_end(world: World) -> None:
    """Whoever says that it is the member does not take its session away; the member itself signs on again."""
    world.acquirer.link = "member:2"
    ((link, body),) = world.turn((world.acquirer, request(world, {70: "001"})))
    assert (link, INTERBANK.unpack(body)[39]) == ("member:2", "94")
    world.acquirer.link = "member:1"
    assert same_keys(world)
    world.exchange(links=[LinkChange("member:1", False)])
    world.peers["member:2"] = world.acquirer
    world.sign_on(world.acquirer)
    assert same_keys(world)


def test_an_echo_tells_a_member_whether_it_is_known(world: World) -> None:
    for signed_on, code in ((True, "00"), (False, "77")):
        if not signed_on:
            world.turn((world.acquirer, request(world, {70: "002"})))
        ((_, body),) = world.turn((world.acquirer, request(world, {70: "301"})))
        assert INTERBANK.unpack(body)[39] == code


def test_keys_are_reset_at_an_operators_word_and_old_ones_hold_for_a_while(world: World) -> None:
    on_the_way = world.acquirer.sale(1)
    late = world.acquirer.sale(2)
    before = (world.acquirer.zone.pin_key, world.acquirer.zone.mac_key)
    assert world.command("reset_keys", member_id="01020000") == {"member_id": "01020000", "keys": "offered"}
    assert not {*before} & {world.acquirer.zone.pin_key, world.acquirer.zone.mac_key}
    world.exchange((world.acquirer, on_the_way))
    assert len(world.taken(world.issuer)) == 1
    world.advance(61)
    world.taken(world.acquirer)
    world.exchange((world.acquirer, late))
    assert [reply[39] for reply in world.taken(world.acquirer)] == ["A0"]


def test_an_offered_key_is_offered_again_until_it_is_taken(world: World) -> None:
    before = world.acquirer.zone.mac_key
    sent = world.turn((world.acquirer, request(world, {70: "101", 53: "2600000000000000"})))
    lost = INTERBANK.unpack(sent[-1][1])
    assert (lost.mti, lost[70], lost[53], lost[100]) == ("0800", "101", "2600000000000000", "01020000")
    assert lost.text(48).startswith("NK")
    # the key before is in force until the member has taken the new one
    world.exchange((world.acquirer, world.acquirer.sale(1)))
    assert len(world.taken(world.issuer)) == 1
    world.advance(3.1)
    assert world.acquirer.zone.mac_key != before
    world.advance(30)
    world.taken(world.acquirer)
    world.taken(world.issuer)
    assert [m.mti for m in world.acquirer.network_management].count("0800") == 3
    assert same_keys(world)


def test_a_lost_answer_to_a_key_leaves_both_ends_with_the_same(world: World) -> None:
    sent = world.turn((world.acquirer, request(world, {70: "101", 53: "2600000000000000"})))
    for link, body in sent:
        world.hand(link, body)  # the member's 0810 is lost: it uses the new key already
    world.advance(3.1)
    assert same_keys(world)


def test_a_late_copy_of_an_old_key_is_mended(world: World) -> None:
    sent = world.turn((world.acquirer, request(world, {70: "101", 53: "2600000000000000"})))
    old = sent[-1][1]
    world.exchange(*((world.acquirer, reply) for link, body in sent for reply in world.hand(link, body)))
    world.command("reset_keys", member_id="01020000")
    assert same_keys(world)
    # the copy arrives last: the member goes back to that key, and says so
    world.exchange(*((world.acquirer, reply) for reply in world.hand("member:1", old)))
    assert same_keys(world)


def test_a_key_that_the_member_refuses_is_replaced(world: World) -> None:
    sent = world.turn((world.acquirer, request(world, {70: "101", 53: "2600000000000000"})))
    offer = INTERBANK.unpack(sent[-1][1])
    refused = {n: offer[n] for n in (7, 11, 53, 70, 100)} | {33: "01020000", 39: "A0"}
    header = InterbankHeader(destination=SWITCH_ID, source="01020000")
    world.exchange((world.acquirer, INTERBANK.pack(Message("0810", dict(sorted(refused.items())), header))))
    assert world.switch.dropped == {"key refused by the member": 1}
    assert same_keys(world)


def test_an_answer_made_with_another_key_puts_nothing_in_force(world: World) -> None:
    sent = world.turn((world.acquirer, request(world, {70: "101", 53: "2600000000000000"})))
    for link, body in sent:
        replies = world.hand(link, body)
    forged = bytearray(replies[-1])
    forged[-1] ^= 1
    zone = world.unit.find(ZoneKeys, "zone", "01020000")
    assert zone is not None
    before = zone.mac_key
    world.turn((world.acquirer, bytes(forged)))
    assert zone.mac_key == before
    world.exchange((world.acquirer, replies[-1]), (world.acquirer, replies[-1]))
    assert zone.mac_key != before
    assert same_keys(world)
    assert world.switch.dropped == {"0810 of another key": 1, "repeated 0810": 1}


def test_keys_outlive_the_switch(world: World) -> None:
    key = world.acquirer.zone.mac_key
    world.crash()
    zone_of_switch = world.switch.links.sessions
    assert zone_of_switch == {}
    world.exchange((world.acquirer, world.acquirer.sale(1)))
    assert [reply[39] for reply in world.taken(world.acquirer)] == ["77"]
    assert world.acquirer.zone.mac_key == key
    world.sign_on()
    assert same_keys(world)


@pytest.mark.parametrize("seed", range(6))
def test_whatever_is_lost_doubled_or_late_both_ends_come_to_the_same_keys(world: World, seed: int) -> None:
    random = Random(seed)
    wire: list[tuple[str, bytes]] = []

    def put(sent: list[tuple[str, bytes]]) -> None:
        for one in sent:
            wire.extend([one] * random.choice((0, 1, 1, 1, 2)))

    for _ in range(4):
        put(world.turn((world.acquirer, request(world, {70: "101", 53: f"{random.choice('12')}600000000000000"}))))
        for _ in range(12):
            if not wire:
                break
            link, body = wire.pop(random.randrange(len(wire)))
            if link.startswith("to switch"):
                put(world.turn((world.acquirer, body)))
            else:
                replies = world.hand(link, body)
                wire.extend(("to switch", reply) for reply in replies for _ in range(random.choice((0, 1, 1, 2))))
    for link, body in wire:
        if not link.startswith("to switch"):
            world.exchange(*((world.acquirer, reply) for reply in world.hand(link, body)))
    world.advance(15)
    assert same_keys(world)
