"""A merchant with a phone: applies at the acquirer, becomes a terminal, and collects in every way there is."""

from __future__ import annotations

import typing
from dataclasses import dataclass, field
from typing import Final

import simpy

from merchant_device.sdk.errors import PhoneError
from merchant_device.sdk.onboarding import (
    AcquirerCall,
    Application,
    JsonObject,
    Onboarded,
    Pause,
    Progress,
    Step,
    onboarding,
)
from network.party import CommandError, Json
from scenarios.stage import Payer, Phone, Process, Stage, Unreachable

REVIEW_SECONDS: Final = 1.0
"""Time the acquirer's people take over an application."""


@dataclass
class Shop:
    """A merchant's phone.

    Attributes
    ----------
    device_id : str
        Of the phone as its maker made it.
    phone : Phone or None
        The terminal that it has become.
    """

    stage: Stage = field(repr=False)
    device_id: str
    phone: Phone | None = None
    _bound: str | None = None

    def open(self, application: Application, *, terminal: str | None = None, place: str | None = None) -> Process:
        """Become a terminal, in the conversation that the SDK holds (`merchant_device.sdk.onboarding`).

        May be tried again where it failed: a phone that was bound already and has heard nothing of it asks for the
        terminal that it is.

        Parameters
        ----------
        application : Application
            What the merchant says. The same one again, once approved, makes this phone one more terminal.
        terminal : str or None
            The terminal whose phone has failed and that this one replaces.
        place : str or None
            Where the phone is; the shop's place unless given.

        Raises
        ------
        PhoneError
            The acquirer refused, or the phone cannot prove what it is.
        """
        steps = onboarding(
            application,
            self.device_id,
            terminal=self._bound or terminal,
            place=place,
            review_pause=REVIEW_SECONDS,
            told=self._told,
        )
        try:
            step = next(steps)
            while True:
                try:
                    answer = yield from self._take(step, application)
                except PhoneError as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(answer)
        except StopIteration as ended:
            onboarded: Onboarded = ended.value
        self.phone = Phone(self.stage, onboarded.terminal)
        return onboarded

    def _told(self, progress: Progress) -> None:
        if progress.step == "bound":
            self._bound = progress.number

    def _take(self, step: Step, application: Application) -> Process:
        stage = self.stage
        if isinstance(step, Pause):
            yield stage.env.timeout(step.seconds)
            return {}
        if isinstance(step, AcquirerCall):
            answer = yield stage.ask("acquirer", step.operation, _json(step.arguments))
            if isinstance(answer, CommandError):
                code = "acquirer_unreachable" if isinstance(answer, Unreachable) else "acquirer_refused"
                raise PhoneError(code, str(answer))
            if step.operation == "onboarding_apply" and answer["status"] == "submitted":
                stage.env.process(self._review(answer["application_id"]))
            return answer
        answer = yield stage.ask("merchant_device", step.command, _json(step.arguments))
        if isinstance(answer, CommandError):
            raise PhoneError("refused", str(answer))
        if step.command == "install" and stage.lines is not None:
            stage.lines.connect(str(step.arguments["terminal"]))
        return answer

    def _review(self, application_id: str) -> Process:
        """The acquirer's people look at the application and approve it."""
        yield self.stage.env.timeout(REVIEW_SECONDS)
        yield self.stage.ask("acquirer", "onboarding_review", {"application_id": application_id, "approve": True})

    def collect(self, fen: int, payer: Payer, way: str = "tap") -> simpy.Process:
        """Take a payment; the event's value is the receipt.

        Parameters
        ----------
        way : str
            ``tap``, ``merchant_code`` or ``payer_code``.
        """
        if self.phone is None:
            raise RuntimeError("the shop is not open")
        return self.stage.env.process(self.phone.pay("sale", {"amount": fen, "ways": [way]}, payer))

    def tell(self, command: str, **arguments: Json) -> simpy.Event:
        """Give the phone's trusted side a command about this phone; the event's value is its answer."""
        return self.stage.ask("merchant_device", command, {"device": self.device_id, **arguments})


def _json(arguments: JsonObject) -> dict[str, Json]:
    return typing.cast("dict[str, Json]", dict(arguments))
