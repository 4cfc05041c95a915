"""Pictures of codes: what was shown is what is seen, unless nobody could see it."""

from __future__ import annotations

from random import Random

import pytest

from scenarios.stories.pictures import View, draw, photograph, read

CODE = "6212345678901234567"


@pytest.mark.parametrize(
    "view",
    [
        View(),
        View(degrees=35),
        View(degrees=180),
        View(blur=1.2),
        View(light=0.35),
        View(noise=0.15),
        View(-20, 1, 0.5, 0.1),
    ],
)
def test_a_code_that_can_be_read(view: View) -> None:
    assert read(photograph(draw(CODE), view=view, random=Random(1))) == [CODE]


@pytest.mark.parametrize("view", [View(blur=12), View(light=0.0), View(noise=1.0, blur=4)])
def test_a_code_that_nobody_can_read(view: View) -> None:
    assert read(photograph(draw(CODE), view=view, random=Random(1))) == []


def test_two_codes_in_view() -> None:
    seen = read(photograph(draw(CODE), draw("another"), view=View(degrees=10), random=Random(1)))
    assert sorted(seen) == [CODE, "another"]


def test_the_same_seed_makes_the_same_picture() -> None:
    one, other = (photograph(draw(CODE), view=View.unsteady(Random(5)), random=Random(5)) for _ in range(2))
    assert one == other
