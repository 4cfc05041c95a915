"""Whatever arrives over a member link: an answer or a count, never an exception, and no loop of rejects."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from switch_world import PAN, SWITCH_ID, Peer, World

from network.emv.qr import PayerCode as EmvCode
from network.iso8583 import INTERBANK, InterbankHeader, Message
from network.iso8583.additional_data import encode_objects
from network.party import SECOND, LinkChange


def echo(source: str, destination: str = SWITCH_ID, reject_code: str = "00000") -> bytes:
    header = InterbankHeader(destination=destination, source=source, reject_code=reject_code)
    return INTERBANK.pack(Message("0820", {7: "1123100000", 11: "000009", 33: "01020000", 70: "301"}, header))


def sent_back(body: bytes, reject_code: bytes) -> bytes:
    """What is sent back of a message: ids swapped, the reject code set, the rest as it was."""
    return body[:6] + body[17:28] + body[6:17] + body[28:41] + reject_code + body[46:]


@pytest.mark.parametrize(
    ("body", "reject_code"),
    [
        (echo("09990000"), b"00058"),
        (echo(""), b"00058"),
        (echo("0102\x00000"), b"00058"),
        (echo("01020002").replace(b"01020002", b"0102000\xb2"), b"00058"),
        (echo("01020000", destination="00020000"), b"00092"),
        (echo("01020000")[:50] + b"\xff" * 8 + echo("01020000")[58:], b"00030"),
    ],
)
def test_what_cannot_be_taken_goes_back_as_it_came(world: World, body: bytes, reject_code: bytes) -> None:
    assert world.turn((world.acquirer, body)) == [("member:1", sent_back(body, reject_code))]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "undecodable"),
        (b"GET / HTTP/1.1\r\n\r\n", "undecodable"),
        (echo("01020000")[:45], "undecodable"),
        (echo("01020000", reject_code="00030"), "rejected by a member"),
        (echo("09990000", reject_code="00030"), "rejected message of no member"),
        (echo("01020000", reject_code="00030")[:-3] + b"xyz", "undecodable"),
    ],
)
def test_what_cannot_be_answered_is_counted(world: World, body: bytes, reason: str) -> None:
    assert world.turn((world.acquirer, body)) == []
    assert world.switch.dropped == {reason: 1}


@pytest.mark.parametrize(
    ("mti", "reason"),
    [("0110", "answer to nothing"), ("0310", "answer to nothing"), ("0210", "0210 without a request")],
)
def test_answers_to_nothing_are_dropped(world: World, mti: str, reason: str) -> None:
    message = INTERBANK.unpack(world.acquirer.sale(1))
    message.mti = mti
    assert world.turn((world.acquirer, world.acquirer.sealed(message))) == []
    assert world.switch.dropped == {reason: 1}


def test_answers_of_a_member_that_is_not_signed_on_are_dropped(world: World) -> None:
    world.exchange((world.acquirer, world.acquirer.sale(1)))
    (request,) = world.taken(world.issuer)
    world.turn(links=[LinkChange(world.issuer.link, False)])
    assert world.turn((world.issuer, world.issuer.answer(request))) == []
    assert world.switch.dropped == {"answer of a member that is not signed on": 1}
    assert world.positions() == (0, 0)


def test_a_stranger_can_neither_sign_on_nor_pay(world: World) -> None:
    body = world.acquirer.sale(1).replace(b"01020000   ", b"09990000   ", 1)
    ((_, back),) = world.turn((world.acquirer, body))
    assert back == sent_back(body, b"00058")
    assert "09990000" not in world.switch.links.sessions


@pytest.fixture(scope="module")
def junk_world(tmp_path_factory: pytest.TempPathFactory) -> World:
    world = World(f"sqlite:///{tmp_path_factory.mktemp('junk')}/switch.db")
    world.sign_on()
    return world


def still_works(world: World, stan: int) -> bool:
    world.acquirer.received.clear()
    world.issuer.received.clear()
    world.exchange((world.acquirer, world.acquirer.sale(stan, de7="1122090000")))
    (request,) = world.taken(world.issuer)
    world.exchange((world.issuer, world.issuer.answer(request)))
    return [reply[39] for reply in world.taken(world.acquirer)] == ["00"]


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300))
def test_any_bytes(junk_world: World, body: bytes) -> None:
    header = InterbankHeader(destination=SWITCH_ID, source="01020000")
    junk_world.turn((junk_world.acquirer, body), (junk_world.acquirer, header.frame(body)))
    assert junk_world.failures == []


def further_samples(world: World) -> list[tuple[Peer, bytes]]:
    """Sales by token and by code, offline sales, administrative messages, and answers to them."""
    acquirer, issuer = world.acquirer, world.issuer
    token = world.token()
    order = {"de4": "000000000100", "de102": "01020000000000000007", "de103": token}
    world.exchange((acquirer, acquirer.offline_sale(110)), (issuer, issuer.administrative(11, "940000", **order)))
    (offline,) = world.taken(issuer)
    (claim,) = world.taken(acquirer)
    device = {"01": "11", "02": "phone-1", "03": "+31.2304,+121.4737"}
    objects = encode_objects({"A2": device, "A4": {"01": "1", "02": "7"}, "A5": {"01": order["de102"]}})
    emv = EmvCode(bytes(7), token, "3012", "000", bytes(8), bytes(8), bytes(2), (world.now // SECOND).to_bytes(4))
    return [
        (acquirer, acquirer.sale(120, pan=token, de59=objects)),
        (acquirer, acquirer.code_sale(121, world.code(token, 12))),
        (acquirer, acquirer.code_sale(122, emv.build())),
        (acquirer, acquirer.offline_sale(123, de59=objects)),
        (issuer, issuer.administrative(13, "910000", de2=PAN, de14="3012", de48="code")),
        (issuer, issuer.administrative(14, "920000", de103=token)),
        (issuer, issuer.administrative(15, "930000", de103=token)),
        (issuer, issuer.administrative(16, "940000", **order)),
        (issuer, issuer.answer(offline, de59=objects)),
        (acquirer, acquirer.answer(claim)),
    ]


def test_mutated_messages(junk_world: World) -> None:
    """Messages of every type with bytes changed, some of them sealed again so that they get past the MAC."""
    world, random = junk_world, Random(11)
    assert still_works(world, 1)
    world.exchange((world.acquirer, world.acquirer.sale(100)))
    (request,) = world.taken(world.issuer)
    samples = [
        (world.acquirer, world.acquirer.sale(101)),
        (world.acquirer, world.acquirer.reversal(102, of=100)),
        (world.issuer, world.issuer.answer(request)),
        (world.acquirer, echo("01020000")),
        *further_samples(world),
    ]
    for _ in range(3000):
        peer, body = random.choice(samples)
        mutated = bytearray(body)
        for _ in range(random.randrange(1, 4)):
            mutated[random.randrange(len(mutated))] = random.choice((0, 0x30, 0x31, 0x39, 0x41, 0xFF, 0x20))
        world.turn((peer, bytes(mutated)))
        try:
            message = INTERBANK.unpack(bytes(mutated))
        except ValueError:
            continue
        for number in random.sample(sorted(message.fields), k=min(2, len(message.fields))):
            if number != 128 and random.random() < 0.5:
                del message.fields[number]
        world.turn((peer, peer.sealed(message)))
    assert world.failures == []
    world.sign_on()
    assert still_works(world, 2)
    world.positions()
