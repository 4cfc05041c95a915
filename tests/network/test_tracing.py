"""Parts of traces: how they are chosen, carried, remembered and sent."""

from __future__ import annotations

import builtins
import time
from random import Random
from types import ModuleType

import pytest

from network import tracing
from network.iso8583.additional_data import encode_objects
from network.party import Turn, Work
from network.trace_export import ENDPOINT_VARIABLES, TraceError, TraceExporter, endpoint_of, open_tracing
from network.tracing import NOT_CHOSEN, TAG, Ended, Part, Tracing, attributes_of, context_in, with_context

PARENT = "0af7651916cd43dd8448eb211c80319c" + "b7ad6b7169203331"


class Bed:
    def __init__(self, sample: float = 1.0) -> None:
        self.ended: list[Ended] = []
        self.tracing = Tracing(sample, self.ended.append)
        self.random = Random(1)

    def turn(self) -> Turn:
        return Turn(1_000, self.random, None, Work([], [], [], []), self.tracing)  # type: ignore[arg-type]


def test_the_first_party_begins_a_trace_and_the_next_one_adds_to_it() -> None:
    bed = Bed()
    turn = bed.turn()
    sent = bed.tracing.begin(turn, "a", "first", None, {"x": 1})
    assert sent is not None
    assert len(sent) == 48
    onward = bed.tracing.begin(turn, "b", "second", sent, {})
    bed.tracing.end(turn, "b", "00", {"y": "2"})
    bed.tracing.end(turn, "a", None)
    assert bed.ended == []  # nothing counts before the commit
    bed.tracing.committed(turn, 5_000)
    second, first = bed.ended
    assert (first.part.trace + first.part.span, first.part.parent) == (sent, "")
    assert onward == second.part.trace + second.part.span
    assert (second.part.trace, second.part.parent) == (first.part.trace, first.part.span)
    assert (second.ended, second.response_code, second.part.attributes) == (5_000, "00", {"y": "2"})
    assert (first.part.began, first.response_code) == (1_000, None)


def test_parts_may_end_in_a_later_turn_and_only_once() -> None:
    bed = Bed()
    turn = bed.turn()
    bed.tracing.begin(turn, "a", "one", PARENT, {})
    bed.tracing.committed(turn, 2_000)
    for _ in range(2):
        turn = bed.turn()
        bed.tracing.end(turn, "a", "00")
        bed.tracing.committed(turn, 3_000)
    assert [one.ended for one in bed.ended] == [3_000]
    assert bed.ended[0].part.parent == PARENT[32:]


def test_a_share_of_payments_is_chosen_and_the_others_say_so() -> None:
    bed = Bed(0.25)
    turn = bed.turn()
    sent = [bed.tracing.begin(turn, str(number), "one", None, {}) for number in range(1_000)]
    chosen = [one for one in sent if one != NOT_CHOSEN]
    assert 200 < len(chosen) < 300
    assert len(set(chosen)) == len(chosen)
    # a party further on does not choose what was not chosen
    assert Bed(1.0).tracing.begin(turn, "x", "two", NOT_CHOSEN, {}) is None
    assert Bed(0.0).tracing.begin(turn, "x", "two", PARENT, {}) is not None


@pytest.mark.parametrize("junk", ["", "1", PARENT[:-1], PARENT + "0", PARENT.upper(), "0" * 48, PARENT[:32] + "0" * 16])
def test_what_is_no_context_is_left_alone(junk: str) -> None:
    bed = Bed()
    turn = bed.turn()
    assert bed.tracing.begin(turn, "a", "one", junk, {}) is None
    assert turn.parts == []


def test_open_parts_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "OPEN_LIMIT", 3)
    bed = Bed()
    turn = bed.turn()
    for number in range(5):
        bed.tracing.begin(turn, str(number), "one", None, {})
    bed.tracing.committed(turn, 2_000)
    assert list(bed.tracing._open) == ["2", "3", "4"]


def test_what_comes_after_a_payment_goes_on_in_its_trace() -> None:
    bed = Bed()
    turn = bed.turn()
    sale = bed.tracing.begin(turn, "sale", "sale", None, {})
    assert sale is not None
    assert bed.tracing.context_of(turn, "sale") == sale, "in the same turn"
    bed.tracing.committed(turn, 2_000)
    turn = bed.turn()
    assert bed.tracing.context_of(turn, "sale") == sale, "while it goes on"
    bed.tracing.end(turn, "sale", "00")
    bed.tracing.committed(turn, 3_000)
    turn = bed.turn()
    assert bed.tracing.context_of(turn, "sale") == sale, "when it is over"
    reversal = bed.tracing.go_on(turn, "reversal", "reversal", sale, {})
    assert reversal is not None
    bed.tracing.end(turn, "reversal", "00")
    bed.tracing.committed(turn, 4_000)
    assert bed.ended[-1].part.trace == sale[:32] == reversal[:32]
    assert bed.ended[-1].part.parent == sale[32:]


def test_nothing_goes_on_of_what_is_not_followed() -> None:
    bed = Bed()
    turn = bed.turn()
    for parent in (bed.tracing.context_of(turn, "sale"), NOT_CHOSEN):
        assert bed.tracing.go_on(turn, "reversal", "reversal", parent, {}) is None
    assert turn.parts == []


def test_what_was_rolled_back_is_not_gone_on_with() -> None:
    bed = Bed()
    bed.tracing.begin(bed.turn(), "sale", "sale", None, {})
    assert bed.tracing.context_of(bed.turn(), "sale") is None


def test_contexts_of_ended_parts_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "OPEN_LIMIT", 3)
    bed = Bed()
    turn = bed.turn()
    for number in range(5):
        bed.tracing.begin(turn, str(number), "one", None, {})
        bed.tracing.end(turn, str(number), "00")
    bed.tracing.committed(turn, 2_000)
    known = [number for number in range(5) if bed.tracing.context_of(bed.turn(), str(number)) is not None]
    assert known == [2, 3, 4]


def test_the_context_stands_beside_what_was_there() -> None:
    element = encode_objects({"A2": {"01": "11", "02": "phone-1"}, "ZZ": "kept"})
    carried = with_context(element, PARENT)
    assert carried == element + f"{TAG}048{PARENT}"
    assert context_in(carried) == PARENT
    again = with_context(carried, NOT_CHOSEN)
    assert again == element + f"{TAG}001{NOT_CHOSEN}"
    assert with_context(None, PARENT) == f"{TAG}048{PARENT}"
    for unchanged in (element, None, b"\xff", "no objects"):
        assert with_context(unchanged, None) == unchanged
    assert with_context("no objects", PARENT) == "no objects"
    assert with_context(b"\xff", PARENT) == b"\xff"
    full = encode_objects({"ZZ": "x" * 540})
    assert with_context(full, PARENT) == full
    assert context_in("TC") is context_in(b"TC") is context_in(None) is None


def test_attributes_hold_nothing_of_the_card() -> None:
    fields = {
        2: "6212345678901232",
        4: "000000001250",
        11: "000001",
        35: "6212345678901232=30",
        41: "00000001",
        52: b"x",
    }
    told = attributes_of(fields, "0200")
    assert told == {
        "fourparty.mti": "0200",
        "fourparty.stan": "000001",
        "fourparty.terminal": "00000001",
        "fourparty.amount_fen": 1250,
    }


@pytest.mark.parametrize(
    ("setting", "variables", "expected"),
    [
        (None, {}, None),
        ("http://c:4318", {}, "http://c:4318/v1/traces"),
        ("http://c:4318/", {}, "http://c:4318/v1/traces"),
        ("https://c/v1/traces", {}, "https://c/v1/traces"),
        (None, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, "http://c:4318/v1/traces"),
        (None, {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c/own"}, "http://c/own"),
        ("http://d", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, "http://d/v1/traces"),
        ("http://d", {"OTEL_SDK_DISABLED": "true"}, None),
    ],
)
def test_where_traces_go(
    monkeypatch: pytest.MonkeyPatch, setting: str | None, variables: dict[str, str], expected: str | None
) -> None:
    for name in (*ENDPOINT_VARIABLES, "OTEL_SDK_DISABLED"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert endpoint_of(setting) == expected


@pytest.mark.parametrize("wrong", ["collector:4318", "ftp://collector", "http://", "http://c:port"])
def test_what_is_no_address_is_refused(wrong: str) -> None:
    with pytest.raises(TraceError, match="traces_endpoint is not an address"):
        endpoint_of(wrong)


def test_without_the_sdk_one_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def without(name: str, *arguments: object, **more: object) -> ModuleType:
        if name.startswith("opentelemetry"):
            raise ImportError(name)
        return original(name, *arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(TraceError, match=r"pip install 'fourparty\[traces\]'"):
        open_tracing("switch", "http://127.0.0.1:4318", 1.0)
    assert open_tracing("switch", None, 1.0) is None


def test_a_collector_that_is_away_stops_nobody() -> None:
    exporter = TraceExporter("switch", "http://127.0.0.1:9/v1/traces")
    part = Part("one", PARENT[:32], PARENT[32:], "", 1_000, {})
    for _ in range(100):
        exporter.export(Ended(part, 2_000, "00"))
    began = time.monotonic()
    exporter.close()
    assert time.monotonic() - began < 10
