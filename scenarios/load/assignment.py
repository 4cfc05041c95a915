"""What a generator is told to do, as the line of JSON that its process reads first."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scenarios.load.arrivals import Arrivals
from scenarios.load.demand import Demand
from scenarios.load.shapes import Shape


@dataclass(frozen=True)
class Assignment:
    """A generator's part of a run.

    Attributes
    ----------
    folder : Path
        Of the network: its ``network.json`` and ``wallet.json``.
    host : str or None
        Where the network runs, if not where ``network.json`` says.
    scenario : str
        Its name, or the Python file.
    terminals : int
        Of the whole run.
    demand : Demand
        Also which part of it this generator serves.
    replay : Path or None
        A recorded day that is played.
    records : bool
        Give back what was paid when.
    captures : Path or None
        Folder for a capture of what crosses the phones' links.
    profiled : bool
        Whether the turns of the phones' party are profiled (`network.turn_profile`).
    """

    folder: Path
    host: str | None
    scenario: str
    seed: int
    duration: float
    terminals: int
    demand: Demand
    replay: Path | None = None
    records: bool = False
    captures: Path | None = None
    profiled: bool = False

    def line(self) -> str:
        """One line of JSON."""
        demand = self.demand
        return json.dumps(
            {
                "folder": str(self.folder),
                "host": self.host,
                "scenario": self.scenario,
                "seed": self.seed,
                "duration": self.duration,
                "terminals": self.terminals,
                "replay": None if self.replay is None else str(self.replay),
                "records": self.records,
                "captures": None if self.captures is None else str(self.captures),
                "profiled": self.profiled,
                "demand": {
                    "shape": None if demand.shape is None else demand.shape.as_json(),
                    "rate": demand.rate,
                    "closed": demand.closed,
                    "arrivals": demand.arrivals.value,
                    "warm_up": demand.warm_up,
                    "part": demand.part,
                    "parts": demand.parts,
                },
            }
        )

    @classmethod
    def read(cls, line: str) -> Assignment:
        """What `line` gave."""
        plain: dict[str, Any] = json.loads(line)
        demand = plain["demand"]
        return cls(
            folder=Path(plain["folder"]),
            host=plain["host"],
            scenario=plain["scenario"],
            seed=plain["seed"],
            duration=plain["duration"],
            terminals=plain["terminals"],
            replay=None if plain["replay"] is None else Path(plain["replay"]),
            records=plain["records"],
            captures=None if plain["captures"] is None else Path(plain["captures"]),
            profiled=plain["profiled"],
            demand=Demand(
                shape=None if demand["shape"] is None else Shape.from_json(demand["shape"]),
                rate=demand["rate"],
                closed=demand["closed"],
                arrivals=Arrivals(demand["arrivals"]),
                warm_up=demand["warm_up"],
                part=demand["part"],
                parts=demand["parts"],
            ),
        )
