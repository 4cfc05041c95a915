"""Rules by which a test host answers: which requests they are for, what is decided, and how the answer travels.

The first rule whose conditions a request meets decides; without one it is approved. Conditions and actions are tables
of a TOML file::

    [[rule]]
    name = "no funds"
    when = { amount_min = 100_000, pan_prefix = "622848" }
    then = { decline = "51" }
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

from pydantic import Field, field_validator, model_validator

from scenarios.host.files import Code, Fen, Milliseconds, Section, Words, read_file, read_text

ANSWERED: Final = ("0200", "0220", "0420")
"""Message types that rules can be for: requests, offline sales and reversal advices."""

RULES: Final = 1_000
LATE_MS: Final = 25_000
"""Later than a switch waits for an issuer unless it is told otherwise (20 s)."""


class When(Section):
    """Conditions: all that are given must hold.

    Attributes
    ----------
    mti : tuple of str
        ``0200``, ``0220``, ``0420``; a rule without it is for requests only, not for reversals.
    amount, amount_min, amount_max : int
        DE4 in fen.
    amount_ends_with : str
        Last digits of DE4.
    pan_prefix : tuple of str
        What the PAN begins with.
    pan_from, pan_to : str
        The first and the last PAN of a range, compared digit by digit as far as they go.
    mcc, merchant, terminal, processing_code, entry_mode : tuple of str
        DE18, 42, 41, 3, and what DE22 begins with.
    pin : str
        ``right``, ``wrong``, ``none``, or ``unchecked`` where no PIN is known for the card.
    cryptogram : str
        ``right``, ``wrong``, ``none``, or ``unchecked`` where no key is known for the card.
    every : int
        Each so many-th of the requests that meet all else.
    first, skip : int
        So many of them only, and after so many.
    probability : float
        Drawn for each of them, from the seed.
    """

    mti: Words = ()
    amount: Fen | None = None
    amount_min: Fen | None = None
    amount_max: Fen | None = None
    amount_ends_with: Annotated[str, Field(pattern="^[0-9]{0,12}$")] = ""
    pan_prefix: Words = ()
    pan_from: Annotated[str, Field(pattern="^[0-9]{0,19}$")] = ""
    pan_to: Annotated[str, Field(pattern="^[0-9]{0,19}$")] = ""
    mcc: Words = ()
    merchant: Words = ()
    terminal: Words = ()
    processing_code: Words = ()
    entry_mode: Words = ()
    pin: Annotated[str, Field(pattern="^(right|wrong|none|unchecked)?$")] = ""
    cryptogram: Annotated[str, Field(pattern="^(right|wrong|none|unchecked)?$")] = ""
    every: Annotated[int, Field(ge=1)] = 1
    first: Annotated[int, Field(ge=0)] = 0
    skip: Annotated[int, Field(ge=0)] = 0
    probability: Annotated[float, Field(ge=0, le=1)] = 1.0

    @field_validator("mti")
    @classmethod
    def _is_answered(cls, mti: tuple[str, ...]) -> tuple[str, ...]:
        for one in mti:
            if one not in ANSWERED:
                raise ValueError(f"rules are for {', '.join(ANSWERED)}, not {one}")
        return mti


class Then(Section):
    """What is decided, and what becomes of the answer.

    Attributes
    ----------
    approve : bool
        00 is answered; so it is without `decline`.
    decline : str
        The response code that is answered instead.
    auth_id : str
        DE38 of an approval; drawn where it is not given.
    balance : int
        Available balance in DE54, fen.
    delay, jitter : int
        Milliseconds before the answer leaves, and a random part of at most as much more.
    late : bool
        It leaves when the other side has given up, after `late_after` of the file.
    drop : bool
        It never leaves; what was decided stands.
    ignore : bool
        The request is not even decided, as if it had not come.
    duplicate : int
        The answer leaves so many times more.
    corrupt : str
        ``byte``, or an element such as ``DE4`` whose content is changed; the MAC is left as it was.
    wrong_mac : bool
        DE128 is wrong.
    other_stan : bool
        DE11 is another, under a right MAC.
    malformed_length : bool
        The length before the answer is no number: the other side must close the link.
    reject : str
        The request comes back with this reject code in the header.
    close : str
        ``before`` or ``after``: the link breaks instead of the answer or behind it.
    """

    approve: bool = True
    decline: Code | None = None
    auth_id: Annotated[str, Field(pattern="^([0-9A-Za-z]{6})?$")] = ""
    balance: Fen | None = None
    delay: Milliseconds = 0
    jitter: Milliseconds = 0
    late: bool = False
    drop: bool = False
    ignore: bool = False
    duplicate: Annotated[int, Field(ge=0, le=100)] = 0
    corrupt: Annotated[str, Field(pattern="^(byte|DE[0-9]{1,3})?$")] = ""
    wrong_mac: bool = False
    other_stan: bool = False
    malformed_length: bool = False
    reject: Annotated[str, Field(pattern="^([0-9]{5})?$")] = ""
    close: Annotated[str, Field(pattern="^(before|after)?$")] = ""

    @model_validator(mode="after")
    def _agree(self) -> Then:
        if not self.approve and self.decline is None:
            raise ValueError("approve = false needs decline with a response code")
        if self.late and self.delay:
            raise ValueError("give either late or delay")
        return self


class Rule(Section):
    """One rule."""

    name: Annotated[str, Field(max_length=60)] = ""
    when: When = When()
    then: Then = Then()


class KnownCard(Section):
    """A card of which the host knows secrets, so that it can check them.

    Attributes
    ----------
    pan, pin, sequence : str
    imk : str
        The issuer's master key for cryptograms, 32 hexadecimal digits.
    """

    pan: Annotated[str, Field(pattern="^[0-9]{12,19}$", repr=False)]
    pin: Annotated[str, Field(pattern="^([0-9]{4,12})?$", repr=False)] = ""
    sequence: Annotated[str, Field(pattern="^[0-9]{2,3}$")] = "001"
    imk: Annotated[str, Field(pattern="^([0-9A-Fa-f]{32})?$", repr=False)] = ""


class Answering(Section):
    """What holds of every answer.

    Attributes
    ----------
    check_pin, check_cryptogram : bool
        A PIN that is known to be wrong is declined with 55, a cryptogram with 05, unless a rule has it as a condition.
    unknown_reversal : str
        What a reversal of an unknown original is answered.
    late_after : int
        Milliseconds after which an answer is late.
    seed : int
        Of everything that rules draw.
    """

    check_pin: bool = True
    check_cryptogram: bool = True
    unknown_reversal: Code = "25"
    late_after: Milliseconds = LATE_MS
    seed: int = 0


class Rules(Section):
    """A rules file."""

    host: Answering = Answering()
    rule: Annotated[tuple[Rule, ...], Field(max_length=RULES)] = ()
    card: Annotated[tuple[KnownCard, ...], Field(max_length=100_000)] = ()

    @model_validator(mode="after")
    def _names_are_used_once(self) -> Rules:
        names = [rule.name for rule in self.named()]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two rules are named {name}")
        return self

    def named(self) -> tuple[Rule, ...]:
        """The rules in their order, each with a name."""
        return tuple(
            rule if rule.name else rule.model_copy(update={"name": f"rule-{number}"})
            for number, rule in enumerate(self.rule, 1)
        )


def read_rules(path: Path) -> Rules:
    """The rules of a file; ConfigurationError names the place and what is wrong."""
    return read_file(Rules, path, listed="rule")


def parse_rules(text: str) -> Rules:
    """The rules of a text; ConfigurationError names the place and what is wrong."""
    return read_text(Rules, text, "the rules", listed="rule")
