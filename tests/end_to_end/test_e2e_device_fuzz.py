"""Whatever reaches a phone and the parties behind it: an answer, a refusal or nothing, and never a turn that fails.

Every series is fixed by its seed: what fails once fails again. Where something is read by a pure function, ten thousand
inputs go there; and the same kinds of input go to the whole network in virtual time, which must still take a payment
afterwards, with books that agree.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest

from issuer.payer_phone import PayerPhoneError
from issuer.wallet import OPERATIONS as ISSUER_OPERATIONS
from merchant_device.camera import read_codes
from merchant_device.sdk.onboarding import ACQUIRER_OPERATIONS
from merchant_device.tables import Phone as PhoneRow
from merchant_device.tee.channel import MAX_FRAME, Channel, ChannelError, decode_request, take_frames
from merchant_device.tee.commands import COMMANDS, CommandRefused, admit
from network.attestation.monitoring_link import MonitoringError, pack_monitoring, unpack_monitoring
from network.emv import tlv
from network.emv.description import describe_tlv
from network.emv.dol import parse as parse_dol
from network.emv.iad import IadError, IssuerApplicationData
from network.emv.qr import MerchantCode, PayerCode, QrError, crc, is_domestic_code, merchant_objects
from network.iso8583 import INTERBANK, DecodeError
from network.iso8583.additional_data import AdditionalDataError, decode_objects, encode_objects
from network.keys import KeyHandle, MacAlgorithm, SecurityModule
from network.party import CommandError, Json
from network.virtual import Node
from scenarios.demo_network.demo import ATTESTATION_SECONDS, MODEL
from scenarios.stage import Card, Cast, Hand, Process, Receipt, Stage, cast_of
from scenarios.stories.corner_shop import PLACE, application, corner_shop
from scenarios.stories.payers import Refused, Show, Wallet
from scenarios.stories.pictures import View, draw, photograph
from scenarios.stories.shop import Shop
from scenarios.worlds import virtual_world
from scenarios.worlds.virtual_world import VirtualWorld

pytestmark = pytest.mark.slow

MANY = 10_000
SOME = 400


def mutated(data: bytes, random: Random) -> bytes:
    """Changed, cut, repeated, doubled or replaced, in one to three places."""
    changed = bytearray(data)
    for _ in range(random.randint(1, 3)):
        place = random.randrange(len(changed) + 1)
        match random.randrange(8):
            case 0 if place < len(changed):
                changed[place] = random.randrange(256)
            case 1 if place < len(changed):
                changed[place] ^= 1 << random.randrange(8)
            case 2:
                del changed[place : place + random.randint(1, 30)]
            case 3:
                changed[place:place] = changed[place : place + random.randint(1, 30)]
            case 4:
                changed[place:place] = random.randbytes(random.randint(1, 8))
            case 5:
                del changed[place:]
            case 6 if place < len(changed):
                changed[place] = random.choice(b"\x00\x01\x7f\x80\x81\x84\x9f\xff")
            case _:
                changed[-2:] = random.randbytes(2)
    return bytes(changed)


JUNK_TEXT = ('"', "{", "[", "\\ud800", "\u0000", "1e999", "null", "\ud7ff", "９", "-", "999", "00", " ", "小")


def mutated_text(text: str, random: Random) -> str:
    """The same for text: characters changed, cut, repeated, or such as no text should have."""
    for _ in range(random.randint(1, 3)):
        place = random.randrange(len(text) + 1)
        match random.randrange(5):
            case 0:
                text = text[:place] + chr(random.randrange(32, 127)) + text[place + 1 :]
            case 1:
                text = text[:place] + text[place + random.randint(1, 12) :]
            case 2:
                text = text[:place] + text[place : place + random.randint(1, 12)] + text[place:]
            case 3:
                text = text[:place] + random.choice(JUNK_TEXT) + text[place:]
            case _:
                text = text[:place] + str(random.randrange(1000)) + text[place + 3 :]
    return text


# what pure functions read

TLV_SAMPLES = [
    bytes.fromhex(one)
    for one in (
        "6F34840E325041592E5359532E4444463031A522BF0C1F611D4F08A000000333010101500E556E696F6E50617920446562697487"
        + "0101",
        "77299F2701809F360200019F2608A1A2A3A4A5A6A7A89F10080701010390000001820200009F6C028000",
        "9F66049F02069F03069F1A0295055F2A029A039C019F3704",
        "70115A0862284800000010005F24033012315F3401",
        "0701010390000001",
    )
]
TLV_READERS: tuple[Callable[[bytes], object], ...] = (
    tlv.parse,
    tlv.objects,
    tlv.flat,
    lambda data: tlv.find(data, "9F10"),
    describe_tlv,
    parse_dol,
    IssuerApplicationData.parse,
)


def test_ten_thousand_tlv_strings() -> None:
    random, refused = Random(20_181_204), Counter[str]()
    for number in range(MANY):
        data = mutated(random.choice(TLV_SAMPLES), random) if number % 4 else random.randbytes(random.randrange(80))
        for read in TLV_READERS:
            try:
                read(data)
            except (tlv.TlvError, IadError) as error:
                assert str(error)
                refused[type(error).__name__] += 1
        try:
            written = tlv.build(tlv.parse(data))
        except tlv.TlvError:
            continue
        assert tlv.build(tlv.parse(written)) == written
    assert refused["TlvError"] > MANY
    assert refused["IadError"] > MANY // 2


def merchant_code(random: Random) -> str:
    return MerchantCode(
        is_static=random.random() < 0.5,
        acquirer_id="48020000",
        order="4802000026112300000001",
        merchant_id="898290054110001",
        terminal_id="00000001",
        merchant_name="小明便利店",
        city="上海",
        category="5411",
        country="CN",
        currency="156",
        amount=random.choice((None, 888)),
        others={},
    ).build()


def payer_code() -> str:
    return PayerCode(
        aid=bytes.fromhex("A000000333010101"),
        token="6299000000000007",
        expiry="3012",
        sequence="000",
        iad=bytes.fromhex("07010103A0000001"),
        cryptogram=bytes(8),
        atc=bytes((0, 1)),
        unpredictable_number=bytes(4),
        name=None,
    ).build()


def right_crc(text: str) -> str:
    """The text with the checksum that is right for it, so that what stands before is looked at."""
    head = text[:-4]
    return head + crc(head)


def test_ten_thousand_qr_payloads_of_each_kind() -> None:
    random, seen = Random(7), Counter[str]()
    for number in range(MANY):
        text = mutated_text(merchant_code(random), random)
        texts = (text, right_crc(text)) if text.isascii() or number % 2 else (text,)
        for one in (*texts, mutated_text(payer_code(), random), chip_code(random)):
            is_domestic_code(one)
            for read in (MerchantCode.parse, PayerCode.parse, merchant_objects):
                try:
                    read(one)
                except QrError as error:
                    assert str(error)
                    seen["refused"] += 1
                else:
                    seen[read.__qualname__] += 1
    assert seen["refused"] > 2 * MANY
    assert min(seen["MerchantCode.parse"], seen["PayerCode.parse"], seen["merchant_objects"]) > 100, seen


def chip_code(random: Random) -> str:
    """A payer's code whose base64 is right around chip data that is not."""
    return base64.b64encode(mutated(base64.b64decode(payer_code()), random)).decode()


def test_ten_thousand_texts_of_additional_data() -> None:
    random, seen = Random(59), Counter[str]()
    good = encode_objects({"A2": {"01": "11", "02": "phone-1", "03": PLACE}, "A3": "6229000000000000001", "T1": "1"})
    for _ in range(MANY):
        text = mutated_text(good, random)
        try:
            objects = decode_objects(text)
        except AdditionalDataError as error:
            assert str(error)
            seen["refused"] += 1
            continue
        seen["read"] += 1
        assert decode_objects(encode_objects(objects)) == {tag: value for tag, value in objects.items() if value}
    assert min(seen["refused"], seen["read"]) > 500, seen


GOOD_REQUESTS = [
    json.dumps({"id": 1, "command": name, "arguments": {"terminal": "00000001", "amount": 888, "device": "FP-1-1"}})
    for name in COMMANDS
]


def test_ten_thousand_frames_of_the_command_channel() -> None:
    random, seen = Random(11), Counter[str]()
    for number in range(MANY):
        text = random.choice(GOOD_REQUESTS)
        body = mutated(text.encode(), random) if number % 2 else mutated_text(text, random).encode(errors="replace")
        buffer = bytearray(len(body).to_bytes(4, "big") + body)
        if number % 10 == 0:
            buffer = bytearray(mutated(bytes(buffer), random))
        try:
            for found in take_frames(buffer):
                request = decode_request(found)
                admit(request.command, request.arguments)
                seen["admitted"] += 1
        except (ChannelError, CommandRefused) as error:
            assert str(error)
            seen[type(error).__name__] += 1
    assert min(seen["ChannelError"], seen["CommandRefused"]) > 500, seen


def test_ten_thousand_bodies_of_the_monitoring_link() -> None:
    random, seen = Random(13), Counter[str]()
    good = b"0123ABCD" + json.dumps({"type": "challenge", "terminal": "00000001", "challenge": "00" * 32}).encode()
    for _ in range(MANY):
        try:
            unpack_monitoring(mutated(good, random))
        except MonitoringError as error:
            assert str(error)
            seen["refused"] += 1
        else:
            seen["read"] += 1
    assert min(seen["refused"], seen["read"]) > 500, seen


def test_pictures_that_are_none() -> None:
    random = Random(17)
    picture = photograph(draw(payer_code()), view=View(degrees=10), random=random)
    found = 0
    for number in range(SOME):
        found += bool(read_codes(mutated(picture, random) if number % 4 else random.randbytes(200)))
    assert found < SOME
    assert read_codes(picture) == [payer_code()]


# the whole network


class Town:
    """A network with a phone that its merchant has on-boarded, a plain one, and payers."""

    def __init__(self, world: VirtualWorld) -> None:
        self.world = world
        self.stage: Stage = world.stage(10_000_000.0, 1)
        self.till = Shop(self.stage, world.data.devices[0])
        self.wallet = Wallet(self.stage, self.stage.cards[1])
        self.answers = Counter[str]()
        self.spare = iter(range(1_000_000))
        self.run(self.till.open(application(MODEL, "5a" * 32)))
        self.run(self.wallet.enrol())
        self.before = world.party_books()

    def run(self, process: Process) -> object:
        return self.world.env.run(until=self.world.env.process(process))

    def collected(self, payment: object) -> Receipt:
        receipt: Receipt = self.world.env.run(until=payment)  # type: ignore[arg-type]
        self.answers[str(receipt["outcome"])] += 1
        return receipt

    def deliver(self, party: str, link: str, bodies: list[bytes]) -> None:
        self.world.nodes[party].receive(link, bodies)
        self.world.env.run(until=self.world.env.now + 0.1)

    @property
    def terminal(self) -> str:
        assert self.till.phone is not None
        return self.till.phone.terminal_id

    def mac_key(self) -> tuple[SecurityModule, KeyHandle]:
        """The MAC key of the on-boarded phone, as somebody has it who has taken it over."""
        row = self.world.stores["merchant_device"].unit_of_work().find(PhoneRow, "terminal_id", self.terminal)
        assert row is not None
        assert row.mak is not None
        module = self.world.modules["merchant_device"]
        return module, module.load(row.mak)

    def reactivate(self) -> None:
        """Whatever the acquirer has made of what the phone said, its operator lets it work again."""
        about: dict[str, Json] = {"device_id": self.stage.devices[0]}
        answer = self.world.env.run(until=self.stage.ask("acquirer", "device_reactivate", about))
        assert not isinstance(answer, CommandError) or "is active" in str(answer)

    def check(self) -> None:
        """No turn has failed, both phones still take payments, and the books agree."""
        world, card = self.world, self.stage.cards[0]
        card.chip.reset()
        for phone in (self.stage.phones[0], self.till.phone):
            assert phone is not None
            receipt = self.collected(phone.collect(888, card))
            assert receipt["outcome"] == "approved", receipt
        assert world.run_until(world.is_settled, 600)
        for node in world.nodes.values():
            assert node.failure_count == 0, [failure.error for failure in node.failures]
        books = world.books(self.before)
        assert books.agree, books.problems


@pytest.fixture(scope="module")
def town() -> Iterator[Town]:
    needs = cast_of(corner_shop)
    with virtual_world.virtual_world(1, cast=Cast(1, 1, 6, needs.products, needs.till)) as world:
        yield Town(world)


@pytest.fixture(autouse=True)
def sound(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "town" in request.fixturenames:
        request.getfixturevalue("town").check()


class Odd:
    """A chip some of whose answers are not its own; counts them."""

    changed = 0

    def __init__(self, card: Card, random: Random) -> None:
        self._chip = card.chip
        self._random = random

    def transmit(self, apdu: bytes) -> bytes:
        answer = self._chip.transmit(apdu)
        if self._random.random() < 0.6:
            return answer
        Odd.changed += 1
        return mutated(answer, self._random)

    def reset(self) -> None:
        self._chip.reset()


def test_ten_thousand_answers_of_odd_cards(town: Town) -> None:
    random, Odd.changed = Random(4), 0
    phone, cards = town.stage.phones[0], town.stage.cards
    town.answers.clear()
    while Odd.changed < MANY:
        card = random.choice(cards)
        card.chip.reset()
        odd = Card(Odd(card, random), card.pin, card.name, card.pan)
        town.collected(phone.collect(random.randrange(1, 2000), odd))
    assert town.answers["refused"] > 1000
    assert town.answers["approved"] > 50, "some of what was changed does not matter"


def test_pin_pads_that_say_anything(town: Town) -> None:
    random, phone = Random(5), town.stage.phones[0]

    class Pad(Hand):
        def endpoints(self) -> dict[str, Callable[[bytes, Callable[[bytes], None]], None]]:
            return {**super().endpoints(), "pinpad": self.say}

        def say(self, request: bytes, reply: Callable[[bytes], None]) -> None:
            entry = json.loads(request)["entry"]
            good = json.dumps({"entry": entry, "positions": [random.randrange(10) for _ in range(6)]})
            for _ in range(20):
                reply(mutated(good.encode(), random) if random.random() < 0.5 else mutated_text(good, random).encode())
            reply(json.dumps({"entry": entry, "cancelled": True}).encode())

    card = town.stage.cards[2]
    for _ in range(SOME // 10):
        card.chip.reset()
        town.collected(town.stage.env.process(phone.pay("sale", {"amount": 150_000}, Pad(town.stage, card))))


def test_codes_and_pictures_before_the_camera(town: Town) -> None:
    """Odd codes in good pictures, odd pictures of good codes; a mutated code that is read goes to the switch."""
    random, wallet = Random(6), town.wallet
    town.answers.clear()
    for number in range(SOME // 4):
        town.run(wallet.replenish())
        wallet.phone.confirm()
        code = wallet.phone.show_code()
        if number % 3 == 0:
            code = base64.b64encode(mutated(base64.b64decode(code), random)).decode()
        elif number % 3 == 1:
            code = mutated_text(f"62{random.randrange(10**17):017d}", random).encode(errors="replace").decode()
        show = Snapshots(town.stage, code, random)
        town.collected(town.till.collect(500, show, "payer_code"))
    assert town.answers["declined"] > 2
    assert town.answers["refused"] > 10


class Snapshots(Show):
    """A payer whose camera view is now and then no picture."""

    def __init__(self, stage: Stage, code: str, random: Random) -> None:
        super().__init__(stage, code)
        self._code_shown = draw(code)
        self._odd = random
        self._taken = 0

    def endpoints(self) -> dict[str, Callable[[bytes, Callable[[bytes], None]], None]]:
        return {**super().endpoints(), "camera": self._snapshot}

    def _snapshot(self, request: bytes, reply: Callable[[bytes], None]) -> None:
        self._taken += 1
        picture = photograph(self._code_shown, view=View(), random=self._odd)
        if self._taken > 3:
            picture = b""
        elif self._odd.random() < 0.5:
            picture = mutated(picture, self._odd)
        self._stage.timing.after(0.1, lambda: reply(picture))


def test_payers_who_scan_anything(town: Town) -> None:
    random, seen = Random(8), Counter[str]()
    for _ in range(SOME):
        text = mutated_text(merchant_code(random), random)
        if random.random() < 0.7:
            text = right_crc(text.encode(errors="replace").decode())
        try:
            code = town.run(town.wallet.pay_order(text))
        except (Refused, PayerPhoneError) as refused:
            assert str(refused)
            seen["refused"] += 1
        else:
            seen[str(code)] += 1
    assert seen["refused"] > 100
    assert not seen["00"]
    assert set(seen) > {"refused"}, "some of it got as far as the switch"


JUNK: tuple[Json, ...] = (
    *(None, True, 0, -1, 2**63, 2**200, 1.5, "", "x" * 5000, "\ud800", "\x00", "９", "00" * 32, "zz"),
    *([], {}, [[]], [None] * 50, {"a": {"b": {"c": []}}}, ["AAAA"] * 4, "+91,+181", PLACE, "transaction", "pin"),
)


def odd_object(good: dict[str, Json], random: Random) -> dict[str, Json]:
    """A monitoring object with some of its values, or all of it, replaced or left out."""
    changed = dict(good)
    for name in random.sample(sorted(changed), k=random.randint(1, len(changed))):
        if random.random() < 0.2:
            del changed[name]
        else:
            changed[name] = random.choice(JUNK)
    if random.random() < 0.2:
        changed[random.choice(("reversals", "reason", "x", "signals", "number"))] = random.choice(JUNK)
    return changed


def test_ten_thousand_frames_on_each_end_of_the_monitoring_link(town: Town) -> None:
    """Half of them with a right MAC: a phone that was taken over has the key."""
    random, link = Random(9), f"monitor:{town.terminal}"
    module, key = town.mac_key()
    about: dict[str, Json] = {"terminal": town.terminal, "purpose": "transaction"}
    chain: Json = [base64.b64encode(random.randbytes(200)).decode()] * 4
    shown: dict[str, Json] = {"chain": chain, "signature": "AAAA", "signals": [], "place": PLACE}
    said: dict[str, list[dict[str, Json]]] = {
        "acquirer": [
            {"type": "challenge_request", **about},
            {"type": "evidence", **about, **shown},
            {"type": "alarm", "terminal": town.terminal, "signals": ["root"], "reversals": [], "number": "00" * 8},
            {"type": "killed", "terminal": town.terminal, "reversals": [{"batch": 1}], "number": "00" * 8},
        ],
        "merchant_device": [
            {"type": "challenge", **about, "challenge": "00" * 32},
            {"type": "verdict", **about, "accepted": True, "reason": None, "valid_seconds": 10},
            {"type": "noted", "terminal": town.terminal, "number": "00" * 8},
        ],
    }
    for party, objects in said.items():
        for _ in range(MANY // 50):
            bodies = []
            for place in range(50):
                content = odd_object(random.choice(objects), random)
                with suppress(MonitoringError, UnicodeEncodeError):
                    body = pack_monitoring(module, key, content)
                    bodies.append(body if place % 2 else mutated(body, random))
                text = json.dumps(content, separators=(",", ":")).encode()[:16_000]
                bodies.append(genuine(module, key, text) if place % 2 else mutated(b"0123ABCD" + text, random))
            town.deliver(party, link, bodies)
    dropped = town.world.nodes["merchant_device"].party.dropped  # type: ignore[attr-defined]
    assert dropped["monitoring: wrong MAC"] > 500
    town.reactivate()


def genuine(module: SecurityModule, key: KeyHandle, text: bytes) -> bytes:
    """A body with a right MAC over escapes that no honest end writes, such as half of a surrogate pair."""
    return module.mac(key, MacAlgorithm.CUP_ECB, text) + text


class Eavesdropper:
    """Sits on a phone's monitoring link and changes what the phone says of itself, with a right MAC.

    In between it answers what the acquirer has not said.
    """

    def __init__(self, town: Town, random: Random) -> None:
        self.changed = 0
        self._acquirer = town.world.nodes["acquirer"]
        self._link = f"monitor:{town.terminal}"
        self._module, self._key = town.mac_key()
        self._random = random

    def __call__(self, body: bytes, reply: Callable[[bytes], None]) -> None:
        random = self._random
        said = dict(unpack_monitoring(body).content)
        about = {name: said[name] for name in ("terminal", "purpose")}
        for answer in (
            {"type": "challenge", **about, "challenge": "5a" * 32},
            {"type": "verdict", **about, "accepted": False, "reason": "x", "valid_seconds": 10},
        ):
            odd = {**odd_object(answer, random), "type": answer["type"], **about}
            if odd.get("accepted") is not True:
                reply(genuine(self._module, self._key, json.dumps(odd).encode()[:16_000]))
        chain = said.get("chain")
        if isinstance(chain, list):
            place = random.randrange(len(chain))
            changed = base64.b64encode(mutated(base64.b64decode(str(chain[place])), random)).decode()
            said["chain"] = [*chain[:place], changed, *chain[place + 1 :]]
            self.changed += 1
        text = json.dumps(said, ensure_ascii=False, separators=(",", ":")).encode()
        self._acquirer.receive(self._link, [genuine(self._module, self._key, text)])


def test_certificates_that_nobody_issued(town: Town) -> None:
    random, device, link = Random(14), town.world.nodes["merchant_device"], f"monitor:{town.terminal}"
    eavesdropper, card = Eavesdropper(town, random), town.stage.cards[0]
    town.answers.clear()
    device.attach(link, eavesdropper)
    try:
        for _ in range(SOME):
            # long enough for the verdict before to be too old
            town.world.env.run(until=town.world.env.now + ATTESTATION_SECONDS + 1)
            card.chip.reset()
            town.collected(town.till.collect(100, Hand(town.stage, card)))
            town.reactivate()
    finally:
        device.detach(link)
    assert eavesdropper.changed > SOME // 4
    assert set(town.answers) == {"refused"}, "what a certificate says is signed, whichever byte is another"
    town.world.env.run(until=town.world.env.now + ATTESTATION_SECONDS + 1)


OPERATIONS = {
    "merchant_device": (*COMMANDS, "place"),
    "acquirer": (*ACQUIRER_OPERATIONS, "onboarding_review", "device_suspend", "device_reactivate", "device_kill"),
    "issuer": tuple(ISSUER_OPERATIONS),
}
NAMES = (
    *(
        "terminal",
        "device",
        "amount",
        "ways",
        "challenge",
        "merchant",
        "wrapped_tmk",
        "place",
        "limit",
        "show",
        "signals",
    ),
    *("application_id", "token", "chain", "signature", "terminal_id", "device_id", "reason", "approve", "devices"),
    *("name", "id_number", "phone_number", "settlement_card", "shop_name", "city", "category", "model", "radius"),
    *("pan", "domains", "wallet_public_key", "text", "token_id", "account_id", "reference", "counter"),
)


def test_commands_with_any_arguments(town: Town) -> None:
    """Some are right, but never a device: those that are would be suspended, wiped or killed, as asked."""
    random, seen = Random(15), Counter[str]()
    pan = town.stage.cards[3].pan
    right: tuple[Json, ...] = (town.terminal, "00000001", 888, ["tap"], "5a" * 32, MODEL, "5411", pan)
    # the models of REST and of the channel let no text through that is none
    junk = [one for one in JUNK if one != "\ud800"]
    for _ in range(MANY // 10):
        for party, operations in OPERATIONS.items():
            arguments = {name: random.choice((*junk, *right)) for name in random.sample(NAMES, k=random.randint(0, 12))}
            operation = random.choice(operations)
            if operation in ("sale", "balance", "sign_off"):
                arguments["terminal"] = random.choice(junk)
            waiting = town.stage.ask(party, operation, arguments)
            town.world.env.run(until=town.world.env.now + 0.05)
            answer = waiting.value if waiting.triggered else None
            seen["refused" if isinstance(answer, CommandError) else "answered"] += 1
    assert seen["refused"] > MANY // 10
    assert seen["answered"] > 10
    town.world.env.run(until=town.world.env.now + 120)


class Meddler:
    """Sits on the line between the acquirer and the switch, and changes what no MAC covers: chip data and DE59."""

    def __init__(self, node: Node, random: Random) -> None:
        self.changed = 0
        self._node = node
        self._random = random

    def __call__(self, body: bytes, reply: Callable[[bytes], None]) -> None:
        random = self._random
        with suppress(DecodeError):
            message = INTERBANK.unpack(body)
            if message.mti in ("0200", "0220"):
                if 55 in message.fields and random.random() < 0.7:
                    message.fields[55] = mutated(message.binary(55), random)[:255]
                if random.random() < 0.8:
                    good = encode_objects(
                        {"A2": {"01": "11", "02": "phone-1", "03": PLACE}, "A4": {"01": "1", "02": "9"}}
                    )
                    text = message.fields.get(59, good)
                    assert isinstance(text, str)
                    message.fields[59] = mutated_text(text, random).encode("ascii", "replace").decode()[:600] or "A"
                message.fields = dict(sorted(message.fields.items()))
                with suppress(ValueError):
                    body = INTERBANK.pack(message)
                    self.changed += 1
        self._node.receive("member:acquirer", [body])


def test_chip_data_and_additional_data_that_nobody_sent(town: Town) -> None:
    acquirer, random = town.world.nodes["acquirer"], Random(10)
    meddler = Meddler(town.world.nodes["switch"], random)
    acquirer.attach("switch", meddler)
    town.answers.clear()
    try:
        for _ in range(SOME):
            card = random.choice(town.stage.cards)
            card.chip.reset()
            town.collected(town.stage.phones[0].collect(random.randrange(100, 2000), card))
    finally:
        acquirer.detach("switch")
    assert meddler.changed > SOME // 2
    assert town.answers["declined"] > 50


def test_a_live_command_channel(town: Town, tmp_path: Path) -> None:
    """Hundreds of odd frames, each on whatever connection is open; what is admitted goes to the phones' party."""
    random, seen = Random(12), Counter[str]()

    async def carry(name: str, arguments: dict[str, Json]) -> Json:
        result = town.world.env.run(until=town.stage.ask("merchant_device", name, arguments))
        if isinstance(result, CommandError):
            raise result
        answer: Json = result
        return answer

    async def play() -> None:
        channel = Channel(carry, lambda _, __: None)
        await channel.listen(tmp_path / "channel")
        writer: asyncio.StreamWriter | None = None
        try:
            for _ in range(SOME):
                if writer is None:
                    reader, writer = await asyncio.open_unix_connection(str(tmp_path / "channel"))
                text = json.dumps({"id": 1, "command": "history", "arguments": {"terminal": town.terminal, "limit": 3}})
                body = mutated(text.encode(), random)
                whole = len(body).to_bytes(4, "big") + body
                writer.write(whole if random.random() < 0.8 else mutated(whole, random))
                # the end of this connection, so that half a frame is not waited for
                writer.write_eof()
                async with asyncio.timeout(10):
                    answered = await reader.read(MAX_FRAME)
                seen["answered" if answered else "closed"] += 1
                writer.close()
                writer = None
            reader, writer = await asyncio.open_unix_connection(str(tmp_path / "channel"))
            body = json.dumps({"id": 5, "command": "status", "arguments": {}}).encode()
            writer.write(len(body).to_bytes(4, "big") + body)
            async with asyncio.timeout(10):
                length = int.from_bytes(await reader.readexactly(4), "big")
                assert json.loads(await reader.readexactly(length))["id"] == 5
            writer.close()
        finally:
            await channel.close()

    asyncio.run(play())
    assert seen["answered"] > SOME // 4, seen
