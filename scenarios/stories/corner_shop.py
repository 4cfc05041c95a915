"""A corner shop's day: a phone becomes the till, and customers pay by card, by phone and by both kinds of code.

Early in the morning the shopkeeper applies at the acquirer, first with a phone that is not good enough; the assistant's
phone becomes a second terminal. Through the day customers come, most of them at noon and in the evening, and things go
wrong as they do: cards are pulled away, PINs mistyped, codes are used twice, pasted over or held up two at a time,
lines break, a customer's phone is lost, a till is tampered with and replaced, another carried off and brought back.
Whatever happens, nothing is paid that must not be paid, and the books agree.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import simpy

from issuer.faulty_card import FaultyCard, Lost, torn
from issuer.payer_phone import PayerPhoneError
from merchant_device.sdk.errors import PhoneError
from merchant_device.sdk.onboarding import Application
from network.emv.qr import crc
from network.party import CommandError
from scenarios.demo_network.demo import ATTESTATION_SECONDS, MODEL, OLD_MODEL
from scenarios.stage import Card, Cast, Hand, Process, Receipt, ScenarioFailed, Stage, cast
from scenarios.stories.payers import CONFIRM_SECONDS, Refused, Scan, Show, Tap, Wallet, aim, altered_amount
from scenarios.stories.pictures import draw
from scenarios.stories.shop import Shop
from scenarios.stories.street_market import another_pin

PLACE: Final = "+31.2304,+121.4737"
ELSEWHERE: Final = "+39.9042,+116.4074"
WALLETS: Final = 6
"""Customers who pay with their phones."""

TYPING_SECONDS: Final = 0.8
TRIES: Final = 20
AGAIN_SECONDS: Final = 2.0
"""How often somebody tries again what did not work, and the pause between."""

PATIENCE_SECONDS: Final = 90.0
SHOPKEEPER, CUSTOMER = 0, 1
"""Who goes first at a till."""

BREAK_SECONDS: Final = 2.0
FETCH_SECONDS: Final = 3.0
"""Time to fetch another phone."""

SMALL: Final = 100_000
"""Fen up to which nobody asks for a PIN."""

_PRODUCTS: Final = ("ecash", "ecash", "ecash", "credit", "debit_with_ecash", "quasi_credit", "foreign")

_Visit: TypeAlias = "Callable[[Shop], Process]"


class DayFailed(ScenarioFailed):
    """Something was paid that must not have been, or could not be done; says what."""


class NobodyThere(Exception):
    """No customer with a free card or phone came to the till."""


@cast(
    Cast(
        phones=0,
        devices=3,
        cards=24,
        products=_PRODUCTS,
        till={"pin_always": False, "offline": True, "fdda": True, "floor_limit": 20_000},
    )
)
def corner_shop(stage: Stage) -> Process:
    """A corner shop's day: cards, phones and codes, and what goes wrong."""
    day = Day(stage)
    yield from day.open()
    troubles = stage.env.process(day.troubles())
    yield from day.trade()
    yield troubles
    yield from day.close()
    if day.wrong:
        raise DayFailed("; ".join(day.wrong))


def application(model: str, token: str) -> Application:
    """What the shopkeeper applies with; the person is invented, the id number has a right check character."""
    return Application(
        name="王小明",
        id_number="11010519491231002X",
        phone_number="13800138000",
        settlement_card="6228480000000000018",
        shop_name="小明便利店",
        city="上海",
        category="5411",
        model=model,
        place=PLACE,
        token=token,
    )


@dataclass
class Till:
    """A phone of the shop, and who waits for it; the shopkeeper goes before the customers."""

    shop: Shop
    queue: simpy.PriorityResource


class Day:
    """One day of the shop.

    Attributes
    ----------
    wrong : list of str
        What was paid and must not have been.
    """

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.wrong: list[str] = []
        self.tills: list[Till] = []
        # these cards are sound; among the others are a lost one, a blocked one and poor ones
        behind, others = stage.cards[12 : 12 + WALLETS], [*stage.cards[:12], *stage.cards[12 + WALLETS :]]
        self.wallets = [Wallet(stage, card) for card in behind]
        self.cards = [card for card in others if not card.name.startswith("ecash")]
        self.purses = [card for card in stage.cards if card.name.startswith("ecash")]
        self.lost: Wallet | None = None
        self.sticker: bytes | None = None
        self.here: set[simpy.Process] = set()
        self._busy: set[int] = set()
        token = stage.random.randbytes(32).hex()
        self.application = application(MODEL, token)

    # the morning

    def open(self) -> Process:
        """Become a merchant with two terminals; customers get tokens onto their phones."""
        stage = self.stage
        for wallet in self.wallets:
            stage.env.process(self._enrol(wallet))
        first, second, *_ = (Shop(stage, device) for device in stage.devices)
        refused = application(OLD_MODEL, stage.random.randbytes(32).hex())
        try:
            yield from first.open(refused)
        except PhoneError as error:
            if "model" not in str(error):
                self.wrong.append(f"an unsupported phone was refused for another reason: {error}")
        else:
            self.wrong.append("an unsupported phone became a terminal")
        for shop in (first, second):
            yield from self._open(shop)
            self.tills.append(Till(shop, simpy.PriorityResource(stage.env)))

    def _print_sticker(self, shop: Shop) -> Process:
        for _ in range(TRIES):
            terminal = shop.phone.terminal_id if shop.phone else ""
            answer = yield self.stage.ask("merchant_device", "static_code", {"terminal": terminal})
            if not isinstance(answer, CommandError) and answer["outcome"] == "approved":
                self.sticker = draw(str(answer["text"]))
                return
            yield self.stage.env.timeout(AGAIN_SECONDS)

    def _enrol(self, wallet: Wallet) -> Process:
        for _ in range(TRIES):
            try:
                yield from wallet.enrol()
            except Refused:
                yield self.stage.env.timeout(AGAIN_SECONDS)
            else:
                return

    # the day

    def trade(self) -> Process:
        """Customers come until the shop closes: one of each kind, then as it falls; those at a till are served."""
        stage, random = self.stage, self.stage.random
        first = list(self._visits())
        random.shuffle(first)
        day = max(1.0, stage.duration - (stage.env.now - stage.started))
        customers = min(400, 40 + int(day / 60))
        opened = stage.env.now
        while stage.is_open:
            # twice as many at noon and in the evening as in between
            part = (stage.env.now - opened) / day
            rate = customers / day * (1 + 0.5 * math.cos(4 * math.pi * (part - 0.4)))
            yield stage.env.timeout(random.expovariate(rate))
            if stage.is_open:
                kind = first.pop() if first else random.choices(self._visits(), self._weights)[0]
                visit = stage.env.process(self._serve(kind))
                self.here.add(visit)
                visit.callbacks.append(self.here.discard)
        while self.here:
            yield simpy.AllOf(stage.env, list(self.here))

    def _serve(self, visit: _Visit) -> Process:
        stage = self.stage
        till = stage.random.choice(self.tills)
        open_seconds = stage.duration - (stage.env.now - stage.started)
        with till.queue.request(priority=CUSTOMER) as turn:
            yield turn | stage.env.timeout(min(PATIENCE_SECONDS, open_seconds))
            if turn.triggered:
                try:
                    yield from visit(till.shop)
                except NobodyThere:
                    return

    def _visits(self) -> Sequence[_Visit]:
        return (
            self.by_card,
            self.by_card_with_pin,
            self.by_cash_card,
            self.by_phone,
            self.by_phone_confirmed,
            self.by_merchant_code,
            self.by_payer_code,
            self.by_cryptogram,
            self.by_sticker,
            self.with_a_mistyped_pin,
            self.with_a_card_pulled_away,
            self.with_two_codes_in_view,
            self.with_a_code_used_twice,
            self.with_a_code_pasted_over,
            self.with_an_order_paid_twice,
            self.with_a_broken_line,
        )

    _weights: Final = (22, 6, 12, 14, 5, 12, 8, 6, 5, 2, 4, 2, 2, 2, 2, 3)

    def price(self) -> int:
        """What a basket costs."""
        return min(SMALL, round(self.stage.random.lognormvariate(7.4, 0.8)) + 100)

    def close(self) -> Process:
        """Customers take their tokens off their phones again: a card has only so many."""
        for wallet in self.wallets:
            if wallet.phone.token:
                yield from self._reported(wallet.remove)

    # ways of paying

    def by_card(self, shop: Shop) -> Process:
        """A card held to the phone."""
        card = yield from self._somebodys(self.cards)
        yield shop.collect(self.price(), Hand(self.stage, card, typing=TYPING_SECONDS))
        self._home(card)

    def by_card_with_pin(self, shop: Shop) -> Process:
        """A card, and so much that the PIN is asked for."""
        card = yield from self._somebodys(self.cards)
        yield shop.collect(SMALL + self.price(), Hand(self.stage, card, typing=TYPING_SECONDS))
        self._home(card)

    def by_cash_card(self, shop: Shop) -> Process:
        """Electronic cash: the card approves by itself while it has money."""
        card = yield from self._somebodys(self.purses)
        yield shop.collect(min(2_000, self.price()), Hand(self.stage, card, typing=TYPING_SECONDS))
        self._home(card)

    def by_phone(self, shop: Shop) -> Process:
        """A phone held to the phone."""
        wallet = yield from self._somebodys(self.wallets)
        if (yield from self._tap(shop, wallet, self.price())):
            yield shop.collect(self.price(), Hand(self.stage, wallet.card, typing=TYPING_SECONDS))
        self._home(wallet)

    def by_phone_confirmed(self, shop: Shop) -> Process:
        """A phone, and so much that its holder has to confirm on it."""
        wallet = yield from self._somebodys(self.wallets)
        yield from self._tap(shop, wallet, SMALL + self.price())
        self._home(wallet)

    def _tap(self, shop: Shop, wallet: Wallet, amount: int) -> Process:
        """Hold a phone to the till; the value is whether it is one that was reported lost."""
        before = self.lost
        receipt = yield shop.collect(amount, Tap(self.stage, wallet))
        self._judge_lost(wallet, before, receipt)
        yield from self._replenish(wallet)
        return wallet is before

    def by_merchant_code(self, shop: Shop) -> Process:
        """The customer reads the code on the till."""
        wallet = yield from self._somebodys(self.wallets)
        before = self.lost
        receipt = yield from self._scan(shop, Scan(self.stage, wallet))
        self._judge_lost(wallet, before, receipt)
        self._home(wallet)

    def by_payer_code(self, shop: Shop) -> Process:
        """The till reads a code of digits on the customer's phone."""
        yield from self._show(shop, with_cryptogram=False)

    def by_cryptogram(self, shop: Shop) -> Process:
        """The till reads a code that the customer's phone has made by itself."""
        yield from self._show(shop, with_cryptogram=True)

    def by_sticker(self, shop: Shop) -> Process:
        """The customer reads the static code that is stuck to the counter, and says the amount."""
        stage = self.stage
        wallet = yield from self._somebodys(self.wallets)
        amount, began = self.price(), stage.env.now
        receipt: Receipt = {"outcome": "declined", "response_code": None, "amount": amount, "way": "static_code"}
        text = None if self.sticker is None else (yield from aim(stage, self.sticker))
        if text is not None:
            human = stage.env.now - began + CONFIRM_SECONDS
            try:
                receipt["response_code"] = yield from wallet.pay_order(text, amount)
                if receipt["response_code"] == "00":
                    receipt = yield from self._ended(wallet, receipt)
            except (Refused, PayerPhoneError) as error:
                receipt |= {"outcome": "refused", "reason": str(error)}
            stage.record(receipt, "static_code", due=began, sent=began, human=human)
        self._home(wallet)

    def _ended(self, wallet: Wallet, receipt: Receipt) -> Process:
        """How a payment that was claimed has ended: the customer's App asks its issuer."""
        for _ in range(TRIES):
            found = yield from wallet.last_payment()
            if found is not None and found["amount"] == receipt["amount"]:
                approved = found["response_code"] == "00"
                return {
                    **receipt,
                    "outcome": "approved" if approved else "declined",
                    "response_code": found["response_code"],
                }
            yield self.stage.env.timeout(0.2)
        return {**receipt, "outcome": "unknown", "response_code": None}

    def _show(self, shop: Shop, *, with_cryptogram: bool, neighbour: str | None = None, twice: bool = False) -> Process:
        wallet = yield from self._somebodys(self.wallets)
        try:
            code = yield from wallet.code(with_cryptogram=with_cryptogram)
        except (Refused, PayerPhoneError):
            self._home(wallet)
            return
        before = self.lost
        receipt = yield shop.collect(self.price(), Show(self.stage, code, neighbour=neighbour), "payer_code")
        self._judge_lost(wallet, before, receipt)
        if twice and receipt["outcome"] == "approved":
            again = yield shop.collect(self.price(), Show(self.stage, code), "payer_code")
            self._must_not(again, "a payer's code paid twice")
        yield from self._replenish(wallet)
        self._home(wallet)

    # what goes wrong

    def with_a_mistyped_pin(self, shop: Shop) -> Process:
        """One digit wrong, then right."""
        card = yield from self._somebodys(self.cards)
        amount = SMALL + self.price()
        receipt = yield shop.collect(amount, Hand(self.stage, card, another_pin(card.pin), TYPING_SECONDS))
        if receipt.get("cvm") == "online_pin":
            self._must_not(receipt, "a wrong PIN paid")
        yield shop.collect(amount, Hand(self.stage, card, typing=2 * TYPING_SECONDS))
        self._home(card)

    def with_a_card_pulled_away(self, shop: Shop) -> Process:
        """The card leaves the field in the middle, and comes back."""
        random = self.stage.random
        card = yield from self._somebodys(self.cards if random.random() < 0.5 else self.purses)
        pulled = FaultyCard(card.chip, torn(random.randrange(1, 6), random.choice((Lost.ANSWER, Lost.COMMAND))))
        shaking = Card(pulled, card.pin, card.name, card.pan)
        yield shop.collect(min(2_000, self.price()), Hand(self.stage, shaking, typing=TYPING_SECONDS))
        card.chip.reset()
        self._home(card)

    def with_two_codes_in_view(self, shop: Shop) -> Process:
        """Somebody else's code lies beside the customer's."""
        yield from self._show(shop, with_cryptogram=False, neighbour="6212345678901234567")

    def with_a_code_used_twice(self, shop: Shop) -> Process:
        """The same code is shown again."""
        yield from self._show(shop, with_cryptogram=self.stage.random.random() < 0.5, twice=True)

    def with_a_code_pasted_over(self, shop: Shop) -> Process:
        """Somebody has changed the amount in the code that the customer reads."""
        wallet = yield from self._somebodys(self.wallets)
        scan = Scan(self.stage, wallet, alter=lambda text: altered_amount(text, crc))
        receipt = yield from self._scan(shop, scan)
        self._must_not(receipt, "an order was paid with an amount that was pasted over")
        self._home(wallet)

    def with_an_order_paid_twice(self, shop: Shop) -> Process:
        """The customer's App pays the same order twice."""
        wallet = yield from self._somebodys(self.wallets)
        scan = Scan(self.stage, wallet, times=2)
        yield from self._scan(shop, scan)
        yield self.stage.env.timeout(4 * CONFIRM_SECONDS)
        # an order is open again when its first payment has failed: what counts is what the customer pays in the end
        for _ in range(TRIES):
            paid: Counter[str] = Counter((yield from self._orders_paid(wallet)))
            if not paid or max(paid.values()) == 1:
                break
            yield self.stage.env.timeout(AGAIN_SECONDS)
        else:
            self.wrong.append("an order was paid twice")
        self._home(wallet)

    def _orders_paid(self, wallet: Wallet) -> Process:
        try:
            return (yield from wallet.orders_paid())
        except Refused:
            return []

    def with_a_broken_line(self, shop: Shop) -> Process:
        """The line breaks while the payment is on it."""
        card = yield from self._somebodys(self.cards)
        payment = shop.collect(self.price(), Hand(self.stage, card, typing=TYPING_SECONDS))
        yield self.stage.env.timeout(self.stage.random.uniform(0.0, 0.15))
        if shop.phone is not None and self.stage.lines is not None:
            self.stage.lines.break_line(shop.phone.terminal_id, BREAK_SECONDS)
        yield payment
        self._home(card)

    def troubles(self) -> Process:
        """What happens once in the day: a customer's phone is lost and found, a till fails, another is carried off."""
        stage = self.stage
        left = max(1.0, stage.duration - (stage.env.now - stage.started))
        yield stage.env.timeout(0.2 * left)
        if (yield from self._reported(self.wallets[0].report_lost)):
            self.lost = self.wallets[0]
        yield stage.env.timeout(0.2 * left)
        yield from self._tamper(self.tills[1])
        yield stage.env.timeout(0.2 * left)
        yield from self._carry_off(self.tills[0], seconds=max(1.0, 0.05 * left))
        self.lost = None
        yield from self._reported(self.wallets[0].found)

    def _reported(self, report: Callable[[], Process]) -> Process:
        """Tell the bank something, again where it did not work; the value is whether it did."""
        for _ in range(TRIES):
            try:
                yield from report()
            except Refused:
                yield self.stage.env.timeout(AGAIN_SECONDS)
            else:
                return True
        return False

    def _told(self, what: str, ask: Callable[[], simpy.Event], done: str | None = None) -> Process:
        """Ask something of a party, again where it was not done; the value is whether it was.

        An error that says `done` means that there is nothing to do.
        """
        for _ in range(TRIES):
            answer = yield ask()
            if not isinstance(answer, CommandError) or (done is not None and done in str(answer)):
                return True
            yield self.stage.env.timeout(AGAIN_SECONDS)
        self.wrong.append(f"{what}: {answer}")
        return False

    def _tamper(self, till: Till) -> Process:
        """A debugger is seen on the phone: its keys are gone, another phone takes its place."""
        stage = self.stage
        with till.queue.request(priority=SHOPKEEPER) as turn:
            yield turn
            terminal = till.shop.phone.terminal_id if till.shop.phone else ""
            if (yield from self._told("signal", lambda: till.shop.tell("signal", signals=["debugger"]))):
                yield from self._refused(till.shop, "a phone that was tampered with took a payment")
            yield stage.env.timeout(FETCH_SECONDS)
            till.shop = Shop(stage, stage.devices[2])
            yield from self._open(till.shop, terminal)

    def _open(self, shop: Shop, terminal: str | None = None) -> Process:
        """Become a terminal, in more than one try where messages get lost or the acquirer does not know yet."""
        for remaining in reversed(range(TRIES)):
            try:
                return (yield from shop.open(self.application, terminal=terminal))
            except PhoneError:
                if not remaining:
                    raise
                yield self.stage.env.timeout(AGAIN_SECONDS)

    def _carry_off(self, till: Till, seconds: float) -> Process:
        """The phone is somewhere else: it takes no payment there, and is back in service when it is back."""
        stage, shop = self.stage, till.shop
        with till.queue.request(priority=SHOPKEEPER) as turn:
            yield turn
            is_elsewhere = yield from self._told("place", lambda: shop.tell("place", place=ELSEWHERE))
            yield stage.env.timeout(seconds)
            # until the verdict that the phone has is too old
            yield stage.env.timeout(ATTESTATION_SECONDS + 1)
            if is_elsewhere:
                yield from self._refused(shop, "a phone outside of its merchant's area took a payment")
            yield from self._told("place", lambda: shop.tell("place", place=PLACE))
            yield from self._told(
                "reactivation",
                lambda: stage.ask("acquirer", "device_reactivate", {"device_id": shop.device_id}),
                done="is active",
            )

    def _refused(self, shop: Shop, otherwise: str) -> Process:
        """Try to collect with a phone that must not; `otherwise` is what is wrong when it does."""
        card = yield from self._somebodys(self.cards)
        receipt = yield shop.collect(self.price(), Hand(self.stage, card, typing=TYPING_SECONDS))
        self._must_not(receipt, otherwise)
        self._home(card)

    # who is there

    def _must_not(self, receipt: Receipt, what: str) -> None:
        if receipt["outcome"] == "approved":
            self.wrong.append(what)

    def _judge_lost(self, wallet: Wallet, lost_before: Wallet | None, receipt: Receipt) -> None:
        if wallet is lost_before and wallet is self.lost:
            self._must_not(receipt, "a phone that was reported lost paid")

    def _replenish(self, wallet: Wallet) -> Process:
        try:
            yield from wallet.replenish()
        except Refused:
            return

    def _scan(self, shop: Shop, scan: Scan) -> Process:
        """Collect by the till's code, and give up when the customer's App has refused to pay; the receipt."""
        payment = shop.collect(self.price(), scan, "merchant_code")
        while not (payment.triggered or scan.answers):
            yield payment | self.stage.env.timeout(1.0)
        yield payment | self.stage.env.timeout(CONFIRM_SECONDS)
        if not payment.triggered and "00" not in scan.answers and shop.phone is not None:
            yield self.stage.ask("merchant_device", "cancel", {"terminal": shop.phone.terminal_id})
        receipt = yield payment
        return receipt

    def _somebodys(self, things: Sequence[object]) -> Process:
        """Somebody whose card or phone is not in use right now comes along.

        Raises
        ------
        NobodyThere
            Nobody did for long.
        """
        began = self.stage.env.now
        while self.stage.env.now < began + PATIENCE_SECONDS / 10:
            free = [one for one in things if id(one) not in self._busy and not self._is_out(one)]
            if free:
                chosen = free[self.stage.random.randrange(len(free))]
                self._busy.add(id(chosen))
                return chosen
            yield self.stage.env.timeout(0.5)
        raise NobodyThere

    def _is_out(self, thing: object) -> bool:
        return isinstance(thing, Wallet) and not thing.phone.token

    def _home(self, thing: object) -> None:
        self._busy.discard(id(thing))
