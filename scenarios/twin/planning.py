"""``fourparty plan``: from what was asked for to the answer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from rich.console import Console

from network.service import ConfigurationError
from scenarios.twin import calibration as calibrations
from scenarios.twin import plan_report
from scenarios.twin.check import Compared, check
from scenarios.twin.model import Wire
from scenarios.twin.plan import MINUTE, Demand, Plan, Planner, Target, run_task
from scenarios.twin.pool import Pool
from scenarios.twin.tables import output

TARGET_MISSED: Final = 99
DEFAULT_FOLDER: Final = Path("runs/plan")
LARGEST_PEAK: Final = 10_000_000.0


def minute_of(text: str | None) -> tuple[float, ...] | None:
    """The parts of a minute, such as ``0.8,1,0.9``; None for ``none``.

    Raises
    ------
    ConfigurationError
        The text is no such list.
    """
    if text is None:
        return MINUTE
    if text == "none":
        return None
    try:
        parts = tuple(float(part) for part in text.split(","))
    except ValueError:
        parts = ()
    if not 1 <= len(parts) <= 60 or not all(0.01 <= part <= 1.0 for part in parts):
        raise ConfigurationError(
            f"--minute: {text!r} is no list of up to 60 parts of the peak, 0.01 to 1, such as 0.8,1,0.9, or none"
        )
    return parts


def plan_capacity(
    *,
    peak: float | None,
    members: int,
    skew: float,
    target: str,
    utilisation: float,
    minute: str | None,
    rates: Sequence[float] | None,
    calibration: Path | None,
    seed: int,
    workers: int | None,
    folder: Path | None,
    as_json: bool,
) -> int:
    """Plan for a peak, compare model and full fidelity at `rates`, or both; 0, or `TARGET_MISSED` in the minute."""
    from scenarios.cli import print_json

    if peak is None and rates is None:
        raise ConfigurationError("plan: say for which --peak, or --check the model")
    if peak is not None and not 1 <= peak <= LARGEST_PEAK:
        raise ConfigurationError(f"--peak: {peak:g} is not between 1 and {LARGEST_PEAK:,.0f} payments a second")
    parts = minute_of(minute)
    wanted = Target.parse(target)
    measured = calibrations.read(calibration) if calibration is not None else calibrations.reference()
    console, stderr = output(), Console(stderr=True, highlight=False, soft_wrap=True)
    wire = Wire(measured.wire.latency, measured.wire.jitter)
    plan: Plan | None = None
    compared: list[Compared] = []
    with stderr.status("planning") as status:

        def told(text: str) -> None:
            status.update(text)
            if not stderr.is_terminal:
                stderr.print(text, markup=False)

        if peak is not None:
            demand = Demand(peak, members, wanted, skew, utilisation, seed)
            with Pool(run_task, workers) as pool:
                plan = Planner(demand, measured.costs(), wire, pool, told).plan(parts)
        if rates is not None:
            compared = check(measured.costs(), wire, rates, seed=seed, progress=told)
    written = plan_report.write(plan, compared, measured, folder or DEFAULT_FOLDER)
    if as_json:
        print_json(plan_report.as_json(plan, compared, measured))
    elif plan is not None:
        plan_report.show(plan, compared, measured, console)
    else:
        plan_report.show_check(compared, console)
    stderr.print(f"report: {written}", markup=False)
    return TARGET_MISSED if plan is not None and plan.minute is not None and not plan.minute.good else 0
