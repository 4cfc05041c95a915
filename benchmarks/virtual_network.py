"""Sales in virtual time: how many fully processed ones a core computes a second, and whether memory stays flat.

Every message is really packed, every MAC, PIN block and cryptogram really computed, every row really written; only
wires and clock are simulated.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import resource
import sys
import time
from pathlib import Path

from network.virtual import TurnCost
from scenarios.demo_network import demo
from scenarios.stage import Phone, Process, Stage
from scenarios.worlds import virtual_world

AMOUNT = 100


def resident() -> float:
    """Resident memory of this process, MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sales", type=int, default=200_000)
    parser.add_argument("--phones", type=int, default=256)
    parser.add_argument("--profile", action="store_true")
    chosen = parser.parse_args(arguments)
    sold = 0

    def sell(stage: Stage, phone: Phone, card: object) -> Process:
        nonlocal sold
        while sold < chosen.sales:
            sold += 1
            yield phone.collect(AMOUNT, card)  # type: ignore[arg-type]

    print(f"sales in virtual time, one core, {chosen.phones} phones selling without pause")
    print("   sales   approved   sales/s of computing   events/turn   memory MiB")
    cost = TurnCost(turn=1500, event=20)
    with virtual_world.virtual_world(1, phones=chosen.phones, cards=2 * chosen.phones, cost=cost) as world:
        world.run_until(lambda: False, 10)
        stage = world.stage(1e9, chosen.phones)
        stage.tap_seconds = 0.0
        good = [card for place, card in enumerate(stage.cards) if place % 100 not in demo.DISTINGUISHED]
        running = [world.env.process(sell(stage, phone, card)) for phone, card in zip(stage.phones, good, strict=False)]
        profiler = cProfile.Profile()
        if chosen.profile:
            profiler.enable()
        began, last, first_memory = time.process_time(), 0, 0.0
        step = max(1, chosen.sales // 10)
        for checkpoint in range(step, chosen.sales + 1, step):
            at = time.process_time()
            world.run_until(lambda checkpoint=checkpoint: stage.measurement.attempts >= checkpoint - chosen.phones, 1e9)  # type: ignore[misc]
            done = stage.measurement.attempts
            events = sum(node.events for node in world.nodes.values())
            turns = sum(node.turns for node in world.nodes.values())
            memory = resident()
            first_memory = first_memory or memory
            spent = time.process_time() - at
            print(
                f"{done:8,d}  {stage.measurement.approved:9,d}  {(done - last) / spent:21,.0f}"
                f"  {events / turns:12.1f}  {memory:11.0f}",
                flush=True,
            )
            last = done
        world.run_until(lambda: not any(process.is_alive for process in running), 1e6)
        total = time.process_time() - began
        if chosen.profile:
            profiler.disable()
            pstats.Stats(profiler).sort_stats("tottime").print_stats(45)
        found = world.books()
    done = stage.measurement.attempts
    print(f"in all {done / total:,.0f} sales/s of computing ({total / done * 1e6:,.0f} us a sale), ", end="")
    print(f"memory grew by {memory - first_memory:+.0f} MiB, books {'agree' if found.agree else 'DISAGREE'}")
    return 0 if found.agree else 1


if __name__ == "__main__":
    sys.exit(main())
