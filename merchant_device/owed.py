"""What the acquirer is owed and has refused: reversals and offline sales that must be sent again.

A refusal moves no money, so nothing of this is ever dropped. But whatever makes the acquirer refuse is seldom over in
seconds: each further refusal doubles the pause, up to a limit, what is refused waits behind what is not, and the
operator sees it (``status``). All of it is memory: a new process asks again at once.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from network.party import SECOND, Instant, Json, local_time

SHOWN: Final = 20
"""Most refusals of a terminal in one answer to ``status``."""

_MOST_DOUBLINGS: Final = 30


class PutOff(NamedTuple):
    """A message that the acquirer has refused.

    Attributes
    ----------
    reference : str
        Of the sale.
    message : str
        Type of the message: 0400 or 0220.
    response_code : str
        DE39 of the last answer.
    times : int
        How often in a row it was refused.
    until : Instant
        When it is to be sent again.
    """

    reference: str
    message: str
    response_code: str
    times: int
    until: Instant

    def as_json(self) -> dict[str, Json]:
        """What the operator sees: no card data."""
        batch, stan = self.reference.split("|")[-2:]
        return {
            "message": self.message,
            "batch": batch,
            "stan": stan,
            "response_code": self.response_code,
            "times": self.times,
            "again_at": local_time(self.until).isoformat(timespec="milliseconds"),
        }


class Pauses:
    """How long a message waits until it is sent again.

    Parameters
    ----------
    first, longest : float
        Seconds after the first refusal, and at most; where `longest` is shorter, `first` holds for all.
    """

    def __init__(self, first: float, longest: float) -> None:
        self._first = round(first * SECOND)
        self._longest = round(max(first, longest) * SECOND)

    def after(self, times: int) -> Instant:
        """The pause after so many refusals in a row, microseconds; `times` from 1.

        Examples
        --------
        >>> [Pauses(10, 60).after(times) // 1_000_000 for times in (1, 2, 3, 4, 1000)]
        [10, 20, 40, 60, 60]
        """
        return min(self._first << min(times - 1, _MOST_DOUBLINGS), self._longest)

    def put_off(
        self, before: tuple[PutOff, ...], reference: str, message: str, response_code: str, now: Instant
    ) -> tuple[PutOff, ...]:
        """`before` with one more refusal of the sale `reference`."""
        times = 1 + next((one.times for one in before if one.reference == reference), 0)
        return (*taken(before, reference), PutOff(reference, message, response_code, times, now + self.after(times)))


def taken(before: tuple[PutOff, ...], reference: str) -> tuple[PutOff, ...]:
    """`before` without the sale `reference`, which the acquirer has taken."""
    return tuple([one for one in before if one.reference != reference])


def until_of(refused: tuple[PutOff, ...], reference: str) -> Instant | None:
    """When the sale `reference` is to be sent again; None where it was not refused."""
    return next((one.until for one in refused if one.reference == reference), None)


def in_order(refused: tuple[PutOff, ...], references: tuple[str, ...]) -> tuple[str, ...]:
    """The sales in the order in which they are sent: as they came, and after them the refused, as they are due."""
    if not refused:
        return references
    waits = {one.reference: one.until for one in refused}
    return tuple(sorted(references, key=lambda reference: waits.get(reference, 0)))
