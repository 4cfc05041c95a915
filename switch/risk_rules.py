"""The rules of risk sensing as data: what each looks at, and how many points it gives."""

from __future__ import annotations

import tomllib
from importlib import resources
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

MOST_RULES: Final = 64
DAY: Final = 86_400
_NAME: Final = r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,39}$"


class _Rule(BaseModel):
    """What every rule says.

    Attributes
    ----------
    name : str
        At most 40 letters, digits, spaces, full stops, dashes and underscores.
    points : int
        Added to the sale's score where the rule fires.
    terminals : str
        Which sales it looks at: ``any``, those of a terminal that names its ``device`` (DE59 A2), or of a ``phone``.
    entry_modes : tuple of str
        First two digits of DE22 that it looks at; empty for all.
    amount_from : int
        It looks at sales of this many fen and more.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=_NAME)
    points: int = Field(ge=1, le=1000)
    terminals: Literal["any", "device", "phone"] = "any"
    entry_modes: tuple[Annotated[str, Field(pattern=r"^\d\d$")], ...] = Field(default=(), max_length=16)
    amount_from: int = Field(default=0, ge=0)


class Velocity(_Rule):
    """Fires where the sales over one device, merchant, card (or token) or place are too many, or too much money.

    Counted are all that the rule looks at in the last `seconds`, this one included; `above` is a number of sales, or
    fen. The window moves on in 64ths of its length. A place is a square of a hundredth of a degree.
    """

    kind: Literal["velocity"]
    over: Literal["device", "merchant", "card", "place"]
    measure: Literal["count", "amount"] = "count"
    above: int = Field(ge=0)
    seconds: int = Field(ge=1, le=31 * DAY)


class Travel(_Rule):
    """Fires where a device or a card has been `kilometres` or more away and cannot have come here so fast."""

    kind: Literal["travel"]
    over: Literal["device", "card"]
    kilometres_an_hour: float = Field(gt=0)
    kilometres: float = Field(default=50.0, ge=0)


class Attestation(_Rule):
    """Fires where the acquirer says that the device is not attested, says nothing, or its verdict is too old."""

    kind: Literal["attestation"]
    state: Literal["failed", "missing", "old"]
    seconds: int = Field(default=300, ge=0, le=31 * DAY)


class Amount(_Rule):
    """Fires above an amount, in fen."""

    kind: Literal["amount"]
    above: int = Field(ge=0)


class Hour(_Rule):
    """Fires from the full hour `begins` until the hour `ends`, China Standard Time, also over midnight."""

    kind: Literal["hour"]
    begins: int = Field(ge=0, le=23)
    ends: int = Field(ge=0, le=23)


Rule = Annotated[Velocity | Travel | Attestation | Amount | Hour, Field(discriminator="kind")]


class RiskRules(BaseModel):
    """A set of rules, and the scores at which something is done.

    Attributes
    ----------
    step_up, decline, block_device : int
        The least score at which the sale needs a verified cardholder, is declined, is declined and its device blocked.
    rules : tuple of Rule
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    step_up: int = Field(ge=1)
    decline: int = Field(ge=1)
    block_device: int = Field(ge=1)
    rules: tuple[Rule, ...] = Field(default=(), max_length=MOST_RULES)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.step_up <= self.decline <= self.block_device:
            raise ValueError("step_up, decline and block_device must not fall")
        names = [rule.name for rule in self.rules]
        if len(set(names)) != len(names):
            raise ValueError("two rules have one name")
        return self


def default_rules() -> RiskRules:
    """The rules that come with the switch."""
    text = (resources.files("switch") / "risk.toml").read_text(encoding="utf-8")
    return RiskRules.model_validate(tomllib.loads(text))
