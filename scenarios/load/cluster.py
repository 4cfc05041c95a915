"""A load on a running network, shared by the workers of a Dask cluster: one part each, one beginning, one result."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console

from network.live import real_now
from network.party import SECOND, Instant
from network.service import ConfigurationError
from scenarios import console as screen
from scenarios.dask_scheduler import connect
from scenarios.demo_network.processes import NetworkError, RunningNetwork
from scenarios.load import coordinator, gathering, session
from scenarios.load.recorded_day import write_day
from scenarios.load.remote_part import Parcel, Played, clock, installed, packed, play_part
from scenarios.load.session import Order
from scenarios.measurement import Measurement
from scenarios.result import Result
from scenarios.stage import ScenarioFailed

if TYPE_CHECKING:
    from distributed import Client, Future

ANSWER_SECONDS: Final = 30.0
"""How long workers may take to begin a task, load the program and answer; longer, and they are at something else."""

LEAD_SECONDS: Final = 5.0
SIGN_ONS_PER_SECOND: Final = 100.0
"""The beginning lies so far ahead: what generators take to start, and their terminals to sign on."""

CLOCK_SECONDS: Final = 0.1
"""So much may a worker's clock be off."""

CHECK_SECONDS: Final = 0.25
FETCH_SECONDS: Final = 60.0
"""How long a scheduler may take to answer, and a result to be fetched."""


@dataclass
class _Share:
    """A part: its name for people, its worker, and what became of it."""

    name: str
    worker: str
    future: Future[Played]
    played: Played | None = None
    lost: str = ""


def play(order: Order, scheduler: str, parts: int | None) -> Result:
    """Let each of some workers play a part on the running network of `order`, and put together what they measured.

    Parameters
    ----------
    scheduler
        Address of the cluster's scheduler.
    parts
        One for each worker unless given.

    Raises
    ------
    ConfigurationError
        There is no such cluster, it has fewer workers, they cannot play a part, or the order is not sound.
    NetworkError
        The network does not answer, or all parts were lost.
    ScenarioFailed
        As a part says.
    """
    if order.directory is None:
        raise ConfigurationError("--scheduler: goes with --dir, the folder of a running network")
    scenario, demand = session.scenario_of(order), session.demand_of(order)
    network = RunningNetwork(order.directory, order.host)
    remote, files = packed(order, order.directory)
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    with connect(scheduler) as client, screen.Progress(order.name) as shown:
        console.print("asking the cluster's workers ...")
        workers = _chosen(client, parts)
        number = len(workers)
        terminals = session.terminals_of(order, scenario, replace(demand, parts=number), network)
        _check(client, workers)
        network.get("acquirer", "/health")
        before = network.books()
        began = _beginning(order, terminals)
        console.print(
            f"{number} parts begin in {(began - real_now()) / SECOND:.0f} s, {terminals} terminals sign on ..."
        )
        topic = f"fourparty-load-{uuid.uuid4()}"
        standing: dict[int, dict[str, Any]] = {}
        client.subscribe_topic(topic, lambda event: _note(standing, event[1]))
        shares = []
        for part, worker in enumerate(workers):
            own = replace(remote.demand, part=part, parts=number)
            parcel = Parcel(replace(remote, terminals=terminals, start_at=began, demand=own), files, topic)
            future = _submit(client, worker, play_part, parcel, key=f"{topic}-part-{part + 1}")
            shares.append(_Share(f"part {part + 1} of {number}", worker, future))
        try:
            _wait(client, shares, order, began, lambda: _show(shown, standing, order, began, number))
        finally:
            client.cancel([share.future for share in shares])
    console.print("putting the parts together ...")
    played = [(share, share.played) for share in shares if share.played is not None]
    lost = [share.lost for share in shares if share.played is None]
    if not played:
        raise NetworkError(f"no part of the load came to an end: {'; '.join(lost)}")
    if order.record is not None:
        write_day(order.record, [due for _, each in played for due in each.recorded])
    return gathering.together(
        [_part(share, each) for share, each in played],
        scenario,
        order.objectives,
        environment={
            "command": order.command,
            "cluster": ", ".join(f"{share.name} on {share.worker}" for share in shares),
        },
        books=coordinator.settled_books(network, before),
        lost=lost,
    )


def _part(share: _Share, played: Played) -> gathering.Part:
    load = played.result.load
    if load is None:
        raise ValueError("a part of a load has no load")
    name = f"{share.name} on {share.worker}"
    return gathering.Part(name, played.result, load, Measurement.from_json(played.measurement), played.traces)


def _submit(client: Client, worker: str, function: Any, *arguments: object, key: str) -> Future[Any]:
    """A task for one worker, once."""
    future: Future[Any] = client.submit(
        function, *arguments, key=key, workers=[worker], allow_other_workers=False, retries=0, pure=False
    )
    return future


def _alive(client: Client) -> set[str]:
    """The workers that the scheduler knows."""
    if client.scheduler is None:
        raise OSError("the client is closed")
    found: dict[str, int] = client.sync(client.scheduler.ncores, callback_timeout=FETCH_SECONDS)  # type: ignore[no-untyped-call]
    return set(found)


def _chosen(client: Client, parts: int | None) -> list[str]:
    """As many workers as there are parts, on as many machines as possible."""
    there = sorted(_alive(client))
    if not there:
        raise ConfigurationError("--scheduler: its cluster has no workers: start them with dask worker ADDRESS")
    if parts is not None and parts > len(there):
        raise ConfigurationError(f"--parts: {parts} parts need as many workers, the cluster has {len(there)}")
    of_host: dict[str, count[int]] = {}
    ranked = [(next(of_host.setdefault(one.rpartition(":")[0], count())), one) for one in there]
    return [worker for _, worker in sorted(ranked)][:parts]


def _check(client: Client, workers: Sequence[str]) -> None:
    """Let all workers load the program, and refuse those whose program or clock is another."""
    key = f"fourparty-{uuid.uuid4()}"
    asked = [_submit(client, worker, installed, key=f"{key}-{place}") for place, worker in enumerate(workers)]
    deadline = time.monotonic() + ANSWER_SECONDS
    try:
        for worker, future in zip(workers, asked, strict=True):
            found = _answer(worker, future, deadline)
            if found != installed():
                raise ConfigurationError(f"the worker {worker} has fourparty {found}, here it is {installed()}")
    finally:
        client.cancel(asked)  # type: ignore[no-untyped-call]
    for place, worker in enumerate(workers):
        sent = real_now()
        there = _answer(worker, _submit(client, worker, clock, key=f"{key}-clock-{place}"), deadline + ANSWER_SECONDS)
        off = max(sent - there, there - real_now()) / SECOND
        if off > CLOCK_SECONDS:
            raise ConfigurationError(
                f"the clock of the worker {worker} is {off:.1f} s off: parts begin by their clocks"
            )


def _answer(worker: str, future: Future[Any], deadline: float) -> Any:
    try:
        return future.result(timeout=max(0.1, deadline - time.monotonic()))
    except TimeoutError as error:
        raise ConfigurationError(f"the worker {worker} takes no task: is it at something else?") from error
    except Exception as error:  # whatever went wrong where the program is not what it is here
        raise ConfigurationError(
            f"the worker {worker} cannot play a part: {type(error).__name__}: {error}; is fourparty installed there?"
        ) from error


def _beginning(order: Order, terminals: int) -> Instant:
    now = real_now()
    if order.start_at is None:
        return now + round((LEAD_SECONDS + terminals / SIGN_ONS_PER_SECOND) * SECOND)
    if order.start_at <= now:
        raise ConfigurationError("--start-at: it was over when the workers were ready")
    return order.start_at


def _wait(client: Client, shares: Sequence[_Share], order: Order, began: Instant, look: Callable[[], None]) -> None:
    """Wait until every part has been played or is lost."""
    afterwards = coordinator.AFTERWARDS_SECONDS + coordinator.SETTLING_SECONDS + FETCH_SECONDS
    planned = (began - real_now()) / SECOND + order.demand.warm_up + order.duration
    deadline = time.monotonic() + planned + afterwards
    waiting = list(shares)
    while waiting:
        time.sleep(CHECK_SECONDS)
        look()
        try:
            alive = _alive(client)
        except (OSError, CancelledError):
            for share in waiting:
                share.lost = f"{share.name} was lost with the scheduler"
            return
        for share in waiting:
            if share.future.status != "pending":
                _fetch(share)
            elif share.worker not in alive:
                share.lost = f"{share.name} was lost with its worker {share.worker}"
            elif time.monotonic() > deadline:
                share.lost = f"{share.name} on {share.worker} did not come to an end"
        waiting = [share for share in waiting if share.played is None and not share.lost]


def _fetch(share: _Share) -> None:
    """Take what a part measured, or why it failed.

    Raises
    ------
    ConfigurationError, ScenarioFailed
        As the part says; then it is not the machine's fault.
    """
    try:
        share.played = share.future.result(timeout=FETCH_SECONDS)
    except ConfigurationError as error:
        raise ConfigurationError(f"{share.name} on {share.worker}: {error}") from error
    except ScenarioFailed:
        raise
    except (TimeoutError, CancelledError):
        share.lost = f"{share.name} was lost with its worker {share.worker}"
    except Exception as error:  # a part that failed, for whatever reason, is missing; the others are not
        share.lost = f"{share.name} on {share.worker} failed: {error}"


def _note(standing: dict[int, dict[str, Any]], told: dict[str, Any]) -> None:
    standing[told["part"]] = {name: value for name, value in told.items() if name != "part"}


def _show(
    shown: screen.Progress, standing: dict[int, dict[str, Any]], order: Order, began: Instant, number: int
) -> None:
    ahead = (began - real_now()) / SECOND
    parts = list(standing.values())
    if parts:
        session.show(shown, coordinator.together(parts), order.duration)
    elif ahead > 0:
        shown.tell(0.0, order.duration, f"{number} parts begin in {ahead:.0f} s")
    else:
        shown.tell(0.0, order.duration, f"{number} parts have begun")
