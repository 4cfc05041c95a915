"""Tampering and kills: keys are gone, money is not, and the acquirer hears of what is owed."""

import json
from collections.abc import Callable

import pytest
from device_bed import TERMINAL_ID, ScriptedCard
from order_bed import OfficeAcquirer
from scripted_kernel import ScriptedKernel, offline
from trust_bed import DEVICE, MONITOR, TrustBed

from merchant_device.configuration import Configuration
from merchant_device.phone_rooms import all_rooms
from network.keys import MacAlgorithm
from network.party import CommandError, LinkChange

WIPED = "the phone's keys were wiped"


@pytest.fixture
def bed():
    return TrustBed()


def signal(bed: TrustBed, *signals: str) -> None:
    assert bed.ask("signal", device=DEVICE, signals=list(signals or ("root",))) == {"device": DEVICE, "wiped": True}


def farewells(bed: TrustBed) -> list[dict]:
    return [one for one in bed.heard if one["type"] in ("alarm", "killed")]


def assert_wiped(bed: TrustBed, blocks: set[str]) -> None:
    """No key of the terminal or the device is left in any row; nor does the module have one open."""
    phone, element = bed.phone(), bed.element()
    assert (phone.status, phone.tmk, phone.pik, phone.mak, phone.tdk) == ("wiped", "", None, None, None)
    assert element.device_key is None
    connection = bed.store.read()
    with connection:
        for table in bed.store.tables.values():
            for row in connection.execute(table.select()):
                assert not blocks & {value for value in row if isinstance(value, str)}
    assert not blocks & set(bed.module._handles)
    assert not blocks & set(bed.module._pairs)


def blocks_of(bed: TrustBed) -> set[str]:
    phone, element = bed.phone(), bed.element()
    return {block for block in (phone.tmk, phone.pik, phone.mak, phone.tdk, element.device_key) if block}


def test_an_idle_phone_wipes_its_keys_and_says_so(bed):
    assert bed.ask("sale", amount=1250)["outcome"] == "approved"
    blocks = blocks_of(bed)
    assert len(blocks) >= 4
    signal(bed, "root", "debugger")
    assert_wiped(bed, blocks)
    (alarm,) = farewells(bed)
    assert (alarm["type"], alarm["signals"], alarm["reversals"]) == ("alarm", ["debugger", "root"], [])
    assert bed.element().status == "wiped"
    bed.pass_time(100)
    assert len(farewells(bed)) == 1, "what was noted is not said again"
    assert [sale.status for sale in bed.sales()] == ["approved"]


@pytest.mark.parametrize("name", ["sale", "balance", "sign_on", "sign_off", "echo"])
def test_a_wiped_phone_does_nothing(bed, name):
    signal(bed)
    sent = len(bed.trace)
    ticket = bed.command(name, **({"amount": 1250} if name == "sale" else {}))
    bed.step()
    answer = bed.answer(ticket)
    assert answer["outcome"] == "refused"
    bed.links(False)
    bed.links(True)
    bed.settle()
    bed.pass_time(100)
    assert not [link for link, _ in bed.trace[sent:] if link.startswith("acquirer")]
    assert bed.failures == []


def until(phase: str) -> Callable[[TrustBed], int]:
    """Takes a sale of 1500 yuan to where something is waited for, and gives its ticket."""

    def begin(bed: TrustBed) -> int:
        bed.held.add({"attesting": "monitor", "card": "reader", "pin": "pinpad", "answer": "acquirer"}[phase])
        bed.cards[TERMINAL_ID] = ScriptedCard()
        ticket = bed.command("sale", amount=150_000)
        bed.settle()
        assert ticket not in bed.answers
        return ticket

    return begin


@pytest.mark.parametrize("phase", ["attesting", "card", "pin"])
def test_a_payment_of_which_nothing_has_left_is_refused(bed, phase):
    ticket = until(phase)(bed)
    bed.held.clear()
    signal(bed, "clock")
    receipt = bed.answer(ticket)
    assert (receipt["outcome"], receipt["reason"]) == ("refused", "tamper signals: clock")
    assert bed.sales() == []
    assert farewells(bed)[0]["reversals"] == []
    bed.pass_time(200)
    assert "0200" not in bed.mtis()
    assert bed.failures == []


def test_a_payment_that_has_left_is_reversed_before_the_keys_go(bed):
    ticket = until("answer")(bed)
    blocks = blocks_of(bed)
    signal(bed, "integrity")
    receipt = bed.answer(ticket)
    assert (receipt["outcome"], receipt["reason"]) == ("unknown", "tamper signals: integrity")
    assert_wiped(bed, blocks)
    (sale,) = bed.sales()
    assert (sale.status, sale.reversal_reason) == ("reversing", "06")
    (alarm,) = farewells(bed)
    assert alarm["reversals"] == [{"batch": sale.batch, "stan": sale.stan, "amount": 150_000}]
    bed.held.clear()
    bed.settle()
    assert bed.acquirer.paid == {(TERMINAL_ID, sale.batch, sale.stan): "reversed"}
    (reversal,) = [one for one in bed.acquirer.requests if one.mti == "0400"]
    assert reversal.text(39) == "06"
    bed.pass_time(100)
    assert bed.mtis().count("0400") == 1
    assert bed.failures == []


def test_reversals_that_waited_are_handed_over(bed):
    bed.acquirer.silent |= {"0200", "0400"}
    bed.command("sale", amount=1250)
    bed.settle()
    bed.pass_time(61)
    (sale,) = bed.sales()
    assert sale.status == "reversing"
    sent = bed.mtis().count("0400")
    signal(bed)
    assert farewells(bed)[0]["reversals"] == [{"batch": sale.batch, "stan": sale.stan, "amount": 1250}]
    assert bed.mtis().count("0400") == sent + 1
    assert bed.ask("status")["terminals"][0]["reversals"] == 1, "they stay in the journal"


def test_offline_sales_are_told_before_the_keys_go(monkeypatch):
    bed = TrustBed(configuration=Configuration(offline=True, fdda=True))
    ScriptedKernel.install(monkeypatch, bed, lambda transaction, _: offline(transaction))
    bed.acquirer.silent.add("0220")
    assert bed.ask("sale", amount=1250)["outcome"] == "approved"
    assert bed.acquirer.told == {}
    bed.acquirer.silent.clear()
    signal(bed)
    assert len(bed.acquirer.told) == 1
    assert [sale.status for sale in bed.sales()] == ["offline"]
    bed.install()
    assert [sale.status for sale in bed.sales()] == ["approved"]


def test_a_management_command_ends(bed):
    bed.held.add("acquirer")
    ticket = bed.command("sign_on")
    bed.settle()
    bed.pass_time(1)
    signal(bed)
    assert bed.answer(ticket)["outcome"] == "refused"
    bed.held.clear()
    bed.settle()
    assert bed.phone().status == "wiped", "keys that come late are not taken"
    assert bed.failures == []


@pytest.mark.parametrize("paid", [False, True])
def test_a_code_on_the_display_is_withdrawn_before_the_keys_go(paid):
    """Whether somebody has paid is found out when the phone is installed anew."""
    bed = TrustBed(install=False, rooms=all_rooms())
    bed.acquirer = office = OfficeAcquirer()
    office.now = lambda: bed.now
    office.limits[""] = (0, 100_000, 100_000)
    bed.install()
    ticket = bed.command("sale", amount=1250, ways=["merchant_code"])
    bed.step()
    bed.settle()
    (number,) = office.orders
    assert ticket not in bed.answers
    if paid:
        office.pay(number)
    signal(bed)
    receipt = bed.answer(ticket)
    assert (receipt["outcome"], receipt["way"], receipt["order"]) == ("unknown", "merchant_code", number)
    assert office.orders[number] == ("paid" if paid else "cancelled")
    bed.pass_time(100)
    assert bed.phone().status == "wiped"
    assert bed.sales() == []
    bed.install()
    bed.pass_time(20)
    assert [(sale.status, sale.order_number) for sale in bed.sales()] == ([("approved", number)] if paid else [])
    assert bed.failures == []


# until the acquirer knows


def test_an_alarm_that_is_lost_is_said_again(bed):
    count = 0

    def wire(body: bytes) -> list[bytes]:
        nonlocal count
        count += 1
        return [] if count <= 3 else [body]

    bed.wire = wire
    signal(bed)
    assert bed.element().status == "leaving"
    bed.pass_time(50)
    assert bed.element().status == "wiped"
    assert len(farewells(bed)) == 1
    said = [body for link, body in bed.trace if link == MONITOR and b'"alarm"' in body]
    assert len(said) == 4
    assert len(set(said)) == 1, "the same bytes, of the key that is gone"


def test_an_answer_that_is_forged_or_corrupted_is_none(bed):
    bed.silent_monitor.add("alarm")
    signal(bed)
    (alarm,) = farewells(bed)
    good = bed.pack({"type": "noted", "number": alarm["number"]})
    for body in (
        bed.pack({"type": "noted", "number": "0" * 16}),
        good[:-3] + b"0" + good[-2:],
        b"00000000" + good[8:],
        good + b" ",
    ):
        bed.receive(MONITOR, body)
        bed.step()
        assert bed.element().status == "leaving"
    bed.receive(MONITOR, good)
    bed.receive(MONITOR, good)
    bed.step()
    assert bed.element().status == "wiped"


def test_an_alarm_survives_crashes(bed):
    bed.silent_monitor.add("alarm")
    until("answer")(bed)
    signal(bed)
    first = farewells(bed)
    bed.sent.clear()
    bed.held.clear()
    bed.silent_monitor.clear()
    bed.restart()
    bed.settle()
    bed.pass_time(11)
    assert bed.element().status == "wiped"
    assert farewells(bed)[-1] == first[0]
    assert len(first[0]["reversals"]) == 1
    bed.restart()
    bed.settle()
    bed.pass_time(30)
    assert len(farewells(bed)) == len(first) + 1
    assert bed.failures == []


def test_a_wipe_that_was_not_committed_did_not_happen(bed):
    """The commit fails: nothing leaves, the keys work, the payment in progress goes on."""
    ticket = until("answer")(bed)
    sent = list(bed.trace)
    commit, bed.unit.commit = bed.unit.commit, _fail
    told = bed.command("signal", device=DEVICE, signals=["root"])
    bed.step()
    bed.unit.commit = commit
    assert isinstance(bed.answers[told], CommandError)
    assert bed.trace == sent
    assert bed.phone().status == "signed_on"
    bed.held.clear()
    bed.settle()
    assert bed.answer(ticket)["outcome"] == "approved"
    assert bed.ask("sale", amount=1250)["outcome"] == "approved"
    assert len(bed.failures) == 1


def _fail() -> None:
    raise RuntimeError("the commit fails")


def test_the_link_that_comes_up_hears_of_it_at_once(bed):
    bed.silent_monitor.add("alarm")
    signal(bed)
    bed.silent_monitor.clear()
    bed.work.link_changes.append(LinkChange(MONITOR, True))
    bed.step()
    bed.settle()
    assert bed.element().status == "wiped"


def test_it_does_not_go_on_for_ever(bed):
    bed.silent_monitor.add("alarm")
    signal(bed)
    bed.pass_time(5000)
    assert len(farewells(bed)) == 360
    bed.silent_monitor.clear()
    bed.work.link_changes.append(LinkChange(MONITOR, True))
    bed.step()
    bed.settle()
    assert bed.element().status == "wiped"


# kills


def kill(bed: TrustBed) -> bytes:
    return bed.pack({"type": "kill", "reason": "stolen"})


@pytest.mark.parametrize("copies", [1, 2])
def test_a_kill_wipes_and_is_answered(bed, copies):
    ticket = until("answer")(bed)
    blocks = blocks_of(bed)
    body = kill(bed)
    for _ in range(copies):
        bed.receive(MONITOR, body)
    bed.step()
    bed.settle()
    receipt = bed.answer(ticket)
    assert (receipt["outcome"], receipt["reason"]) == ("unknown", "killed: stolen")
    assert_wiped(bed, blocks)
    said = farewells(bed)
    assert {one["type"] for one in said} == {"killed"}
    assert len(said) == copies
    assert said == [said[0]] * copies
    assert len(said[0]["reversals"]) == 1
    bed.receive(MONITOR, body)
    bed.step()
    bed.settle()
    assert len(farewells(bed)) == copies + 1, "an acquirer that asks again is told again"
    assert bed.failures == []


def test_a_kill_that_is_forged_does_nothing(bed):
    body = kill(bed)
    for forged in (b"00000000" + body[8:], body[:-3] + b"x" + body[-2:], body[8:], b"", body[:8]):
        bed.receive(MONITOR, forged)
        bed.step()
    text = json.dumps({"type": "kill", "terminal": "10000009", "reason": ""}, separators=(",", ":")).encode()
    bed.receive(MONITOR, bed.acquirer.module.mac(bed.mak(), MacAlgorithm.CUP_ECB, text) + text)
    bed.step()
    assert bed.ask("sale", amount=1250)["outcome"] == "approved"
    assert bed.failures == []


def test_the_holder_may_kill_his_phone(bed):
    assert bed.ask("kill", device=DEVICE) == {"device": DEVICE, "wiped": True}
    assert [one["type"] for one in farewells(bed)] == ["killed"]
    assert bed.ask("sale", amount=1250)["reason"] == WIPED
    assert bed.ask("kill", device=DEVICE)["wiped"] is True
    signal(bed)
    assert len(farewells(bed)) == 1


@pytest.mark.parametrize("signals", [None, [], "root", ["fire"], ["root", "root"], [1], ["root"] * 50, [["root"]]])
def test_signals_that_are_none(bed, signals):
    ticket = bed.command("signal", device=DEVICE, signals=signals)
    bed.step()
    assert isinstance(bed.answers[ticket], CommandError)
    assert bed.phone().status == "signed_on"


def test_a_device_that_is_no_terminal_wipes_its_key():
    bed = TrustBed(install=False)
    first = bed.ask("attest", device=DEVICE, challenge="5a" * 32)
    signal(bed)
    assert (bed.element().status, bed.element().device_key, bed.element().farewell) == ("wiped", None, None)
    second = bed.ask("attest", device=DEVICE, challenge="5a" * 32)
    assert first["chain"][0] != second["chain"][0]


# anew


def test_a_wiped_phone_is_installed_anew_and_goes_on(bed):
    bed.acquirer.silent.add("0400")
    until("answer")(bed)
    signal(bed)
    before = bed.device_public_key
    bed.held.clear()
    bed.settle()
    bed.acquirer.silent.clear()
    assert [sale.status for sale in bed.sales()] == ["reversing"]
    bed.install()
    assert bed.device_public_key != before
    assert [sale.status for sale in bed.sales()] == ["reversed"]
    assert bed.ask("sale", amount=1250)["outcome"] == "approved"
    assert bed.failures == []


def test_an_alarm_is_not_said_after_the_phone_was_installed_anew(bed):
    bed.silent_monitor.add("alarm")
    signal(bed)
    bed.install()
    heard = len(farewells(bed))
    bed.pass_time(100)
    assert len(farewells(bed)) == heard
    bed.restart()
    bed.work.link_changes.append(LinkChange(MONITOR, True))
    bed.step()
    bed.settle()
    bed.pass_time(100)
    assert len(farewells(bed)) == heard
    assert bed.ask("sale", amount=1250)["outcome"] == "approved"


def test_a_phone_that_has_never_signed_on_has_nobody_to_tell():
    bed = TrustBed(install=False)
    bed.acquirer.sign_on_code = "03"
    bed.install()
    signal(bed)
    assert (bed.phone().status, bed.element().status, bed.element().farewell) == ("wiped", "wiped", None)
    assert bed.ask("sale", amount=1250)["reason"] == WIPED
