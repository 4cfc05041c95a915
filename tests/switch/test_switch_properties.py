"""Whatever is lost, doubled, late or crashed: in the end every sale is approved and posted at both, or nowhere.

The other parties are played here from docs/protocol.md, in the simplest way that is right.
"""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from switch_world import PAN, Peer, World

from network.emv.qr import PayerCode as EmvCode
from network.iso8583 import Message
from network.party import SECOND, LinkChange
from network.store import sqlite_url

SALES = 100


class PlayedIssuer:
    """Approves or declines, remembers every reversal by DE90, and keeps its own books."""

    def __init__(self, peer: Peer, random: Random) -> None:
        self.peer = peer
        self.random = random
        self.posted: dict[str, int] = {}
        self.reversed: set[str] = set()
        self.codes: dict[str, str] = {}

    def take(self, message: Message) -> list[bytes]:
        # whatever the payer presented
        assert message[2] == PAN
        if message.mti == "0420":
            self.reversed.add(message.text(90)[4:10])
            return [self.peer.answer(message)]
        stan = message.text(11)
        if stan not in self.codes:
            code = "25" if stan in self.reversed else self.random.choice(("00", "00", "00", "51"))
            self.codes[stan] = code
            if code == "00":
                self.posted[stan] = int(message.text(4))
        return [self.peer.answer(message, self.codes[stan])]

    @property
    def total(self) -> int:
        return sum(amount for stan, amount in self.posted.items() if stan not in self.reversed)


class PlayedAcquirer:
    """Credits its merchants for what is approved in time, and reverses what is not answered in time."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.open: dict[str, tuple[float, int]] = {}
        self.approved: dict[str, int] = {}
        self.unreversed: dict[str, int] = {}
        self.refused: set[str] = set()
        self.shown: dict[str, str | None] = {}

    def take(self, message: Message) -> None:
        if message.mti == "0430":
            if message[39] not in ("96", "A0", "77"):
                self.unreversed.pop(message.text(37)[-6:], None)
            return
        stan = message.text(11)
        if message[39] == "A0" or message[39] == "77" or stan not in self.open:
            return
        # the card's number only where the card itself was shown
        assert message.get(2) == self.shown[stan]
        _, amount = self.open.pop(stan)
        if message[39] == "00":
            self.approved[stan] = amount
        else:
            self.refused.add(stan)

    def tick(self, now: float, after: float) -> list[bytes]:
        for stan, (at, amount) in list(self.open.items()):
            if now > at + after:
                del self.open[stan]
                self.unreversed[stan] = amount
        return [self.peer.reversal(500_000 + int(s), of=int(s), amount=a) for s, a in self.unreversed.items()]


def presented(world: World, token: str, stan: int, amount: int, how: int) -> tuple[bytes, str | None]:
    """A sale by the card, a token or a code, and the number that the acquirer knows."""
    if how == 0:
        return world.acquirer.sale(stan, amount), PAN
    if how == 1:
        return world.acquirer.sale(stan, amount, pan=token), token
    made_at = (world.now // SECOND).to_bytes(4)
    code = EmvCode(bytes(7), token, "3012", "000", bytes(8), bytes(8), stan.to_bytes(2), made_at)
    return world.acquirer.code_sale(stan, code.build(), amount), None


@pytest.mark.parametrize("seed", range(12))
def test_books_agree_after_any_disorder(tmp_path: Path, seed: int) -> None:
    random = Random(seed)
    world = World(sqlite_url(tmp_path / "switch.db"), issuer_timeout=5.0, advice_retry=2.0)
    world.sign_on()
    token = world.token()
    issuer, acquirer = PlayedIssuer(world.issuer, random), PlayedAcquirer(world.acquirer)
    wire: list[tuple[Peer, bool, bytes]] = []  # peer, whether towards the switch, body

    def put(peer: Peer, inward: bool, body: bytes) -> None:
        for _ in range(random.choice((0, 1, 1, 1, 1, 1, 2))):
            wire.insert(random.randrange(len(wire) + 1) if random.random() < 0.5 else len(wire), (peer, inward, body))

    def step() -> None:
        taken = [wire.pop(0) for _ in range(min(len(wire), random.randrange(1, 9)))]
        bodies = [(peer, body) for peer, inward, body in taken if inward]
        due = world.deadlines.pop_due(world.now, 1024)
        for link, body in world.turn(*bodies, due=due):
            put(world.peers[link], False, body)
        for peer, inward, body in taken:
            if not inward:
                for reply in peer.take(world.now, body):
                    put(peer, True, reply)
        for message in world.taken(world.issuer):
            for reply in issuer.take(message):
                put(world.issuer, True, reply)
        for message in world.taken(world.acquirer):
            acquirer.take(message)

    def quiet() -> None:
        """Everything arrives, everyone is up, and time passes."""
        wire.clear()
        world.sign_on()
        for _ in range(40):
            world.advance(1)
            for body in acquirer.tick(float("inf"), 0):
                world.exchange((world.acquirer, body))
            for message in world.taken(world.issuer):
                world.exchange(*((world.issuer, reply) for reply in issuer.take(message)))
            for message in world.taken(world.acquirer):
                acquirer.take(message)

    for stan in range(1, SALES + 1):
        amount = random.randrange(1, 10_000)
        acquirer.open[f"{stan:06d}"] = (world.now / 1e6, amount)
        body, acquirer.shown[f"{stan:06d}"] = presented(world, token, stan, amount, random.randrange(3))
        put(world.acquirer, True, body)
        for _ in range(random.randrange(4)):
            step()
        if random.random() < 0.3:
            world.now += random.randrange(3_000_000)
        if random.random() < 0.3:
            for body in acquirer.tick(world.now / 1e6, 8.0):
                put(world.acquirer, True, body)
        if random.random() < 0.06:
            world.issuer.lost()
            world.exchange(links=[LinkChange(world.issuer.link, False)])
            wire = [one for one in wire if one[0] is world.acquirer]
            world.sign_on(world.issuer)
        if random.random() < 0.06:
            wire.clear()
            world.crash()
            world.sign_on()
    quiet()
    assert acquirer.open == {}
    assert acquirer.unreversed == {}
    assert all(row.pending_for is None for row in world.advices())
    assert all(row.status != "pending" for row in world.transactions())
    approved = sum(acquirer.approved.values())
    assert world.positions() == (approved, -approved)
    assert issuer.total == approved
    assert approved > 0
    assert world.failures == []
    originals = [row.original for row in world.advices()]
    assert len(set(originals)) == len(originals)
