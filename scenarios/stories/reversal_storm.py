"""Phones lose their lines while payments are on their way, by the hundred: a cell of the radio network fails.

A phone that has asked and heard no answer does not know whether it was paid, so it takes the payment back: a 0400 as
soon as its line is up, before its next sale. In the end nobody has paid for what a phone has called unknown, and no
reversal is open.
"""

from __future__ import annotations

from scenarios.load.demand import serve
from scenarios.stage import Cast, Phone, Process, Stage, cast
from scenarios.stories.everyday import small_purchases, usual

BEGIN, END = 0.3, 0.6
"""When lines break, as parts of the run."""

BROKEN_PART = 0.4
"""Of the payments in that time, how many lose their line."""

LINE_SECONDS = 0.5
TAPS = 4
"""Commands that a card answers before the request leaves."""

LOOK_SECONDS = 0.005
"""How often one looks for a phone whose payment is on its way."""


@cast(Cast(sound_cards=True, usual=usual))
def reversal_storm(stage: Stage) -> Process:
    """Lines break while payments are on their way, and phones take them back."""
    stage.env.process(_storm(stage))
    yield from serve(stage, small_purchases(stage))


def _storm(stage: Stage) -> Process:
    lines = stage.lines
    if lines is None:
        return
    yield stage.until(stage.duration * BEGIN)
    end = stage.started + stage.duration * END
    while stage.env.now < end:
        gone = stage.env.now - stage.started
        payments_a_second = max(1.0, stage.measurement.due / gone)
        yield stage.env.timeout(stage.random.expovariate(BROKEN_PART * payments_a_second))
        while (phone := _waiting_longest(stage)) is None and stage.env.now < end:
            yield stage.env.timeout(LOOK_SECONDS)
        if phone is not None:
            lines.break_line(phone.terminal_id, LINE_SECONDS)


def _waiting_longest(stage: Stage) -> Phone | None:
    """The phone whose payment has been on its way longest; None where no card has been read yet."""
    read = stage.timing.clock() - TAPS * stage.tap_seconds
    paying = [phone for phone in stage.phones if phone.is_busy and phone.busy_since <= read]
    return min(paying, key=lambda phone: phone.busy_since, default=None)
