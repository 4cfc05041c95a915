"""Sales by the payer's code, from the picture to the books."""

from random import Random

import pytest
from device_bed import PIN, TERMINAL_ID
from order_bed import OfficeBed, merchant_code
from test_device_camera import CODE, OTHER, PAYER_CODE

from merchant_device.configuration import Configuration
from network.iso8583.additional_data import decode_objects
from network.keys import PinFormat
from scenarios.stories.pictures import View, draw, photograph

POSTER = "https://example.com/menu"


def seen(*texts: str, view: View = View(degrees=8, light=0.7)) -> bytes:  # noqa: B008
    return photograph(*(draw(text) for text in texts), view=view, random=Random(1))


BLANK = seen(POSTER, view=View(light=0))


@pytest.fixture
def bed():
    return OfficeBed(configuration=Configuration(camera_tries=10))


def sold(bed: OfficeBed) -> str:
    return decode_objects(decode_objects(bed.acquirer.requests[-1].text(59))["A3"])["01"]


@pytest.mark.parametrize("text", [CODE, PAYER_CODE], ids=["digits", "EMVCo"])
def test_a_sale(bed, text):
    bed.pictures = [seen(text)]
    receipt = bed.ask("sale", amount=1250, ways=["payer_code"])
    assert (receipt["outcome"], receipt["way"], receipt["pan"]) == ("approved", "payer_code", None)
    request = bed.acquirer.requests[-1]
    assert (request.mti, request[22], sold(bed)) == ("0200", "032", text)
    assert not {2, 35, 52, 55} & set(request.fields)
    assert [screen["request"] for screen in bed.shown] == ["message", "clear"]
    looked = bed.looked
    bed.pass_time(30)
    assert bed.looked == looked == 1


def test_the_camera_is_asked_until_one_code_is_in_view(bed):
    bed.pictures = [
        BLANK,
        b"no picture",
        seen(POSTER),
        seen(merchant_code("1" * 20, 5).build()),
        seen(CODE, OTHER),
        seen(POSTER, OTHER),
    ]
    ticket = bed.command("sale", amount=1250, ways=["payer_code"])
    bed.settle()
    bed.pass_time(3)
    assert bed.answer(ticket)["outcome"] == "approved"
    assert bed.looked == 6
    assert sold(bed) == OTHER
    texts = [screen.get("text") for screen in bed.shown]
    assert texts[1:-1] == ["this is no payment code", "this is no payment code", "show one payment code only"]


@pytest.mark.parametrize(
    ("pictures", "reason"),
    [([BLANK], "no code could be read"), ([seen(CODE, OTHER)], "show one payment code only"), ([b""], "no code was")],
)
def test_what_shows_no_single_code_ends_the_sale(bed, pictures, reason):
    bed.pictures = pictures
    ticket = bed.command("sale", amount=1250, ways=["payer_code"])
    bed.settle()
    bed.pass_time(30)
    assert bed.answer(ticket)["reason"].startswith(reason)
    assert bed.looked == (1 if pictures == [b""] else 10)
    assert bed.sales() == []
    bed.pictures = pictures
    ticket = bed.command("sale", amount=1250, ways=["payer_code", "tap"])
    bed.settle()
    bed.pass_time(30)
    assert bed.answer(ticket)["way"] == "card"


def test_a_picture_that_is_lost_is_asked_for_again(bed):
    bed.pictures = [None, seen(CODE)]
    ticket = bed.command("sale", amount=1250, ways=["payer_code"])
    bed.settle()
    assert ticket not in bed.answers
    bed.pass_time(4)
    assert bed.answer(ticket)["outcome"] == "approved"


def test_a_camera_that_says_nothing(bed):
    bed.pictures = [None]
    ticket = bed.command("sale", amount=1250, ways=["payer_code"])
    bed.settle()
    bed.pass_time(61)
    assert bed.answer(ticket)["reason"] == "no code was read in time"
    looked = bed.looked
    bed.pass_time(61)
    assert bed.looked == looked


def test_doubled_and_late_pictures(bed):
    bed.pictures = [None]
    ticket = bed.command("sale", amount=1250, ways=["payer_code"])
    bed.settle()
    for _ in range(3):
        bed.receive(f"camera:{TERMINAL_ID}", seen(POSTER))
    bed.settle()
    looked = bed.looked
    bed.pass_time(0.3)
    assert bed.looked == looked + 1, "pictures that nobody asked for do not breed requests"
    for _ in range(2):
        bed.receive(f"camera:{TERMINAL_ID}", seen(CODE))
    bed.settle()
    assert bed.answer(ticket)["outcome"] == "approved"
    bed.receive(f"camera:{TERMINAL_ID}", seen(CODE))
    bed.settle()
    assert bed.device.dropped == {"unexpected from the camera": 2}
    assert len(bed.sales()) == 1
    bed.order()
    bed.receive(f"camera:{TERMINAL_ID}", seen(CODE))
    bed.settle()
    assert len(bed.sales()) == 1, "another way of paying takes no picture"


def test_cancelled_before_and_after_the_code(bed):
    bed.pictures = [BLANK]
    ticket = bed.command("sale", amount=1250, ways=["payer_code", "tap"])
    bed.settle()
    bed.ask("cancel")
    assert bed.answer(ticket)["reason"] == "cancelled"
    bed.pictures = [seen(CODE)]
    bed.acquirer.silent.add("0200")
    ticket = bed.command("sale", amount=1250, ways=["payer_code"])
    bed.settle()
    bed.ask("cancel")
    assert bed.answer(ticket)["outcome"] == "unknown"
    bed.pass_time(15)
    assert [sale.status for sale in bed.sales()] == ["reversed"]
    assert not {2, 35, 55} & set(bed.acquirer.requests[-1].fields)


def test_a_pin_that_is_missing_is_asked_for_and_the_code_is_read_again(bed):
    bed.acquirer.code_without_pin = "55"
    bed.pictures = [seen(CODE), seen(OTHER)]
    assert bed.ask("sale", amount=1250, ways=["payer_code"])["outcome"] == "approved"
    request = bed.acquirer.requests[-1]
    block = bed.acquirer.module.encrypt_pin(bed.acquirer.keys[TERMINAL_ID][0], PIN.decode(), "", PinFormat.WITHOUT_PAN)
    assert (request[22], request[52], sold(bed)) == ("031", block, OTHER)


@pytest.mark.parametrize("when", ["looking", "asked"])
def test_a_crash(bed, when):
    bed.pictures = [BLANK if when == "looking" else seen(CODE)]
    bed.held.add("acquirer")
    bed.command("sale", amount=1250, ways=["payer_code"])
    bed.settle()
    bed.held.clear()
    bed.restart()
    bed.settle()
    assert [sale.status for sale in bed.sales()] == ([] if when == "looking" else ["reversed"])


def test_the_link_breaks_while_the_camera_looks(bed):
    bed.pictures = [BLANK]
    ticket = bed.command("sale", amount=1250, ways=["payer_code"])
    bed.settle()
    bed.links(False)
    bed.pictures = [seen(CODE)]
    bed.pass_time(1)
    assert bed.answer(ticket)["reason"] == "the link to the acquirer is down"
    assert bed.sales() == []


def test_no_code_is_in_the_database_or_a_repr(tmp_path):
    bed = OfficeBed(f"sqlite:///{tmp_path}/device.db")
    bed.pictures = [seen(CODE)]
    bed.ask("sale", amount=1250, ways=["payer_code"])
    bed.store.close()
    assert not any(CODE.encode() in file.read_bytes() for file in tmp_path.iterdir())
