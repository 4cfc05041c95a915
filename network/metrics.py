"""A party's figures in the form that Prometheus reads: ``GET /metrics``.

What the runtime counts (`network.meter`) is copied when asked. What stands in rows is read on the REST thread, never on
that of the turns, and a reading is kept for some seconds, longer the longer it took: watching takes at most a
fiftieth of one core. No label holds what comes from outside unless it is one of a known few.
"""

from __future__ import annotations

import contextlib
import platform
import threading
import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from itertools import accumulate
from typing import Final, NamedTuple

import sqlalchemy as sa
from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from network import ledger
from network.iso8583.codes import RESPONSE_CODES
from network.live import QUEUE_LIMIT, LiveRuntime, real_now
from network.meter import OTHER, SERIES_LIMIT
from network.observation import Backlog, Drops, Observation
from network.party import SECOND, Stationed
from network.store import Store

KEPT_SECONDS: Final = 5.0
"""How long a reading of rows is told again at least."""

KEPT_TIMES: Final = 50
"""How many times as long as it took it is told again."""

BACKLOG_LIMIT: Final = 100_000
"""Most waiting rows that are counted."""

TRANSFERS_LIMIT: Final = 2_000_000
"""Most transfers that the books are proved against here; ``GET /books`` proves any number."""

NAMED_LINKS: Final = 32
"""Most dialled links of one process that are told one by one."""

_SECONDS: Final = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)
_EVENTS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048)


class Exposition(NamedTuple):
    """What is answered to a scrape."""

    content: bytes
    content_type: str


class Metrics:
    """The figures of one process; it has a registry of its own and no global state.

    Parameters
    ----------
    runtime : LiveRuntime
    observation : Observation
        What the party's rows tell.
    """

    def __init__(self, runtime: LiveRuntime, observation: Observation) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_PartyCollector(runtime, observation))
        ProcessCollector(registry=self._registry)

    def exposition(self, accept: str = "") -> Exposition:
        """All figures now, in the form that the Accept header asks for: Prometheus text, or OpenMetrics."""
        encode, content_type = choose_encoder(accept)
        return Exposition(encode(self._registry), content_type)


class _Rows(NamedTuple):
    """A reading of the store."""

    backlogs: list[tuple[Backlog, int, int | None]]
    """How many rows wait, and the earliest instant since when."""
    censuses: list[tuple[str, str, int]]
    books: ledger.Totals | None


class _PartyCollector(Collector):
    """Makes the metric families of a party when they are asked for."""

    def __init__(self, runtime: LiveRuntime, observation: Observation) -> None:
        self._runtime = runtime
        self._party = runtime.party.name
        self._observation = observation
        self._reading = threading.Lock()
        self._rows: _Rows | None = None
        self._kept_until = 0.0

    def describe(self) -> Iterable[Metric]:
        """Nothing: what there is depends on the party."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Every family, with the party's name as a label."""
        yield _gauge("build_info", "The version that runs.", ("party", "version", "python"), [(self._build(), 1)])
        yield from self._work()
        yield from self._links()
        yield from self._sessions()
        rows = self._read()
        yield self._plain_gauge(
            "store_readable", "1 while the party's rows can be read, else 0.", int(rows is not None)
        )
        if rows is not None:
            yield from self._stored(rows)

    def _build(self) -> tuple[str, ...]:
        return self._party, own_version(), platform.python_version()

    # what the runtime counts

    def _work(self) -> Iterator[Metric]:
        runtime, meter = self._runtime, self._runtime.meter
        by_type = ("party", "link", "mti")
        yield _counter(
            "messages_received", "Messages that came, by kind of link and MTI.", by_type, self._of(meter.received)
        )
        yield _counter("messages_sent", "Messages that left, by kind of link and MTI.", by_type, self._of(meter.sent))
        yield self._plain_counter("turns", "Turns that were taken.", runtime.turns)
        yield self._plain_counter(
            "events", "Messages, commands, timers and link changes that were decided.", runtime.events
        )
        yield self._plain_counter(
            "events_failed", "Events that no turn could decide, or whose delivery failed.", runtime.failures
        )
        yield _histogram(
            "turn_events", "Events of a turn.", ("party",), [((self._party,), dict(meter.batches))], _EVENTS, 1
        )
        for name, what, durations in (
            ("turn_seconds", "From a turn's beginning until what it decided has left.", meter.turns),
            ("commit_seconds", "Writing and committing a turn's rows.", runtime.commit_times),
            ("service_seconds", "From a message's arrival to the end of the turn that decided it.", runtime.service),
        ):
            yield _histogram(name, what, ("party",), [((self._party,), dict(durations.counts))], _SECONDS, 1_000_000)
        waits = [((self._party, mti), dict(one.counts)) for mti, one in dict(meter.waits).items()]
        yield _histogram(
            "wait_seconds",
            "How long the party waited for an answer to what it had sent on, by the answer's MTI.",
            ("party", "mti"),
            waits,
            _SECONDS,
            1_000_000,
        )
        yield _counter(
            "answers",
            "Answers given, at the device received, by MTI and response code (DE39).",
            ("party", "mti", "code"),
            _merged(
                ((self._party, mti, code if code in RESPONSE_CODES else OTHER), times)
                for (mti, code), times in dict(meter.answers).items()
            ),
        )
        if isinstance(runtime.party, Drops):
            dropped = dict(list(dict(runtime.party.dropped).items())[:SERIES_LIMIT])
            yield _counter(
                "messages_dropped", "Messages that came to nothing, by reason.", ("party", "reason"), self._of(dropped)
            )
        yield self._plain_gauge("queue_events", "Events that wait for the next turn.", runtime.queued)
        yield self._plain_gauge("queue_limit_events", "Messages that may wait before links are not read.", QUEUE_LIMIT)

    def _links(self) -> Iterator[Metric]:
        meter = self._runtime.meter
        kind = ("party", "link")
        yield _gauge("links_up", "Links that are up, by kind.", kind, self._of(meter.links_up))
        yield _gauge("links_wanted", "Links that are kept up by dialling, by kind.", kind, self._of(meter.links_wanted))
        yield _counter("links_opened", "How often a link came up.", kind, self._of(meter.links_opened))
        yield _counter("links_lost", "How often a link went down.", kind, self._of(meter.links_lost))
        yield _counter("links_reconnected", "How often a dialled link came up again.", kind, self._of(meter.reconnects))
        yield self._plain_counter(
            "links_refused", "Connections refused since there were too many.", self._runtime.refused_links
        )
        dialled = self._runtime.dialled
        if len(dialled) <= NAMED_LINKS:
            named = {link: int(is_up) for link, is_up in dialled.items()}
            yield _gauge("dialled_link_up", "Whether a dialled link is up.", kind, self._of(named))

    def _sessions(self) -> Iterator[Metric]:
        party, store = self._runtime.party, self._runtime.store
        if isinstance(party, Stationed):
            with contextlib.suppress(sa.exc.SQLAlchemyError):
                # told as it is now, and not kept: the switch reads its few members for it, others nothing
                ready = {peer: int(is_ready) for peer, is_ready in party.standing(store).members.items()}
                what = "Whether the session with the other end of a member link is signed on, with keys."
                yield _gauge("session_ready", what, ("party", "peer"), self._of(ready))

    # what stands in rows

    def _stored(self, rows: _Rows) -> Iterator[Metric]:
        kind = ("party", "kind")
        now = real_now()
        yield _gauge(
            "pending",
            f"Rows that wait, by kind; at most {BACKLOG_LIMIT} are counted.",
            kind,
            [((self._party, one.kind), count) for one, count, _ in rows.backlogs],
        )
        ages = [
            ((self._party, one.kind), 0.0 if since is None else max(0, now - since) / SECOND)
            for one, _, since in rows.backlogs
        ]
        yield _gauge("pending_oldest_seconds", "How long the oldest of them has waited; 0 where none does.", kind, ages)
        forwarded = [count for one, count, _ in rows.backlogs if one.is_forwarded]
        if forwarded:
            yield self._plain_gauge(
                "saf_depth",
                "Messages that are stored to be sent until they are answered (store and forward).",
                sum(forwarded),
            )
        if rows.censuses:
            states = [((self._party, name, state), count) for name, state, count in rows.censuses]
            yield _gauge("states", "How many there are in each state, by kind.", ("party", "kind", "state"), states)
        books = rows.books
        if books is not None:
            against = {"accounts": books.debits - books.credits}
            if books.moved is not None:
                against["transfers"] = books.debits - books.moved
            what = "Debits of all accounts less their credits, and less the sum of all transfers, fen: must be zero."
            yield _gauge("books_imbalance_fen", what, ("party", "against"), self._of(against))
            if books.transfers is not None:
                yield self._plain_gauge("books_transfers", "Transfers in the books.", books.transfers)

    def _read(self) -> _Rows | None:
        """A reading of the store, fresh or kept; None where the store cannot be read."""
        with self._reading:
            began = time.monotonic()
            if began >= self._kept_until:
                try:
                    self._rows = _read_rows(self._runtime.store, self._observation)
                except sa.exc.SQLAlchemyError:
                    self._rows = None
                ended = time.monotonic()
                self._kept_until = ended + max(KEPT_SECONDS, KEPT_TIMES * (ended - began))
            return self._rows

    # families

    def _of(self, counts: Mapping[tuple[str, str], float] | Mapping[str, float]) -> list[tuple[tuple[str, ...], float]]:
        return [
            ((self._party, *((key,) if isinstance(key, str) else key)), value) for key, value in dict(counts).items()
        ]

    def _plain_counter(self, name: str, what: str, value: float) -> Metric:
        return _counter(name, what, ("party",), [((self._party,), value)])

    def _plain_gauge(self, name: str, what: str, value: float) -> Metric:
        return _gauge(name, what, ("party",), [((self._party,), value)])


def _read_rows(store: Store, observation: Observation) -> _Rows:
    with store.read() as connection:
        backlogs = [(one, *_waiting(connection, store, one)) for one in observation.backlogs]
        censuses = []
        for census in observation.censuses:
            state = store.tables[census.row].c[census.state]
            found = connection.execute(sa.select(state, sa.func.count()).group_by(state).limit(SERIES_LIMIT))
            censuses += [(census.kind, str(value), int(count)) for value, count in found]
    has_books = ledger.LedgerAccount in store.tables
    return _Rows(backlogs, censuses, ledger.totals(store, TRANSFERS_LIMIT) if has_books else None)


def _waiting(connection: sa.Connection, store: Store, backlog: Backlog) -> tuple[int, int | None]:
    table = store.tables[backlog.row]
    since = table.c[backlog.since]
    found = sa.select(since).where(*[_condition(table, one) for one in backlog.waiting]).limit(BACKLOG_LIMIT).subquery()
    count, earliest = connection.execute(sa.select(sa.func.count(), sa.func.min(found.c[0]))).one()
    return int(count), None if earliest is None else int(earliest)


def _condition(table: sa.Table, waiting: str) -> sa.ColumnElement[bool]:
    name, equals, value = waiting.partition("=")
    if equals:
        # the value as the index has it: no database uses a partial index for a parameter
        return table.c[name] == sa.literal_column(f"'{value}'")
    return table.c[name[1:]].is_(None) if name.startswith("!") else table.c[name].is_not(None)


_Samples = Iterable[tuple[tuple[str, ...], float]]


def _merged(counted: Iterable[tuple[tuple[str, ...], float]]) -> _Samples:
    """Samples of which those with equal labels are one."""
    merged: dict[tuple[str, ...], float] = {}
    for labels, times in counted:
        merged[labels] = merged.get(labels, 0) + times
    return merged.items()


def _counter(name: str, what: str, labels: tuple[str, ...], samples: _Samples) -> Metric:
    family = CounterMetricFamily(f"fourparty_{name}", what, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family


def _gauge(name: str, what: str, labels: tuple[str, ...], samples: _Samples) -> Metric:
    family = GaugeMetricFamily(f"fourparty_{name}", what, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family


def _histogram(
    name: str,
    what: str,
    labels: tuple[str, ...],
    counted: Iterable[tuple[tuple[str, ...], Mapping[int, int]]],
    bounds: tuple[float, ...],
    unit: int,
) -> Metric:
    """A histogram of values that were counted one by one, `unit` of which are 1 of what `bounds` are in."""
    family = HistogramMetricFamily(f"fourparty_{name}", what, labels=labels)
    for values, counts in counted:
        buckets = [0] * (len(bounds) + 1)
        for value, times in counts.items():
            buckets[bisect_left(bounds, value / unit)] += times
        ends = [*map(str, bounds), "+Inf"]
        total = sum(value * times for value, times in counts.items()) / unit
        family.add_metric(values, list(zip(ends, accumulate(buckets), strict=True)), total)
    return family


def own_version() -> str:
    """The version of fourparty that runs."""
    try:
        return version("fourparty")
    except PackageNotFoundError:  # run from its folder without being installed
        return "unknown"
