"""The file that a calibration is kept in: what turns cost on which machine, checked when it is read.

JSON, so that people can read it and scripts can compare two. Times are in microseconds.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
from collections.abc import Mapping
from datetime import datetime
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from network.party import CHINA_STANDARD_TIME
from network.service import ConfigurationError
from network.turn_cost import PROBABILITIES, Linear, MeasuredCost, Quantiles
from network.virtual import Wire
from scenarios.result import PARTIES

FORMAT: Final = 2
REFERENCE: Final = "reference.json"
LARGEST_FILE: Final = 4 << 20

Cost = Annotated[FiniteFloat, Field(ge=0, le=1e9)]
Distribution = Annotated[tuple[Cost, ...], Field(min_length=len(PROBABILITIES), max_length=len(PROBABILITIES))]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class LinearCosts(_Strict):
    """See `network.turn_cost.Linear`."""

    turn: Cost
    write: Cost
    events: dict[str, Cost]
    other: Cost

    def cost(self) -> Linear:
        """The same for a simulation."""
        return Linear(self.turn, self.write, self.events, self.other)


class Chance(_Strict):
    """What computing is multiplied by after so many microseconds without a turn."""

    idle_from: Cost
    factors: Distribution


class Bulk(_Strict):
    """What computing is multiplied by in turns of so many events."""

    events: Annotated[FiniteFloat, Field(ge=0, le=1e6)]
    factor: Annotated[FiniteFloat, Field(gt=0, le=100)]


class PartyCosts(_Strict):
    """See `network.turn_cost.MeasuredCost`."""

    outside: LinearCosts
    deciding: LinearCosts
    sending: LinearCosts
    waiting: Distribution
    chance: Annotated[tuple[Chance, ...], Field(min_length=1, max_length=20)]
    bulk: Annotated[tuple[Bulk, ...], Field(min_length=1, max_length=50)] = (Bulk(events=0.0, factor=1.0),)
    together: Annotated[FiniteFloat, Field(ge=0, le=1)] = 0.0

    def cost(self) -> MeasuredCost:
        """The same for a simulation."""
        return MeasuredCost(
            outside=self.outside.cost(),
            deciding=self.deciding.cost(),
            sending=self.sending.cost(),
            waiting=Quantiles(self.waiting),
            chance=tuple((one.idle_from, Quantiles(one.factors)) for one in self.chance),
            bulk=tuple((one.events, one.factor) for one in self.bulk),
            together=self.together,
        )

    @classmethod
    def of(cls, cost: MeasuredCost) -> PartyCosts:
        """What was fitted, as it is stored."""
        outside, deciding, sending = (
            LinearCosts(turn=part.turn, write=part.write, events=dict(sorted(part.events.items())), other=part.other)
            for part in (cost.outside, cost.deciding, cost.sending)
        )
        return cls(
            outside=outside,
            deciding=deciding,
            sending=sending,
            waiting=cost.waiting.values,
            chance=tuple(Chance(idle_from=since, factors=one.values) for since, one in cost.chance),
            bulk=tuple(Bulk(events=events, factor=factor) for events, factor in cost.bulk),
            together=cost.together,
        )

    def slower(self, times: float) -> PartyCosts:
        """The same on a machine whose processors take so many times as long."""
        factors = tuple(
            Chance(idle_from=one.idle_from, factors=tuple(times * factor for factor in one.factors))
            for one in self.chance
        )
        return self.model_copy(update={"chance": factors})


class WireCosts(_Strict):
    """What a message takes between two processes of one machine, besides what they compute for it."""

    latency: Cost
    jitter: Cost


class Machine(_Strict):
    """What was measured: a calibration says nothing about another machine.

    `overhead` is what computing is multiplied by where parties share the processors (`scenarios.twin.overhead`).
    """

    processor: str
    processors: Annotated[int, Field(ge=1, le=4096)]
    system: str
    python: str
    store: str
    time_slice: Cost = 4_000.0
    overhead: Annotated[FiniteFloat, Field(ge=1, le=10)] = 1.0


class MeasuredRun(_Strict):
    """A live run that a calibration rests on.

    Attributes
    ----------
    rate : float
        Payments a second.
    p50, p99 : float
        Of the payments, from when they were due.
    turns : dict
        Party to how many turns were measured.
    others : float
        Part of the machine that other programs used meanwhile: what was measured is theirs too.
    slowness : float
        How long turns took in it, as a multiple of what this calibration says: the machine's speed drifts.
    """

    rate: Cost
    payments: Annotated[int, Field(ge=0)]
    p50: Cost
    p99: Cost
    turns: dict[str, int]
    others: FiniteFloat
    slowness: Annotated[FiniteFloat, Field(gt=0, le=100)] = 1.0


class Calibration(_Strict):
    """What the turns of every party take, and where this was measured.

    `lag` is how late a live generator's timer lets a payment begin where nothing else keeps it, in microseconds.
    """

    fourparty_calibration: Literal[2] = FORMAT
    made_at: str
    version: str
    machine: Machine
    wire: WireCosts
    lag: Distribution = (0.0,) * len(PROBABILITIES)
    parties: dict[str, PartyCosts]
    runs: tuple[MeasuredRun, ...] = ()

    def costs(self) -> dict[str, MeasuredCost]:
        """Party to what its turns take."""
        return {party: self.parties[party].cost() for party in PARTIES}

    def slower(self, times: float) -> Calibration:
        """The same machine at a moment at which its processors take so many times as long."""
        return self.model_copy(
            update={"parties": {party: costs.slower(times) for party, costs in self.parties.items()}}
        )

    def with_overhead(self, overhead: float) -> Calibration:
        """The same machine where shared processors lose so much."""
        return self.model_copy(update={"machine": self.machine.model_copy(update={"overhead": overhead})})

    def link(self) -> Wire:
        """How the links of a simulated network behave."""
        return Wire(latency=round(self.wire.latency), jitter=round(self.wire.jitter))

    @property
    def title(self) -> str:
        """Where and when it was made, for people."""
        return f"{self.machine.processors} x {self.machine.processor}, {self.machine.store}, {self.made_at[:16]}"


def measured_as(party: str) -> str:
    """The name under which a party's costs are kept: all issuers are alike."""
    return party if party in PARTIES else "issuer"


def make(
    costs: Mapping[str, MeasuredCost],
    *,
    wire: WireCosts,
    lag: Quantiles,
    store: str,
    time_slice: float,
    runs: tuple[MeasuredRun, ...],
) -> Calibration:
    """A calibration of this machine, now."""
    return Calibration(
        made_at=datetime.now(CHINA_STANDARD_TIME).isoformat(timespec="seconds"),
        version=version("fourparty"),
        machine=Machine(
            processor=processor(),
            processors=os.cpu_count() or 1,
            system=f"{platform.system()} {platform.release()}",
            python=platform.python_version(),
            store=store,
            time_slice=time_slice,
        ),
        wire=wire,
        lag=lag.values,
        parties={party: PartyCosts.of(cost) for party, cost in costs.items()},
        runs=runs,
    )


def processor() -> str:
    """The processor's name."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown processor"


def write(calibration: Calibration, path: Path) -> None:
    """Write a calibration.

    Raises
    ------
    ConfigurationError
        The file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(calibration.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n")
    except OSError as error:
        raise ConfigurationError(f"cannot write the calibration {path}: {error.strerror}") from error


def read(path: Path) -> Calibration:
    """Read a calibration.

    Raises
    ------
    ConfigurationError
        The file is missing, or is none that this version reads; the message says what is wrong in it.
    """
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise ConfigurationError(
            f"cannot read the calibration {path}: {error.strerror}; make one with: fourparty calibrate --out {path}"
        ) from error
    if len(content) > LARGEST_FILE:
        raise ConfigurationError(f"{path} is no calibration: it is larger than {LARGEST_FILE >> 20} MiB")
    return _parsed(content, str(path))


def read_or_none(path: Path | None) -> Calibration | None:
    """Read a calibration where one is given; errors as `read`."""
    return None if path is None else read(path)


def reference() -> Calibration:
    """The calibration that comes with the package, of the machine that its title names."""
    return _parsed((files("scenarios.twin") / REFERENCE).read_bytes(), REFERENCE)


def _parsed(content: bytes, name: str) -> Calibration:
    try:
        plain = json.loads(content)
    except ValueError as error:
        raise ConfigurationError(f"{name} is no calibration: it is not JSON") from error
    if not isinstance(plain, dict) or "fourparty_calibration" not in plain:
        raise ConfigurationError(f"{name} is no calibration: it has no fourparty_calibration")
    if plain["fourparty_calibration"] != FORMAT:
        raise ConfigurationError(
            f"{name} has the calibration format {plain['fourparty_calibration']!r}, this version reads {FORMAT}; "
            "make a new one with: fourparty calibrate"
        )
    try:
        calibration = Calibration.model_validate(plain)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise ConfigurationError(f"{name} is no calibration: {place}: {first['msg']}") from error
    missing = [party for party in PARTIES if party not in calibration.parties]
    if missing:
        raise ConfigurationError(f"{name} is no calibration: it has no costs of {', '.join(missing)}")
    for party, costs in calibration.parties.items():
        if costs.chance[0].idle_from != 0 or sorted(one.idle_from for one in costs.chance) != [
            one.idle_from for one in costs.chance
        ]:
            raise ConfigurationError(f"{name} is no calibration: parties.{party}.chance does not begin at 0 and grow")
        sizes = [one.events for one in costs.bulk]
        if sorted(set(sizes)) != sizes:
            raise ConfigurationError(f"{name} is no calibration: parties.{party}.bulk does not grow")
    return calibration
