"""A part of a load as a task for a Dask worker: what is sent to it, and what it sends back.

The worker needs nothing but the program: the description of the network, its wallet and its authority come with the
task, and so do a scenario and a recorded day that are files. They lie in the worker's own folder while it plays.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from network.live import real_now
from network.party import Instant
from network.service import ConfigurationError
from scenarios.demo_network.processes import NetworkError, read_description
from scenarios.load import session
from scenarios.load.arrivals import Due
from scenarios.load.coordinator import Standing
from scenarios.load.session import Order
from scenarios.result import Result

LARGEST_FILE: Final = 64 * 1024 * 1024
"""Bytes of a file that is sent to workers."""

_CA: Final = "ca.pem"


@dataclass(frozen=True)
class Parcel:
    """What a worker is sent.

    Attributes
    ----------
    order : Order
        Of one part, with the instant at which payments begin.
    files : mapping of str to bytes
        By their names in the worker's folder. Never shown: they hold the operator's token, keys and cards.
    topic : str
        Of the events that tell how far the part is.
    """

    order: Order
    files: Mapping[str, bytes] = field(repr=False)
    topic: str


@dataclass(frozen=True)
class Played:
    """What a worker sends back: the part's result, and what it takes to put it together with others, as plain data."""

    result: Result
    measurement: dict[str, Any]
    traces: dict[str, Any]
    recorded: list[Due]


def packed(order: Order, folder: Path) -> tuple[Order, dict[str, bytes]]:
    """An order for the running network of `folder` whose files are by its side: their paths are relative.

    Raises
    ------
    ConfigurationError
        A file cannot be read, or is too large to be sent.
    """
    description = read_description(folder / "network.json")
    files = {"wallet.json": _content(folder / "wallet.json")}
    tls = description.get("tls")
    if tls is not None:
        files[_CA] = _content(folder / str(tls["ca"]))
        description = {**description, "tls": {**tls, "ca": _CA}}
    files["network.json"] = json.dumps(description).encode()
    scenario, replay = Path(order.scenario), order.replay
    if scenario.suffix == ".py":
        files[f"scenario/{scenario.name}"] = _content(scenario)
        order = replace(order, scenario=f"scenario/{scenario.name}")
    if replay is not None:
        files[f"replay/{replay.name}"] = _content(replay)
        order = replace(order, replay=Path("replay") / replay.name)
    return replace(order, directory=None), files


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from error
    if len(content) > LARGEST_FILE:
        raise ConfigurationError(f"{path} is too large to be sent to workers: {LARGEST_FILE:,} bytes are possible")
    return content


def installed() -> str:
    """The version of the program where this runs; asking for it loads what a part needs."""
    return version("fourparty")


def clock() -> Instant:
    """What time it is where this runs."""
    return real_now()


def play_part(parcel: Parcel) -> Played:
    """Play a part on the worker that this runs on.

    Raises
    ------
    NetworkError
        The start is over, nobody waits for the part any more, or the network does not run as it should.
    ConfigurationError, ScenarioFailed
        As `scenarios.load.session.measure`.
    """
    from distributed import get_worker

    order = parcel.order
    if order.start_at is None or order.start_at <= real_now():
        # a part that was lost is sent again to a worker that comes back at the same address
        raise NetworkError("the start is over; a part of a live load cannot be repeated")
    worker = get_worker()
    key = worker.get_current_task()

    def told(standing: Standing) -> None:
        task = worker.state.tasks.get(key)
        if task is None or task.state == "cancelled":
            raise NetworkError("nobody waits for this part any more")
        worker.log_event(parcel.topic, {"part": order.demand.part, **asdict(standing)})

    # Dask clears this folder at its next start where a worker was killed
    with tempfile.TemporaryDirectory(prefix="fourparty-part-", dir=worker.local_directory) as own:
        folder = Path(own)
        for name, content in parcel.files.items():
            _write(folder / name, content)
        here = replace(
            order,
            directory=folder,
            scenario=str(folder / order.scenario) if order.scenario.endswith(".py") else order.scenario,
            replay=None if order.replay is None else folder / order.replay,
        )
        result, generated = session.measure(here, told, Console(stderr=True, quiet=True))
    return Played(result, generated.measurement.as_json(), generated.traces.as_json(), generated.recorded)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(mode=0o700, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(content)
