"""What the acquirer is owed and refuses: asked less and less often, never forgotten, and shown to the operator."""

import pytest
from device_bed import Bed
from scripted_kernel import ScriptedKernel, offline, online

from merchant_device.configuration import Configuration
from network.iso8583 import Message

OFFLINE = Configuration(offline=True, fdda=True)


def selling(monkeypatch, configuration: Configuration = OFFLINE) -> Bed:
    """A bed whose cards approve offline up to 20 yuan and ask the issuer above."""
    bed = Bed(configuration=configuration)
    ScriptedKernel.install(
        monkeypatch,
        bed,
        lambda transaction, _: offline(transaction) if transaction.amount <= 2000 else online(transaction),
    )
    bed.settle()
    return bed


def sent(bed: Bed, mti: str) -> int:
    return bed.mtis().count(mti)


def refused(bed: Bed) -> list[dict[str, object]]:
    terminals = bed.ask("status")["terminals"]
    assert isinstance(terminals, list)
    return terminals[0]["refused"]


def test_a_refused_upload_is_asked_after_growing_pauses_that_have_a_limit(monkeypatch):
    bed = selling(monkeypatch, Configuration(offline=True, fdda=True, upload_retry=10, longest_pause=60))
    bed.acquirer.upload_code = "94"
    bed.ask("sale", amount=1250)
    began, moments = bed.now, []
    for _ in range(300):
        before = sent(bed, "0220")
        bed.pass_time(1)
        if sent(bed, "0220") > before:
            moments.append((bed.now - began) // 1_000_000)
    pauses = [later - earlier for earlier, later in zip([0, *moments], moments, strict=False)]
    assert [round(pause, -1) for pause in pauses[:6]] == [10, 20, 40, 60, 60, 60]
    assert [sale.status for sale in bed.sales()] == ["offline"]
    bed.acquirer.upload_code = "00"
    bed.pass_time(61)
    assert [sale.status for sale in bed.sales()] == ["approved"]
    assert refused(bed) == []
    before = sent(bed, "0220")
    bed.pass_time(600)
    assert sent(bed, "0220") == before


def test_a_refused_reversal_is_asked_after_growing_pauses_that_have_a_limit():
    bed = Bed(configuration=Configuration(reversal_retry=10, longest_pause=60))
    bed.acquirer.silent.add("0200")
    bed.acquirer.reversal_code = "64"
    bed.command("sale", amount=1250)
    bed.settle()
    bed.links(False)
    bed.links(True)
    bed.settle()
    bed.pass_time(10 + 20 + 40 + 60 + 60 + 5)
    assert sent(bed, "0400") == 6
    (sale,) = bed.sales()
    assert (sale.status, sale.reversal_reason, sale.reversal_code) == ("reversing", "98", "64")
    bed.acquirer.reversal_code = None
    bed.acquirer.answers.clear()
    bed.pass_time(61)
    assert [(sale.status, sale.reversal_code) for sale in bed.sales()] == [("reversed", "25")]


def test_what_is_refused_is_shown_to_the_operator_and_the_merchant(monkeypatch):
    bed = selling(monkeypatch)
    bed.acquirer.upload_code = "94"
    bed.ask("sale", amount=1250)
    bed.pass_time(11)
    assert refused(bed) == [
        {
            "message": "0220",
            "batch": "000001",
            "stan": "000002",
            "response_code": "94",
            "times": 2,
            "again_at": refused(bed)[0]["again_at"],
        }
    ]
    assert str(refused(bed)[0]["again_at"]).startswith("2026-01-02T10:00:30")
    bed.acquirer.silent.add("0200")
    bed.acquirer.reversal_code = "96"
    bed.command("sale", amount=150_000)
    bed.settle()
    bed.links(False)
    bed.links(True)
    bed.settle()
    assert {(one["message"], one["response_code"]) for one in refused(bed)} == {("0220", "94"), ("0400", "96")}
    sales = bed.ask("history")["sales"]
    assert isinstance(sales, list)
    assert [(one["status"], one["response_code"], one["reversal_reason"], one["reversal_code"]) for one in sales] == [
        ("reversing", None, "98", "96"),
        ("offline", "94", None, None),
    ]


def test_a_refused_upload_holds_up_neither_later_ones_nor_sales(monkeypatch):
    bed = selling(monkeypatch)

    def refuse_the_first(message: Message) -> None:
        if message.mti == "0230" and message.text(4) == "000000000100":
            message[39] = "94"

    bed.acquirer.change = refuse_the_first
    bed.ask("sale", amount=100)
    bed.pass_time(31)
    before = sent(bed, "0220")
    bed.ask("sale", amount=200)
    bed.ask("sale", amount=150_000)
    bed.ask("sale", amount=150_000)
    assert bed.mtis()[-3:] == ["0220", "0200", "0200"]
    assert sent(bed, "0220") == before + 1
    assert [sale.status for sale in bed.sales()] == ["offline", "approved", "approved", "approved"]


def test_codes_that_ask_for_a_sign_on_are_followed_less_and_less_often(monkeypatch):
    bed = selling(monkeypatch, Configuration(offline=True, fdda=True, upload_retry=10, longest_pause=60))
    bed.acquirer.upload_code = "77"
    bed.ask("sale", amount=1250)
    bed.pass_time(10 + 20 + 40 + 60 + 5)
    assert sent(bed, "0220") == 6
    assert sent(bed, "0800") == 7
    bed.acquirer.upload_code = "00"
    bed.pass_time(61)
    assert [sale.status for sale in bed.sales()] == ["approved"]


def test_the_link_that_comes_back_asks_at_once(monkeypatch):
    bed = selling(monkeypatch)
    bed.acquirer.upload_code = "96"
    bed.ask("sale", amount=1250)
    bed.pass_time(200)
    bed.acquirer.upload_code = "00"
    bed.links(False)
    bed.links(True)
    bed.settle()
    assert [sale.status for sale in bed.sales()] == ["approved"]


@pytest.mark.parametrize("code", ["97", "silent"])
def test_a_sign_on_for_uploads_that_fails_is_repeated_after_a_pause(monkeypatch, code):
    """Signed off by its operator, the phone still owes the acquirer what cards have paid."""
    bed = selling(monkeypatch)
    bed.ask("sign_off")
    bed.links(False)
    assert bed.ask("sale", amount=1250)["offline"] is True
    if code == "silent":
        bed.acquirer.silent.add("0800")
    else:
        bed.acquirer.sign_on_code = code
    before = sent(bed, "0800")
    bed.links(True)
    bed.settle()
    assert sent(bed, "0800") == before + 1
    bed.pass_time(30)
    assert before + 2 <= sent(bed, "0800") <= before + 7
    bed.acquirer.sign_on_code = "00"
    bed.acquirer.silent.clear()
    bed.pass_time(30)
    assert [sale.status for sale in bed.sales()] == ["approved"]


def test_only_so_many_offline_sales_wait_for_the_acquirer(monkeypatch):
    """What is not told yet is the merchant's risk: past the limit the issuer is asked, or nothing is sold."""
    bed = Bed(configuration=Configuration(offline=True, fdda=True, offline_limit=2))
    bed.settle()
    bed.links(False)
    monkeypatch.setattr("merchant_device.kernels.Kernel", lambda configuration, *_, **__: Scripted(configuration))
    bed.device._kernels.changed()
    for _ in range(2):
        assert bed.ask("sale", amount=100)["offline"] is True
    receipt = bed.ask("sale", amount=100)
    assert (receipt["outcome"], receipt["reason"]) == (
        "refused",
        "too many offline sales wait for the acquirer",
    )
    bed.acquirer.silent.add("0220")
    bed.links(True)
    bed.settle()
    ticket = bed.command("sale", amount=100)
    bed.settle()
    bed.pass_time(11)
    assert bed.answer(ticket)["offline"] is False
    bed.acquirer.silent.clear()
    bed.pass_time(30)
    assert bed.ask("sale", amount=100)["offline"] is True


class Scripted(ScriptedKernel):
    """Approves offline where it was made to; asks the issuer where it was not."""

    def __init__(self, configuration) -> None:
        super().__init__(lambda transaction, _: offline(transaction) if configuration.offline else online(transaction))
