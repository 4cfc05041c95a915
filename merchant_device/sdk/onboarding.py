"""How a merchant's phone becomes a terminal: the conversation with the acquirer and with the trusted side.

`onboarding` is a generator that does no I/O: it yields what is to be asked of whom, or how long to wait, and is sent
the answers. `merchant_device.sdk.Phone.onboard` drives it with HTTP and the command channel; a simulation drives it in
its own time. The terminal master key passes through here only enciphered for the trusted side's key.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Generator, Mapping
from typing import Annotated, Final, Literal, NamedTuple, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

from merchant_device.sdk.errors import PhoneError

REPEAT_SECONDS: Final = 1.0
ASK_TRIES: Final = 5
"""How often an acquirer that does not answer is asked, and the pause between."""

LINK_SECONDS: Final = 30.0
"""How long the new terminal may take to connect and sign on."""

LINK_PAUSE: Final = 0.5

_BINDABLE: Final = ("active", "suspended")
"""States of a device in which the acquirer may bind it to its terminal again."""

JsonObject: TypeAlias = Mapping[str, object]


class Route(NamedTuple):
    """How the acquirer's REST interface takes an operation; ``{application_id}`` in the path is an argument."""

    method: str
    path: str


ACQUIRER_OPERATIONS: Final[Mapping[str, Route]] = {
    "onboarding_apply": Route("POST", "/onboarding/applications"),
    "onboarding_status": Route("GET", "/onboarding/applications/{application_id}"),
    "onboarding_challenge": Route("POST", "/onboarding/applications/{application_id}/challenge"),
    "onboarding_bind": Route("POST", "/onboarding/applications/{application_id}/devices"),
}
"""The operations of an `AcquirerCall`. After the application, ``token`` is shown as a bearer token."""


class AcquirerCall(NamedTuple):
    """Ask the acquirer: one of `ACQUIRER_OPERATIONS`."""

    operation: str
    arguments: JsonObject


class TrustedCall(NamedTuple):
    """Ask the trusted side: a command of its channel."""

    command: str
    arguments: JsonObject


class Pause(NamedTuple):
    """Wait so many seconds; is sent anything."""

    seconds: float


Step: TypeAlias = AcquirerCall | TrustedCall | Pause


class Progress(NamedTuple):
    """How far an on-boarding has come.

    Attributes
    ----------
    step : str
        ``applied``: the acquirer has the application; ``approved``; ``bound``: the acquirer has a terminal for the
        phone; ``signed_on``; ``ready``: it can take payments.
    number : str
        Of the application up to its approval, then of the terminal.
    """

    step: Literal["applied", "approved", "bound", "signed_on", "ready"]
    number: str


class Application(BaseModel):
    """What a merchant applies with.

    Attributes
    ----------
    name, id_number, phone_number, settlement_card : str
        The applicant, and the card that sales are paid out to. They go to the acquirer only.
    shop_name, city, category : str
        The shop; `category` is its merchant category code.
    model : str
        The phone's model.
    place : str
        Where the shop is: latitude and longitude in degrees, ``+31.2304,+121.4737``.
    radius : int
        Metres around it within which the phone may work.
    token : str
        Proves who has applied; drawn at random. Keep it: the same application is gone on with by the same token.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(repr=False)
    id_number: str = Field(repr=False)
    phone_number: str = Field(repr=False)
    settlement_card: str = Field(repr=False)
    shop_name: str
    city: str
    category: Annotated[str, Field(pattern=r"^\d{4}$")]
    model: str
    place: str
    radius: int = 500
    token: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", repr=False)] = Field(
        default_factory=lambda: secrets.token_hex(32)
    )


class Onboarded(BaseModel):
    """What the phone is now: a terminal of a merchant."""

    model_config = ConfigDict(frozen=True)

    application_id: str
    terminal: str
    merchant: str


Onboarding: TypeAlias = Generator[Step, JsonObject, Onboarded]


def onboarding(
    application: Application,
    device: str,
    *,
    terminal: str | None = None,
    place: str | None = None,
    review_seconds: float = 60.0,
    review_pause: float = 2.0,
    told: Callable[[Progress], None] = lambda _: None,
) -> Onboarding:
    """Become a terminal.

    Parameters
    ----------
    application : Application
    device : str
        The phone's id.
    terminal : str or None
        The terminal whose phone has failed and is replaced by this one; None: the one that the acquirer has for this
        phone already, as after an on-boarding that broke off or a suspension, else a new terminal.
    place : str or None
        Where the phone is now; the shop's place unless given.
    review_seconds, review_pause : float
        How long to wait for the acquirer's decision, and between two questions about it.
    told : callable
        Told of every step that is done.

    Yields
    ------
    AcquirerCall, TrustedCall or Pause
        Is sent the answer as a JSON object; an error is thrown in as a `PhoneError`.

    Raises
    ------
    PhoneError
        ``application_refused``, ``review_pending``, or what was thrown in.
    """
    applied = yield from _asked(AcquirerCall("onboarding_apply", application.model_dump()))
    who = {"application_id": _text(applied, "application_id"), "token": application.token}
    told(Progress("applied", who["application_id"]))
    approved = yield from _approval(who, applied, review_seconds, review_pause)
    told(Progress("approved", who["application_id"]))
    challenge = yield from _asked(AcquirerCall("onboarding_challenge", who))
    attested = yield TrustedCall("attest", {"device": device, "challenge": _text(challenge, "challenge")})
    evidence = {
        "chain": attested.get("chain"),
        "signature": attested.get("signature"),
        "signals": attested.get("signals", []),
        "place": place or application.place,
    }
    terminal = terminal or _terminal_of(device, approved)
    replaced = {} if terminal is None else {"terminal_id": terminal}
    bound = yield from _asked(AcquirerCall("onboarding_bind", {**who, **evidence, **replaced}))
    result = Onboarded(
        application_id=who["application_id"],
        terminal=_text(bound, "terminal_id"),
        merchant=_text(bound, "merchant_id"),
    )
    told(Progress("bound", result.terminal))
    yield TrustedCall(
        "install",
        {
            "device": device,
            "terminal": result.terminal,
            "merchant": result.merchant,
            "wrapped_tmk": _text(bound, "wrapped_tmk"),
            "place": place or application.place,
        },
    )
    yield from _signed_on(result.terminal)
    told(Progress("signed_on", result.terminal))
    yield TrustedCall("download", {"terminal": result.terminal})
    told(Progress("ready", result.terminal))
    return result


def drive(
    steps: Onboarding,
    acquirer: Callable[[AcquirerCall], JsonObject],
    trusted: Callable[[TrustedCall], JsonObject],
    wait: Callable[[float], None],
) -> Onboarded:
    """Carry out the steps of `onboarding`, one after the other, to their end."""
    try:
        step = next(steps)
        while True:
            try:
                if isinstance(step, Pause):
                    wait(step.seconds)
                    answer: JsonObject = {}
                else:
                    answer = acquirer(step) if isinstance(step, AcquirerCall) else trusted(step)
            except PhoneError as error:
                step = steps.throw(error)
            else:
                step = steps.send(answer)
    except StopIteration as ended:
        result: Onboarded = ended.value
        return result


def _approval(
    who: JsonObject, applied: JsonObject, seconds: float, pause: float
) -> Generator[Step, JsonObject, JsonObject]:
    """Wait until the application is approved; gives how it stands then, with the devices that are bound."""
    if applied.get("status") == "approved":
        return (yield from _asked(AcquirerCall("onboarding_status", who)))
    application, waited = applied, 0.0
    while application.get("status") != "approved":
        if application.get("status") == "refused":
            raise PhoneError("application_refused", str(application.get("reason") or ""))
        if waited >= seconds:
            raise PhoneError("review_pending")
        yield Pause(pause)
        waited += pause
        application = yield from _asked(AcquirerCall("onboarding_status", who))
    return application


def _terminal_of(device: str, application: JsonObject) -> str | None:
    """The terminal that the acquirer has for this phone; None where it has none, or the phone was replaced there."""
    devices = application.get("devices")
    for one in devices if isinstance(devices, list) else ():
        if isinstance(one, Mapping) and one.get("device_id") == device and one.get("status") in _BINDABLE:
            return _text(one, "terminal_id")
    return None


def _signed_on(terminal: str) -> Generator[Step, JsonObject, None]:
    """Wait until the new terminal has connected and has its keys: it signs on by itself."""
    waited = 0.0
    while True:
        answer = yield TrustedCall("status", {"terminal": terminal})
        states = answer.get("terminals")
        if isinstance(states, list) and any(
            isinstance(state, Mapping) and state.get("link") is True and state.get("status") == "signed_on"
            for state in states
        ):
            return
        if waited >= LINK_SECONDS:
            raise PhoneError("acquirer_unreachable", "the new terminal could not sign on")
        yield Pause(LINK_PAUSE)
        waited += LINK_PAUSE


def _asked(call: AcquirerCall) -> Generator[Step, JsonObject, JsonObject]:
    """Ask the acquirer, again when it does not answer: every operation may be repeated."""
    for remaining in reversed(range(ASK_TRIES)):
        try:
            answer = yield call
        except PhoneError as error:
            if error.code != "acquirer_unreachable" or not remaining:
                raise
            yield Pause(REPEAT_SECONDS)
        else:
            return answer
    raise PhoneError("acquirer_unreachable")


def _text(answer: JsonObject, name: str) -> str:
    value = answer.get(name)
    if not isinstance(value, str) or not value:
        raise PhoneError("acquirer_refused", f"the acquirer's answer has no {name}")
    return value
