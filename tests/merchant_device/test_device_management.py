import pytest
from device_bed import MERCHANT_ID, TERMINAL_ID, TMK, Bed, ScriptedCard, typed

from merchant_device.configuration import Configuration
from merchant_device.installation import install_terminal
from merchant_device.tables import SIGNED_ON, TABLES, Phone
from network.iso8583 import TERMINAL, Message
from network.keys import Algorithm, KeyUsage
from network.party import Command, CommandError
from network.store import Store


def test_sign_on_when_the_link_comes_up():
    bed = Bed()
    bed.settle()
    (request,) = bed.acquirer.requests
    assert request.mti == "0800"
    assert request.fields == {11: "000001", 41: TERMINAL_ID, 42: MERCHANT_ID, 60: "00000001003", 63: "01 "}
    phone = bed.phone()
    assert phone.status == SIGNED_ON
    assert None not in (phone.pik, phone.mak)


def test_without_sign_on_at_start_the_first_sale_signs_on():
    bed = Bed(configuration=Configuration(sign_on_at_start=False))
    bed.settle()
    assert bed.mtis() == []
    assert bed.ask("sale", amount=1)["outcome"] == "approved"
    assert bed.mtis() == ["0800", "0200"]


def test_the_keys_outlive_the_process():
    bed = Bed(configuration=Configuration(sign_on_at_start=False))
    bed.ask("sign_on")
    bed.restart()
    assert bed.ask("sale", amount=1)["outcome"] == "approved"
    assert bed.mtis() == ["0800", "0200"]


def test_the_link_that_comes_back_needs_no_new_sign_on():
    bed = Bed()
    bed.settle()
    bed.links(False)
    bed.links(True)
    bed.settle()
    assert bed.mtis() == ["0800"]


def test_a_sign_on_that_is_refused_is_tried_again_and_refuses_sales():
    bed = Bed()
    bed.acquirer.sign_on_code = "97"
    bed.settle()
    receipt = bed.ask("sale", amount=1)
    assert (receipt["outcome"], receipt["reason"]) == ("refused", "the acquirer answered the sign-on 97")
    bed.acquirer.sign_on_code = "00"
    bed.pass_time(6)
    assert bed.phone().status == SIGNED_ON
    assert bed.mtis() == ["0800"] * 3
    bed.pass_time(100)
    assert bed.mtis() == ["0800"] * 3


def test_a_sign_on_without_answer():
    bed = Bed()
    bed.acquirer.silent.add("0800")
    bed.settle()
    ticket = bed.command("sale", amount=1)
    bed.settle()
    bed.pass_time(21)
    assert bed.answer(ticket)["reason"] == "no answer from the acquirer"
    ticket = bed.command("sign_on")
    bed.settle()
    bed.pass_time(60)
    assert bed.answer(ticket)["outcome"] == "unknown"
    bed.acquirer.silent.clear()
    bed.pass_time(30)
    assert bed.phone().status == SIGNED_ON


@pytest.mark.parametrize("how", ["time", "link", "crash"])
def test_a_lost_answer_to_a_sign_on_costs_no_sale(how):
    bed = Bed(configuration=Configuration(sign_on_at_start=False))
    bed.ask("sign_on")
    bed.held.add("acquirer")
    ticket = bed.command("sign_on")
    bed.settle()
    bed.acquirer.take(bed.sent.popleft()[1])
    bed.held.clear()
    if how == "time":
        bed.pass_time(21)
    elif how == "link":
        bed.links(False)
        bed.links(True)
    else:
        bed.restart()
    assert how == "crash" or bed.answer(ticket)["outcome"] == "unknown"
    assert bed.ask("sale", amount=1)["outcome"] == "approved"


def damaged(message: Message) -> None:
    if 62 in message:
        download = message.binary(62)
        message[62] = download[:-1] + bytes([download[-1] ^ 1])


def cut(message: Message) -> None:
    message[62] = message.binary(62)[:-1]


def missing(message: Message) -> None:
    del message[62]


@pytest.mark.parametrize("change", [damaged, cut, missing])
def test_keys_that_are_not_right_are_not_taken(change):
    bed = Bed()
    bed.acquirer.change = change
    bed.settle()
    assert bed.phone().status == "installed"
    assert bed.phone().mak is None
    assert bed.ask("sign_on")["outcome"] == "declined"


@pytest.mark.parametrize(("layout", "length"), [("001", 24), ("003", 40), ("004", 60)])
def test_every_layout_of_the_key_download(layout, length):
    bed = Bed(configuration=Configuration(key_download=layout))
    module = bed.acquirer.module

    def lay_out(message: Message) -> None:
        if message.mti != "0810":
            return
        algorithm = Algorithm.DES if layout == "001" else Algorithm.TDES_DOUBLE
        pik = module.load(module.generate(KeyUsage.PIN_ENCRYPTION, algorithm))
        mak = module.load(module.generate(KeyUsage.MAC_ALGORITHM_1, Algorithm.DES))
        tdk = module.load(module.generate(KeyUsage.DATA_ENCRYPTION, Algorithm.TDES_DOUBLE)) if layout == "004" else None
        bed.acquirer.keys[TERMINAL_ID] = (pik, mak)
        message[62] = module.make_de62(bed.acquirer.tmk, pik, mak, tdk)
        assert len(message.binary(62)) == length

    bed.acquirer.change = lay_out
    bed.settle()
    assert bed.acquirer.requests[0][60] == f"00000001{layout}"
    assert (bed.phone().tdk is not None) == (layout == "004")
    assert bed.ask("sale", amount=150_000)["outcome"] == "approved"
    assert bed.acquirer.pin_of(bed.acquirer.requests[-1])


def test_echo_and_sign_off():
    bed = Bed()
    bed.settle()
    answer = bed.ask("echo")
    assert answer == {
        "outcome": "approved",
        "response_code": "00",
        "reason": None,
        "terminal": TERMINAL_ID,
        "at": answer["at"],
    }
    assert bed.acquirer.requests[-1].fields == {11: "000002", 41: TERMINAL_ID, 42: MERCHANT_ID, 60: "00000001301"}
    assert bed.ask("sign_off")["outcome"] == "approved"
    assert bed.acquirer.requests[-1][60] == "00000001002"
    phone = bed.phone()
    assert (phone.status, phone.pik, phone.mak) == ("signed_off", None, None)
    assert bed.ask("sign_off")["outcome"] == "refused"
    bed.links(False)
    bed.links(True)
    bed.settle()
    assert bed.phone().status == "signed_off"
    assert bed.ask("sale", amount=1)["outcome"] == "approved"


def test_echo_without_answer():
    bed = Bed()
    bed.settle()
    bed.acquirer.silent.add("0820")
    ticket = bed.command("echo")
    bed.settle()
    bed.pass_time(21)
    assert bed.answer(ticket)["outcome"] == "unknown"
    ticket = bed.command("echo")
    bed.settle()
    bed.links(False)
    assert bed.answer(ticket)["outcome"] == "unknown"


def test_the_acquirer_asks_for_a_sign_on_in_the_head():
    bed = Bed()
    bed.settle()

    def ask(message: Message) -> None:
        if message.mti == "0210":
            message.header = message.header.reply("3")  # type: ignore[union-attr]

    bed.acquirer.change = ask
    assert bed.ask("sale", amount=1)["outcome"] == "approved"
    assert bed.mtis() == ["0800", "0200", "0800"]


def test_commands_that_cannot_be_carried_out():
    bed = Bed()
    bed.settle()
    cases = [
        ("sale", {"terminal": "99999999", "amount": 1}, "terminal"),
        ("sale", {"terminal": 5, "amount": 1}, "terminal"),
        ("sale", {"terminal": TERMINAL_ID}, "amount"),
        ("sale", {"terminal": TERMINAL_ID, "amount": 0}, "amount"),
        ("sale", {"terminal": TERMINAL_ID, "amount": -5}, "amount"),
        ("sale", {"terminal": TERMINAL_ID, "amount": True}, "amount"),
        ("sale", {"terminal": TERMINAL_ID, "amount": 12.5}, "amount"),
        ("sale", {"terminal": TERMINAL_ID, "amount": 10**12}, "amount"),
        ("cancel", {"terminal": TERMINAL_ID}, "nothing"),
        ("status", {"terminal": "99999999"}, "terminal"),
        ("refund", {"terminal": TERMINAL_ID}, "no such command"),
    ]
    for name, arguments, named in cases:
        terminal = arguments.pop("terminal")
        ticket = bed.command(name, terminal, **arguments)  # type: ignore[arg-type]
        bed.step()
        error = bed.answers[ticket]
        assert isinstance(error, CommandError), name
        assert named in str(error)
    assert bed.mtis() == ["0800"]


def test_a_busy_phone_refuses():
    bed = Bed()
    bed.cards[TERMINAL_ID] = None
    first = bed.command("sale", amount=1)
    bed.settle()
    for name in ("sale", "balance", "echo", "sign_on", "sign_off"):
        answer = bed.ask(name, amount=5)
        assert (answer["outcome"], answer["reason"]) == ("refused", "the terminal is busy")
    assert bed.ask("cancel")["cancelled"] == "waiting for the card"
    assert bed.answer(first)["reason"] == "cancelled"
    bed.cards[TERMINAL_ID] = ScriptedCard()
    assert bed.ask("sale", amount=1)["outcome"] == "approved"


def test_cancel_of_the_pin_entry():
    bed = Bed()
    bed.pins[TERMINAL_ID] = None
    ticket = bed.command("sale", amount=150_000)
    bed.settle()
    bed.ask("cancel")
    assert bed.answer(ticket)["outcome"] == "refused"
    assert b"close" in bed.pad_requests[-1]
    assert bed.sales() == []


def test_cancel_while_a_sign_on_is_waited_for():
    bed = Bed(configuration=Configuration(sign_on_at_start=False))
    bed.acquirer.silent.add("0800")
    for name in ("sale", "sign_on"):
        ticket = bed.command(name, amount=1)
        bed.settle()
        bed.ask("cancel")
        assert bed.answer(ticket)["outcome"] == "refused"
    bed.acquirer.silent.clear()
    bed.pass_time(21)
    assert bed.ask("sale", amount=1)["outcome"] == "approved"


def test_a_link_that_is_down_refuses_and_breaks_what_waits():
    bed = Bed(up=False)
    for name in ("sale", "balance", "echo", "sign_on"):
        answer = bed.ask(name, amount=5)
        assert (answer["outcome"], answer["reason"]) == ("refused", "the link to the acquirer is down")
    bed.acquirer.silent.add("0800")
    bed.links(True)
    ticket = bed.command("sale", amount=5)
    bed.settle()
    bed.links(False)
    assert bed.answer(ticket)["reason"] == "the link to the acquirer broke"
    assert bed.sales() == []


def test_the_link_breaks_while_the_pin_is_typed():
    bed = Bed()
    bed.pins[TERMINAL_ID] = None
    ticket = bed.command("sale", amount=150_000)
    bed.settle()
    bed.links(False)
    bed.receive(f"pinpad:{TERMINAL_ID}", typed(bed.pad_requests[0], b"135790"))
    bed.step()
    assert bed.answer(ticket)["reason"] == "the link to the acquirer is down"
    assert bed.sales() == []


def test_status():
    bed = Bed()
    bed.settle()
    bed.cards[TERMINAL_ID] = None
    bed.command("sale", amount=1)
    bed.settle()
    assert bed.ask("status")["terminals"] == [
        {
            "terminal": TERMINAL_ID,
            "link": True,
            "status": "signed_on",
            "doing": "waiting for the card",
            "reversals": 0,
            "uploads": 0,
            "refused": [],
        }
    ]


@pytest.mark.parametrize("body", [b"", b"\x60", bytes(11), bytes(200), b"\xff" * 40])
def test_junk_is_dropped(body):
    bed = Bed()
    bed.settle()
    ticket = bed.command("sale", amount=1)
    bed.step()
    for link in (f"acquirer:{TERMINAL_ID}", "acquirer:nobody", "elsewhere", "pinpad:10000001"):
        bed.receive(link, body)
    bed.step()
    bed.settle()
    assert bed.answer(ticket)["outcome"] == "approved"
    assert not bed.failures
    assert sum(bed.device.dropped.values()) == 4


def test_answers_for_another_request_are_dropped():
    bed = Bed()
    bed.settle()
    bed.held.add("acquirer")
    ticket = bed.command("sale", amount=1250)
    bed.settle()
    link, request = bed.sent.popleft()
    answer = bed.acquirer.take(request)
    assert answer is not None
    for number, value in ((11, "000009"), (41, "10000002")):
        other = TERMINAL.unpack(answer)
        other[number] = value
        bed.receive(link, TERMINAL.pack(other))
    other = TERMINAL.unpack(answer)
    other.mti = "0410"
    bed.receive(link, TERMINAL.pack(other))
    bed.step()
    assert bed.device.dropped == {"unexpected from the acquirer": 3}
    assert ticket not in bed.answers
    bed.receive(link, answer)
    bed.step()
    bed.held.clear()
    bed.settle()
    assert bed.answer(ticket)["outcome"] == "approved"


def test_trace_numbers_survive_crashes_and_fill_the_batch():
    bed = Bed(configuration=Configuration(stan_block=10, sign_on_at_start=False))
    seen = set()
    for _ in range(4):
        for _ in range(13):
            receipt = bed.ask("sale", amount=1)
            identity = (receipt["batch"], receipt["stan"])
            assert identity not in seen
            seen.add(identity)
        bed.restart()
    phone = bed.unit.find(Phone, "terminal_id", TERMINAL_ID)
    assert phone is not None
    bed.unit.change(phone)
    phone.stan_reserved = 999_985
    bed.unit.commit()
    bed.restart()
    receipts = [bed.ask("sale", amount=1) for _ in range(20)]
    identities = [(receipt["batch"], receipt["stan"]) for receipt in receipts]
    assert identities[13:15] == [("000001", "999999"), ("000002", "000001")]
    assert len({*identities, *seen}) == 72


def test_a_turn_that_fails_is_undone(monkeypatch):
    bed = Bed(terminals=("10000001", "10000002"))
    bed.settle()
    commit = bed.unit.commit
    failing: list[bool] = []

    def fail_once() -> None:
        if failing:
            failing.clear()
            raise ValueError("the rows were refused")
        commit()

    tickets = [bed.command("sale", terminal, amount=150_000) for terminal in bed.terminals]
    for _ in range(12):
        failing.append(True)
        monkeypatch.setattr(bed.unit, "commit", fail_once)
        bed.step()
        monkeypatch.undo()
        waiting = list(bed.sent)
        bed.sent.clear()
        for link, body in waiting:
            kind, _, terminal = link.partition(":")
            answer = bed.answer_of(kind, terminal, body)
            assert answer is not None
            bed.receive(link, answer)
    assert [bed.answer(ticket)["outcome"] for ticket in tickets] == ["approved", "approved"]
    assert not bed.failures
    assert [sale.status for sale in bed.sales()] == ["approved", "approved"]
    card = bed.cards["10000001"]
    assert card is not None
    assert [apdu[1] for apdu in card.commands] == [0xA4, 0xA4, 0xA8, 0x82]


def test_installation_refuses_what_is_wrong():
    bed = Bed()
    store = Store("sqlite://", TABLES, durable=False)
    unit = store.unit_of_work()
    tmk = bed.module.import_clear(KeyUsage.KEY_ENCRYPTION, Algorithm.TDES_DOUBLE, TMK)
    other = bed.module.load(bed.module.generate(KeyUsage.PIN_ENCRYPTION, Algorithm.TDES_DOUBLE))
    for arguments, named in (
        (("1234567", MERCHANT_ID, tmk), "terminal_id"),
        (("1234567|", MERCHANT_ID, tmk), "terminal_id"),
        (("1234567\u00e9", MERCHANT_ID, tmk), "terminal_id"),
        (("12345678", "short", tmk), "merchant_id"),
        (("12345678", MERCHANT_ID, other), "tmk"),
    ):
        with pytest.raises(ValueError, match=named):
            install_terminal(unit, bed.module, *arguments)
    with pytest.raises(ValueError, match="batch"):
        install_terminal(unit, bed.module, "12345678", MERCHANT_ID, tmk, batch=0)
    install_terminal(unit, bed.module, "12345678", MERCHANT_ID, tmk)
    with pytest.raises(ValueError, match="installed already"):
        install_terminal(unit, bed.module, "12345678", MERCHANT_ID, tmk)


@pytest.mark.parametrize("terminal", ["\ud800", "\0", "", "卡" * 8, "x" * 100_000, 5, None, [], {"a": 1}, True])
@pytest.mark.parametrize("name", ["sale", "balance", "echo", "cancel", "history", "status"])
def test_terminals_that_are_none(name, terminal):
    bed = Bed()
    bed.settle()
    bed.work.commands.append(Command(name, {"terminal": terminal, "amount": 1}, 99))
    bed.step()
    assert not bed.failures
    if name != "status" or terminal is not None:
        assert str(bed.answers[99]) == "terminal: no such terminal is installed"
