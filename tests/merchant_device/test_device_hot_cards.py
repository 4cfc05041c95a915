"""Stopped cards on the phone: the list page by page, whole or not at all, and the cards that it keeps from paying."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from certified_card import ARQC, CA_KEYS, PAN, CertifiedCard
from device_bed import TERMINAL_ID
from order_bed import OfficeBed, ca_blocks

from merchant_device.configuration import Configuration
from merchant_device.tables import IN_FORCE, HotCards
from network import hot_cards
from network.hot_cards import HotListPage, pages
from network.iso8583 import Message

SALT, OTHER_SALT = bytes(range(16)), bytes(range(16, 32))
CARDS = [f"62284800001{n:05d}" for n in range(300)]
STOPPED = "the card is on the list of stopped cards"


class CashCard(CertifiedCard):
    """A card with money in it, taken off when its last record is read."""

    balance = 10_000

    def transmit(self, apdu: bytes) -> bytes:
        if (apdu[1], apdu[2], apdu[3] >> 3) == (0xB2, 3, 3):
            self.balance -= self._amount
        if apdu[1] == 0xA8:
            self._amount = int(apdu[7 + 4 : 7 + 10].hex())
        return b"\x90\x00" if apdu[1] == 0x82 else super().transmit(apdu)


def offline_bed(url: str = "sqlite://") -> OfficeBed:
    bed = OfficeBed(url, configuration=Configuration(offline=True, fdda=True))
    bed.acquirer.key_blocks = ca_blocks(CA_KEYS)
    bed.acquirer.limits = {"": (2000, 500_000, 100_000)}
    return bed


@pytest.fixture
def bed():
    return offline_bed()


def kept(bed: OfficeBed) -> list[tuple[int, bytes, bytes]]:
    rows = bed.store.unit_of_work().scan(HotCards, "status", IN_FORCE, 1000)
    return [(row.number, row.salt, row.digests) for row in rows]


def rows_of(listed: list[HotListPage]) -> list[tuple[int, bytes, bytes]]:
    return [(page.number, page.salt, page.digests) for page in listed]


def pay(bed: OfficeBed, iad: str | None = None, pan: str = PAN) -> tuple[dict[str, object], CashCard]:
    card = CashCard(*([] if iad is None else [iad]), pan=pan)
    bed.cards[TERMINAL_ID] = card  # type: ignore[assignment]
    return bed.ask("sale", amount=1250), card  # type: ignore[return-value]


def is_stopped(bed: OfficeBed, iad: str | None = None, pan: str = PAN) -> bool:
    """Try to pay; a card that is stopped has lost nothing and was asked nothing more, and nobody hears of it."""
    before = len(bed.acquirer.requests)
    receipt, card = pay(bed, iad, pan)
    if receipt["outcome"] == "approved":
        assert bool(receipt["offline"]) == (iad is None)
        return False
    assert (receipt["outcome"], receipt["reason"], receipt["offline"]) == ("refused", STOPPED, False)
    assert card.balance == 10_000
    assert [command[1] for command in card.commands] == [0xA4, 0xA4, 0xA8]
    assert len(bed.acquirer.requests) == before
    return True


@pytest.mark.parametrize("iad", [None, ARQC], ids=["offline", "online"])
def test_a_stopped_card_pays_neither_offline_nor_online(bed: OfficeBed, iad: str | None) -> None:
    bed.acquirer.stopped = pages(SALT, [*CARDS, PAN])
    other = PAN[:-1] + "1"
    assert bed.ask("download")["stopped"] == 301
    assert bed.acquirer.asked[-5:] == ["361", "390", "390", "390", "391"]
    assert kept(bed) == rows_of(bed.acquirer.stopped)
    sales = len(bed.sales())
    assert is_stopped(bed, iad)
    assert len(bed.sales()) == sales
    assert not is_stopped(bed, iad, other)
    bed.restart()
    bed.settle()
    assert is_stopped(bed, iad)
    assert not is_stopped(bed, iad, other)
    bed.acquirer.stopped = pages(OTHER_SALT, CARDS[:100])
    assert bed.ask("download")["stopped"] == 100
    assert kept(bed) == rows_of(bed.acquirer.stopped)
    assert not is_stopped(bed, iad)
    bed.acquirer.stopped = []
    assert bed.ask("download")["stopped"] == 0
    assert kept(bed) == []
    bed.acquirer.stopped = pages(SALT, [*CARDS, PAN])
    bed.ask("download")
    assert is_stopped(bed, iad)
    assert not bed.failures


def test_a_balance_is_not_asked_for_with_a_stopped_card(bed: OfficeBed) -> None:
    bed.acquirer.stopped = pages(SALT, [PAN])
    bed.ask("download")
    bed.cards[TERMINAL_ID] = CashCard(ARQC)  # type: ignore[assignment]
    assert bed.ask("balance")["reason"] == STOPPED
    assert bed.pad_requests == [], "its PIN is not asked for"


def test_a_sale_looks_its_card_up_once_and_only_in_a_list(bed: OfficeBed, monkeypatch: pytest.MonkeyPatch) -> None:
    looked_up: list[str] = []
    digest = hot_cards.card_digest
    monkeypatch.setattr(hot_cards, "card_digest", lambda salt, pan: looked_up.append(pan) or digest(salt, pan))
    bed.ask("download")
    assert bed.device._kernels.of(bed.unit, TERMINAL_ID).sale.is_hot is None
    for listed, expected in (([], []), (CARDS[:1], [PAN])):
        bed.acquirer.stopped = pages(SALT, listed)
        bed.ask("download")
        for iad in (None, ARQC):
            looked_up.clear()
            assert pay(bed, iad)[0]["outcome"] == "approved"
            assert looked_up == expected


def on_page(number: int, act: Callable[[Message], None]) -> Callable[[Message], None]:
    def change(message: Message) -> None:
        if str(message.get(60))[8:] == "390" and message.binary(62)[1:4] == b"%03d" % number:
            act(message)

    return change


def _tampered(bed: OfficeBed, number: int, how: str, times: int = 1) -> None:
    """The acquirer's answer with that page is lost, doubled, damaged or of another MAC, as many times."""
    take = bed.acquirer.take
    left = [times]

    def taken(body: bytes) -> bytes | None:
        answer = take(body)
        is_page = b"%03d" % number in body and bed.acquirer.asked[-1] == "390"
        if answer is None or not is_page or not left[0]:
            return answer
        left[0] -= 1
        if how == "doubled":
            bed.receive(f"acquirer:{TERMINAL_ID}", answer)
            return answer
        if how == "damaged":
            return answer[:-20] + bytes((answer[-20] ^ 1,)) + answer[-19:]
        return None

    bed.acquirer.take = taken  # type: ignore[method-assign]


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("how", ["lost", "doubled", "damaged"])
def test_pages_lost_doubled_or_damaged_on_the_way(bed: OfficeBed, how: str, number: int) -> None:
    bed.acquirer.stopped = pages(SALT, CARDS)
    _tampered(bed, number, how, times=2)
    ticket = bed.command("download")
    bed.step()
    bed.settle()
    assert (ticket in bed.answers) == (how == "doubled")
    assert (kept(bed) == []) == (how != "doubled"), "nothing before the last page"
    bed.pass_time(45)
    assert bed.answer(ticket)["outcome"] == "approved"
    assert kept(bed) == rows_of(bed.acquirer.stopped)
    assert bed.acquirer.asked.count("390") == (3 if how == "doubled" else 5)
    assert not bed.failures


@pytest.mark.parametrize("number", [1, 2, 3])
def test_pages_that_never_come_leave_the_list_that_was_there(bed: OfficeBed, number: int) -> None:
    bed.acquirer.stopped = before = pages(SALT, [*CARDS, PAN])
    bed.ask("download")
    bed.acquirer.stopped = pages(OTHER_SALT, CARDS[:290])
    _tampered(bed, number, "lost", times=3)
    ticket = bed.command("download")
    bed.step()
    bed.settle()
    bed.pass_time(65)
    assert bed.answer(ticket)["outcome"] == "unknown"
    assert kept(bed) == rows_of(before)
    assert is_stopped(bed)


@pytest.mark.parametrize("number", [2, 3])
@pytest.mark.parametrize("to", [[PAN], [*CARDS, PAN], [*CARDS[:200], PAN], []])
def test_a_list_that_changes_meanwhile_is_begun_again(bed: OfficeBed, number: int, to: list[str]) -> None:
    bed.acquirer.stopped = pages(SALT, CARDS)
    take = bed.acquirer._manage

    def manage(request: Message, reply: Message, code: str) -> None:
        if code == "390" and request.get(62) == b"%03d" % number and bed.acquirer.stopped == pages(SALT, CARDS):
            bed.acquirer.stopped = pages(OTHER_SALT, to)
            if 0 < len(bed.acquirer.stopped) < number:
                reply[62] = HotListPage(number, OTHER_SALT, b"", more=False).build()
                return
        take(request, reply, code)

    bed.acquirer._manage = manage  # type: ignore[method-assign]
    answer = bed.ask("download")
    assert (answer["outcome"], answer["stopped"]) == ("approved", len(to))
    assert kept(bed) == rows_of(bed.acquirer.stopped)
    assert is_stopped(bed) == (PAN in to)


def test_a_list_that_changes_all_the_time_is_given_up(bed: OfficeBed) -> None:
    count = [0]

    def act(message: Message) -> None:
        count[0] += 1
        content = message.binary(62)
        message[62] = content[:4] + bytes((count[0],)) * 16 + content[20:]

    bed.acquirer.stopped = pages(SALT, CARDS)
    bed.acquirer.change = lambda message: act(message) if str(message.get(60))[8:] == "390" else None
    answer = bed.ask("download")
    assert (answer["outcome"], answer["reason"]) == (
        "declined",
        "the list of stopped cards changes faster than it can be downloaded",
    )
    assert bed.acquirer.asked.count("390") == 8
    assert kept(bed) == []


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (lambda content: b"", "neither"),
        (lambda content: b"9" + content[1:], "neither"),
        (lambda content: content[:12], "cut short"),
        (lambda content: content[:-1], "cut short"),
        (lambda content: content[:20], "empty"),
        (lambda content: content[:1] + b"001" + content[4:], "another page"),
        (lambda content: content[:1] + b"003" + content[4:], "another page"),
        (lambda content: content[:1] + b"x02" + content[4:], "number"),
    ],
)
def test_a_page_that_is_none_ends_the_download(bed: OfficeBed, content: Callable[[bytes], bytes], reason: str) -> None:
    bed.acquirer.stopped = before = pages(SALT, [PAN])
    bed.ask("download")
    bed.acquirer.stopped = pages(OTHER_SALT, CARDS)
    bed.acquirer.change = on_page(2, lambda message: message.fields.update({62: content(message.binary(62))}))
    answer = bed.ask("download")
    assert answer["outcome"] == "declined"
    assert reason in str(answer["reason"])
    assert kept(bed) == rows_of(before)
    assert is_stopped(bed)
    assert not bed.failures


@pytest.mark.parametrize("turns", range(0, 40, 3))
def test_a_crash_leaves_the_old_list_or_the_new_one(tmp_path, turns: int) -> None:
    bed = offline_bed(f"sqlite:///{tmp_path / 'device.db'}")
    bed.acquirer.stopped = before = pages(SALT, [PAN])
    bed.ask("download")
    bed.acquirer.stopped = after = pages(OTHER_SALT, CARDS)
    ticket = bed.command("download")
    for _ in range(turns):
        bed.step()
        waiting = list(bed.sent)
        bed.sent.clear()
        for link, body in waiting:
            answer = bed.answer_of(*link.split(":"), body)  # type: ignore[call-arg]
            if answer is not None:
                bed.receive(link, answer)
    is_done = ticket in bed.answers
    bed.restart()
    bed.settle()
    assert kept(bed) == rows_of(after if is_done else before)
    assert is_stopped(bed) != is_done


def test_a_download_that_was_not_committed_stops_nobody(bed: OfficeBed) -> None:
    bed.ask("download")
    bed.unit.insert(HotCards(1, SALT, pages(SALT, [PAN])[0].digests, IN_FORCE))
    bed.device._kernels.changed()
    assert bed.device._kernels.of(bed.unit, TERMINAL_ID).sale.is_hot is not None
    bed.unit.rollback()
    bed.device._saved.clear()
    bed.device.rolled_back()
    assert not is_stopped(bed)


def test_a_damaged_list_stops_the_process_from_starting(bed: OfficeBed) -> None:
    for number, salt in ((1, SALT), (2, OTHER_SALT)):
        bed.unit.insert(HotCards(number, salt, bytes(8), IN_FORCE))
    bed.unit.commit()
    with pytest.raises(LookupError, match="stopped cards in the store is damaged"):
        bed.restart()
