"""What a process tells Prometheus, read back with its own parser."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
import sqlalchemy as sa
from prometheus_client.parser import text_string_to_metric_families
from tiny_parties import TABLES, Echo, Note

from network import metrics
from network.framing import MEMBER_FRAMING
from network.ledger import LEDGER_TABLES, LedgerAccount, Money, post
from network.live import LiveRuntime
from network.meter import OTHER, SERIES_LIMIT, Meter, message_type
from network.metrics import Metrics
from network.observation import Backlog, Census, Observation
from network.party import Standing, Turn, Work
from network.store import Store, UnitOfWork, sqlite_url

OBSERVATION = Observation(
    backlogs=(
        Backlog("note", Note, ("state=pending",), "number", is_forwarded=True),
        Backlog("told", Note, ("state=pending", "subject"), "number"),
        Backlog("untold", Note, ("!subject",), "number"),
    ),
    censuses=(Census("note", Note, "state"),),
)

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples(text: bytes) -> Samples:
    """Every sample by its name and labels, without the party's."""
    found: Samples = {}
    for family in text_string_to_metric_families(text.decode()):
        for one in family.samples:
            labels = {name: value for name, value in one.labels.items() if name != "party"}
            found[one.name.removeprefix("fourparty_"), tuple(sorted(labels.items()))] = one.value
    return found


def value(found: Samples, name: str, **labels: str) -> float | None:
    return found.get((name, tuple(sorted(labels.items()))))


class Keeper(Echo):
    """An echo with a session and something dropped."""

    dropped = {"undecodable": 3}  # noqa: RUF012

    def standing(self, store: Store) -> Standing:
        return Standing({"00010000": True, "00020000": False}, None)

    def drain(self) -> None:
        """Nothing to stop."""

    def awaits(self, store: UnitOfWork) -> bool:
        return False


def with_runtime(folder: Path, use: Callable[[LiveRuntime, Store], None]) -> None:
    async def main() -> None:
        store = Store(sqlite_url(folder / "party.db"), (*TABLES, *LEDGER_TABLES))
        runtime = LiveRuntime(Keeper("tiny"), store, random=Random(1))
        runtime.start()
        try:
            use(runtime, store)
        finally:
            await runtime.stop()
            store.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (bytes.fromhex("6000030000603100000000") + b"\x02\x00" + bytes(8), "0200"),
        (b"\x2e\x02" + bytes(44) + b"0210" + bytes(8), "0210"),
        (b"\x2e\x02" + bytes(44) + b"6212345678901232", OTHER),
        (bytes.fromhex("6000030000603100000000") + b"\x62\x12", OTHER),
        (b"\x60", OTHER),
        (b"", OTHER),
        (b'{"type":"evidence","terminal":"00000001"}' + bytes(80), OTHER),
    ],
)
def test_the_type_of_a_message_is_one_that_exists_or_other(body: bytes, expected: str) -> None:
    assert message_type(body) == expected


def test_what_a_party_counts_is_taken_over_and_bounded() -> None:
    meter = Meter()
    turn = Turn(0, Random(1), None, Work([], [], [], []))  # type: ignore[arg-type]
    for number in range(SERIES_LIMIT + 5):
        turn.count_answer("0210", f"{number}")
    turn.count_answer("0210", "7")
    turn.count_wait("0210", 1_500)
    meter.committed(turn)
    assert meter.answers["0210", "7"] == 2
    assert meter.answers["0210", OTHER] == 5
    assert len(meter.answers) == SERIES_LIMIT + 1
    assert sum(meter.waits["0210"].counts.values()) == 1


def test_links_that_come_and_go(tmp_path: Path) -> None:
    def use(runtime: LiveRuntime, _: Store) -> None:
        meter = runtime.meter
        runtime.dial("switch", "127.0.0.1", 1, MEMBER_FRAMING)
        for _ in range(3):
            meter.link_up("switch")
            meter.link_down("switch")
        meter.link_up("terminal:1")
        found = samples(Metrics(runtime, OBSERVATION).exposition().content)
        assert value(found, "dialled_link_up", link="switch") == 0
        assert value(found, "links_up", link="switch") == 0
        assert value(found, "links_up", link="terminal") == 1
        assert value(found, "links_wanted", link="switch") == 1
        assert value(found, "links_wanted", link="terminal") is None
        assert value(found, "links_opened_total", link="switch") == 3
        assert value(found, "links_lost_total", link="switch") == 3
        assert value(found, "links_reconnected_total", link="switch") == 2
        # of very many no single one is told
        for number in range(metrics.NAMED_LINKS):
            runtime.dial(f"acquirer:{number}", "127.0.0.1", 1, MEMBER_FRAMING)
        found = samples(Metrics(runtime, OBSERVATION).exposition().content)
        assert value(found, "dialled_link_up", link="switch") is None
        assert value(found, "links_wanted", link="acquirer") == metrics.NAMED_LINKS

    with_runtime(tmp_path, use)


def test_durations_become_buckets_that_add_up(tmp_path: Path) -> None:
    def use(runtime: LiveRuntime, _: Store) -> None:
        for microseconds in (100, 1_000, 1_001, 2_000, 90_000_000):
            runtime.service.record(microseconds)
        runtime.meter.turn_over(3, 400)
        runtime.meter.turn_over(3, 400)
        found = samples(Metrics(runtime, OBSERVATION).exposition().content)
        buckets = {
            dict(labels)["le"]: count for (name, labels), count in found.items() if name == "service_seconds_bucket"
        }
        # a value on a bound belongs below it
        assert buckets["0.0001"] == 1
        assert buckets["0.001"] == 2
        assert buckets["0.0025"] == 4
        assert buckets["60.0"] == 4
        assert buckets["+Inf"] == value(found, "service_seconds_count") == 5
        assert value(found, "service_seconds_sum") == pytest.approx(90.0041, rel=0.002)
        assert value(found, "turn_events_bucket", le="2") == 0
        assert value(found, "turn_events_bucket", le="4") == 2
        assert value(found, "turn_events_sum") == 6

    with_runtime(tmp_path, use)


def test_codes_that_are_none_and_reasons(tmp_path: Path) -> None:
    def use(runtime: LiveRuntime, _: Store) -> None:
        runtime.meter.answers.update({("0210", "00"): 7, ("0210", "ZZ"): 1, ("0210", "62"): 2, ("0210", "Q7"): 1})
        found = samples(Metrics(runtime, OBSERVATION).exposition().content)
        assert value(found, "answers_total", mti="0210", code="00") == 7
        assert value(found, "answers_total", mti="0210", code="62") == 2
        assert value(found, "answers_total", mti="0210", code="other") == 2
        assert value(found, "messages_dropped_total", reason="undecodable") == 3
        assert value(found, "session_ready", peer="00010000") == 1
        assert value(found, "session_ready", peer="00020000") == 0

    with_runtime(tmp_path, use)


def test_what_waits_and_the_books(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "KEPT_SECONDS", 0.0)
    monkeypatch.setattr(metrics, "KEPT_TIMES", 0)

    def use(runtime: LiveRuntime, store: Store) -> None:
        unit = runtime._unit
        told = Metrics(runtime, OBSERVATION)
        for number, state in ((1, "pending"), (2, "done"), (3, "pending")):
            unit.insert(Note(number, b"%d" % number, state))
        debit, credit = LedgerAccount("a", "debit", "156", 0, 0), LedgerAccount("b", "credit", "156", 0, 0)
        unit.insert(debit)
        unit.insert(credit)
        post(
            unit,
            transfer_id="t",
            reference="t",
            debit=debit,
            credit=credit,
            amount=Money(250),
            settlement_date="1127",
            posted_at=0,
        )
        unit.commit()
        found = samples(told.exposition().content)
        assert value(found, "pending", kind="note") == value(found, "pending", kind="told") == 2
        assert value(found, "pending", kind="untold") == 0
        assert value(found, "pending_oldest_seconds", kind="untold") == 0
        assert (value(found, "pending_oldest_seconds", kind="note") or 0) > 1_000_000_000
        assert value(found, "saf_depth") == 2
        assert value(found, "states", kind="note", state="done") == 1
        assert value(found, "books_imbalance_fen", against="accounts") == 0
        assert value(found, "books_imbalance_fen", against="transfers") == 0
        assert value(found, "books_transfers") == 1
        with store.engine.begin() as connection:
            connection.execute(sa.text("UPDATE ledger_account SET credits = 200 WHERE account_id = 'b'"))
            connection.execute(sa.text("UPDATE transfer SET amount = 100"))
        found = samples(told.exposition().content)
        assert value(found, "books_imbalance_fen", against="accounts") == 50
        assert value(found, "books_imbalance_fen", against="transfers") == 150

        # too many transfers to be summed each time: the accounts are told all the same
        monkeypatch.setattr(metrics, "TRANSFERS_LIMIT", 0)
        found = samples(told.exposition().content)
        assert value(found, "books_imbalance_fen", against="accounts") == 50
        assert value(found, "books_imbalance_fen", against="transfers") is None

    with_runtime(tmp_path, use)


def test_rows_are_read_now_and_then_only(tmp_path: Path) -> None:
    def use(runtime: LiveRuntime, _: Store) -> None:
        unit = runtime._unit
        told = Metrics(runtime, OBSERVATION)
        assert value(samples(told.exposition().content), "pending", kind="note") == 0
        unit.insert(Note(1, b"1", "pending"))
        unit.commit()
        assert value(samples(told.exposition().content), "pending", kind="note") == 0
        assert value(samples(Metrics(runtime, OBSERVATION).exposition().content), "pending", kind="note") == 1

    with_runtime(tmp_path, use)


def test_a_store_that_cannot_be_read_does_not_keep_the_rest_from_being_told(tmp_path: Path) -> None:
    def use(runtime: LiveRuntime, store: Store) -> None:
        with store.engine.begin() as connection:
            connection.execute(sa.text("DROP TABLE note"))
        found = samples(Metrics(runtime, OBSERVATION).exposition().content)
        assert value(found, "store_readable") == 0
        assert value(found, "pending", kind="note") is None
        assert value(found, "turns_total") == 0
        assert value(found, "queue_events") == 0

    with_runtime(tmp_path, use)


def test_openmetrics_where_that_is_asked_for(tmp_path: Path) -> None:
    def use(runtime: LiveRuntime, _: Store) -> None:
        told = Metrics(runtime, OBSERVATION).exposition("application/openmetrics-text; version=1.0.0")
        assert told.content_type.startswith("application/openmetrics-text")
        assert told.content.endswith(b"# EOF\n")

    with_runtime(tmp_path, use)
