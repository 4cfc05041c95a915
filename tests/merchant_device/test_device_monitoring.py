"""What a phone that is bound to a device must prove before it pays, whatever the monitoring link does to it."""

import pytest
from device_bed import TERMINAL_ID, ScriptedCard
from hypothesis import given, settings
from hypothesis import strategies as st
from trust_bed import DEVICE, MONITOR, STATE, TrustBed

from merchant_device.configuration import Configuration
from merchant_device.secure_element import read_state, write_state
from network.iso8583.additional_data import decode_objects
from network.party import LinkChange


@pytest.fixture
def bed():
    return TrustBed()


def test_a_sale_is_preceded_by_an_attestation(bed):
    receipt = bed.ask("sale", amount=1250)
    assert receipt["outcome"] == "approved"
    kinds = [link.partition(":")[0] for link, _ in bed.trace]
    assert kinds.index("monitor") < kinds.index("reader"), "no card is read before the verdict"
    assert bed.heard_types() == ["challenge_request", "evidence"]
    assert {one["purpose"] for one in bed.heard} == {"transaction"}
    sale = bed.acquirer.requests[-1]
    device = decode_objects(decode_objects(sale.text(59))["A2"])
    assert (device["01"], device["02"], device["03"]) == ("11", DEVICE, "+31.230400,+121.473700")


def test_a_verdict_counts_until_its_time_is_over(bed):
    assert bed.ask("sale", amount=1250)["outcome"] == "approved"
    bed.pass_time(49)
    assert bed.ask("sale", amount=1250)["outcome"] == "approved"
    assert bed.heard_types().count("evidence") == 1
    bed.pass_time(2)
    assert bed.ask("sale", amount=1250)["outcome"] == "approved"
    assert bed.heard_types().count("evidence") == 2


def test_a_verdict_counts_from_when_the_evidence_was_shown():
    bed = TrustBed(configuration=Configuration(attestation_margin=0))
    bed.held.add("monitor")
    bed.command("sale", amount=1250)
    bed.settle()
    request = bed.sent.pop()
    assert request[0] == MONITOR
    for answer in bed.monitor(request[1]):
        bed.receive(MONITOR, answer)
    bed.step()
    (_, evidence) = bed.sent.pop()
    (verdict,) = bed.monitor(evidence)
    bed.held.clear()
    bed.now += 15_000_000
    bed.receive(MONITOR, verdict)
    bed.step()
    bed.settle()
    assert [sale.status for sale in bed.sales()] == ["approved"]
    bed.pass_time(44)
    assert bed.ask("sale", amount=1250)["outcome"] == "approved"
    assert bed.heard_types().count("evidence") == 1
    bed.pass_time(2)
    bed.ask("sale", amount=1250)
    assert bed.heard_types().count("evidence") == 2


def test_a_pin_is_asked_for_only_after_a_verdict_of_its_own(bed):
    bed.cards[TERMINAL_ID] = ScriptedCard()
    receipt = bed.ask("sale", amount=150_000)
    assert (receipt["outcome"], receipt["cvm"]) == ("approved", "online_pin")
    assert [one["purpose"] for one in bed.heard] == ["transaction"] * 2 + ["pin"] * 2
    order = [link.partition(":")[0] for link, _ in bed.trace]
    assert order.index("pinpad") > len(order) - 1 - order[::-1].index("monitor")


@pytest.mark.parametrize(
    ("amount", "reasons", "pads"), [(1250, ["boot not verified"], 0), (150_000, [None, "root"], 0)]
)
def test_what_is_not_attested_is_refused_with_the_reason(bed, amount, reasons, pads):
    bed.reasons = list(reasons)
    bed.cards[TERMINAL_ID] = ScriptedCard(pin=amount > 100_000)
    receipt = bed.ask("sale", amount=amount)
    assert (receipt["outcome"], receipt["reason"]) == ("refused", f"not attested: {reasons[-1]}")
    assert bed.sales() == []
    assert "0200" not in bed.mtis()
    assert len(bed.pad_requests) == pads
    assert bed.ask("sale", amount=amount)["outcome"] == "approved", "a refusal is not kept"


def test_a_challenge_that_the_acquirer_has_forgotten_is_asked_for_again(bed):
    bed.reasons = ["challenge expired", "no challenge is out"]
    assert bed.ask("sale", amount=1250)["outcome"] == "approved"
    assert bed.heard_types().count("challenge_request") == 3
    bed.pass_time(60)
    bed.reasons = ["challenge expired"] * 4
    assert bed.ask("sale", amount=1250)["reason"] == "not attested: challenge expired"
    assert bed.heard_types().count("challenge_request") == 6


# the wire


class Wire:
    """Does to the bodies numbered in `at` what `how` does; the others arrive."""

    def __init__(self, at, how):
        self.at = at
        self.how = how
        self.count = 0

    def __call__(self, body):
        self.count += 1
        return self.how(body) if self.count in self.at else [body]


def lost(_body):
    return []


def doubled(body):
    return [body, body]


def corrupted(body):
    return [body[:-2] + bytes([body[-2] ^ 1]) + body[-1:]]


def spoiled_mac(body):
    return [bytes([body[0] ^ 1]) + body[1:]]


@pytest.mark.parametrize("how", [lost, doubled, corrupted, spoiled_mac])
@pytest.mark.parametrize("at", [{1}, {2}, {3}, {4}, {1, 3}, {2, 4}, set(range(1, 20))])
def test_what_the_wire_does_harms_nothing(bed, how, at):
    bed.wire = Wire(at, how)
    bed.cards[TERMINAL_ID] = ScriptedCard()
    ticket = bed.command("sale", amount=150_000)
    bed.settle()
    bed.pass_time(130)
    hopeless = len(at) > 2 and how is not doubled
    receipt = bed.answer(ticket)
    assert receipt["outcome"] == ("refused" if hopeless else "approved")
    assert len(bed.sales()) == (0 if hopeless else 1)
    if hopeless:
        assert receipt["reason"] == "not attested: no verdict came in time"
        assert bed.wire.count <= 3 * 4
    assert bed.failures == []


def test_without_an_answer_it_asks_three_times(bed):
    bed.silent_monitor.add("challenge_request")
    ticket = bed.command("sale", amount=1250)
    bed.settle()
    bed.pass_time(59)
    assert ticket not in bed.answers
    bed.pass_time(2)
    assert bed.answer(ticket)["reason"] == "not attested: no verdict came in time"
    assert bed.heard_types() == ["challenge_request"] * 3
    bed.pass_time(200)
    assert bed.heard_types() == ["challenge_request"] * 3


def test_a_late_verdict_is_of_use_to_the_next_sale(bed):
    bed.held.add("monitor")
    ticket = bed.command("sale", amount=1250)
    bed.settle()
    assert bed.ask("cancel")["cancelled"] == "waiting for the device to be attested"
    assert bed.answer(ticket)["reason"] == "cancelled"
    bed.held.clear()
    bed.settle()
    assert bed.heard_types() == ["challenge_request", "evidence"]
    assert bed.sales() == []
    assert bed.ask("sale", amount=1250)["outcome"] == "approved"
    assert len(bed.heard) == 2


def test_the_link_that_comes_up_is_asked_at_once(bed):
    bed.wire = Wire({1}, lost)
    ticket = bed.command("sale", amount=1250)
    bed.settle()
    bed.work.link_changes += [LinkChange(MONITOR, False), LinkChange(MONITOR, True)]
    bed.step()
    bed.settle()
    assert bed.answer(ticket)["outcome"] == "approved"


def test_a_crash_while_attesting_loses_the_payment_and_nothing_else(bed):
    bed.held.add("monitor")
    bed.command("sale", amount=1250)
    bed.settle()
    bed.restart()
    bed.held.clear()
    bed.settle()
    assert bed.sales() == []
    assert bed.ask("sale", amount=1250)["outcome"] == "approved"


def test_a_turn_that_was_not_committed_attests_nothing(bed):
    """The verdict's commit fails once: what it said is not believed, and is asked for again."""
    bed.silent_monitor.add("evidence")
    ticket = bed.command("sale", amount=1250)
    bed.settle()
    bed.silent_monitor.clear()
    evidence = bed.heard[-1]
    verdict = bed._verdict(evidence)
    bed.used.clear()
    commit, bed.unit.commit = bed.unit.commit, _fail
    bed.receive(MONITOR, verdict)
    bed.step()
    bed.unit.commit = commit
    assert len(bed.failures) == 1
    bed.settle()
    assert ticket not in bed.answers
    assert not bed.cards[TERMINAL_ID].commands
    bed.pass_time(21)
    assert bed.answer(ticket)["outcome"] == "approved"
    bed.failures.clear()


def _fail():
    raise RuntimeError("the commit fails")


@pytest.mark.parametrize(
    "content",
    [
        {"type": "challenge", "purpose": "transaction", "challenge": "00" * 31},
        {"type": "challenge", "purpose": "transaction", "challenge": 7},
        {"type": "challenge", "purpose": "transaction", "challenge": " " * 64},
        {"type": "challenge", "purpose": "transaction", "challenge": "é" * 64},
        {"type": "challenge", "purpose": ["transaction"], "challenge": "00" * 32},
        {"type": "challenge", "purpose": "pin", "challenge": "00" * 32},
        {"type": "verdict", "purpose": "transaction", "accepted": True, "valid_seconds": 60},
        {"type": "challenge", "purpose": "transaction", "challenge": "00" * 32, "terminal": "10000002"},
        {"type": None},
        {"type": "evidence", "purpose": "transaction"},
    ],
)
def test_what_makes_no_sense_is_dropped(bed, content):
    """A verdict on evidence that was not shown is one of them."""
    bed.silent_monitor.add("challenge_request")
    bed.command("sale", amount=1250)
    bed.settle()
    before = sum(bed.device.dropped.values())
    bed.receive(MONITOR, bed.pack(content))
    bed.step()
    assert sum(bed.device.dropped.values()) == before + 1
    assert bed.heard_types() == ["challenge_request"]
    assert not bed.cards[TERMINAL_ID].commands
    assert bed.failures == []


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=70),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=6,
)
members = st.sampled_from(["purpose", "challenge", "accepted", "reason", "valid_seconds", "terminal", "number"])
known = st.sampled_from(["transaction", "pin", TERMINAL_ID, "00" * 32, True, 60])


@settings(max_examples=150)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["challenge", "verdict", "noted", "evidence"]) | json_values,
            st.dictionaries(members, json_values | known),
        ),
        max_size=4,
    )
)
def test_objects_of_any_content_never_raise(contents):
    bed = FUZZED
    bed.command("sale", amount=1250)
    bed.step()
    for kind, content in contents:
        bed.receive(MONITOR, bed.pack({"type": kind, **content}))
        bed.step()
    bed.command("cancel")
    bed.settle()
    assert bed.failures == []


FUZZED = TrustBed()


@given(st.binary(max_size=200))
def test_bytes_of_any_content_never_raise(body):
    FUZZED.receive(MONITOR, body)
    FUZZED.step()
    assert FUZZED.failures == []


def test_the_state_of_a_device_is_read_as_it_was_written():
    assert read_state(write_state(STATE)) == STATE
