"""A live payment followed across the four processes, by a collector that is a plain HTTP server."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from running_network import Network, Supply
from trace_collector import Collector, attributes

from scenarios.phones.wallet import read_wallet

pytestmark = pytest.mark.live


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


@pytest.fixture(scope="module")
def followed(collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """A network whose services have the collector as their endpoint, by OpenTelemetry's own variable."""
    running = Network(tmp_path_factory.mktemp("traces") / "network")
    os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = collector.endpoint
    try:
        running.start()
    finally:
        del os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"]
    yield running
    running.stop()


def pay(network: Network, **content: object) -> dict[str, str]:
    status, receipt = network.rest("device").request("/payments", content, method="POST")
    assert status == 200, receipt
    return receipt  # type: ignore[no-any-return]


def test_a_payment_is_one_trace_of_four_parts(followed: Network, collector: Collector) -> None:
    receipt = pay(followed, amount=450)
    assert receipt["outcome"] == "approved"
    spans = dict(collector.wait(4))
    assert sorted(spans) == ["acquirer", "device", "issuer", "switch"]
    assert len({span.trace_id for span in spans.values()}) == 1
    device, acquirer, switch, issuer = (spans[name] for name in ("device", "acquirer", "switch", "issuer"))
    assert device.parent_span_id == b""
    assert acquirer.parent_span_id == device.span_id
    assert switch.parent_span_id == acquirer.span_id
    assert issuer.parent_span_id == switch.span_id
    assert device.kind == Span.SPAN_KIND_CLIENT
    assert {acquirer.kind, switch.kind, issuer.kind} == {Span.SPAN_KIND_SERVER}
    # one clock on this machine: who asks waits for who is asked
    for outer, inner in ((device, acquirer), (acquirer, switch), (switch, issuer)):
        assert outer.start_time_unix_nano <= inner.start_time_unix_nano
        assert inner.start_time_unix_nano <= inner.end_time_unix_nano <= outer.end_time_unix_nano
    for span in spans.values():
        told = attributes(span)
        assert told["fourparty.response_code"] == "00"
        assert told["fourparty.terminal"] == receipt["terminal"]
        assert told["fourparty.amount_fen"] == 450
        assert span.status.code == Status.STATUS_CODE_UNSET
    assert attributes(device)["fourparty.rrn"] == attributes(acquirer)["fourparty.rrn"] == receipt["rrn"]
    assert attributes(acquirer)["fourparty.stan"] == receipt["stan"]


def test_a_declined_payment_and_a_network_fault_are_told_apart(followed: Network, collector: Collector) -> None:
    card = read_wallet(followed.folder / "wallet.json")[0]
    receipt = pay(followed, amount=100, pin="".join(str(9 - int(digit)) for digit in card.pin), atc=100)
    assert receipt["response_code"] == "55"
    for _, span in collector.wait(4):
        assert attributes(span)["fourparty.response_code"] == "55"
        assert span.status.code == Status.STATUS_CODE_UNSET


def test_the_payment_of_a_terminal_that_knows_no_traces(followed: Network, collector: Collector) -> None:
    supply = Supply(followed)
    (terminal,) = supply.signed_on(1)
    assert terminal.pay(supply.card(), 100)[1].code == "00"
    terminal.close()
    spans = dict(collector.wait(3))
    acquirer, switch, issuer = (spans[name] for name in ("acquirer", "switch", "issuer"))
    assert acquirer.parent_span_id == b""
    assert switch.parent_span_id == acquirer.span_id
    assert issuer.parent_span_id == switch.span_id


def test_nothing_secret_is_in_what_is_sent(followed: Network, collector: Collector) -> None:
    assert pay(followed, amount=200, atc=200)["outcome"] == "approved"
    collector.wait(4)
    sent = b"".join(collector.raw)
    assert sent
    for card in read_wallet(followed.folder / "wallet.json"):
        assert card.pan.encode() not in sent
    for secret in (followed.description["operator_token"], *(one["tmk"] for one in followed.description["terminals"])):
        assert secret.encode() not in sent


def test_a_collector_that_is_gone_harms_no_payment(followed: Network, collector: Collector) -> None:
    collector.close()
    for number in range(3):
        assert pay(followed, amount=100, atc=300 + number)["outcome"] == "approved"
    log = "".join((followed.folder / f"{name}.log").read_text() for name in ("device", "acquirer", "switch", "issuer"))
    assert not any(card.pan in log for card in read_wallet(followed.folder / "wallet.json"))


def test_a_wrong_endpoint_is_refused_in_one_line(followed: Network, tmp_path: Path) -> None:
    environment = {
        **os.environ,
        "FOURPARTY_TRACES_ENDPOINT": "collector:4318",
        "FOURPARTY_API": "127.0.0.1:0",
        "FOURPARTY_DATABASE": f"sqlite:///{tmp_path / 'other.db'}",
    }
    command = [sys.executable, "-m", "switch", "--config", str(followed.folder / "switch.toml")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 2
    assert done.stderr == "switch: traces_endpoint is not an address such as http://127.0.0.1:4318\n"
