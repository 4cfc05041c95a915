"""Payers with a phone: what they hold to a till, show it, or read from it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from random import Random

import pytest
from PIL import Image

from network.emv.qr import MerchantCode, crc
from scenarios.demo_network.demo import MODEL
from scenarios.stage import Cast, Process, Receipt, Stage
from scenarios.stories.corner_shop import application
from scenarios.stories.payers import CONFIRM_SECONDS, Refused, Scan, Show, Tap, Wallet, aim, altered_amount
from scenarios.stories.pictures import View, draw, photograph
from scenarios.stories.shop import Shop
from scenarios.worlds.virtual_world import VirtualWorld, virtual_world

pytestmark = pytest.mark.slow

ORDER = MerchantCode(
    is_static=False,
    acquirer_id="48020000",
    order="4802000000000001",
    merchant_id="898290054110001",
    terminal_id="00000001",
    merchant_name="Shop",
    city="Shanghai",
    category="5411",
    country="CN",
    currency="156",
    amount=123_456,
    others={},
)


class Counter:
    """A till and a customer, in a world of their own."""

    def __init__(self, world: VirtualWorld) -> None:
        self.world = world
        self.stage: Stage = world.stage(10_000.0, 0)
        self.till = Shop(self.stage, world.data.devices[0])
        self.wallet = Wallet(self.stage, self.stage.cards[0])
        self.run(self.till.open(application(MODEL, "5a" * 32)))
        self.run(self.wallet.enrol())

    def run(self, process: Process) -> object:
        return self.world.env.run(until=self.world.env.process(process))

    def collect(self, fen: int, payer: Tap | Scan | Show, way: str = "tap") -> Receipt:
        receipt: Receipt = self.world.env.run(until=self.till.collect(fen, payer, way))
        return receipt


@pytest.fixture(scope="module")
def counter() -> Iterator[Counter]:
    needs = Cast(phones=0, devices=1, cards=3, till={"pin_always": False})
    with virtual_world(5, cast=needs) as world:
        yield Counter(world)


def test_a_small_amount_needs_no_confirmation_and_a_large_one_does(counter: Counter) -> None:
    small, large = Tap(counter.stage, counter.wallet), Tap(counter.stage, counter.wallet)
    receipt = counter.collect(1_000, small)
    assert (receipt["outcome"], receipt["cvm"], small.human_seconds) == ("approved", "no_cvm", 0.0)
    began = counter.world.env.now
    receipt = counter.collect(200_000, large)
    assert (receipt["outcome"], receipt["cvm"], receipt["way"]) == ("approved", "cdcvm", "phone")
    assert large.human_seconds == pytest.approx(CONFIRM_SECONDS)
    assert counter.world.env.now - began > CONFIRM_SECONDS


def test_what_the_holder_takes_is_no_latency(counter: Counter) -> None:
    before = counter.stage.measurement.ways()["phone"].latency
    counter.collect(200_000, Tap(counter.stage, counter.wallet))
    seen = counter.stage.measurement.ways()["phone"].latency
    assert seen.count == before.count + 1
    assert seen.max < 1_000_000


def test_an_order_is_read_and_paid_once(counter: Counter) -> None:
    scan = Scan(counter.stage, counter.wallet, times=2)
    receipt = counter.collect(777, scan, "merchant_code")
    assert (receipt["outcome"], receipt["way"], receipt["amount"]) == ("approved", "merchant_code", 777)
    counter.world.env.run(until=counter.world.env.now + 10)
    assert scan.answers[0] == "00"
    assert len(scan.answers) == 2
    assert scan.answers[1] != "00"
    paid = counter.run(counter.wallet.orders_paid())
    assert isinstance(paid, list)
    assert paid.count(receipt["order"]) == 1


@pytest.mark.parametrize("with_cryptogram", [False, True])
def test_a_code_is_shown_also_beside_a_neighbours(counter: Counter, with_cryptogram: bool) -> None:
    code = counter.run(counter.wallet.code(with_cryptogram=with_cryptogram))
    show = Show(counter.stage, str(code), neighbour="6212345678901234567")
    receipt = counter.collect(555, show, "payer_code")
    assert (receipt["outcome"], receipt["way"]) == ("approved", "payer_code")
    assert show.human_seconds > 0


def test_a_lost_phone_pays_nothing_and_a_found_one_does(counter: Counter) -> None:
    wallet = counter.wallet
    counter.run(wallet.report_lost())
    assert counter.collect(100, Tap(counter.stage, wallet))["outcome"] == "declined"
    with pytest.raises(Refused):
        counter.run(wallet.code(with_cryptogram=False))
    counter.run(wallet.found())
    assert counter.collect(100, Tap(counter.stage, wallet))["outcome"] == "approved"


def test_a_card_s_tokens_can_be_taken_off_and_put_on_again(counter: Counter) -> None:
    """More often than a card may have tokens at once."""
    for _ in range(25):
        wallet = Wallet(counter.stage, counter.stage.cards[1])
        counter.run(wallet.enrol())
        counter.run(wallet.remove())


def test_somebody_who_can_read_nothing_gives_up(counter: Counter) -> None:
    blank = Image.new("L", (200, 200), 255)
    buffer = io.BytesIO()
    blank.save(buffer, "PNG")
    assert counter.run(aim(counter.stage, buffer.getvalue())) is None


def test_a_code_pasted_over_is_a_right_code_of_another_amount() -> None:
    forged = MerchantCode.parse(altered_amount(ORDER.build(), crc))
    assert forged.amount == 1
    assert (forged.order, forged.merchant_id) == (ORDER.order, ORDER.merchant_id)


def test_a_forged_order_is_not_paid(counter: Counter) -> None:
    scan = Scan(counter.stage, counter.wallet, alter=lambda text: altered_amount(text, crc))
    payment = counter.till.collect(999, scan, "merchant_code")
    counter.world.env.run(until=counter.world.env.now + 15)
    assert scan.answers == ["13"]
    assert not payment.triggered
    assert counter.till.phone is not None
    counter.stage.ask("merchant_device", "cancel", {"terminal": counter.till.phone.terminal_id})
    assert counter.world.env.run(until=payment)["outcome"] == "refused"


def test_the_same_hand_takes_the_same_picture() -> None:
    pictures = {photograph(draw("62"), view=View.unsteady(random), random=random) for random in (Random(3), Random(3))}
    assert len(pictures) == 1
