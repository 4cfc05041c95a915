"""What a running network tells Prometheus, and that dashboard and rules ask for nothing else."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from host_process import until
from independent_card import OutsideCard
from independent_terminal import OutsideTerminal
from prometheus_client.parser import text_string_to_metric_families
from running_network import PROJECT, Network

pytestmark = pytest.mark.live

SERVICES: Final = ("issuer", "switch", "acquirer", "device")
STACK: Final = PROJECT / "stack"
SCRAPED: Final = {"instance", "job"}
"""Labels that Prometheus puts to what it scrapes."""

Sample = tuple[str, dict[str, str], float]


def scraped(network: Network, service: str) -> list[Sample]:
    """Every sample of a service's figures, as Prometheus asks for them."""
    request = urllib.request.Request(f"{network.description[service]['api']}/metrics")
    request.add_header("Authorization", f"Bearer {network.description['operator_token']}")
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=10) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain")
        text = answer.read().decode()
    return [
        (one.name, one.labels, one.value) for family in text_string_to_metric_families(text) for one in family.samples
    ]


def total(samples: list[Sample], name: str, **labels: str) -> float:
    return sum(value for found, has, value in samples if found == f"fourparty_{name}" and labels.items() <= has.items())


@pytest.fixture(scope="module")
def figures(network: Network) -> dict[str, list[Sample]]:
    """Every service's figures after one payment at a phone of the network's own."""
    amount = 300
    status, receipt = network.rest("device").request("/payments", {"amount": amount, "card": 1}, method="POST")
    assert status == 200, receipt
    assert receipt["outcome"] == "approved"
    network.paid_elsewhere += amount
    return {service: scraped(network, service) for service in SERVICES}


def test_payments_are_counted_at_every_party(network: Network, terminal: OutsideTerminal, card: OutsideCard) -> None:
    before = {service: scraped(network, service) for service in SERVICES}
    for _ in range(3):
        assert terminal.pay(card, 100)[1].code == "00"
    assert terminal.pay(card, 10**9)[1].code == "51"
    after = {service: scraped(network, service) for service in SERVICES}

    def more(service: str, name: str, **labels: str) -> float:
        return total(after[service], name, **labels) - total(before[service], name, **labels)

    for service in ("issuer", "switch", "acquirer"):
        assert more(service, "answers_total", mti="0210", code="00") == 3
        assert more(service, "answers_total", mti="0210", code="51") == 1
        assert more(service, "messages_received_total", mti="0200") == 4
        assert more(service, "messages_sent_total", mti="0210") == 4
        assert more(service, "turn_seconds_count") >= 4
        assert more(service, "commit_seconds_count") >= 4
        assert more(service, "service_seconds_count") >= 4
    for service in ("switch", "acquirer"):
        assert more(service, "wait_seconds_count", mti="0210") == 4
        assert more(service, "wait_seconds_sum", mti="0210") > 0
    assert more("device", "answers_total") == 0


def test_a_payment_at_the_networks_own_phone(figures: dict[str, list[Sample]]) -> None:
    device = figures["device"]
    assert total(device, "answers_total", mti="0210", code="00") >= 1
    assert total(device, "wait_seconds_count", mti="0210") >= 1
    assert total(device, "messages_received_total", link="reader", mti="none") >= 2
    assert total(device, "links_up", link="acquirer") == total(device, "links_wanted", link="acquirer") >= 1
    assert total(device, "states", kind="phone", state="signed_on") >= 1


def test_the_state_of_the_network(figures: dict[str, list[Sample]]) -> None:
    for service in ("issuer", "switch", "acquirer"):
        samples = figures[service]
        imbalance = [(has["against"], value) for name, has, value in samples if name == "fourparty_books_imbalance_fen"]
        assert sorted(imbalance) == [("accounts", 0.0), ("transfers", 0.0)]
        sessions = {has["peer"]: value for name, has, value in samples if name == "fourparty_session_ready"}
        assert sessions
        assert set(sessions.values()) == {1.0}
        assert total(samples, "store_readable") == 1
        assert any(name == "fourparty_books_transfers" for name, _, _ in samples)
    names = {name for name, _, _ in figures["device"]}
    assert "fourparty_books_imbalance_fen" not in names  # a phone keeps no books


def test_no_label_holds_what_looks_like_a_card_number(figures: dict[str, list[Sample]]) -> None:
    for samples in figures.values():
        for _, labels, _ in samples:
            assert not any(re.search(r"\d{12}", value) for value in labels.values())


def test_the_log_names_the_terminal_whose_message_was_altered(
    network: Network, terminal: OutsideTerminal, card: OutsideCard
) -> None:
    old = terminal.keys
    assert terminal.sign_on().code == "00"
    new, terminal.keys = terminal.keys, old
    terminal.send(terminal.sale(card, 100).body)
    terminal.keys = new
    assert terminal.receive().code == "A0"
    log = network.folder / "acquirer.log"

    def noted() -> list[dict[str, Any]]:
        ended = log.read_text().rpartition("\n")[0].splitlines()
        events = [json.loads(line) for line in ended]
        return [one for one in events if one["event"] == "wrong MAC" and one["terminal"] == terminal.terminal_id]

    # answers leave before lines are written
    until(lambda: bool(noted()), "the line is written")
    (line,) = noted()
    text = log.read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert (line["level"], line["party"], line["mti"]) == ("warning", "acquirer", "0200")
    assert all({"event", "level", "timestamp"} <= one.keys() for one in lines)
    assert card.pan not in text


# dashboard, rules, configuration


def expressions() -> Iterator[tuple[str, str]]:
    """Everything that dashboard and rules ask Prometheus, and where."""
    dashboard = json.loads((STACK / "grafana/dashboards/fourparty.json").read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield variable["name"], variable["definition"]
    for group in yaml.safe_load((STACK / "rules.yml").read_text())["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]


ASKED: Final = re.compile(r"\b((?:fourparty|process)_[a-z_]+)(?:\{([^}]*)\})?")
LABEL: Final = re.compile(r"(\w+)\s*(?:=~|!=|!~|=)\s*\"")


def test_dashboard_and_rules_ask_for_what_there_is(figures: dict[str, list[Sample]]) -> None:
    labels: dict[str, set[str]] = {}
    for samples in figures.values():
        for name, has, _ in samples:
            labels.setdefault(name, set()).update(has)
    # what comes only when something goes wrong is in no sample yet
    labels.setdefault("fourparty_messages_dropped_total", {"party", "reason"})
    for name in ("fourparty_links_lost_total", "fourparty_links_reconnected_total"):
        labels.setdefault(name, {"party", "link"})
    asked = set()
    for where, expression in expressions():
        found = ASKED.findall(expression)
        assert found or "up{" in expression, where
        for name, matchers in found:
            assert name in labels, f"{where} asks for {name}, which no service tells"
            unknown = set(LABEL.findall(matchers)) - labels[name] - SCRAPED
            assert not unknown, f"{where}: {name} has no label {unknown}"
            asked.add(name)
    # and what is told is shown somewhere
    told = {re.sub(r"_(bucket|sum|count)$", "", name) for name in labels if name.startswith("fourparty_")}
    shown = {re.sub(r"_(bucket|sum|count)$", "", name) for name in asked}
    assert not told - shown


def test_panels_stand_side_by_side_and_read_the_chosen_source() -> None:
    dashboard = json.loads((STACK / "grafana/dashboards/fourparty.json").read_text())
    taken: dict[tuple[int, int], str] = {}
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in taken, f"{panel['title']} covers {taken[x, y]}"
                taken[x, y] = panel["title"]
        for target in panel.get("targets", ()):
            assert target["datasource"]["uid"] == "${datasource}"
            assert panel["description"]
    books = next(panel for panel in dashboard["panels"] if "balance" in panel["title"])
    assert books["options"]["colorMode"] == "background"
    assert [step["color"] for step in books["fieldConfig"]["defaults"]["thresholds"]["steps"]] == ["green", "red"]


def test_prometheus_and_grafana_are_told_where_things_are() -> None:
    def read(path: str) -> Any:
        return yaml.safe_load((STACK / path).read_text())

    prometheus = read("prometheus.yml")
    (job,) = prometheus["scrape_configs"]
    assert job["metrics_path"] == "/metrics"
    assert [Path(path).name for path in prometheus["rule_files"]] == ["rules.yml"]
    hosts = [target.partition(":")[0] for target in job["static_configs"][0]["targets"]]
    assert sorted(hosts) == ["acquirer", "device", "issuer-a", "issuer-b", "switch"]
    assert "prometheus" in read("grafana/provisioning/datasources/prometheus.yml")["datasources"][0]["url"]
    assert read("grafana/provisioning/dashboards/fourparty.yml")["providers"][0]["type"] == "file"
