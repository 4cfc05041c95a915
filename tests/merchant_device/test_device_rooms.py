"""What rooms may do: ways of paying, attestation, links, timers, commands and requests of their own."""

import pytest
from device_bed import PIN, TERMINAL_ID, Bed, ScriptedCard, typed

from merchant_device import display
from merchant_device.context import Context
from merchant_device.rooms import Room, Way
from merchant_device.tables import Phone
from merchant_device.terminal import CodeRequest, Kind, Phase, Terminal
from network.iso8583 import TERMINAL, Message
from network.iso8583.additional_data import decode_objects
from network.keys import PinFormat
from network.party import SECOND, Command, CommandError, LinkChange, Turn

CODE = "6212345678901234567"


class Codes(Way):
    """The payer's code is what the camera says."""

    name = "payer_code"
    links = ("camera",)

    def __init__(self, context: Context) -> None:
        self.payments = context.payments

    def begin(self, turn: Turn, terminal: Terminal, phone: Phone) -> None:
        self.payments.number(turn, terminal, phone)
        turn.send(f"camera:{terminal.terminal_id}", b'{"request":"picture"}')
        terminal.wait(turn, Phase.CODE, 30)

    def received(self, turn: Turn, terminal: Terminal, phone: Phone, kind: str, body: bytes) -> str | None:
        if terminal.phase is not Phase.CODE:
            return "unexpected from the camera"
        if body:
            self.payments.code_read(turn, terminal, phone, CodeRequest(body.decode()))
        else:
            self.payments.refuse(turn, terminal, phone, "no code was shown")
        return None

    def timed_out(self, turn: Turn, terminal: Terminal, phone: Phone) -> None:
        self.payments.refuse(turn, terminal, phone, "no code was read in time")

    def cancel(self, turn: Turn, terminal: Terminal, phone: Phone, reason: str) -> None:
        self.payments.refuse(turn, terminal, phone, reason, final=True)


class CodeBed(Bed):
    """A bed with a camera, which sees `code`."""

    code: bytes | None = CODE.encode()
    pictures = 0

    def answer_of(self, kind: str, terminal: str, body: bytes) -> bytes | None:
        if kind == "camera":
            self.pictures += 1
            return self.code
        return super().answer_of(kind, terminal, body)


@pytest.fixture
def bed():
    bed = CodeBed(rooms=[Codes])
    bed.settle()
    return bed


def test_a_sale_by_the_payers_code(bed):
    receipt = bed.ask("sale", amount=1250, ways=["payer_code"])
    assert (receipt["outcome"], receipt["way"], receipt["pan"], receipt["cvm"]) == (
        "approved",
        "payer_code",
        None,
        None,
    )
    fields = dict(bed.acquirer.requests[-1].fields)
    assert len(fields.pop(64)) == 8
    assert decode_objects(fields.pop(59)) == {"A3": "01019" + CODE}
    assert fields == {
        3: "000000",
        4: "000000001250",
        11: "000002",
        22: "032",
        25: "00",
        41: TERMINAL_ID,
        42: receipt["merchant"],
        49: "156",
        60: "2200000100060",
    }
    (sale,) = bed.sales()
    assert (sale.status, sale.way, sale.pan_masked, sale.card, sale.chip) == (
        "approved",
        "payer_code",
        None,
        None,
        None,
    )
    card = bed.cards[TERMINAL_ID]
    assert not card.commands, "no card is asked for, and none checks the answer"


def test_a_sale_by_code_is_reversed_without_a_card_number(bed):
    bed.acquirer.silent.add("0200")
    bed.command("sale", amount=1250, ways=["payer_code"])
    bed.settle()
    bed.pass_time(61)
    assert [sale.status for sale in bed.sales()] == ["reversed"]
    fields = dict(bed.acquirer.requests[-1].fields)
    assert len(fields.pop(64)) == 8
    assert fields == {
        3: "000000",
        4: "000000001250",
        11: "000002",
        22: "032",
        25: "00",
        39: "98",
        41: TERMINAL_ID,
        42: "104110000000001",
        49: "156",
        60: "2200000100060",
        61: "0000010000020102",
    }


def test_a_crash_reverses_a_sale_by_code(bed):
    bed.held.add("acquirer")
    bed.command("sale", amount=1250, ways=["payer_code"])
    bed.settle()
    bed.held.clear()
    bed.restart()
    bed.settle()
    assert [(sale.status, sale.reversal_reason) for sale in bed.sales()] == [("reversed", "96")]


def test_a_code_that_needs_a_pin_is_read_again_with_one(bed):
    bed.acquirer.code_without_pin = "55"
    receipt = bed.ask("sale", amount=1250, ways=["payer_code"])
    assert receipt["outcome"] == "approved"
    assert bed.pictures == 2
    request = bed.acquirer.requests[-1]
    assert (request[22], request[26], request[53]) == ("031", "12", "1600000000000000")
    key = bed.acquirer.keys[TERMINAL_ID][0]
    block = bed.acquirer.module.encrypt_pin(key, PIN.decode(), "", PinFormat.WITHOUT_PAN)
    assert request[52] == block
    assert [sale.entry_mode for sale in bed.sales()] == ["032", "031"]


def test_ways_are_offered_one_after_another(bed):
    bed.code = b""
    receipt = bed.ask("sale", amount=1250, ways=["payer_code", "tap"])
    assert (receipt["outcome"], receipt["way"]) == ("approved", "card")
    bed.cards[TERMINAL_ID] = None
    bed.code = CODE.encode()
    ticket = bed.command("sale", amount=1250, ways=["tap", "payer_code"])
    bed.settle()
    bed.pass_time(61)
    receipt = bed.answer(ticket)
    assert (receipt["outcome"], receipt["way"]) == ("approved", "payer_code")


def test_the_last_way_ends_the_sale(bed):
    bed.code = b""
    bed.cards[TERMINAL_ID] = ScriptedCard(leaves_after=0)
    receipt = bed.ask("sale", amount=1250, ways=["tap", "payer_code"])
    assert (receipt["outcome"], receipt["reason"]) == ("refused", "no code was shown")
    bed.code = None
    ticket = bed.command("sale", amount=1250, ways=["payer_code"])
    bed.settle()
    assert bed.ask("cancel")["cancelled"] == "waiting for the code"
    assert bed.answer(ticket)["reason"] == "cancelled"
    ticket = bed.command("sale", amount=1250, ways=["payer_code"])
    bed.settle()
    bed.pass_time(31)
    assert bed.answer(ticket)["reason"] == "no code was read in time"
    assert bed.sales() == []


def test_a_cancelled_sale_offers_nothing_more(bed):
    bed.cards[TERMINAL_ID] = None
    ticket = bed.command("sale", amount=1250, ways=["tap", "payer_code"])
    bed.settle()
    bed.ask("cancel")
    assert bed.answer(ticket)["reason"] == "cancelled"
    assert bed.pictures == 0


@pytest.mark.parametrize(
    "ways",
    [[], "tap", ["tap", "tap"], ["cash"], [1], None, {"tap": 1}, ["merchant_code"], ["tap", "payer_code", "tap"]],
)
def test_ways_that_cannot_be_offered(bed, ways):
    ticket = bed.command("sale", amount=1250, ways=ways)
    bed.step()
    error = bed.answers[ticket]
    assert isinstance(error, CommandError)
    assert "ways" in str(error)


def test_a_code_does_not_show_itself():
    assert CODE not in repr(CodeRequest(CODE))
    assert CODE not in str(CodeRequest(CODE))


def test_what_the_camera_says_at_the_wrong_time_is_dropped(bed):
    bed.receive(f"camera:{TERMINAL_ID}", b"picture")
    bed.receive("camera:nobody", b"picture")
    bed.step()
    assert bed.device.dropped == {"unexpected from the camera": 1, "unknown link": 1}


class Attestation(Room):
    """Attests devices when told to over ``monitor:T``: the body is the reason against it, empty for none."""

    links = ("monitor",)

    def __init__(self, context: Context) -> None:
        self.payments = context.payments
        self.payments.trust = self
        self.asked: list[str] = []
        self.needed = {"transaction", "pin"}

    def needs(self, turn: Turn, terminal: Terminal, phone: Phone, purpose: str) -> bool:
        self.asked.append(purpose)
        return purpose in self.needed

    def begin(self, turn: Turn, terminal: Terminal, phone: Phone, purpose: str) -> None:
        turn.send(f"monitor:{terminal.terminal_id}", purpose.encode())

    def received(self, turn: Turn, terminal: Terminal, phone: Phone, kind: str, body: bytes) -> str | None:
        self.payments.attested(turn, terminal, phone, body.decode() or None)
        return None


class MonitoredBed(Bed):
    """A bed with a back end that gives `verdicts` by purpose."""

    def __init__(self, **more) -> None:
        self.verdicts: dict[str, bytes | None] = {"transaction": b"", "pin": b""}
        super().__init__(rooms=[Attestation], **more)
        self.settle()
        self.trust: Attestation = self.device._rooms[1]  # type: ignore[assignment]

    def bind(self) -> None:
        phone = self.unit.find(Phone, "terminal_id", TERMINAL_ID)
        assert phone is not None
        self.unit.change(phone)
        phone.device_id = "phone-1"
        self.unit.commit()

    def answer_of(self, kind: str, terminal: str, body: bytes) -> bytes | None:
        if kind == "monitor":
            return self.verdicts[body.decode()]
        return super().answer_of(kind, terminal, body)


def test_a_terminal_without_a_device_is_never_asked():
    bed = MonitoredBed()
    assert bed.ask("sale", amount=150_000)["outcome"] == "approved"
    assert bed.trust.asked == []


@pytest.mark.parametrize(
    ("amount", "needed", "asked"),
    [
        (150_000, {"transaction", "pin"}, ["transaction", "pin"]),
        (150_000, {"pin"}, ["transaction", "pin"]),
        (150_000, set(), ["transaction", "pin"]),
        (1250, {"transaction", "pin"}, ["transaction"]),
    ],
)
def test_a_device_is_attested_before_the_payment_and_before_the_pin(amount, needed, asked):
    bed = MonitoredBed()
    bed.bind()
    bed.trust.needed = needed
    bed.cards[TERMINAL_ID] = ScriptedCard(pin=amount > 100_000)
    assert bed.ask("sale", amount=amount)["outcome"] == "approved"
    assert bed.trust.asked == asked


@pytest.mark.parametrize("purpose", ["transaction", "pin"])
@pytest.mark.parametrize(("verdict", "reason"), [(b"boot not verified", "boot not verified"), (None, None)])
def test_a_device_that_is_not_attested_takes_no_payment(purpose, verdict, reason):
    bed = MonitoredBed()
    bed.bind()
    bed.verdicts[purpose] = verdict
    ticket = bed.command("sale", amount=150_000)
    bed.settle()
    assert bed.ask("status")["terminals"][0]["doing"] == (  # type: ignore[index, call-overload]
        "idle" if verdict else "waiting for the device to be attested"
    )
    bed.pass_time(61)
    receipt = bed.answer(ticket)
    assert receipt["outcome"] == "refused"
    assert receipt["reason"] == f"not attested: {reason or 'no verdict came in time'}"
    assert bed.sales() == []
    # a verdict that comes late changes nothing
    bed.receive(f"monitor:{TERMINAL_ID}", b"")
    bed.step()
    assert not bed.pad_requests
    assert not bed.failures


def test_cancel_while_the_device_is_attested():
    bed = MonitoredBed()
    bed.bind()
    bed.verdicts["transaction"] = None
    ticket = bed.command("sale", amount=1250)
    bed.settle()
    bed.ask("cancel")
    assert bed.answer(ticket)["reason"] == "cancelled"
    bed.receive(f"monitor:{TERMINAL_ID}", b"")
    bed.step()
    assert bed.ask("status")["terminals"][0]["doing"] == "idle"  # type: ignore[index, call-overload]


class Echoes(Room):
    """A command of its own that sends an echo, in a room's way."""

    links = ("monitor",)
    timers = ("ping",)
    commands = ("probe",)
    kinds = (Kind.SIGN_OFF,)

    def __init__(self, context: Context) -> None:
        self.header = context.header
        self.seen: list[str] = []

    def start(self, turn: Turn) -> None:
        turn.timer(("ping", TERMINAL_ID), turn.now + SECOND)
        self.seen.append("start")

    def due(self, turn: Turn, terminal: Terminal, phone: Phone, timer: str) -> None:
        self.seen.append(timer)

    def link_changed(self, turn: Turn, terminal: Terminal, phone: Phone, kind: str, up: bool) -> None:
        self.seen.append(f"{kind} {up}")

    def command(self, turn: Turn, terminal: Terminal, phone: Phone, command: Command) -> None:
        terminal.begin(Kind.SIGN_OFF, command.ticket, 0)

    def send(self, turn: Turn, terminal: Terminal, phone: Phone, kind: Kind) -> None:
        stan = terminal.next_stan(turn, phone, 10)
        fields = {11: stan, 41: phone.terminal_id, 42: phone.merchant_id, 60: "00000001301"}
        turn.send(terminal.acquirer_link, TERMINAL.pack(Message("0820", fields, self.header)))
        terminal.open(turn, kind, "0830", stan, None, 5)

    def answered(self, turn: Turn, terminal: Terminal, phone: Phone, message: Message, body: bytes) -> str | None:
        if message.text(39) != "00":
            return "not 00"
        terminal.close()
        turn.answer(terminal.ticket, {"seen": True})
        terminal.end()
        return None

    def unanswered(self, turn: Turn, terminal: Terminal, phone: Phone, kind: Kind, reason: str) -> None:
        turn.answer(terminal.ticket, {"reason": reason})
        terminal.end()

    def told(self, turn: Turn, terminal: Terminal, phone: Phone, message: Message, body: bytes) -> bool:
        self.seen.append(f"told {message.mti}")
        return message.mti == "0820"

    def rolled_back(self) -> None:
        self.seen.append("rolled back")


@pytest.fixture
def echoing():
    bed = Bed(rooms=[Echoes])
    bed.settle()
    return bed


def test_a_rooms_command_goes_over_the_line_like_any_other(echoing):
    bed = echoing
    assert bed.ask("probe") == {"seen": True}
    assert bed.mtis() == ["0800", "0820"]
    bed.acquirer.silent.add("0820")
    ticket = bed.command("probe")
    bed.settle()
    bed.pass_time(6)
    assert bed.answer(ticket) == {"reason": "no answer from the acquirer"}
    ticket = bed.command("probe")
    bed.settle()
    bed.links(False)
    assert bed.answer(ticket) == {"reason": "the link to the acquirer broke"}


def test_a_room_gets_its_links_timers_and_unasked_messages(echoing):
    bed = echoing
    room = bed.device._rooms[1]
    bed.pass_time(2)
    bed.work.link_changes.append(LinkChange(f"monitor:{TERMINAL_ID}", True))
    bed.step()
    bed.receive(f"acquirer:{TERMINAL_ID}", told("0820"))
    bed.receive(f"acquirer:{TERMINAL_ID}", told("0400"))
    bed.step()
    assert room.seen == ["start", "ping", "monitor True", "told 0820", "told 0400"]
    assert bed.device.dropped == {"unexpected from the acquirer": 1}


def told(mti: str) -> bytes:
    bed = Bed()
    bed.settle()
    message = TERMINAL.unpack(TERMINAL.pack(bed.acquirer.requests[0]))
    message.mti = mti
    return TERMINAL.pack(message)


def test_the_display_shows_codes_and_messages_and_is_cleared_once():
    bed = Bed()
    terminal = Terminal(bed.phone())
    turn = Turn(0, bed.random, bed.unit, bed.work)
    display.clear(turn, terminal)
    display.code(turn, terminal, "000201", None, None)
    display.code(turn, terminal, "0002é", 1250, 5)
    display.clear(turn, terminal)
    display.clear(turn, terminal)
    bed.sent.extend(turn.sent)
    for link, body in turn.sent:
        assert link == f"display:{TERMINAL_ID}"
        bed.answer_of("display", TERMINAL_ID, body)
    assert bed.shown == [
        {"request": "code", "text": "000201", "amount": None, "expires": None},
        {"request": "code", "text": "0002é", "amount": 1250, "expires": 5},
        {"request": "clear"},
    ]


def test_the_pin_of_a_sale_whose_way_changed_is_not_taken(bed):
    """The entry of a way that has ended is closed with it."""
    bed.pins[TERMINAL_ID] = None
    bed.code = None
    bed.command("sale", amount=150_000, ways=["tap", "payer_code"])
    bed.settle()
    bed.pass_time(61)
    assert bed.pictures == 1
    bed.receive(f"pinpad:{TERMINAL_ID}", typed(bed.pad_requests[0], PIN))
    bed.step()
    assert bed.device.dropped == {"unexpected from the pinpad": 1}


class Adoptions(Room):
    """Installs a phone as a copy of another one, the first time only; one of its commands always fails."""

    device_commands = ("adopt", "fail")

    def __init__(self, context: Context) -> None:
        self.times = 0

    def device_command(self, turn: Turn, command: Command, terminal: Terminal | None, phone: Phone | None) -> None:
        self.times += 1
        if command.name == "fail" or self.times > 1:
            raise RuntimeError("nothing of this turn holds")
        like = turn.store.find(Phone, "terminal_id", TERMINAL_ID)
        assert like is not None
        turn.store.insert(
            Phone("20000002", like.merchant_id, like.tmk, None, None, None, 1, stan_reserved=500, status="installed")
        )


def test_a_phone_of_a_turn_that_was_lost_is_not_remembered():
    bed = Bed(rooms=[Adoptions])
    bed.settle()
    bed.command("adopt")
    known = bed.command("history", "20000002")
    bed.command("fail")
    bed.step()
    assert isinstance(bed.answers[known], CommandError)
    bed.work.commands.append(Command("status", {}, 99))
    bed.step()
    terminals = bed.answer(99)["terminals"]
    assert isinstance(terminals, list)
    assert [one["terminal"] for one in terminals] == [TERMINAL_ID]
