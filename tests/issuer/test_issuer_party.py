"""The issuer's turn: sign-on and keys, MACs, junk on the wire, the operator's commands."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from issuer_bed import ISSUER, LINK, PIN, SWITCH, Bed

from issuer.configuration import Configuration
from issuer.tables import Card
from network.iso8583 import INTERBANK, EncodeError, InterbankHeader, Message, interbank_mac_input
from network.keys import Algorithm, KeyUsage, PinFormat
from network.member import KEY_RESET_SECURITY, MAC_KEY, PIN_KEY, ZoneKeys, reset_with_mac
from network.party import CommandError, Json, LinkChange, Received, Turn, Work, take_turn

UP, DOWN = LinkChange(LINK, True), LinkChange(LINK, False)
HEADER = InterbankHeader(destination=ISSUER, source=SWITCH)


@pytest.fixture
def bed(tmp_path: Path) -> Bed:
    return Bed(tmp_path)


def management(mti: str, code: str, **more: str) -> bytes:
    fields: dict[int, str | bytes] = {7: "0331120000", 11: "000009", 33: SWITCH, 70: code}
    fields |= {int(name.removeprefix("de")): value for name, value in more.items()}
    return INTERBANK.pack(Message(mti, fields, HEADER))


def sent(turn: Turn) -> list[tuple[str, str]]:
    messages = [INTERBANK.unpack(body) for _, body in turn.sent]
    return [(message.mti, message.text(70) + str(message.get(39) or message.get(53, "  "))[:2]) for message in messages]


def key_reset(bed: Bed, which: str, key_block: str) -> bytes:
    key = bed.module.load(key_block)
    fields: dict[int, str | bytes] = {
        7: "0331120001",
        11: "000077",
        33: SWITCH,
        48: "NK" + bed.module.export_cryptogram(key, bed.master).hex().upper(),
        53: KEY_RESET_SECURITY[which],
        70: "101",
        100: ISSUER,
    }
    return reset_with_mac(Message("0800", fields, HEADER), bed.module, key)


def new_keys(bed: Bed) -> tuple[str, str]:
    return (
        bed.module.generate(KeyUsage.PIN_ENCRYPTION, Algorithm.TDES_DOUBLE),
        bed.module.generate(KeyUsage.MAC_ALGORITHM_3, Algorithm.TDES_DOUBLE),
    )


@pytest.mark.parametrize("dials", [False, True])
def test_the_issuer_signs_on_and_takes_its_keys(tmp_path: Path, dials: bool) -> None:
    bed = Bed(tmp_path, Configuration(dials=dials))
    greeting = bed.take(links=(UP,))
    if dials:
        assert sent(greeting) == [("0820", "001  ")]
    else:
        assert sent(greeting) == [], "the switch dialled, it speaks first"
        assert sent(bed.take(management("0820", "301"))) == [("0830", "30100"), ("0820", "001  ")]
    assert sent(bed.take(management("0830", "001", de39="00"))) == [("0820", "10116"), ("0820", "10126")]
    pin_block, mac_block = new_keys(bed)
    assert not bed.party.session.ready
    answers = bed.take(key_reset(bed, PIN_KEY, pin_block), key_reset(bed, MAC_KEY, mac_block))
    assert sent(answers) == [("0810", "10100"), ("0810", "10100")]
    assert bed.party.session.ready
    for (_, body), block in zip(answers.sent, (pin_block, mac_block), strict=True):
        answer = INTERBANK.unpack(body)
        key = bed.module.load(block)
        assert bed.module.verify_key_reset_mac(key, interbank_mac_input(answer), answer.binary(128))
    card = bed.new_card()
    old = card.sale(100)
    bed.mac_key, bed.pin_key = bed.module.load(mac_block), bed.module.load(pin_block)
    assert bed.code(old) == "00", "sealed with the keys before, it was on its way"
    bed.restart()
    assert bed.code(card.sale(100)) == "00", "working keys outlive the process"
    bed.later(61)
    assert bed.code(bed.reversal_of(old)) == "00"


def test_a_new_mac_key_seals_the_replies_of_its_own_turn(bed: Bed) -> None:
    card = bed.new_card()
    sale = card.sale(100)
    _, mac_block = new_keys(bed)
    bed.take(management("0820", "301"), links=(UP,))
    turn = bed.take(key_reset(bed, MAC_KEY, mac_block), sale)
    reset, reply = (INTERBANK.unpack(body) for _, body in turn.sent)
    assert (reset.mti, reply.mti, reply[39]) == ("0810", "0210", "00")
    assert bed.module.verify_interbank_mac(bed.module.load(mac_block), interbank_mac_input(reply), reply.binary(128))


def test_a_sign_on_that_is_not_answered_is_tried_again(tmp_path: Path) -> None:
    bed = Bed(tmp_path, Configuration(dials=True, sign_on_retry=3.0))
    turn = bed.take(links=(UP,))
    assert turn.timers == [(("member-sign-on", SWITCH), bed.now + 3_000_000)]
    assert sent(bed.take(due=(("member-sign-on", SWITCH),))) == [("0820", "001  ")]
    bed.take(links=(DOWN,))
    assert sent(bed.take(due=(("member-sign-on", SWITCH),))) == []


def test_a_key_that_was_lost_with_its_turn_is_asked_for_again(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    bed.take(management("0820", "301"), links=(UP,))
    bed.take(management("0830", "001", de39="00"))
    pin_block, mac_block = new_keys(bed)
    bed.take(key_reset(bed, PIN_KEY, pin_block))

    def refuse() -> None:
        raise RuntimeError("refused")

    with monkeypatch.context() as patched:
        patched.setattr(bed.unit, "commit", refuse)
        work = Work([], [Received(LINK, key_reset(bed, MAC_KEY, mac_block))], [], [])
        failures = take_turn(bed.party, bed.now, bed.random, bed.unit, work, lambda _: None)
    assert len(failures) == 1
    assert sent(bed.take(management("0820", "301")))[0] == ("0820", "001  ")
    zone = bed.unit.find(ZoneKeys, "zone", SWITCH)
    assert zone is not None
    assert (zone.pin_key, zone.mac_key) != (pin_block, mac_block)
    assert not bed.party.session.ready


def test_a_wrong_mac_is_answered_and_changes_nothing(bed: Bed) -> None:
    card = bed.new_card(1_000)
    good = card.sale(100)
    assert bed.code(good[:-1] + bytes((good[-1] ^ 1,))) == "A0"
    assert bed.code(good) == "00", "nothing was recorded under its identity"
    reversal = bed.reversal_of(good)
    assert bed.code(reversal[:-8] + b"00000000") == "A0"
    assert card.balance == 900
    amount = reversal.replace(b"000000000100", b"000000000999")
    assert bed.code(amount) == "A0"


def test_without_a_mac(bed: Bed) -> None:
    fields = bed.new_card(1_000).fields(100)
    assert bed.code(INTERBANK.pack(Message("0200", fields, HEADER))) == "A0"


DROPPED: dict[str, tuple[str, Message | bytes]] = {
    "junk": ("undecodable", b"\x00\x01junk"),
    "a stranger": (
        "not from the switch",
        Message("0200", {7: "0331120000", 11: "000001"}, InterbankHeader(ISSUER, "66")),
    ),
    "a rejected message": (
        "rejected by the switch",
        Message("0210", {7: "0331120000"}, InterbankHeader(ISSUER, SWITCH, reject_code="00123")),
    ),
    "for another": ("for another institution", Message("0200", {7: "0331120000"}, InterbankHeader("77", SWITCH))),
    "a reply": ("unexpected message type", Message("0210", {7: "0331120000", 11: "000001"}, HEADER)),
    "a reset's reply": ("unexpected message type", Message("0810", {7: "0331120000", 11: "000001"}, HEADER)),
    "no trace": ("no DE7 or DE11 to answer to", Message("0200", {2: "6251880000051688"}, HEADER)),
}


@pytest.mark.parametrize("case", DROPPED)
def test_what_is_not_answered(bed: Bed, case: str) -> None:
    reason, content = DROPPED[case]
    body = content if isinstance(content, bytes) else INTERBANK.pack(content)
    assert bed.take(body).sent == []
    assert dict(bed.party.dropped) == {reason: 1}


def test_before_there_is_a_mac_key_nothing_financial_is_answered(bed: Bed) -> None:
    body = bed.new_card().sale(100)
    zone = bed.unit.find(ZoneKeys, "zone", SWITCH)
    assert zone is not None
    zone.mac_key = None
    assert bed.take(body).sent == []
    assert bed.party.dropped["no MAC key yet"] == 1


@pytest.mark.parametrize(("mti", "answer"), [("0100", "0110"), ("0220", "0230")])
def test_a_request_of_another_kind_is_not_supported(bed: Bed, mti: str, answer: str) -> None:
    fields = bed.new_card().fields(100)
    (reply,) = bed.ask(bed.seal(mti, fields))
    assert (reply.mti, reply[39]) == (answer, "40")


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_message_whatever_stops_the_issuer(bed: Bed, data: st.DataObject) -> None:
    """Samples with right MACs and elements taken away, swapped or replaced by others of the dialect."""
    card = getattr(bed, "fuzzed", None) or bed.new_card()
    bed.fuzzed = card  # type: ignore[attr-defined]
    sale = INTERBANK.unpack(card.sale(100))
    reversal = INTERBANK.unpack(bed.reversal_of(card.sale(100)))
    message = data.draw(st.sampled_from((sale, reversal)))
    digits = st.text("0123456789", max_size=44)
    for element in data.draw(st.lists(st.sampled_from((*range(2, 61), 70, 90, 100, 102)), max_size=4)):
        fresh = data.draw(st.one_of(st.none(), digits, st.binary(max_size=60)))
        if fresh is None:
            message.fields.pop(element, None)
        else:
            field = INTERBANK.fields[element]
            if isinstance(fresh, str):
                message[element] = (
                    fresh[: field.maximum] if field.prefix else fresh[: field.maximum].zfill(field.maximum)
                )
            else:
                message[element] = fresh
    try:
        body = bed.seal(data.draw(st.sampled_from(("0200", "0420", "0100", "0220"))), message.fields)
    except EncodeError:  # the dialect cannot carry it, so no peer can send it
        return
    for _, answer in bed.take(body, body).sent:
        assert INTERBANK.unpack(answer).text(39)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.binary(max_size=300), min_size=1, max_size=5), st.integers(0, 2**32))
def test_junk_beside_a_good_sale(bed: Bed, junk: list[bytes], seed: int) -> None:
    card = getattr(bed, "fuzzed", None) or bed.new_card()
    bed.fuzzed = card  # type: ignore[attr-defined]
    sale = bytearray(card.sale(1))
    random = Random(seed)
    bent = bytearray(sale)
    bent[random.randrange(len(bent))] ^= random.randrange(1, 256)
    balance = card.balance
    # the good one first: DE128 does not cover every element, so a bent copy may be decided under its identity
    codes = [INTERBANK.unpack(body)[39] for _, body in bed.take(*junk, bytes(sale), bytes(bent)).sent]
    assert "00" in codes
    assert len(codes) <= 2
    assert card.balance == balance - 1


def test_operators_commands(bed: Bed) -> None:
    card = bed.new_card(1_000)
    pan = card.issued.pan
    assert bed.command("set_card_status", pan=pan, status="lost") == {"status": "lost"}
    assert bed.code(card.sale(100)) == "41"
    assert bed.command("set_card_status", pan=pan, status="active") == {"status": "active"}
    assert bed.command("set_card_limits", pan=pan, sale=99) == {
        "sale": 99,
        "daily_amount": 20_000_000,
        "daily_count": 1_000,
    }
    assert bed.code(card.sale(100)) == "61"
    account = card.issued.account_id
    paid: dict[str, Json] = {"account_id": account, "amount": 500, "reference": "salary"}
    assert bed.command("pay_in", **paid) == {"account_id": account, "posted": True, "ledger": 1_500}
    assert bed.command("pay_in", **paid) == {"account_id": account, "posted": False}
    assert card.balance == 1_500
    assert bed.balance("cash:deposits") == 1_500


@pytest.mark.parametrize(
    ("name", "arguments", "reason"),
    [
        ("dance", {}, "knows no command"),
        ("set_card_status", {"pan": "6251880000051688", "status": "lost"}, "no card"),
        ("set_card_status", {"status": "lost"}, "pan:"),
        ("set_card_status", {"pan": None, "status": "eaten"}, "status is one of"),
        ("set_card_limits", {"pan": None, "sale": -1}, "sale:"),
        ("set_card_limits", {"pan": None, "daily_count": True}, "daily_count:"),
        ("pay_in", {"account_id": "nobody", "amount": 5, "reference": "r"}, "no account"),
        ("pay_in", {"account_id": "nobody", "amount": 5.5, "reference": "r"}, "amount:"),
        ("pay_in", {"account_id": "settlement:network", "amount": 5, "reference": "r"}, "no account"),
        ("echo", {}, "no link"),
        ("sign_on", {}, "no link"),
    ],
)
def test_commands_that_cannot_be_carried_out(bed: Bed, name: str, arguments: dict[str, object], reason: str) -> None:
    card = bed.new_card()
    if "pan" in arguments and arguments["pan"] is None:
        arguments = {**arguments, "pan": card.issued.pan}
    with pytest.raises(CommandError, match=reason) as refused:
        bed.command(name, **arguments)  # type: ignore[arg-type]
    assert card.issued.pan not in str(refused.value)


def test_the_operator_signs_off_and_on(bed: Bed) -> None:
    bed.take(management("0820", "301"), links=(UP,))
    bed.take(management("0830", "001", de39="00"))
    assert bed.command("sign_off") == {"sent": "sign_off", "link": LINK}
    with pytest.raises(CommandError, match="not signed on"):
        bed.command("sign_off")
    assert sent(bed.take(management("0820", "301"))) == [("0830", "30100")], "it stays signed off"
    assert bed.command("echo") == {"sent": "echo", "link": LINK}
    assert bed.command("sign_on") == {"sent": "sign_on", "link": LINK}
    bed.take(management("0830", "001", de39="00"))
    assert bed.party.session.is_signed_on


def test_pins_of_other_cards_do_not_open_this_one(bed: Bed) -> None:
    one, other = bed.new_card(), bed.new_card()
    block = bed.module.encrypt_pin(bed.pin_key, PIN, other.issued.pan, PinFormat.ISO_0)
    assert bed.code(one.sale(100, de52=block)) in ("55", "99")
    row = bed.unit.find(Card, "pan_index", other.issued.pan_index)
    assert row is not None
    assert row.pin_tries_left == 3
