"""Downloads: CA keys and limits in rows and in the kernels, whole or not at all."""

from pathlib import Path

import pytest
from certified_card import CA_KEYS, CertifiedCard
from device_bed import TERMINAL_ID
from order_bed import OfficeBed, ca_blocks, written

from merchant_device.configuration import Configuration
from merchant_device.downloads import Downloads
from merchant_device.tables import TABLES, CaKey, Parameter
from network.emv import load_ca_keys, tlv
from network.iso8583 import Message
from network.store import Store

UNIONPAY = Path(__file__).parent.parent / "vectors" / "unionpay_ca_public_keys.json"
DEBIT = "A000000333010101"
STEPS = ["372", "370", "371", "380", "380", "380", "380", "381", "360", "361", "390", "391"]


@pytest.fixture
def bed():
    bed = OfficeBed(configuration=Configuration(download_retry=60))
    bed.acquirer.key_blocks = ca_blocks(dict(list(CA_KEYS.items())[:1]))
    bed.acquirer.limits = {"": (1000, 500_000, 100_000), DEBIT: (0, 300_000, 50_000)}
    return bed


class CashCard(CertifiedCard):
    """A card that approves; it does not check what an issuer says."""

    def transmit(self, apdu: bytes) -> bytes:
        return b"\x90\x00" if apdu[1] == 0x82 else super().transmit(apdu)


def keys(bed: OfficeBed, status: str = "in_force") -> dict[str, bytes]:
    return {row.identifier: row.data for row in bed.store.unit_of_work().scan(CaKey, "status", status, 100)}


def limits(bed: OfficeBed) -> dict[str, tuple[int | None, int | None, int | None]]:
    rows = bed.store.unit_of_work().scan(Parameter, "status", "in_force", 100)
    return {row.application: (row.floor_limit, row.contactless_limit, row.cvm_limit) for row in rows}


def bind(bed: OfficeBed) -> None:
    phone = bed.unit.find(type(bed.phone()), "terminal_id", TERMINAL_ID)
    assert phone is not None
    bed.unit.change(phone)
    phone.device_id = "phone-7"
    bed.unit.commit()


def test_a_download(bed):
    answer = bed.ask("download")
    assert (answer["outcome"], answer["keys"], answer["applications"], answer["rejected"]) == ("approved", 1, 1, ())
    assert bed.acquirer.asked == STEPS
    assert keys(bed) == bed.acquirer.key_blocks
    assert limits(bed) == {"": (1000, 500_000, 100_000), DEBIT: (0, 300_000, 50_000)}
    # a limit that was downloaded is that of the next sale
    assert bed.ask("sale", amount=500_000)["reason"] == "the card wants to be inserted or swiped"
    assert bed.ask("sale", amount=299_999)["outcome"] == "approved"
    bed.restart()
    bed.settle()
    assert bed.ask("sale", amount=500_000)["outcome"] == "refused"


def test_the_public_keys_of_unionpay(bed):
    bed.acquirer.key_blocks = ca_blocks(load_ca_keys(UNIONPAY))
    answer = bed.ask("download")
    assert (answer["keys"], answer["rejected"]) == (len(bed.acquirer.key_blocks), ())
    assert len(keys(bed)) == answer["keys"] > 3


def test_what_the_acquirer_offers_no_more_is_withdrawn_and_what_changed_is_changed(bed):
    names = list(ca_blocks(load_ca_keys(UNIONPAY)).items())
    bed.acquirer.key_blocks = dict(names[:3])
    bed.ask("download")
    bed.acquirer.key_blocks = dict(names[1:4])
    bed.acquirer.limits[""] = (1, 2, 3)
    bed.ask("download")
    assert set(keys(bed)) == {name for name, _ in names[1:4]}
    assert set(keys(bed, "withdrawn")) == {names[0][0]}
    assert limits(bed)[""] == (1, 2, 3)
    bed.acquirer.key_blocks = {}
    assert bed.ask("download")["keys"] == 0
    assert keys(bed) == {}
    bed.acquirer.key_blocks = dict(names[:1])
    bed.ask("download")
    assert set(keys(bed)) == {names[0][0]}


def _wrong_hash(block: bytes) -> bytes:
    return block[:-1] + bytes([block[-1] ^ 1])


def _wrong_modulus(block: bytes) -> bytes:
    objects = tlv.flat(block)
    objects["DF02"] = bytes([objects["DF02"][0] ^ 2]) + objects["DF02"][1:]
    return tlv.encode_all(objects)


@pytest.mark.parametrize("damage", [_wrong_hash, _wrong_modulus, lambda block: b"", lambda block: block[:40]])
def test_a_key_that_cannot_be_used_is_passed_over(bed, damage):
    names = list(ca_blocks(load_ca_keys(UNIONPAY)).items())
    bed.acquirer.key_blocks = dict(names[:2])
    bed.ask("download")
    good = keys(bed)

    def change(message: Message) -> None:
        content = message.get(62)
        if content == b"1" + names[0][1]:
            message[62] = b"1" + damage(names[0][1])

    bed.acquirer.change = change
    answer = bed.ask("download")
    assert (answer["outcome"], answer["keys"]) == ("approved", 1)
    (said,) = answer["rejected"]
    assert said.startswith(names[0][0] + ": ")
    assert keys(bed) == good, "the key that was there before stays"


def test_another_key_than_the_one_asked_for_is_not_taken(bed):
    names = list(ca_blocks(load_ca_keys(UNIONPAY)).items())
    bed.acquirer.key_blocks = {names[0][0]: names[0][1], names[1][0]: names[0][1]}
    bed.acquirer.change = lambda message: (
        message.fields.update({62: b"1" + _names(names[:2])}) if message.get(60, "")[8:] == "372" else None  # type: ignore[index]
    )
    answer = bed.ask("download")
    assert answer["rejected"] == (f"{names[1][0]}: another key came",)
    assert set(keys(bed)) == {names[0][0]}


def _names(pairs: list[tuple[str, bytes]]) -> bytes:
    return b"".join(
        tlv.encode_all({"9F06": bytes.fromhex(name[:-2]), "9F22": bytes.fromhex(name[-2:])}) for name, _ in pairs
    )


def test_a_key_that_is_withdrawn_while_it_is_downloaded(bed):
    bed.ask("download")
    (name,) = bed.acquirer.key_blocks
    bed.acquirer.change = lambda message: (
        bed.acquirer.key_blocks.clear() if message.get(60, "")[8:] == "372" else None  # type: ignore[index]
    )
    assert bed.ask("download")["keys"] == 0
    assert set(keys(bed, "withdrawn")) == {name}


@pytest.mark.parametrize("step", sorted(set(STEPS)))
@pytest.mark.parametrize("code", ["30", "58"])
def test_a_step_that_is_refused_leaves_what_was_there(bed, step, code):
    bed.ask("download")
    before = keys(bed), limits(bed)
    bed.acquirer.limits[""] = (7, 7, 7)
    bed.acquirer.codes[step] = code
    answer = bed.ask("download")
    assert (answer["outcome"], answer["response_code"]) == ("declined", code)
    assert step in answer["reason"]
    assert (keys(bed), limits(bed)) == before


@pytest.mark.parametrize("content", [b"", b"2", b"1", b"1\xff", b"1\x9f\x06\x05", b"0x", b"1\x9f\x22\x01\x0b"])
@pytest.mark.parametrize("step", ["372", "380", "360", "390"])
def test_a_malformed_answer_ends_the_download(bed, step, content):
    def change(message: Message) -> None:
        if str(message.get(60))[8:] == step:
            message[62] = content

    bed.acquirer.change = change
    answer = bed.ask("download")
    assert answer["outcome"] == "declined"
    said = ("malformed", "neither", "cut short", "has a number")
    assert any(one in answer["reason"] for one in said)
    assert (keys(bed), limits(bed)) == ({}, {})
    assert not bed.failures


def test_limits_that_are_no_digits(bed):
    bed.acquirer.change = lambda message: (
        message.fields.update({62: written((1, 2, 3)).replace(b"\x00\x03", b"\x00\x0a")})
        if str(message.get(60))[8:] == "360"
        else None
    )
    assert "DF21" in bed.ask("download")["reason"]


@pytest.mark.parametrize("how", ["silent", "spoil"])
@pytest.mark.parametrize("step", ["372", "370", "360"])
def test_a_lost_or_damaged_answer_is_asked_for_again(bed, how, step):
    getattr(bed.acquirer, how).add(step)
    ticket = bed.command("download")
    bed.settle()
    bed.pass_time(21)
    assert ticket not in bed.answers
    getattr(bed.acquirer, how).clear()
    bed.pass_time(21)
    assert bed.answer(ticket)["outcome"] == "approved"
    assert bed.acquirer.asked.count(step) == 3


def test_an_acquirer_that_does_not_answer(bed):
    bed.acquirer.silent.add("370")
    ticket = bed.command("download")
    bed.settle()
    bed.pass_time(65)
    assert bed.answer(ticket)["outcome"] == "unknown"
    assert bed.acquirer.asked.count("370") == 3
    assert keys(bed) == {}
    assert bed.ask("sale", amount=1)["outcome"] == "approved"


def test_doubled_answers_count_once(bed):
    take = bed.acquirer.take

    def twice(body: bytes) -> bytes | None:
        answer = take(body)
        if answer is not None:
            bed.receive(f"acquirer:{TERMINAL_ID}", answer)
        return answer

    bed.acquirer.take = twice
    assert bed.ask("download")["outcome"] == "approved"
    assert bed.acquirer.asked == STEPS
    assert not bed.failures


def test_the_link_breaks_and_the_command_is_cancelled(bed):
    bed.acquirer.silent.add("371")
    ticket = bed.command("download")
    bed.settle()
    assert bed.ask("download")["reason"] == "the terminal is busy"
    bed.links(False)
    assert bed.answer(ticket)["reason"] == "the link to the acquirer broke"
    assert bed.ask("download")["outcome"] == "refused"
    bed.links(True)
    ticket = bed.command("download")
    bed.settle()
    bed.ask("cancel")
    assert bed.answer(ticket)["outcome"] == "refused"
    bed.acquirer.silent.clear()
    bed.pass_time(21)
    assert keys(bed) == bed.acquirer.key_blocks, "what was begun goes on"
    assert not bed.failures


def test_a_device_downloads_after_its_first_sign_on(bed):
    bind(bed)
    bed.ask("sign_on")
    assert bed.acquirer.asked == STEPS
    assert keys(bed) == bed.acquirer.key_blocks
    bed.ask("sign_on")
    bed.restart()
    bed.settle()
    bed.pass_time(120)
    assert bed.acquirer.asked == STEPS, "once is enough"


@pytest.mark.parametrize("how", ["30", "77", "A0", "silent", "crash", "link"])
def test_a_devices_own_download_that_fails_is_tried_again(bed, how):
    bind(bed)
    if how in ("silent", "crash", "link"):
        bed.acquirer.silent.add("381")
    else:
        bed.acquirer.codes["381"] = how
    bed.ask("sign_on")
    assert keys(bed) == {}
    if how == "crash":
        bed.acquirer.silent.clear()
        bed.restart()
        bed.ask("sign_on")
    if how == "link":
        bed.links(False)
        bed.links(True)
    before = len(bed.acquirer.asked)
    bed.acquirer.silent.clear()
    bed.pass_time(10)
    assert how != "77" or len(bed.acquirer.asked) == before, "not in a circle with sign-ons"
    bed.acquirer.codes.clear()
    bed.pass_time(120)
    assert keys(bed) == bed.acquirer.key_blocks
    assert bed.ask("sale", amount=1)["outcome"] == "approved"
    assert not bed.failures


def test_a_sale_waits_for_the_devices_own_download(bed):
    bind(bed)
    bed.held.add("acquirer")
    bed.command("sign_on")
    bed.settle()
    bed.receive(f"acquirer:{TERMINAL_ID}", bed.acquirer.take(bed.sent.popleft()[1]))
    bed.settle()
    assert bed.ask("status")["terminals"][0]["doing"] == "idle"  # type: ignore[index, call-overload]
    ticket = bed.command("sale", amount=10)
    bed.settle()
    bed.held.clear()
    bed.settle()
    assert bed.answer(ticket)["outcome"] == "approved"
    assert bed.acquirer.asked == STEPS
    assert bed.mtis()[-1] == "0200"


def test_a_key_that_was_downloaded_proves_cards_genuine():
    bed = OfficeBed(configuration=Configuration(offline=True, fdda=True))
    bed.acquirer.key_blocks = ca_blocks(CA_KEYS)
    bed.acquirer.limits = {"": (2000, 500_000, 100_000)}
    for expected in (False, True):
        bed.cards[TERMINAL_ID] = CashCard()
        assert bed.ask("sale", amount=1000)["offline"] is expected
        bed.ask("download")


def test_the_store_in_a_file_is_that_of_the_next_process(tmp_path):
    bed = OfficeBed(f"sqlite:///{tmp_path}/device.db")
    bed.acquirer.key_blocks = ca_blocks(load_ca_keys(UNIONPAY))
    bed.acquirer.limits = {"": (1, 2, 3)}
    bed.ask("download")
    bed.store.close()
    again = Store(f"sqlite:///{tmp_path}/device.db", TABLES)
    assert len(again.unit_of_work().scan(CaKey, "status", "in_force", 100)) == len(bed.acquirer.key_blocks)
    again.close()
    assert Downloads.commands == ("download",)
