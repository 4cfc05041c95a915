"""A terminal from outside takes sales back and repeats itself: money moves once, or not at all."""

from __future__ import annotations

import time

import pytest
from independent_card import OutsideCard
from independent_terminal import OutsideTerminal, prove_approval
from running_network import Network, Supply

pytestmark = pytest.mark.live

QUIET_SECONDS = 0.4
"""Long enough for an advice to cross the network, where nothing is to happen."""


def test_a_reversal_brings_the_money_back_once(network: Network, terminal: OutsideTerminal, card: OutsideCard) -> None:
    merchant = f"/merchants/{terminal.merchant_id}"
    before, earned = network.available(card), network.rest("acquirer").get(merchant)["balance"]
    request, reply = terminal.pay(card, 7777)
    assert reply.code == "00"
    reversal = terminal.reversal(request, reply)
    answer = terminal.ask(reversal)
    assert (answer.mti, answer.code, 64 in answer) == ("0410", "00", True)
    assert network.settles(card, before)
    assert network.rest("acquirer").get(merchant)["balance"] == earned
    for _ in range(2):
        assert terminal.ask(reversal).code == "00"
    assert terminal.ask(terminal.reversal(request, reply, reason="96")).code == "00"
    time.sleep(QUIET_SECONDS)
    assert network.available(card) == before
    assert network.rest("acquirer").get(merchant)["balance"] == earned


@pytest.mark.parametrize(
    "change", [{"61": None}, {"38": None}, {"55": None}, {"2": None, "14": None}, {"23": None}, {"60": "22000001"}]
)
def test_a_reversal_that_says_less_is_understood(
    network: Network, terminal: OutsideTerminal, card: OutsideCard, change: dict[str, str | None]
) -> None:
    before = network.available(card)
    request, reply = terminal.pay(card, 300)
    assert reply.code == "00"
    assert terminal.ask(terminal.reversal(request, reply, change=change)).code == "00"
    assert network.settles(card, before)


@pytest.mark.parametrize("reason", ["98", "96", "A0", "06"])
def test_a_reversal_for_every_reason(
    network: Network, terminal: OutsideTerminal, card: OutsideCard, reason: str
) -> None:
    before = network.available(card)
    request, reply = terminal.pay(card, 300)
    assert terminal.ask(terminal.reversal(request, reply, reason=reason)).code == "00"
    assert network.settles(card, before)


def test_a_reversal_with_a_bad_mac_or_another_amount_moves_nothing(
    network: Network, terminal: OutsideTerminal, card: OutsideCard
) -> None:
    before = network.available(card)
    request, reply = terminal.pay(card, 300)
    reversal = bytearray(terminal.reversal(request, reply).body)
    reversal[-1] ^= 1
    terminal.send(bytes(reversal))
    assert terminal.receive().code == "A0"
    assert terminal.ask(terminal.reversal(request, reply, change={"4": f"{299:012d}"})).code == "64"
    time.sleep(QUIET_SECONDS)
    assert network.available(card) == before - 300
    assert terminal.ask(terminal.reversal(request, reply)).code == "00"
    assert network.settles(card, before)


def test_a_reversal_of_an_unknown_original_is_25_and_it_is_never_paid(
    network: Network, terminal: OutsideTerminal, card: OutsideCard
) -> None:
    before = network.available(card)
    late = terminal.sale(card, 500)
    reversal = terminal.reversal(late, None)
    assert terminal.ask(reversal).code == "25"
    assert terminal.ask(late).code != "00"
    assert terminal.ask(reversal).code == "25"
    time.sleep(QUIET_SECONDS)
    assert network.available(card) == before
    assert terminal.pay(card, 500)[1].code == "00"


def test_a_reversal_without_having_read_the_answer(
    network: Network, terminal: OutsideTerminal, card: OutsideCard
) -> None:
    """The terminal sends a sale, loses its link, and takes the sale back over a new one, as it must."""
    before = network.available(card)
    for pause in (0.0, 0.01, 0.1):
        request = terminal.sale(card, 900)
        terminal.send(request.body)
        time.sleep(pause)
        terminal.connect()
        code = terminal.ask(terminal.reversal(request, None)).code
        # 25: the link broke before the sale had been read; then nobody has it
        assert code == "00" or (code == "25" and pause == 0.0)
        assert network.settles(card, before)
    time.sleep(QUIET_SECONDS)
    assert network.available(card) == before


def test_a_reversal_of_a_declined_sale_moves_nothing(
    network: Network, terminal: OutsideTerminal, card: OutsideCard
) -> None:
    before = network.available(card)
    request, reply = terminal.pay(card, before + 1)
    assert reply.code == "51"
    assert terminal.ask(terminal.reversal(request, None)).code == "00"
    time.sleep(QUIET_SECONDS)
    assert network.available(card) == before


def test_a_reversal_in_the_same_piece_as_its_original(
    network: Network, terminal: OutsideTerminal, card: OutsideCard
) -> None:
    before = network.available(card)
    request = terminal.sale(card, 600)
    terminal.send(request.body, terminal.reversal(request, None).body)
    replies = {}
    while "0410" not in replies:
        reply = terminal.receive()
        replies[reply.mti] = reply
    assert replies["0410"].code == "00"
    time.sleep(QUIET_SECONDS)
    assert network.settles(card, before)
    # whatever the 0210 said, if one came, the sale does not stand
    assert terminal.ask(terminal.reversal(request, None)).code == "00"


def test_a_repeated_request_is_answered_alike_and_paid_once(
    network: Network, terminal: OutsideTerminal, card: OutsideCard
) -> None:
    before = network.available(card)
    request, first = terminal.pay(card, 400)
    assert first.code == "00"
    for _ in range(3):
        again = terminal.ask(request)
        assert again.body == first.body
        prove_approval(request, again)
    terminal.send(request.body, request.body)
    assert [terminal.receive().body for _ in range(2)] == [first.body] * 2
    assert network.available(card) == before - 400


def test_a_request_repeated_in_one_piece_is_paid_once(
    network: Network, terminal: OutsideTerminal, card: OutsideCard
) -> None:
    before = network.available(card)
    request = terminal.sale(card, 400)
    terminal.send(request.body, request.body, request.body)
    assert terminal.receive().code == "00"
    time.sleep(QUIET_SECONDS)
    assert network.available(card) == before - 400
    terminal.connect()
    assert terminal.ask(request).code == "00"


def test_other_content_under_a_used_trace_is_not_paid(
    network: Network, terminal: OutsideTerminal, card: OutsideCard
) -> None:
    before = network.available(card)
    request, reply = terminal.pay(card, 400)
    assert reply.code == "00"
    assert terminal.pay(card, 500, change={"11": request.stan})[1].code == "94"
    assert network.available(card) == before - 400


def test_another_terminals_reversal_does_not_take_the_sale_back(
    network: Network, supply: Supply, terminal: OutsideTerminal, card: OutsideCard
) -> None:
    before = network.available(card)
    request, reply = terminal.pay(card, 700)
    assert reply.code == "00"
    (other,) = supply.signed_on(1)
    assert other.ask(other.reversal(request, reply, change={"11": f"{int(request.stan):06d}"})).code == "25"
    other.close()
    time.sleep(QUIET_SECONDS)
    assert network.available(card) == before - 700


def test_a_reversal_after_signing_on_again(network: Network, terminal: OutsideTerminal, card: OutsideCard) -> None:
    """A terminal that was switched off signs on first, and then sends what it still owes."""
    before = network.available(card)
    request = terminal.sale(card, 700)
    terminal.send(request.body)
    time.sleep(0.2)
    terminal.connect()
    assert terminal.sign_on().code == "00"
    assert terminal.ask(terminal.reversal(request, None)).code == "00"
    assert network.settles(card, before)


def test_a_trace_used_again_in_another_batch_is_another_sale(
    network: Network, terminal: OutsideTerminal, card: OutsideCard
) -> None:
    before = network.available(card)
    first, first_reply = terminal.pay(card, 100)
    terminal.batch = "000002"
    second, second_reply = terminal.pay(card, 30, change={"11": first.stan})
    assert (first_reply.code, second_reply.code) == ("00", "00")
    assert first_reply[37] != second_reply[37]
    assert network.available(card) == before - 130
    assert terminal.ask(terminal.reversal(second, second_reply)).code == "00"
    assert network.settles(card, before - 100)


def test_a_trace_used_again_after_signing_on_is_another_sale(
    network: Network, terminal: OutsideTerminal, card: OutsideCard
) -> None:
    before = network.available(card)
    first, first_reply = terminal.pay(card, 100)
    assert terminal.sign_on().code == "00"
    second, second_reply = terminal.pay(card, 30, change={"11": first.stan})
    assert (first_reply.code, second_reply.code) == ("00", "00")
    assert network.available(card) == before - 130
    assert terminal.ask(terminal.reversal(second, second_reply)).code == "00"
    assert network.settles(card, before - 100)
