"""Two issuers with BINs of their own: each card's payments reach the bank that issued it, and no other."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa

from network.ledger import Transfer
from scenarios.demo_network import demo
from scenarios.demo_network.members import ISSUERS, DemoIssuer
from scenarios.stage import Card, Process, Stage, cast_of
from scenarios.stories.corner_shop import corner_shop
from scenarios.stories.street_market import street_market
from scenarios.worlds.virtual_world import VirtualWorld, play, virtual_world

pytestmark = pytest.mark.slow

QUICK = demo.Timeouts(issuer=2.0, switch=3.0, acquirer=4.0, advice_retry=1.0, reversal_retry=1.0)
FIRST, SECOND = ISSUERS


@pytest.fixture
def world() -> Iterator[VirtualWorld]:
    with virtual_world(5, phones=8, cards=40, timeouts=QUICK, issuers=2) as made:
        yield made


def posted(world: VirtualWorld, party: str) -> set[str]:
    """References of the sales that a party has in its books and that are not reversed."""
    table = world.stores[party].tables[Transfer]
    with world.stores[party].read() as connection:
        ids = set(connection.execute(sa.select(table.c.transfer_id)).scalars())
    reversals = {one.removesuffix("/reversal") for one in ids if one.endswith("/reversal")}
    return {one.removesuffix("/sale") for one in ids if one.endswith("/sale")} - reversals


def owed(world: VirtualWorld, party: str, account: str) -> int:
    accounts = world.party_books()[party].accounts
    return sum(one.credits - one.debits for one in accounts if one.account_id == account)


def test_a_market_with_cards_of_both(world: VirtualWorld) -> None:
    result = play(world, "street_market", street_market, duration=30.0, phones=8)
    assert result.books.agree, result.books.problems
    assert set(result.parties) == {"merchant_device", "acquirer", "switch", "issuer", "issuer_b"}
    first, second = posted(world, "issuer"), posted(world, "issuer_b")
    assert min(len(first), len(second)) > 10
    assert not first & second
    assert first | second == posted(world, "switch") == posted(world, "acquirer")
    for one in ISSUERS:
        due = -owed(world, "switch", f"member:{one.member_id}")
        assert due == owed(world, one.party, "settlement:network") > 0


def test_a_corner_shop_whose_payers_phones_are_of_both() -> None:
    with virtual_world(1, cast=cast_of(corner_shop), issuers=2) as world:
        result = play(world, "corner_shop", corner_shop, duration=240.0, phones=0)
        assert result.books.agree, result.books.problems
        assert posted(world, "issuer")
        assert posted(world, "issuer_b")


def cards_of(stage: Stage, one: DemoIssuer) -> list[Card]:
    held = [card for card in stage.cards if card.issuer == one.party]
    assert held
    assert all(card.pan.startswith(one.bin) for card in held)
    return held


def down(world: VirtualWorld, link: str) -> None:
    world.network.set_link(world.nodes["switch"], link, up=False)


def silent(world: VirtualWorld, link: str) -> None:
    world.network.set_wire(world.nodes["switch"], link, loss=1.0)


@pytest.mark.parametrize(("trouble", "code"), [(down, "91"), (silent, "98")])
@pytest.mark.parametrize("away", ISSUERS, ids=lambda one: one.party)
def test_one_issuers_trouble_is_not_the_others(
    world: VirtualWorld, trouble: Callable[[VirtualWorld, str], None], code: str, away: DemoIssuer
) -> None:
    codes: dict[str, object] = {}
    link = f"issuer:{away.member_id}"

    def story(stage: Stage) -> Process:
        trouble(world, link)
        yield stage.env.timeout(1.0)
        for one in ISSUERS:
            receipt = yield stage.phones[0].collect(100, cards_of(stage, one)[0])
            codes[one.party] = receipt["response_code"]

    world.env.run(until=world.env.process(story(world.stage(60, 1))))
    there = SECOND if away is FIRST else FIRST
    assert codes == {away.party: code, there.party: "00"}
    world.network.set_link(world.nodes["switch"], link, up=True)
    world.network.set_wire(world.nodes["switch"], link, loss=0.0)
    assert world.run_until(world.is_settled, 120.0), "something stays pending"
    assert (len(posted(world, away.party)), len(posted(world, there.party))) == (0, 1)
    books = world.books()
    assert books.agree, books.problems
