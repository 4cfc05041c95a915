"""Forms of messages that occur in the wild, TCP as it is, and several terminals at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain
from typing import Any

import pytest
from independent_card import CVN_01, OutsideCard, Tap
from independent_terminal import F_PADDED, HEADER_BYTES, OutsideTerminal, frame, prove_approval
from running_network import Network, Supply

pytestmark = pytest.mark.live

FORMS: dict[str, dict[str, Any]] = {
    "PIN block without PAN": {"pin_with_pan": False},
    "no DE2": {"change": {"2": None}},
    "no DE35": {"change": {"35": None}},
    "no DE14": {"change": {"14": None}},
    "no DE2, no DE14": {"change": {"2": None, "14": None}},
    "no DE35, no DE14": {"change": {"35": None, "14": None}},
    "no DE26": {"change": {"26": None}},
    "no DE23": {"change": {"23": None}},
    "no DE53": {"change": {"53": None}},
    "contact chip": {"change": {"22": "051"}},
    "operator in DE63": {"change": {"63": "001"}},
    "merchant's time": {"change": {"12": "235959", "13": "1231"}},
    "short DE60": {"change": {"60": "22000001"}},
    "DE60 to the end": {"change": {"60": "22000001000601000"}},
}


@pytest.mark.parametrize("form", FORMS)
def test_lenient_forms_of_a_sale(network: Network, terminal: OutsideTerminal, card: OutsideCard, form: str) -> None:
    before = network.available(card)
    _, reply = terminal.pay(card, 150, **FORMS[form])
    assert reply.code == "00"
    assert network.available(card) == before - 150


@pytest.mark.parametrize("form", FORMS)
def test_lenient_forms_still_look_at_the_pin(
    network: Network, terminal: OutsideTerminal, card: OutsideCard, form: str
) -> None:
    before = network.available(card)
    assert terminal.pay(card, 150, pin=card.wrong_pin(1), **FORMS[form])[1].code == "55"
    assert network.available(card) == before
    assert terminal.pay(card, 1)[1].code == "00"


@pytest.mark.parametrize(
    "issuer_data",
    [
        "07000103A0200001",
        "07010103A0000001",
        "07FF0103A0000001",
        "07000103A04002010A010000001000D1F61152",
        "07011703A0200001",
        "07011703A02000010A010000001000D1F61152",
    ],
)
def test_issuer_application_data_of_all_kinds(
    network: Network, terminal: OutsideTerminal, card: OutsideCard, issuer_data: str
) -> None:
    """Key index, card verification results, cryptogram version and the issuer's own part as cards have them."""
    before = network.available(card)
    assert terminal.pay(card, 150, tap=card.tap(150, issuer_data=issuer_data))[1].code == "00"
    assert network.available(card) == before - 150


def test_chip_data_with_fewer_and_more_tags(network: Network, terminal: OutsideTerminal, card: OutsideCard) -> None:
    before = network.available(card)
    tap = card.tap(150)
    needed = {"9F26", "9F27", "9F10", *CVN_01, "9F33"}
    fewer = Tap({tag: value for tag, value in tap.data.items() if tag in needed}, tap.session_key)
    assert terminal.pay(card, 150, tap=fewer)[1].code == "00"
    tap = card.tap(150)
    more = Tap({**tap.data, "9F63": bytes(16), "5F34": b"\1", "DF31": b"own"}, tap.session_key)
    assert terminal.pay(card, 150, tap=more)[1].code == "00"
    assert network.available(card) == before - 300


@pytest.mark.parametrize(
    ("tpdu", "head", "padded_with_f"),
    [
        ("6000030000", "603100310000", True),
        ("6012349876", "603100310000", False),
        ("6000000000", "613100310000", False),
        ("6000030000", "60BC0D310EF1", False),
        ("60FFFFABCD", "60FFFFFFFFFF", True),
    ],
)
def test_addresses_heads_and_padding(
    network: Network, terminal: OutsideTerminal, card: OutsideCard, tpdu: str, head: str, padded_with_f: bool
) -> None:
    terminal.tpdu, terminal.head = tpdu, head
    if padded_with_f:
        terminal.specification = F_PADDED
    assert terminal.sign_on().code == "00"
    before = network.available(card)
    request, reply = terminal.pay(card, 150)
    assert reply.code == "00"
    header = reply.body[:HEADER_BYTES].hex().upper()
    assert header[:10] in (tpdu, tpdu[:2] + tpdu[6:] + tpdu[2:6])
    assert header[10:12] == head[:2]
    assert terminal.ask(terminal.reversal(request, reply)).code == "00"
    assert network.settles(card, before)


def test_two_messages_in_one_segment(network: Network, supply: Supply, terminal: OutsideTerminal) -> None:
    cards = [supply.card() for _ in range(4)]
    before = [network.available(card) for card in cards]
    requests = {request.stan: request for request in [terminal.sale(card, 250) for card in cards]}
    terminal.send(*[request.body for request in requests.values()])
    replies = [terminal.receive() for _ in requests]
    assert {reply[11] for reply in replies} == set(requests)
    for reply in replies:
        assert reply.code == "00"
        prove_approval(requests[reply[11]], reply)
    assert [network.available(card) for card in cards] == [amount - 250 for amount in before]


def test_a_message_byte_by_byte(network: Network, terminal: OutsideTerminal, card: OutsideCard) -> None:
    before = network.available(card)
    request = terminal.sale(card, 250)
    for octet in frame(request.body):
        terminal.send_octets(bytes((octet,)))
        time.sleep(0.0005)
    reply = terminal.receive()
    assert reply.code == "00"
    prove_approval(request, reply)
    assert network.available(card) == before - 250


def test_a_message_and_a_half_and_then_the_rest(network: Network, supply: Supply, terminal: OutsideTerminal) -> None:
    first_card, second_card = supply.card(), supply.card()
    first, second = terminal.sale(first_card, 250), terminal.sale(second_card, 250)
    octets = frame(first.body) + frame(second.body)
    middle = len(frame(first.body)) + 40
    terminal.send_octets(octets[:middle])
    assert terminal.receive()[11] == first.stan
    terminal.send_octets(octets[middle:])
    reply = terminal.receive()
    assert (reply[11], reply.code) == (second.stan, "00")


def test_a_dropped_link(network: Network, terminal: OutsideTerminal, card: OutsideCard) -> None:
    """Keys outlive the link, half a message is forgotten with it, and an unread answer is told again."""
    before = network.available(card)
    terminal.connect()
    assert terminal.pay(card, 10)[1].code == "00"
    request = terminal.sale(card, 20)
    terminal.send_octets(frame(request.body)[:100])
    terminal.connect()
    assert terminal.ask(request).code == "00"
    unread = terminal.sale(card, 30)
    terminal.send(unread.body)
    time.sleep(0.2)
    terminal.connect()
    reply = terminal.ask(unread)
    assert reply.code == "00"
    prove_approval(unread, reply)
    assert network.available(card) == before - 60


def _codes(jobs: list[Callable[[], list[str]]]) -> list[str]:
    """Run the jobs at the same time; all their codes."""
    barrier = threading.Barrier(len(jobs))

    def run(job: Callable[[], list[str]]) -> list[str]:
        barrier.wait(10)
        return job()

    with ThreadPoolExecutor(len(jobs)) as pool:
        return list(chain.from_iterable(pool.map(run, jobs)))


def _pay_often(terminal: OutsideTerminal, card: OutsideCard, amount: int, times: int) -> list[str]:
    """Codes of payments one after the other, until the money is gone."""
    codes: list[str] = []
    while len(codes) < times and "51" not in codes:
        codes.append(terminal.pay(card, amount)[1].code)
    return codes


def test_several_terminals_on_one_card(network: Network, supply: Supply) -> None:
    """A counter overtaken by a later one is declined; what is posted is what was approved."""
    card, amount = supply.own_card(), 37
    before = network.available(card)
    terminals = supply.signed_on(6)
    codes = _codes([partial(_pay_often, one, card, amount, 6) for one in terminals])
    assert len(codes) == 36
    assert set(codes) <= {"00", "05"}
    assert codes.count("00") >= 1
    assert network.available(card) == before - amount * codes.count("00")
    for terminal in terminals:
        terminal.close()


def test_several_terminals_drain_one_card_to_its_last_fen_and_no_further(network: Network, supply: Supply) -> None:
    card = supply.own_card()
    before = network.available(card)
    amount = before // 4
    terminals = supply.signed_on(6)

    codes = _codes([partial(_pay_often, one, card, amount, 40) for one in terminals])
    assert codes.count("00") == 4
    assert codes.count("51") == len(terminals)
    assert set(codes) <= {"00", "05", "51"}
    assert network.available(card) == before - 4 * amount
    for terminal in terminals:
        terminal.close()


def test_several_terminals_each_with_a_card(network: Network, supply: Supply) -> None:
    terminals = supply.signed_on(8)
    cards = [supply.card() for _ in terminals]
    before = [network.available(card) for card in cards]
    codes = _codes([partial(_pay_often, one, card, 11, 8) for one, card in zip(terminals, cards, strict=True)])
    assert codes == ["00"] * 64
    assert [network.available(card) for card in cards] == [amount - 88 for amount in before]
    for terminal in terminals:
        terminal.close()
