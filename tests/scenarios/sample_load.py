"""Results of load runs for the tests of what shows them: a queue is simulated, so that figures follow from one another.

Payments come at random to a network of some servers. In a fault the servers stand still, and what came meanwhile waits;
too late an answer is a timeout with a reversal, and for some of what the issuer does not answer the switch stands in.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import Counter
from dataclasses import dataclass, field
from functools import cache

from network.durations import Durations
from network.iso8583 import INTERBANK, TERMINAL, Dialect, Message, describe
from scenarios.measurement import heat
from scenarios.result import (
    Books,
    ErrorSample,
    FaultWindow,
    Interval,
    Leg,
    Load,
    Result,
    Threshold,
    TraceLine,
)

LEGS = (
    ("phone: request", 900),
    ("phone -> acquirer", 120),
    ("acquirer: request", 1_900),
    ("acquirer -> switch", 110),
    ("switch: request", 1_500),
    ("switch -> issuer", 110),
    ("issuer", 2_100),
    ("issuer -> switch", 110),
    ("switch: answer", 900),
    ("switch -> acquirer", 110),
    ("acquirer: answer", 1_000),
    ("acquirer -> phone", 120),
    ("phone: answer", 400),
)
"""The parts of the way and their medians in microseconds."""
DECLINES = ("51", "51", "51", "51", "55", "55", "61", "54", "14", "05")
TIMEOUT_US = 4_000_000
PHONES = 250


@dataclass
class Slice:
    """What happened in a second."""

    counts: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    latency: Durations = field(default_factory=Durations)
    lag: Durations = field(default_factory=Durations)


@cache
def peak(
    seed: int = 11,
    rate: float = 300.0,
    seconds: int = 60,
    *,
    slow: float = 1.0,
    stops: bool = True,
    keeps_up: bool = True,
    mode: str = "open",
) -> Result:
    """A load run of `rate` payments a second, `slow` times as slow as usual, with a stop of two seconds or without."""
    dice = random.Random(seed)
    faults = (
        [FaultWindow(24.0, 26.0, "issuer stopped"), FaultWindow(41.0, 46.0, "switch -> issuer: 30 ms")] if stops else []
    )
    slices: dict[int, Slice] = {}
    response, service, lag = Durations(), Durations(), Durations()
    legs = [Durations() for _ in LEGS]
    parties = {name: Durations() for name in ("merchant_device", "acquirer", "switch", "issuer")}
    declined: Counter[str] = Counter()
    free = [0.0] * 6
    phones = [0.0] * PHONES
    approved = timeouts = reversals = stand_in = amount = number = due_count = 0
    at = 0.0
    while True:
        at += dice.expovariate(rate)
        if at >= seconds:
            break
        due_count += 1
        late = dice.lognormvariate(6.0, 0.5) * (1 if keeps_up else 900) / 1e6
        sent = max(at + late, heapq.heappop(phones))
        late = sent - at
        ways = [dice.lognormvariate(math.log(median * slow), 0.25) for _, median in LEGS]
        work = sum(ways) / 1e6
        if any(fault.start <= sent < fault.end and "30 ms" in fault.what for fault in faults):
            work += 0.030
        begun = max(sent, heapq.heappop(free))
        for fault in faults:
            if "stopped" in fault.what and fault.start <= begun < fault.end:
                begun = fault.end + dice.random() * 0.02
        heapq.heappush(free, begun + work * 0.55)
        ended = begun + work
        times = (min(round((ended - at) * 1e6), TIMEOUT_US), min(round((ended - sent) * 1e6), TIMEOUT_US))
        ended = at + times[0] / 1e6
        heapq.heappush(phones, ended)
        slices.setdefault(int(at), Slice()).counts["due"] += 1
        slices[int(at)].lag.record(round(late * 1e6))
        now = slices.setdefault(int(ended), Slice())
        now.counts["attempts"] += 1
        now.latency.record(times[0])
        response.record(times[0])
        service.record(times[1])
        lag.record(round(late * 1e6))
        for durations, way in zip(legs, ways, strict=True):
            durations.record(round(way))
        for place, party in ((0, "merchant_device"), (2, "acquirer"), (4, "switch"), (6, "issuer")):
            parties[party].record(round(ways[place]))
        luck = dice.random()
        if times[0] >= TIMEOUT_US or luck < 0.0002:
            timeouts += 1
            reversals += 1
            now.counts.update(failed=1, timeouts=1, reversals=1)
            continue
        behind = times[0] > 700_000
        if behind and luck < 0.3:
            code = "91" if luck < 0.22 else "98"
        elif luck > 0.975:
            code = dice.choice(DECLINES)
        else:
            code = "00"
        if behind and code == "00" and luck > 0.7:
            stand_in += 1
            now.counts["stand_in"] += 1
        now.codes[code] += 1
        if code == "00":
            approved += 1
            amount += dice.randrange(300, 12_000)
            now.counts["approved"] += 1
        else:
            declined[code] += 1
            now.counts["declined"] += 1
        number += 1
    timeline = [
        Interval(
            start=float(second),
            length=1.0,
            attempts=one.counts["attempts"],
            approved=one.counts["approved"],
            declined=one.counts["declined"],
            failed=one.counts["failed"],
            latency=one.latency.summary(),
            due=one.counts["due"],
            codes=dict(one.codes),
            reversals=one.counts["reversals"],
            timeouts=one.counts["timeouts"],
            stand_in=one.counts["stand_in"],
            lag=one.lag.summary() if one.lag.counts else None,
            heat={str(low): payments for low, payments in sorted(heat(one.latency).items())},
        )
        for second, one in ((second, slices.get(second, Slice())) for second in range(max(slices) + 1))
    ]
    whole = response.summary()
    attempts = sum(one.attempts for one in timeline)
    return Result(
        scenario="festival",
        title="A festival's peak (双十一)",
        runtime="live",
        seed=seed,
        duration=float(max(slices) + 1),
        started_at="2024-11-11T00:00:00+08:00",
        attempts=attempts,
        approved=approved,
        declined=dict(declined),
        unanswered=timeouts,
        refused={},
        reversals=reversals,
        amount=amount,
        throughput=approved / seconds,
        end_to_end=whole,
        parties={name: durations.summary() for name, durations in parties.items()},
        timeline=timeline,
        books=agreeing(amount, approved),
        environment={
            "command": f"fourparty load festival --rate {rate:g} --for {seconds}s --slo 'p99<200ms' --seed {seed}",
            "machine": "Linux 6.1 x86_64, 2 cores",
            "python": "3.11.2",
            "version": "0.1.0",
        },
        load=Load(
            mode=mode,
            shape=f"constant {rate:g}/s" if mode == "open" else "32 terminals",
            rate=rate if mode == "open" else 0.0,
            terminals=PHONES if mode == "open" else 32,
            generators=2,
            warm_up=5.0,
            due=due_count,
            sent=due_count,
            lag=lag.summary(),
            service=service.summary(),
            valid=keeps_up,
            problems=[] if keeps_up else ["generator 2 sent 38 % of its payments more than 100 ms late"],
        ),
        thresholds=[
            threshold("p50<50ms", "p50", 50_000, whole.p50),
            threshold("p99<200ms", "p99", 200_000, whole.p99),
            Threshold("approved>95%", "approved", 0.95, approved / attempts, approved / attempts > 0.95),
            Threshold("rate>250/s", "rate", 250.0, approved / seconds, approved / seconds > 250),
        ],
        histograms={
            name: durations.histogram().encode().decode()
            for name, durations in (("response", response), ("service", service), ("lag", lag))
        },
        legs=[Leg(name, durations.summary()) for (name, _), durations in zip(LEGS, legs, strict=True)],
        errors=errors(declined, timeouts),
        faults=faults,
        timeouts=timeouts,
        stand_in=stand_in,
    )


def threshold(text: str, metric: str, limit: float, actual: int) -> Threshold:
    """An upper limit of a latency."""
    return Threshold(text, metric, float(limit), float(actual), actual < limit)


def agreeing(amount: int, transfers: int) -> Books:
    """Books that say the same."""
    names = ("issuer: cardholders", "issuer: switch", "switch: member issuer", "switch: member acquirer")
    names += ("acquirer: switch", "acquirer: merchants")
    return Books(
        True,
        dict.fromkeys(names, amount),
        {"issuer": 0, "switch": 0, "acquirer": 0},
        dict.fromkeys(("issuer", "switch", "acquirer"), transfers),
        [],
    )


def errors(declined: Counter[str], timeouts: int) -> list[ErrorSample]:
    """A sample of each kind that happened, its messages really packed, read back and described."""
    samples = [
        ErrorSample(f"declined {code}", declined[code], 24.031, trace(code)) for code in ("91", "98") if declined[code]
    ]
    if timeouts:
        samples.append(ErrorSample("no answer", timeouts, 24.0, trace(None)[:2]))
    return samples


def trace(code: str | None) -> list[TraceLine]:
    """A sale on its way to the switch and back, declined."""
    common = {3: "000000", 4: "000000001250", 11: "000417"}
    sale = {2: "6226090000000017", **common, 22: "071", 25: "00", 41: "10000003", 42: "898290054110001", 49: "156"}
    onward = {**sale, 7: "1111000024", 32: "48020000", 33: "48020000", 18: "5411"}
    answer = {11: "000417", 39: code or "98", 41: "10000003", 42: "898290054110001"}
    steps: list[tuple[float, str, Dialect, Message]] = [
        (0.0, "phone -> acquirer", TERMINAL, Message("0200", sale)),
        (0.0031, "acquirer -> switch", INTERBANK, Message("0200", onward)),
        (2.0124, "switch -> acquirer", INTERBANK, Message("0210", {**answer, 7: "1111000024", 32: "48020000"})),
        (2.0151, "acquirer -> phone", TERMINAL, Message("0210", answer)),
    ]
    lines = []
    for at, hop, dialect, message in steps:
        body = dialect.pack_body(message)
        lines.append(TraceLine(at, hop, message.mti, len(body), describe(dialect.unpack_body(body))))
    return lines
