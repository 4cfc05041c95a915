"""A terminal from outside tries to cheat: bad MACs, replays, forged cryptograms, cards that nobody issued."""

from __future__ import annotations

import pytest
from independent_card import CVN_01, OutsideCard, Tap, with_luhn
from independent_terminal import HEADER_BYTES, OutsideTerminal
from running_network import Network, Supply

pytestmark = pytest.mark.live


@pytest.mark.parametrize("place", ["first byte of DE64", "last byte of DE64", "amount", "MTI to advice", "no MAC"])
def test_a_bad_mac_is_a0_and_nothing_else_is_done(
    network: Network, terminal: OutsideTerminal, card: OutsideCard, place: str
) -> None:
    before = network.available(card)
    request = terminal.sale(card, 100)
    body = bytearray(request.body)
    if place == "first byte of DE64":
        body[-8] ^= 1
    elif place == "last byte of DE64":
        body[-1] ^= 1
    elif place == "amount":
        at = request.body.index(bytes.fromhex("000000000100"))
        body[at + 5] = 0x01
    elif place == "MTI to advice":
        body[HEADER_BYTES + 1] = 0x20
    else:
        body = bytearray(request.body[:-8])
        body[HEADER_BYTES + 2 + 7] &= 0xFE
    terminal.send(bytes(body))
    assert terminal.receive().code == "A0"
    assert network.available(card) == before
    # the trace is not used up, nor the card's counter
    assert terminal.ask(request).code == "00"
    assert network.available(card) == before - 100


def test_a_replayed_cryptogram_is_declined(network: Network, terminal: OutsideTerminal, card: OutsideCard) -> None:
    before = network.available(card)
    request, reply = terminal.pay(card, 100)
    assert reply.code == "00"
    assert request.tap is not None
    assert terminal.pay(card, 100, tap=request.tap)[1].code != "00"
    old_counter = card.tap(100, counter=card.counter - 1)
    assert terminal.pay(card, 100, tap=old_counter)[1].code != "00"
    same_counter = card.tap(100, counter=card.counter)
    assert terminal.pay(card, 100, tap=same_counter)[1].code != "00"
    assert network.available(card) == before - 100


@pytest.mark.parametrize("tag", ["9F26", *CVN_01, "9F10"])
def test_a_wrong_cryptogram_is_declined(
    network: Network, terminal: OutsideTerminal, card: OutsideCard, tag: str
) -> None:
    """One bit of the cryptogram or of anything it covers."""
    before = network.available(card)
    tap = card.tap(100)
    value = bytearray(tap.data[tag])
    value[6 if tag == "9F10" else -1] ^= 1
    forged = Tap({**tap.data, tag: bytes(value)}, tap.session_key)
    _, reply = terminal.pay(card, 100, tap=forged)
    assert reply.code not in ("00", "96")
    assert network.available(card) == before
    assert terminal.pay(card, 100)[1].code == "00"


def test_a_cryptogram_over_another_amount_is_declined(
    network: Network, terminal: OutsideTerminal, card: OutsideCard
) -> None:
    before = network.available(card)
    assert terminal.pay(card, 50_000, tap=card.tap(100))[1].code != "00"
    assert network.available(card) == before


def test_what_the_card_itself_declined_is_not_approved(
    network: Network, terminal: OutsideTerminal, card: OutsideCard
) -> None:
    before = network.available(card)
    assert terminal.pay(card, 100, tap=card.tap(100, issuer_data="0701010380000001"))[1].code == "05"
    assert network.available(card) == before


@pytest.mark.parametrize(("mode", "code"), [("021", "45"), ("022", "45"), ("011", "57"), ("012", "57")])
def test_a_chip_card_read_otherwise_is_declined(
    network: Network, terminal: OutsideTerminal, card: OutsideCard, mode: str, code: str
) -> None:
    before = network.available(card)
    assert terminal.pay(card, 100, change={"22": mode, "55": None})[1].code == code
    assert network.available(card) == before


def test_another_cards_cryptogram_is_declined(network: Network, supply: Supply, terminal: OutsideTerminal) -> None:
    card, other = supply.card(), supply.card()
    before = network.available(card)
    counter = max(card.counter, other.counter) + 1
    card.counter = counter
    assert terminal.pay(card, 100, tap=other.tap(100, counter=counter))[1].code != "00"
    assert network.available(card) == before
    assert terminal.pay(card, 100)[1].code == "00"


@pytest.mark.parametrize("missing", ["55", "22", "4", "3"])
def test_a_sale_without_what_it_needs_is_declined(
    network: Network, terminal: OutsideTerminal, card: OutsideCard, missing: str
) -> None:
    before = network.available(card)
    terminal.send(terminal.sale(card, 100, change={missing: None}).body)
    assert terminal.receive().code in ("30", "12", "13")
    assert network.available(card) == before


@pytest.mark.parametrize(("prefix", "code"), [("400000", "92"), (None, "14")])
def test_a_card_that_nobody_issued(terminal: OutsideTerminal, card: OutsideCard, prefix: str | None, code: str) -> None:
    pan = with_luhn((prefix or card.pan[:6]) + "000000000")
    stranger = OutsideCard(
        pan, card.sequence, card.expiry, f"{pan}={card.track2.partition('=')[2]}", card.pin, card.imk_ac, 0
    )
    assert terminal.pay(stranger, 100)[1].code == code


def test_another_terminals_mac_key_is_a0(supply: Supply, terminal: OutsideTerminal, card: OutsideCard) -> None:
    (other,) = supply.signed_on(1)
    other.close()
    own, terminal.keys = terminal.keys, other.keys
    request = terminal.sale(card, 100)
    terminal.keys = own
    terminal.send(request.body)
    assert terminal.receive().code == "A0"


def test_a_pin_block_under_another_key_is_refused(
    network: Network, supply: Supply, terminal: OutsideTerminal, card: OutsideCard
) -> None:
    (other,) = supply.signed_on(1)
    other.close()
    before = network.available(card)
    block = other.pin_block(card.pin, card.pan)
    assert terminal.pay(card, 100, change={"52": block})[1].code in ("55", "99")
    assert network.available(card) == before
    assert terminal.pay(card, 100)[1].code == "00"


@pytest.mark.parametrize(
    ("element", "value", "codes"),
    [
        ("14", "2001", {"54", "30"}),
        ("49", "840", {"12", "30", "40"}),
        ("23", "099", {"14"}),
        ("25", "99", {"12", "40"}),
    ],
)
def test_what_does_not_belong_to_the_card_or_the_network_is_declined(
    network: Network, terminal: OutsideTerminal, card: OutsideCard, element: str, value: str, codes: set[str]
) -> None:
    before = network.available(card)
    assert terminal.pay(card, 100, change={element: value})[1].code in codes
    assert network.available(card) == before


def test_a_pan_that_contradicts_the_track_is_declined(
    network: Network, supply: Supply, terminal: OutsideTerminal
) -> None:
    card, other = supply.card(), supply.card()
    before = network.available(card), network.available(other)
    assert terminal.pay(card, 100, change={"2": other.pan})[1].code not in ("00", "96")
    assert (network.available(card), network.available(other)) == before


@pytest.mark.parametrize("mti", ["0100", "0220", "0500", "0320"])
def test_what_is_not_offered_is_said_to_be_so(
    network: Network, terminal: OutsideTerminal, card: OutsideCard, mti: str
) -> None:
    before = network.available(card)
    sale = terminal.sale(card, 100)
    fields = {name: value for name, value in sale.fields.items() if name.isdigit() and name not in ("11", "64")}
    assert terminal.ask(terminal.pack(mti, fields)).code in ("40", "12")
    assert network.available(card) == before
