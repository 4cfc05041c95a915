"""The script of a host that pays: payments in their order, how each is sent, and what must come of it.

[[payment]]
name = "no funds"
card = "card-024"
amount = 10_000
expect = { code = "51" }
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from scenarios.host.files import Fen, Milliseconds, Section, Words, read_file, read_text

PAYMENTS: Final = 10_000
"""Payments of a script, repetitions counted."""


class Expect(Section):
    """What must come of a payment.

    Attributes
    ----------
    code : tuple of str
        DE39 of the answer: one of these.
    no_answer : bool
        None may come in time.
    within : int
        Milliseconds that the answer may take; 0: as long as `answer_within` of the file.
    has, has_not : tuple of str
        Elements that the answer must have or must not have, such as ``DE38``.
    reversal : tuple of str
        DE39 of the answer to its reversal: one of these.
    """

    code: Words = ("00",)
    no_answer: bool = False
    within: Milliseconds = 0
    has: Words = ()
    has_not: Words = ()
    reversal: Words = ("00",)

    @model_validator(mode="after")
    def _name_elements(self) -> Expect:
        for one in (*self.has, *self.has_not):
            if not (one.startswith("DE") and one[2:].isdigit() and 2 <= int(one[2:]) <= 128):
                raise ValueError(f"{one} is no element, such as DE38")
        return self


class Send(Section):
    """What is done to the request.

    Attributes
    ----------
    resend : int
        So many copies of the same bytes follow at once.
    wrong_mac : bool
        DE128 is wrong.
    corrupt : str
        ``byte``, or an element such as ``DE4`` whose content is changed; the MAC is left as it was.
    set, remove
        Elements that are other than usual, or left out, under a right MAC: ``set = { DE18 = "7995" }``.
    """

    resend: Annotated[int, Field(ge=0, le=100)] = 0
    wrong_mac: bool = False
    corrupt: Annotated[str, Field(pattern="^(byte|DE[0-9]{1,3})?$")] = ""
    set: dict[Annotated[str, Field(pattern="^DE[0-9]{1,3}$")], str] = Field(default_factory=dict)
    remove: Words = ()


class Payment(Section):
    """One payment, or several alike.

    Attributes
    ----------
    card : str
        Name of a card of the script or of the network.
    kind : {"sale", "balance"}
    amount : int
        Fen.
    pin : {"right", "wrong", "none"}
    chip : bool
        With chip data and a right cryptogram, as read without contact; else keyed in.
    terminal, merchant, mcc : str
        DE41, 42, 18.
    repeat : int
        How often it is made.
    pause : int
        Milliseconds before each.
    reverse : bool
        It is taken back once it was answered.
    """

    name: Annotated[str, Field(max_length=60)] = ""
    card: Annotated[str, Field(min_length=1, max_length=60)]
    kind: Literal["sale", "balance"] = "sale"
    amount: Fen = 0
    pin: Literal["right", "wrong", "none"] = "right"
    chip: bool = True
    terminal: Annotated[str, Field(pattern="^[0-9A-Za-z]{8}$")] = "00000001"
    merchant: Annotated[str, Field(pattern="^[0-9A-Za-z]{15}$")] = "898290054110001"
    mcc: Annotated[str, Field(pattern="^[0-9]{4}$")] = "5411"
    repeat: Annotated[int, Field(ge=1, le=PAYMENTS)] = 1
    pause: Milliseconds = 0
    reverse: bool = False
    send: Send = Send()
    expect: Expect = Expect()

    @model_validator(mode="after")
    def _has_an_amount(self) -> Payment:
        if self.kind == "sale" and not self.amount and "DE4" not in self.send.set:
            raise ValueError("a sale needs amount, in fen")
        return self


class PayingCard(Section):
    """A card to pay with.

    Attributes
    ----------
    imk : str
        The issuer's master key for cryptograms, 32 hexadecimal digits.
    atc : int
        Its transaction counter: the next payment has a higher one.
    """

    name: Annotated[str, Field(min_length=1, max_length=60)]
    pan: Annotated[str, Field(pattern="^[0-9]{12,19}$", repr=False)]
    expiry: Annotated[str, Field(pattern="^[0-9]{4}$")]
    sequence: Annotated[str, Field(pattern="^[0-9]{2,3}$")] = "001"
    track2: Annotated[str, Field(pattern="^([0-9]{12,19}=[0-9]{7,24})?$", repr=False)] = ""
    pin: Annotated[str, Field(pattern="^([0-9]{4,12})?$", repr=False)] = ""
    imk: Annotated[str, Field(pattern="^([0-9A-Fa-f]{32})?$", repr=False)] = ""
    atc: Annotated[int, Field(ge=0, lt=65_000)] = 0


class Paying(Section):
    """What holds of every payment.

    Attributes
    ----------
    in_flight : int
        How many are under way at once.
    answer_within : int
        Milliseconds after which a payment counts as not answered, and is reversed.
    reversal_retry : int
        Milliseconds after which a reversal that was not answered is sent again.
    ready_within : int
        Milliseconds that signing on may take.
    """

    in_flight: Annotated[int, Field(ge=1, le=1_000)] = 1
    answer_within: Annotated[int, Field(ge=1, le=600_000)] = 35_000
    reversal_retry: Annotated[int, Field(ge=1, le=600_000)] = 5_000
    ready_within: Annotated[int, Field(ge=1, le=600_000)] = 30_000


class Script(Section):
    """A script file."""

    host: Paying = Paying()
    payment: Annotated[tuple[Payment, ...], Field(min_length=1, max_length=PAYMENTS)]
    card: Annotated[tuple[PayingCard, ...], Field(max_length=10_000)] = ()

    @model_validator(mode="after")
    def _is_not_endless(self) -> Script:
        if sum(one.repeat for one in self.payment) > PAYMENTS:
            raise ValueError(f"a script has at most {PAYMENTS} payments, repetitions counted")
        return self

    def named(self) -> tuple[Payment, ...]:
        """The payments in their order, each with a name."""
        return tuple(
            one if one.name else one.model_copy(update={"name": f"payment-{number}"})
            for number, one in enumerate(self.payment, 1)
        )


def read_script(path: Path) -> Script:
    """The script of a file; ConfigurationError names the place and what is wrong."""
    return read_file(Script, path, listed="payment")


def parse_script(text: str) -> Script:
    """The script of a text; ConfigurationError names the place and what is wrong."""
    return read_text(Script, text, "the script", listed="payment")
