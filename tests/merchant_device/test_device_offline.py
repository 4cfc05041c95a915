"""Sales that the card approves: money once the row is there, and told to the acquirer until it knows."""

import pytest
from device_bed import MERCHANT_ID, PAN, TERMINAL_ID, Bed
from scripted_kernel import ScriptedKernel, offline, online

from merchant_device.configuration import Configuration
from merchant_device.tables import Phone
from network.iso8583 import TERMINAL, Message
from network.iso8583.additional_data import decode_objects
from network.keys import MacAlgorithm
from network.party import Work

IDENTITY = (TERMINAL_ID, "000001", "000002")
OFFLINE = Configuration(offline=True, fdda=True)


@pytest.fixture
def sell(monkeypatch):
    """A bed whose cards approve offline up to 20 yuan and ask the issuer above."""

    def make(url: str = "sqlite://", configuration: Configuration = OFFLINE, **more) -> Bed:
        bed = Bed(url, configuration=configuration, **more)
        install(monkeypatch, bed)
        return bed

    return make


def install(monkeypatch: pytest.MonkeyPatch, bed: Bed) -> ScriptedKernel:
    return ScriptedKernel.install(
        monkeypatch,
        bed,
        lambda transaction, _: offline(transaction) if transaction.amount <= 2000 else online(transaction),
    )


def test_an_offline_sale_has_its_receipt_at_once_and_is_uploaded(sell):
    bed = sell()
    bed.settle()
    bed.held.add("acquirer")
    ticket = bed.command("sale", amount=1250)
    bed.settle()
    receipt = bed.answer(ticket)
    assert receipt == {
        "outcome": "approved",
        "response_code": None,
        "reason": None,
        "terminal": TERMINAL_ID,
        "merchant": MERCHANT_ID,
        "stan": "000002",
        "batch": "000001",
        "rrn": None,
        "authorisation_code": None,
        "amount": 1250,
        "balance": None,
        "pan": "622800******1000",
        "cvm": "no_cvm",
        "at": receipt["at"],
        "way": "card",
        "offline": True,
        "order": None,
    }
    assert [(sale.status, sale.is_offline, sale.response_code) for sale in bed.sales()] == [("offline", 1, None)]
    bed.held.clear()
    bed.settle()
    (sale,) = bed.sales()
    assert (sale.status, sale.response_code, sale.rrn) == ("approved", "00", "600210000002")
    assert sale.finished_at is not None
    assert bed.mtis() == ["0800", "0220"]
    assert bed.acquirer.told == {IDENTITY: sale.chip}
    bed.pass_time(300)
    assert bed.mtis() == ["0800", "0220"]


def test_the_0220_has_the_elements_of_the_protocol(sell):
    bed = sell()
    bed.settle()
    bed.ask("sale", amount=1250)
    fields = dict(bed.acquirer.requests[-1].fields)
    (sale,) = bed.sales()
    assert len(fields.pop(64)) == 8
    assert fields == {
        2: PAN,
        3: "000000",
        4: "000000001250",
        11: "000002",
        12: "100000",
        13: "0102",
        14: "3012",
        22: "072",
        23: "001",
        25: "00",
        41: TERMINAL_ID,
        42: MERCHANT_ID,
        49: "156",
        55: sale.chip,
        60: "3600000100060",
    }
    assert b"\x9f\x27\x01\x40" in fields[55]


def test_an_upload_is_repeated_until_it_is_answered(sell):
    bed = sell()
    bed.settle()
    bed.acquirer.silent.add("0220")
    bed.ask("sale", amount=1250)
    bed.pass_time(35)
    uploads = [TERMINAL.pack(request) for request in bed.acquirer.requests if request.mti == "0220"]
    # every ten seconds without an answer, and a pause of as long between
    assert len(uploads) == 2
    assert len(set(uploads)) == 1
    bed.acquirer.silent.clear()
    bed.pass_time(30)
    assert [sale.status for sale in bed.sales()] == ["approved"]
    count = bed.mtis().count("0220")
    bed.pass_time(300)
    assert bed.mtis().count("0220") == count


def test_an_upload_goes_before_the_next_financial_message_and_does_not_hold_it_up(sell):
    bed = sell()
    bed.settle()
    bed.links(False)
    assert bed.ask("sale", amount=1250)["offline"] is True
    bed.acquirer.silent.add("0220")
    bed.links(True)
    bed.settle()
    ticket = bed.command("sale", amount=150_000)
    bed.settle()
    bed.pass_time(11)
    assert bed.answer(ticket)["outcome"] == "approved"
    assert bed.mtis() == ["0800", "0220", "0200"]
    bed.acquirer.silent.clear()
    assert bed.ask("sale", amount=150_000)["outcome"] == "approved"
    assert bed.mtis()[3:] == ["0220", "0200"]
    assert [sale.status for sale in bed.sales()] == ["approved"] * 3


def test_the_link_down_leaves_only_what_cards_approve(sell):
    bed = sell()
    bed.settle()
    bed.links(False)
    for _ in range(3):
        assert bed.ask("sale", amount=1250)["outcome"] == "approved"
    receipt = bed.ask("sale", amount=150_000)
    assert (receipt["outcome"], receipt["reason"]) == ("refused", "the link to the acquirer is down")
    for name in ("balance", "echo", "sign_on"):
        assert bed.ask(name)["reason"] == "the link to the acquirer is down"
    assert bed.ask("status")["terminals"][0]["uploads"] == 3
    bed.links(True)
    bed.settle()
    assert bed.mtis() == ["0800", "0220", "0220", "0220"]
    assert {sale.status for sale in bed.sales()} == {"approved"}


def test_without_offline_payments_a_link_that_is_down_refuses(sell):
    bed = sell(configuration=Configuration())
    bed.settle()
    bed.links(False)
    assert bed.ask("sale", amount=1250)["reason"] == "the link to the acquirer is down"
    assert bed.sales() == []


def test_a_phone_that_never_signed_on_takes_offline_sales(sell):
    bed = sell(up=False)
    assert bed.ask("sale", amount=1250)["outcome"] == "approved"
    bed.links(True)
    # the card wants the issuer while the phone signs on: no keys yet, and the sale waits for the line
    bed.settle()
    assert bed.mtis() == ["0800", "0220"]
    assert [sale.status for sale in bed.sales()] == ["approved"]


def test_the_link_comes_up_while_a_card_is_read(sell):
    """What was begun without the link does not go past the sign-on or a reversal that must go first."""
    bed = sell(up=False)
    bed.held.add("reader")
    ticket = bed.command("sale", amount=150_000)
    bed.settle()
    bed.links(True)
    bed.receive(f"reader:{TERMINAL_ID}", b"\x90\x00")
    bed.step()
    bed.settle()
    receipt = bed.answer(ticket)
    assert (receipt["outcome"], receipt["reason"]) == ("refused", "the phone is not signed on")
    assert bed.mtis() == ["0800"]
    assert not bed.failures


def test_nothing_online_goes_past_a_reversal(sell):
    bed = sell()
    bed.settle()
    bed.acquirer.silent.add("0200")
    bed.command("sale", amount=150_000)
    bed.settle()
    bed.links(False)
    assert [sale.status for sale in bed.sales()] == ["reversing"]
    bed.held.add("reader")
    ticket = bed.command("sale", amount=150_000)
    bed.settle()
    bed.links(True)
    bed.receive(f"reader:{TERMINAL_ID}", b"\x90\x00")
    bed.step()
    assert bed.answer(ticket)["reason"] == "a reversal is pending"
    bed.held.clear()
    bed.settle()
    assert bed.mtis() == ["0800", "0200", "0400"]
    assert [sale.status for sale in bed.sales()] == ["reversed"]


def test_the_sale_goes_on_without_the_link_that_breaks_before_it(sell):
    bed = sell()
    bed.acquirer.silent.add("0800")
    ticket = bed.command("sale", amount=1250)
    bed.settle()
    bed.links(False)
    bed.settle()
    assert bed.answer(ticket)["offline"] is True


@pytest.mark.parametrize("code", ["96", "30", "94", "97", "40"])
def test_a_refused_upload_lets_the_others_pass_and_comes_again(sell, code):
    bed = sell()
    bed.settle()
    bed.links(False)
    for amount in (100, 200, 300):
        bed.ask("sale", amount=amount)

    def refuse_the_first(message: Message) -> None:
        if message.mti == "0230" and message.text(4) == "000000000100":
            message[39] = code

    bed.acquirer.change = refuse_the_first
    bed.links(True)
    bed.settle()
    bed.pass_time(25)
    assert [(sale.status, sale.response_code) for sale in bed.sales()] == [
        ("offline", code),
        ("approved", "00"),
        ("approved", "00"),
    ]
    assert bed.ask("sale", amount=150_000)["outcome"] == "approved"
    bed.acquirer.change = lambda message: None
    bed.pass_time(11)
    assert {sale.status for sale in bed.sales()} == {"approved"}


@pytest.mark.parametrize("code", ["A0", "77"])
def test_sign_on_codes_repeat_the_upload_after_a_sign_on_and_then_paced(sell, code):
    bed = sell()
    bed.settle()
    bed.acquirer.upload_code = code
    bed.ask("sale", amount=1250)
    assert bed.mtis() == ["0800", "0220", "0800", "0220", "0800"]
    bed.pass_time(9)
    assert len(bed.mtis()) == 5
    bed.acquirer.upload_code = "00"
    bed.pass_time(2)
    assert [sale.status for sale in bed.sales()] == ["approved"]
    # the same sale under new keys: only the MAC differs
    sent = [m for m in bed.acquirer.requests if m.mti == "0220"]
    assert len({tuple(sorted((n, v) for n, v in m.fields.items() if n != 64)) for m in sent}) == 1


def test_an_0230_whose_mac_is_wrong_is_none(sell):
    bed = sell()
    bed.settle()
    bed.acquirer.spoil_mac = True
    bed.ask("sale", amount=1250)
    bed.pass_time(25)
    assert [sale.status for sale in bed.sales()] == ["offline"]
    assert bed.device.dropped["wrong MAC"] >= 2
    bed.acquirer.spoil_mac = False
    bed.pass_time(21)
    assert [sale.status for sale in bed.sales()] == ["approved"]


def test_the_upload_is_authenticated(sell):
    bed = sell()
    bed.settle()
    bed.ask("sale", amount=1250)
    (body,) = [body for link, body in bed.trace if link.startswith("acq") and TERMINAL.unpack(body).mti == "0220"]
    mak = bed.acquirer.keys[TERMINAL_ID][1]
    assert bed.acquirer.module.verify_mac(mak, MacAlgorithm.CUP_ECB, body[11:-8], body[-8:])


@pytest.mark.parametrize("turns", range(8))
@pytest.mark.parametrize("lost", ["before the turn", "after the commit"])
def test_a_crash_at_each_turn_of_an_offline_sale(tmp_path, monkeypatch, turns, lost):
    """Either there is no row and no receipt, or the acquirer is told, once, however often the process dies."""
    bed = Bed(f"sqlite:///{tmp_path / 'device.db'}", configuration=OFFLINE)
    bed.settle()
    install(monkeypatch, bed)
    ticket = bed.command("sale", amount=1250)
    for _ in range(turns):
        bed.step()
        waiting = list(bed.sent)
        bed.sent.clear()
        bed.now += 1000
        for link, body in waiting:
            kind, _, terminal = link.partition(":")
            answer = bed.answer_of(kind, terminal, body)
            if answer is not None:
                bed.receive(link, answer)
    if lost == "after the commit":
        bed.step()
    receipt = bed.answers.get(ticket)
    bed.work = Work([], [], [], [])
    bed.restart()
    bed.settle()
    bed.pass_time(60)
    rows = bed.sales()
    if receipt is not None:
        assert len(rows) == 1
    assert [sale.status for sale in rows] == ["approved"] * len(rows)
    assert list(bed.acquirer.told) == [IDENTITY] * len(rows)
    assert bed.acquirer.paid == {}
    assert not bed.failures


def test_many_uploads_survive_a_crash_in_their_order(tmp_path, monkeypatch):
    terminals = [f"1000{n:04d}" for n in range(8)]
    bed = Bed(f"sqlite:///{tmp_path / 'device.db'}", configuration=OFFLINE, terminals=terminals)
    bed.settle()
    install(monkeypatch, bed)
    bed.links(False)
    for amount in (100, 200, 300):
        for terminal in terminals:
            bed.ask("sale", terminal, amount=amount)
    bed.restart()
    bed.settle()
    told = [(m.text(41), m.text(4)) for m in bed.acquirer.requests if m.mti == "0220"]
    for terminal in terminals:
        assert [amount[-3:] for one, amount in told if one == terminal] == ["100", "200", "300"]
    assert len(told) == 24


def test_the_place_is_that_of_the_sale_at_every_sending(monkeypatch):
    bed = Bed(configuration=Configuration(offline=True, fdda=True, app_version="2.1.0"))
    bed.settle()
    install(monkeypatch, bed)
    move(bed, "+31.2304,+121.4737")
    bed.acquirer.silent.add("0220")
    bed.ask("sale", amount=1250)
    move(bed, "+39.9042,+116.4074")
    bed.pass_time(25)
    sent = {m.text(59) for m in bed.acquirer.requests if m.mti == "0220"}
    assert len(sent) == 1
    assert decode_objects(decode_objects(sent.pop())["A2"]) == {
        "01": "11",
        "02": "phone-1",
        "03": "+31.2304,+121.4737",
        "05": "2.1.0",
    }
    bed.acquirer.silent.clear()
    bed.pass_time(21)
    bed.ask("sale", amount=150_000)
    online_place = decode_objects(decode_objects(bed.acquirer.requests[-1].text(59))["A2"])["03"]
    assert online_place == "+39.9042,+116.4074"


def move(bed: Bed, place: str | None, device_id: str | None = "phone-1") -> None:
    phone = bed.unit.find(Phone, "terminal_id", TERMINAL_ID)
    assert phone is not None
    bed.unit.change(phone)
    phone.device_id, phone.place = device_id, place
    bed.unit.commit()


def test_a_phone_without_a_place_tells_none():
    bed = Bed()
    bed.settle()
    bed.ask("sale", amount=150_000)
    assert 59 not in bed.acquirer.requests[-1]
    move(bed, None)
    bed.ask("sale", amount=150_000)
    assert decode_objects(decode_objects(bed.acquirer.requests[-1].text(59))["A2"]) == {
        "01": "11",
        "02": "phone-1",
        "05": "1.0.0",
    }


def test_nothing_clear_of_an_offline_sale_is_stored(tmp_path, monkeypatch):
    bed = Bed(f"sqlite:///{tmp_path / 'device.db'}", configuration=OFFLINE)
    install(monkeypatch, bed)
    bed.settle()
    bed.links(False)
    bed.ask("sale", amount=1250)
    bed.store.close()
    stored = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert PAN.encode() not in stored
    assert bytes.fromhex(PAN) not in stored


def test_offline_needs_cards_to_prove_themselves():
    with pytest.raises(ValueError, match="fdda"):
        Configuration(offline=True)
