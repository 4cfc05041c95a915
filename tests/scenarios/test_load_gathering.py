"""Parts of a load put together: which parts they are, and what is said of those that are not there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from sample_load import peak

from network.service import ConfigurationError
from scenarios import report
from scenarios.load.gathering import gather, write_part
from scenarios.load.tracing import Traces
from scenarios.measurement import Ended, Measurement


def part(folder: Path, place: str, *, seed: int = 1) -> Path:
    """A part with one payment, as a machine leaves it."""
    result = peak(seed=1, seconds=4)
    assert result.load is not None
    load = replace(result.load, shape=f"constant 20/s{place}", valid=True, problems=[])
    report.write(replace(result, scenario="steady", seed=seed, load=load, thresholds=[]), folder)
    measurement = Measurement(1.0)
    measurement.record(
        Ended(
            0.6,
            0.5,
            100_000,
            90_000,
            10_000,
            {"outcome": "approved", "code": "00", "amount": 100, "offline": False},
            "card",
        )
    )
    write_part(folder, measurement, Traces())
    return folder


def test_all_parts_make_a_valid_whole(tmp_path: Path) -> None:
    whole = gather([part(tmp_path / "b", ", part 2 of 2"), part(tmp_path / "a", ", part 1 of 2")], [])
    assert whole.attempts == 2
    assert whole.load is not None
    assert (whole.load.valid, whole.load.shape) == (True, "constant 20/s, 2 parts")


def test_a_part_that_is_missing_makes_the_whole_invalid_and_is_named(tmp_path: Path) -> None:
    whole = gather([part(tmp_path / "a", ", part 1 of 3"), part(tmp_path / "c", ", part 3 of 3")], [])
    assert whole.load is not None
    assert (whole.load.valid, whole.load.problems) == (False, ["part 2 of 3 is missing"])
    assert whole.load.shape == "constant 20/s, 2 of 3 parts"


@pytest.mark.parametrize(
    ("first", "second", "seed", "refusal"),
    [
        (", part 1 of 2", ", part 1 of 2", 1, "are both part 1: it would count twice"),
        (", part 1 of 2", ", part 2 of 3", 1, "are not parts of one load"),
        (", part 1 of 2", ", part 2 of 2", 2, "are not parts of one load"),
        ("", "", 1, "b has no part of a load, but all of one"),
    ],
)
def test_what_are_not_the_parts_of_one_load_are_refused(
    tmp_path: Path, first: str, second: str, seed: int, refusal: str
) -> None:
    folders = [part(tmp_path / "a", first), part(tmp_path / "b", second, seed=seed)]
    with pytest.raises(ConfigurationError, match=refusal):
        gather(folders, [])
