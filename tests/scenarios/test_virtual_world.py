"""The whole network in virtual time: repeatable to the byte, and its money right under every fault."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
import sqlalchemy as sa

import acquirer.tables
import merchant_device.tables
from network.ledger import Transfer
from network.store import Store
from network.virtual import Wire
from scenarios import report
from scenarios.demo_network import demo
from scenarios.demo_network.members import ISSUER_ID
from scenarios.result import Result
from scenarios.stage import Process, Stage
from scenarios.stories.street_market import another_pin, street_market
from scenarios.worlds import virtual_world
from scenarios.worlds.virtual_world import VirtualWorld, play

pytestmark = pytest.mark.slow

QUICK = demo.Timeouts(issuer=2.0, switch=3.0, acquirer=4.0, advice_retry=1.0, reversal_retry=1.0)


def market(seed: int, duration: float = 20.0, phones: int = 8) -> Result:
    with virtual_world.virtual_world(seed, phones=phones, cards=60) as world:
        return play(world, "street_market", street_market, duration=duration, phones=phones)


def test_the_same_seed_gives_the_same_result_byte_for_byte(tmp_path: Path) -> None:
    for name in ("one", "two"):
        report.write(market(7), tmp_path / name)
    for file in ("result.json", "report.html"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_another_seed_gives_another_result() -> None:
    one, two = market(1), market(2)
    assert one.as_json() != two.as_json()
    assert one.books.agree
    assert two.books.agree


def test_the_market_shows_what_its_people_do() -> None:
    result = market(3, duration=60.0)
    assert result.approved > 100
    assert result.attempts == result.approved + sum(result.declined.values())
    assert {"41", "51", "55"} <= set(result.declined)
    assert result.amount == result.books.positions["issuer: owed to the network"]
    assert result.end_to_end.count == result.attempts
    assert result.end_to_end.p50 <= result.end_to_end.p95 <= result.end_to_end.p99 <= result.end_to_end.max


def test_three_wrong_pins_then_no_more() -> None:
    codes: list[object] = []

    def story(stage: Stage) -> Process:
        card, phone = stage.cards[0], stage.phones[0]
        for pin in (another_pin(card.pin), another_pin(card.pin), another_pin(card.pin), None):
            receipt = yield phone.collect(100, card, pin=pin)
            codes.append(receipt["response_code"])

    with virtual_world.virtual_world(1, phones=1, cards=2) as world:
        world.env.run(until=world.env.process(story(world.stage(60, 1))))
    assert codes == ["55", "55", "55", "75"]


def test_a_card_without_money_and_a_silent_issuer() -> None:
    seen: list[dict[str, object]] = []

    def story(stage: Stage) -> Process:
        seen.append((yield stage.phones[0].collect(101, stage.cards[11])))
        seen.append((yield stage.phones[0].collect(100, stage.cards[11])))
        world.network.set_wire(world.nodes["switch"], f"issuer:{ISSUER_ID}", loss=1.0)
        seen.append((yield stage.phones[0].collect(100, stage.cards[0])))
        world.network.set_link(world.nodes["switch"], f"issuer:{ISSUER_ID}", up=False)
        yield stage.env.timeout(1)
        seen.append((yield stage.phones[0].collect(100, stage.cards[0])))

    with virtual_world.virtual_world(1, phones=1, cards=20, timeouts=QUICK) as world:
        world.env.run(until=world.env.process(story(world.stage(60, 1))))
        codes = [one["response_code"] for one in seen]
        assert codes == ["51", "00", "98", "91"]
        world.network.set_wire(world.nodes["switch"], f"issuer:{ISSUER_ID}", loss=0.0)
        world.network.set_link(world.nodes["switch"], f"issuer:{ISSUER_ID}", up=True)
        assert world.run_until(world.is_settled, 120)
        assert world.books().agree


FAULTS = {
    "loss": Wire(loss=0.03),
    "duplication": Wire(duplication=0.2),
    "reordering": Wire(reordering=0.3),
    "corruption": Wire(corruption=0.03),
    "everything": Wire(loss=0.02, duplication=0.05, reordering=0.1, corruption=0.02, jitter=4_000),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("seed", [1, 2])
def test_money_is_right_on_bad_wires(fault: str, seed: int) -> None:
    with virtual_world.virtual_world(seed, phones=12, cards=60, timeouts=QUICK) as world:
        for node, link in all_links(world):
            world.network.set_wire(node, link, **changes(FAULTS[fault]))
        result = play(world, "street_market", street_market, duration=60.0, phones=12)
        heal(world)
        assert result.approved > 50
        check_money(world)
        dropped = sum(sum(node.party.dropped.values()) for node in world.nodes.values())  # type: ignore[attr-defined]
        assert result.reversals + dropped > 0 or fault == "reordering", "the fault did no harm to overcome"


@pytest.mark.parametrize("party", ["issuer", "switch", "acquirer", "merchant_device"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_money_is_right_when_parties_crash(party: str, seed: int) -> None:
    """A crash every few seconds, at any moment of a turn, also between its commit and its sending."""
    with virtual_world.virtual_world(seed, phones=12, cards=60, timeouts=QUICK) as world:
        random = Random(seed)
        node = world.nodes[party]

        def trouble() -> Process:
            while True:
                yield world.env.timeout(random.uniform(1.0, 6.0))
                node.crash()
                yield world.env.timeout(random.uniform(0.05, 2.0))
                node.restart()

        world.env.process(trouble())
        stage = world.stage(40.0, 12)
        waiting = world.env.process(selling(stage, random))
        world.env.run(until=waiting)
        if not node.is_running:
            node.restart()
        node.crash = lambda: None  # type: ignore[method-assign]
        node.restart = lambda: None  # type: ignore[method-assign]
        assert stage.measurement.approved > 20
        heal(world)
        check_money(world)


def selling(stage: Stage, random: Random) -> Process:
    """Every phone sells all the time; a crash of the phones' process loses whoever waits for its answer."""
    for place, phone in enumerate(stage.phones):
        stage.env.process(one_phone(stage, phone, stage.cards[20 + place], random))
    yield stage.env.timeout(stage.duration)


def one_phone(stage: Stage, phone: object, card: object, random: Random) -> Process:
    while stage.is_open:
        yield phone.collect(random.randrange(100, 9000), card) | stage.env.timeout(8.0)  # type: ignore[attr-defined]
        phone.is_busy = False  # type: ignore[attr-defined] # whoever waits no longer has seen it start anew
        yield stage.env.timeout(random.uniform(0.1, 0.5))


def changes(wire: Wire) -> dict[str, float]:
    return {name: getattr(wire, name) for name in ("loss", "duplication", "reordering", "corruption", "jitter")}


def all_links(world: VirtualWorld) -> list[tuple[object, str]]:
    return [(world.nodes[name], link) for name in ("merchant_device", "switch") for link in world.nodes[name].links]


def heal(world: VirtualWorld) -> None:
    for node, link in all_links(world):
        world.network.set_wire(node, link, **changes(Wire()))  # type: ignore[arg-type]
    assert world.run_until(world.is_settled, 600), "something stays pending"
    world.env.run(until=world.env.now + 30)


def standing(store: Store) -> dict[str, int]:
    table = store.tables[Transfer]
    with store.read() as connection:
        posted = {row.transfer_id: row.amount for row in connection.execute(sa.select(table))}
    sales = {name.removesuffix("/sale"): fen for name, fen in posted.items() if name.endswith("/sale")}
    reversed_ = {name.removesuffix("/reversal"): fen for name, fen in posted.items() if name.endswith("/reversal")}
    assert all(sales[reference] == fen for reference, fen in reversed_.items())
    return {reference: fen for reference, fen in sales.items() if reference not in reversed_}


def check_money(world: VirtualWorld) -> None:
    for node in world.nodes.values():
        assert not node.failures, [failure.error for failure in node.failures]
    at_acquirer = standing(world.stores["acquirer"])
    assert at_acquirer == standing(world.stores["switch"])
    assert at_acquirer == standing(world.stores["issuer"])
    transactions = world.stores["acquirer"].tables[acquirer.tables.Transaction]
    with world.stores["acquirer"].read() as connection:
        rows = connection.execute(sa.select(transactions.c.rrn, transactions.c.reference)).all()
        posted = {row.rrn: row.reference for row in rows}
    sales = world.stores["merchant_device"].tables[merchant_device.tables.Sale]
    with world.stores["merchant_device"].read() as connection:
        kept = [posted[r.rrn] for r in connection.execute(sa.select(sales)).all() if r.status == "approved"]
    assert sorted(kept) == sorted(at_acquirer)
    books = world.books()
    assert books.agree, books.problems
