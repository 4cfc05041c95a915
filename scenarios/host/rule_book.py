"""Which rule a request meets, and how often each was met."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from random import Random
from typing import Final, NamedTuple

from network.iso8583 import Message
from network.party import Json
from scenarios.host.rules import Rule, Rules, When

DEFAULT: Final = Rule(name="default")
"""What is met when no rule is: approval."""

REQUESTS: Final = ("0200", "0220")
"""What a rule is for that names no message type."""


class Sighting(NamedTuple):
    """A request as rules see it. Nothing of it is shown: it holds the PAN."""

    mti: str
    amount: int | None
    pan: str
    elements: Mapping[int, str]
    pin: str
    cryptogram: str

    def __repr__(self) -> str:
        return f"Sighting(mti={self.mti!r})"


def sighting_of(message: Message, pin: str, cryptogram: str) -> Sighting:
    """A message of the member link as rules see it."""
    elements = {number: value for number, value in message.fields.items() if isinstance(value, str)}
    amount = elements.get(4, "")
    pan = elements.get(2) or elements.get(35, "").partition("=")[0]
    return Sighting(message.mti, int(amount) if amount.isdigit() else None, pan, elements, pin, cryptogram)


class RuleBook:
    """The rules in force.

    Attributes
    ----------
    matched : Counter
        How often each rule decided, by its name.
    """

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.matched: Counter[str] = Counter()
        self._listed = rules.named()
        self._met: Counter[str] = Counter()
        self._random = {rule.name: Random(f"{rules.host.seed}/{rule.name}") for rule in self._listed}  # noqa: S311
        self._before: tuple[Counter[str], Counter[str]] | None = None

    def begin(self) -> None:
        """A turn begins."""
        self._before = None

    def rolled_back(self) -> None:
        """Count as before the turn."""
        if self._before is not None:
            self.matched, self._met = self._before
            self._before = None

    def rule_for(self, seen: Sighting) -> Rule:
        """The first rule that the request meets."""
        if self._before is None:
            self._before = Counter(self.matched), Counter(self._met)
        for rule in self._listed:
            if _meets(rule.when, seen) and self._counts(rule):
                self.matched[rule.name] += 1
                return rule
        self.matched[DEFAULT.name] += 1
        return DEFAULT

    def _counts(self, rule: Rule) -> bool:
        when = rule.when
        self._met[rule.name] += 1
        number = self._met[rule.name] - when.skip
        if number <= 0 or number % when.every:
            return False
        if when.first and number // when.every > when.first:
            return False
        return self._random[rule.name].random() < when.probability

    def told(self) -> list[Json]:
        """The rules and how often each has decided, for people."""
        rows: list[Json] = [
            {
                "name": rule.name,
                "when": rule.when.model_dump(mode="json", exclude_defaults=True),
                "then": rule.then.model_dump(mode="json", exclude_defaults=True),
                "matched": self.matched[rule.name],
            }
            for rule in self._listed
        ]
        return [*rows, {"name": DEFAULT.name, "when": {}, "then": {}, "matched": self.matched[DEFAULT.name]}]


def _meets(when: When, seen: Sighting) -> bool:
    if seen.mti not in (when.mti or REQUESTS):
        return False
    if when.pan_prefix and not seen.pan.startswith(when.pan_prefix):
        return False
    if when.pan_from and seen.pan[: len(when.pan_from)] < when.pan_from:
        return False
    if when.pan_to and seen.pan[: len(when.pan_to)] > when.pan_to:
        return False
    if (when.pin and when.pin != seen.pin) or (when.cryptogram and when.cryptogram != seen.cryptogram):
        return False
    for number, wanted in ((18, when.mcc), (42, when.merchant), (41, when.terminal), (3, when.processing_code)):
        if wanted and seen.elements.get(number, "").rstrip(" ") not in wanted:
            return False
    if when.entry_mode and not seen.elements.get(22, "").startswith(when.entry_mode):
        return False
    return _amount_meets(when, seen.amount)


def _amount_meets(when: When, amount: int | None) -> bool:
    wanted: Sequence[int | str | None] = (when.amount, when.amount_min, when.amount_max, when.amount_ends_with or None)
    if all(one is None for one in wanted):
        return True
    if amount is None or (when.amount is not None and amount != when.amount):
        return False
    if when.amount_min is not None and amount < when.amount_min:
        return False
    if when.amount_max is not None and amount > when.amount_max:
        return False
    return f"{amount:012d}".endswith(when.amount_ends_with)
