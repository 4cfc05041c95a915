"""What a page says of how a run was measured: the statement on coordinated omission."""

from __future__ import annotations

from scenarios.report.quantities import latency
from scenarios.result import Load, Result


def statement(result: Result) -> list[str]:
    """In plain sentences: what a latency counts from, and what that leaves out; a paragraph each."""
    if result.load is None:
        return _without_load(result)
    return _closed(result, result.load) if result.load.mode == "closed" else _open(result, result.load)


def _open(result: Result, load: Load) -> list[str]:
    paragraphs = [
        "Open loop: when a payment was due did not depend on the answers to those before it, and its response time "
        "counts from then, sent or not. A payment that had to wait because the network, or a generator, was busy with "
        "others counts with its wait. That is what shoppers feel; coordinated omission, which leaves such waits out, "
        "is avoided.",
        "Service time counts from the sending only: it is what a load tester without a schedule would have told. "
        "Where the two curves part, payments waited before they were sent.",
    ]
    if load.lag.count:
        kept_up = "They kept up." if load.valid else "These figures tell more of them than of the network."
        paragraphs.append(
            f"The generators sent {latency(load.lag.p50)} (median), {latency(load.lag.p99)} (p99) and at most "
            f"{latency(load.lag.max)} after a payment was due. {kept_up}"
        )
    return [*paragraphs, *_warm_up(load), *_virtual(result)]


def _closed(result: Result, load: Load) -> list[str]:
    return [
        f"Closed loop: each of {load.terminals:,} terminals began its next payment only when it had the answer to the "
        "last one. While the network stands still, nobody new comes: the waits of those who would have come are not in "
        "these percentiles (coordinated omission), which are better than what an independent public would have felt. "
        "They tell how fast the network is with so many in flight; for latency under a given rate use an open loop.",
        *_warm_up(load),
        *_virtual(result),
    ]


def _without_load(result: Result) -> list[str]:
    return [
        "A latency counts from the moment when the payment was due in the scenario until the phone had its receipt, "
        "less the time in which the shopper typed. Payments that were late because something before them was slow "
        "count from when they were due, so there is no coordinated omission. How often people pay is the scenario's "
        "matter: where its shoppers queue, a slow network also means fewer payments.",
        *_virtual(result),
    ]


def _warm_up(load: Load) -> list[str]:
    if not load.warm_up:
        return []
    return [f"The first {load.warm_up:g} s were warm-up and do not count."]


def _virtual(result: Result) -> list[str]:
    if result.runtime != "virtual":
        return []
    return [
        "The run was virtual: time was simulated, latencies are what the model charges for wires and turns, and the "
        "same seed gives the same result to the last byte."
    ]
