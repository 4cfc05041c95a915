"""Results such as runs give, for the tests of what shows them."""

from __future__ import annotations

import random
from dataclasses import replace

from network.durations import Durations, Summary
from scenarios.result import Books, Interval, Result, WayFigures

DECLINES = ("51", "51", "51", "51", "55", "55", "61", "91", "54")


def market_day(seed: int = 7, seconds: int = 60) -> Result:
    """A live run of a market with a rush in its middle and an issuer that stops for a moment."""
    dice = random.Random(seed)
    end_to_end = Durations()
    timeline = []
    declined: dict[str, int] = {}
    approved = unanswered = refused = amount = 0
    for second in range(seconds):
        latencies = Durations()
        stopped = 38 <= second < 41
        quiet = second == 52
        payments = 0 if quiet else round(14 + 26 * max(0.0, 1 - abs(second - 25) / 18) + dice.uniform(-4, 4))
        counts = {"approved": 0, "declined": 0, "failed": 0}
        for _ in range(payments):
            luck = dice.random()
            latency = round(dice.lognormvariate(9.0, 0.35) * (30 if stopped else 1))
            if luck < 0.002:
                refused += 1
                counts["failed"] += 1
                continue
            latencies.record(latency)
            end_to_end.record(latency)
            if stopped and luck < 0.3:
                unanswered += 1
                counts["failed"] += 1
            elif luck > 0.93:
                code = dice.choice(DECLINES)
                declined[code] = declined.get(code, 0) + 1
                counts["declined"] += 1
            else:
                approved += 1
                counts["approved"] += 1
                amount += dice.randrange(300, 12_000)
        timeline.append(
            Interval(
                float(second),
                1.0,
                payments,
                counts["approved"],
                counts["declined"],
                counts["failed"],
                latencies.summary(),
            )
        )
    attempts = sum(interval.attempts for interval in timeline)
    return Result(
        scenario="street_market",
        title="A street market (街市)",
        runtime="live",
        seed=seed,
        duration=float(seconds),
        started_at="2024-11-23T00:51:07+00:00",
        attempts=attempts,
        approved=approved,
        declined=declined,
        unanswered=unanswered,
        refused={"card left the field": refused} if refused else {},
        reversals=unanswered + 1,
        amount=amount,
        throughput=attempts / seconds,
        end_to_end=end_to_end.summary(),
        parties={
            "issuer": Summary(attempts, 812, 1_730, 2_950, 41_200),
            "switch": Summary(attempts, 2_410, 4_020, 8_800, 1_204_000),
            "acquirer": Summary(attempts, 4_980, 7_730, 12_600, 2_100_000),
            "merchant_device": Summary(attempts, 612, 930, 1_480, 9_870),
        },
        timeline=timeline,
        books=Books(
            agree=True,
            positions={
                "issuer: cardholders": amount,
                "issuer: switch": amount,
                "switch: member issuer": amount,
                "switch: member acquirer": amount,
                "acquirer: switch": amount,
                "acquirer: merchants": amount,
            },
            imbalance={"issuer": 0, "switch": 0, "acquirer": 0},
            transfers={"issuer": approved + 3, "switch": approved + 3, "acquirer": approved},
            problems=[],
        ),
        environment={
            "command": "fourparty run street_market --live --seed 7 --duration 60s --report runs/street_market",
            "elapsed": "63.4 s",
            "machine": "Linux 6.1 x86_64, 2 cores",
            "python": "3.11.2",
        },
    )


def broken_day() -> Result:
    """The same where the switch's book lost a payment."""
    result = market_day()
    positions = dict(result.books.positions)
    positions["switch: member issuer"] -= 12_850
    books = Books(
        agree=False,
        positions=positions,
        imbalance={"issuer": 0, "switch": 12_850, "acquirer": 0},
        transfers=result.books.transfers,
        problems=["receipt 000417 of terminal 10000003 (128.50 yuan) is not posted at the switch"],
    )
    return replace(result, books=books)


def many_ways() -> Result:
    """The same where people paid in two ways."""
    result = market_day()
    whole = result.end_to_end
    return replace(
        result,
        ways={
            "payer_code": WayFigures(40, 30, 0, Summary(38, 31_000, 40_000, 52_000, 60_000)),
            "card": WayFigures(result.attempts - 40, result.approved - 30, 1_234, whole),
        },
    )


def nothing() -> Result:
    """A virtual run in which nobody came."""
    none = Summary(0, 0, 0, 0, 0)
    return Result(
        scenario="street_market",
        title="A street market",
        runtime="virtual",
        seed=1,
        duration=28_800.0,
        started_at="2024-01-01T08:00:00+08:00",
        attempts=0,
        approved=0,
        declined={},
        unanswered=0,
        refused={},
        reversals=0,
        amount=0,
        throughput=0.0,
        end_to_end=none,
        parties={},
        timeline=[],
        books=Books(True, {}, {}, {}, []),
    )
