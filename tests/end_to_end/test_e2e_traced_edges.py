"""What of a payment is not its 0200, as parts of its trace: phones in a load's process, reversals, offline sales."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from held_card import card_in_field, wait_until
from independent_card import OutsideCard
from independent_terminal import OutsideTerminal
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from running_network import typed
from trace_collector import Collector, attributes

from merchant_device.sdk import Phone
from scenarios.demo_network import demo, embedded
from scenarios.demo_network.processes import Processes, RunningNetwork, free_base_port
from scenarios.phones.attested_phone import attested_phone
from scenarios.phones.wallet import read_wallet

pytestmark = pytest.mark.live

VARIABLE: Final = "OTEL_EXPORTER_OTLP_ENDPOINT"
TIMEOUTS: Final = demo.Timeouts(issuer=1.0, switch=2.0, acquirer=8.0, advice_retry=0.5, reversal_retry=0.5)

REVERSED: Final = {
    # who does what, below which part
    ("device", "reversal at the phone"): ("device", "sale at the phone"),
    ("acquirer", "0400 at the acquirer"): ("device", "reversal at the phone"),
    ("acquirer", "0420 to the switch"): ("acquirer", "0400 at the acquirer"),
    ("switch", "0420 at the switch"): ("acquirer", "0420 to the switch"),
    ("switch", "0420 to the issuer"): ("switch", "0420 at the switch"),
    ("issuer", "0420 at the issuer"): ("switch", "0420 to the issuer"),
}
SALE: Final = {
    ("acquirer", "0200 at the acquirer"): ("device", "sale at the phone"),
    ("switch", "0200 at the switch"): ("acquirer", "0200 at the acquirer"),
    ("issuer", "0200 at the issuer"): ("switch", "0200 at the switch"),
}

Part = tuple[str, str]
Above = dict[Part, set[Part | None]]


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """A collector that every process is told of which the test starts."""
    made = Collector()
    monkeypatch.setenv(VARIABLE, made.endpoint)
    yield made
    made.close()


@pytest.fixture
def processes(collector: Collector, tmp_path: Path) -> Iterator[Processes]:
    embedded.prepare(
        tmp_path / "network",
        free_base_port(),
        timeouts=TIMEOUTS,
        cards=4,
        free_terminals=4,
        products=("ecash",),
    )
    running = Processes(tmp_path / "network", ("issuer", "switch", "acquirer"))
    running.start()
    yield running
    running.stop()


def by_trace(spans: list[tuple[str, Span]]) -> list[list[tuple[str, Span]]]:
    found: dict[bytes, list[tuple[str, Span]]] = {}
    for one in spans:
        found.setdefault(one[1].trace_id, []).append(one)
    return list(found.values())


def above(spans: list[tuple[str, Span]]) -> Above:
    """Below which parts the parts of a trace stand; None for one whose parent has not come."""
    parts = {span.span_id: (service, span.name) for service, span in spans}
    tree: Above = {}
    for service, span in spans:
        parent = ("", "") if not span.parent_span_id else parts.get(span.parent_span_id)
        tree.setdefault((service, span.name), set()).add(parent)
    return tree


def load(tmp_path: Path, *arguments: object) -> None:
    done = typed("load", *arguments, "--warm-up", "0s", "--report", tmp_path / "report", timeout=150.0)
    assert done.returncode == 0, done.stderr


def signed_on(network: RunningNetwork) -> OutsideTerminal:
    entry = next(one for one in network.description["terminals"] if one["free"])
    link = network.description["acquirer"]["terminal_link"]
    terminal = OutsideTerminal(link, entry["terminal_id"], entry["merchant_id"], entry["tmk"])
    assert terminal.sign_on().code == "00"
    return terminal


def test_payments_of_a_load_begin_at_its_phones(collector: Collector, tmp_path: Path) -> None:
    load(tmp_path, "steady", "--rate", 10, "--for", "4s", "--terminals", 12, "--generators", 2)
    traces = by_trace(collector.spans)
    assert len(traces) > 10
    for spans in traces:
        assert above(spans) == {("device", "sale at the phone"): {("", "")}} | {
            part: {parent} for part, parent in SALE.items()
        }
        (root,) = (span for service, span in spans if service == "device")
        assert root.kind == Span.SPAN_KIND_CLIENT
        assert {attributes(span)["fourparty.terminal"] for _, span in spans} == {attributes(root)["fourparty.terminal"]}


def test_payments_of_a_scenario_too(collector: Collector, tmp_path: Path) -> None:
    done = typed("run", "street_market", "--duration", "4s", "--phones", 8, "--report", tmp_path / "report")
    assert done.returncode == 0, done.stderr
    roots = [(service, span) for service, span in collector.spans if not span.parent_span_id]
    assert {(service, span.name.partition(" at ")[2]) for service, span in roots} == {("device", "the phone")}
    assert len(roots) == len(by_trace(collector.spans)) > 1


def test_reversals_stand_in_their_sales_traces(collector: Collector, tmp_path: Path) -> None:
    load(tmp_path, "reversal_storm", "--rate", 20, "--for", "10s", "--terminals", 24)
    reversed_sales = [spans for spans in by_trace(collector.spans) if any("reversal" in one.name for _, one in spans)]
    assert reversed_sales
    seen: set[Part] = set()
    for spans in reversed_sales:
        tree = above(spans)
        assert tree[("device", "sale at the phone")] == {("", "")}
        for part, parents in tree.items():
            if part in REVERSED:
                assert parents == {REVERSED[part]}
                seen.add(part)
        for service, span in spans:
            if "reversal" in span.name:
                assert service == "device"
                assert attributes(span)["fourparty.response_code"] in ("00", "25")
                assert span.status.code == Status.STATUS_CODE_UNSET
    # the whole way of one that the issuer had approved
    assert seen == REVERSED.keys()


def test_the_reversals_of_switch_and_acquirer_and_of_a_terminal_that_knows_no_traces(
    collector: Collector, processes: Processes
) -> None:
    network = RunningNetwork(processes.folder)
    card = OutsideCard.published(network.description["cards"][0])
    terminal = signed_on(network)
    issuer, switch = (processes.running[name].pid for name in ("issuer", "switch"))

    # the terminal takes an approved sale back
    request, reply = terminal.pay(card, 100)
    assert reply.code == "00"
    assert terminal.ask(terminal.reversal(request, reply)).code == "00"
    collector.wait_for("0420 to the issuer")
    assert ends_as(collector, "0400 at the acquirer", below=("acquirer", "0200 at the acquirer"))

    # the switch gives the issuer up
    stopped(issuer, lambda: expect(terminal.pay(card, 100)[1].code, "98"))
    collector.wait_for("0420 to the issuer")
    tree = gathered(collector)
    assert tree[("switch", "0420 to the issuer")] == {("switch", "0200 at the switch")}
    assert tree[("issuer", "0420 at the issuer")] == {("switch", "0420 to the issuer")}
    assert ("acquirer", "0400 at the acquirer") not in tree

    # the acquirer gives the switch up
    stopped(switch, lambda: expect(terminal.pay(card, 100)[1].code, "98"))
    collector.wait_for("0420 to the switch")
    tree = gathered(collector)
    assert tree[("acquirer", "0420 to the switch")] == {("acquirer", "0200 at the acquirer")}
    assert tree[("switch", "0420 at the switch")] == {("acquirer", "0420 to the switch")}
    terminal.close()


def expect(code: str, expected: str) -> None:
    assert code == expected


def stopped(process: int, act: Callable[[], None]) -> None:
    """Do something while a process stands still."""
    os.kill(process, signal.SIGSTOP)
    try:
        act()
    finally:
        os.kill(process, signal.SIGCONT)


def gathered(collector: Collector) -> Above:
    """The tree of the only trace so far; what comes later is the next one's."""
    (spans,) = by_trace(collector.settled())
    return above(spans)


def ends_as(collector: Collector, name: str, *, below: Part) -> bool:
    return gathered(collector)[(below[0], name)] == {below}


def test_an_offline_sale_is_told_in_its_trace(collector: Collector, processes: Processes) -> None:
    network = RunningNetwork(processes.folder)
    products = [card.product for card in read_wallet(network.folder / "wallet.json")]
    ecash = products.index("ecash")
    with (
        card_in_field(processes.folder, ecash) as reader,
        attested_phone(network, reader) as side,
        Phone.start(side.channel, side.terminal_id) as phone,
    ):
        wait_until(lambda: any(state.link and state.status == "signed_on" for state in phone.status()))
        receipt = phone.collect(888)
        assert receipt.outcome == "approved"
        assert receipt.offline
        wait_until(lambda: phone.history(1)[0].status == "approved")
        collector.wait_for("0220 to the switch")
    (spans,) = by_trace(collector.settled())
    assert above(spans) == {
        ("device", "sale at the phone"): {("", "")},
        ("device", "upload at the phone"): {("device", "sale at the phone")},
        ("acquirer", "0220 at the acquirer"): {("device", "upload at the phone")},
        ("acquirer", "0220 to the switch"): {("acquirer", "0220 at the acquirer")},
        ("switch", "0220 at the switch"): {("acquirer", "0220 to the switch")},
        ("issuer", "0220 at the issuer"): {("switch", "0220 at the switch")},
    }
    codes: Any = {attributes(span).get("fourparty.response_code") for _, span in spans if "sale" not in span.name}
    assert codes == {"00"}
