"""The written list of what the trusted side does for the App, and of what it says in return.

Nothing that is not in `COMMANDS` is carried out, and nothing of an answer that is not in its model leaves: the models
are the boundary. So a card number leaves masked, or not at all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from merchant_device.kernel.configuration import MAX_AMOUNT
from network.party import Json

PAYMENT_SECONDS: Final = 300.0
"""How long a payment may take: card, PIN, answer of the acquirer, each of which has a limit of its own."""

MANAGEMENT_SECONDS: Final = 60.0

HISTORY_LIMIT: Final = 100


class ErrorCode(StrEnum):
    """Why a command has no result."""

    BAD_REQUEST = "bad_request"
    UNKNOWN_COMMAND = "unknown_command"
    BAD_ARGUMENTS = "bad_arguments"
    BUSY = "busy"
    REFUSED = "refused"
    NO_ANSWER = "no_answer"
    FAILED = "failed"


class CommandRefused(Exception):
    """A command that is not carried out.

    Attributes
    ----------
    code : ErrorCode
    """

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class Arguments(BaseModel):
    """Arguments of a command: what is not named here is refused."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Answer(BaseModel):
    """Answer to a command: what is not named here stays on the trusted side."""

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)


TerminalId: TypeAlias = Annotated[str, Field(pattern=r"^[ -~]{8}$")]
DeviceId: TypeAlias = Annotated[str, Field(pattern=r"^[ -~]{1,40}$")]
MaskedPan: TypeAlias = Annotated[str, Field(pattern=r"^([0-9]{6}\*+[0-9]{4}|\*+)$", max_length=19)]
Text: TypeAlias = Annotated[str, Field(max_length=2_000)]
Hexadecimal: TypeAlias = Annotated[str, Field(pattern=r"^([0-9a-fA-F]{2})+$", max_length=4_096)]
SignalName: TypeAlias = Annotated[str, Field(pattern=r"^[a-z_]{1,40}$")]
Base64: TypeAlias = Annotated[str, Field(pattern=r"^[A-Za-z0-9+/]*={0,2}$", max_length=16_384)]
Way: TypeAlias = Literal["tap", "merchant_code", "payer_code"]


class OfTerminal(Arguments):
    """The terminal that is meant."""

    terminal: TerminalId


class OfSale(Arguments):
    """The terminal, what is to be paid in fen, and the ways in which it may be."""

    terminal: TerminalId
    amount: int = Field(ge=1, le=MAX_AMOUNT)
    ways: Annotated[list[Way], Field(min_length=1, max_length=3)] = ["tap"]


class OfHistory(Arguments):
    """The terminal and how many of its latest sales."""

    terminal: TerminalId
    limit: int = Field(default=20, ge=1, le=HISTORY_LIMIT)


class OfStaticCode(Arguments):
    """The terminal, and whether its static code is to be shown or taken off the screen."""

    terminal: TerminalId
    show: bool = True


class OfStatus(Arguments):
    """The terminal; None: all that the trusted side has."""

    terminal: TerminalId | None = None


class OfAttestation(Arguments):
    """The device, and the challenge to be attested, hexadecimal."""

    device: DeviceId
    challenge: Annotated[str, Field(pattern=r"^([0-9a-fA-F]{2}){16,64}$")]


class OfInstallation(Arguments):
    """What the acquirer has sent for the device: who it is, and its master key for this device's key only."""

    device: DeviceId
    terminal: TerminalId
    merchant: Annotated[str, Field(pattern=r"^[ -~]{15}$")]
    wrapped_tmk: Hexadecimal
    place: Annotated[str, Field(pattern=r"^[-+0-9.,]{1,40}$")] | None = None


class OfSignals(Arguments):
    """Tamper signals that the App has seen."""

    device: DeviceId
    signals: list[SignalName] = Field(min_length=1, max_length=16)


class OfKill(Arguments):
    """The device whose keys are to be wiped."""

    device: DeviceId


class Receipt(Answer):
    """How a payment ended; see `merchant_device.receipts.Receipt`."""

    outcome: Literal["approved", "declined", "unknown", "refused"]
    response_code: Text | None = None
    reason: Text | None = None
    terminal: TerminalId
    merchant: Text | None = None
    stan: Text | None = None
    batch: Text | None = None
    rrn: Text | None = None
    authorisation_code: Text | None = None
    amount: int | None = None
    balance: int | None = None
    pan: MaskedPan | None = None
    cvm: Text | None = None
    at: Text
    way: Text | None = None
    offline: bool = False
    order: Text | None = None


class Managed(Answer):
    """How a sign-on, sign-off, echo, download or the showing of a static code ended."""

    outcome: Literal["approved", "declined", "unknown", "refused"]
    response_code: Text | None = None
    reason: Text | None = None
    terminal: TerminalId
    at: Text


class Cancelled(Answer):
    """What was in progress when it was cancelled."""

    terminal: TerminalId
    cancelled: Text


class TerminalState(Answer):
    """A terminal of this phone: whether its link is up, its state, what it does, what it still owes the acquirer."""

    terminal: TerminalId
    link: bool
    status: Text
    doing: Text
    reversals: int
    uploads: int = 0


class State(Answer):
    """The terminals of this phone."""

    terminals: list[TerminalState]


class PastSale(Answer):
    """A sale in the journal."""

    status: Text
    amount: int
    batch: Text | None = None
    stan: Text | None = None
    rrn: Text | None = None
    authorisation_code: Text | None = None
    response_code: Text | None = None
    reason: Text | None = None
    pan: MaskedPan | None = None
    cvm: Text | None = None
    way: Text | None = None
    offline: bool = False
    order: Text | None = None
    started_at: Text
    finished_at: Text | None = None


class History(Answer):
    """The latest sales, the last one first."""

    sales: list[PastSale] = Field(max_length=HISTORY_LIMIT)


class Attested(Answer):
    """What proves a device: certificates, base64 of DER, leaf first; the leaf key's signature over challenge and leaf.

    `signals` are the tamper signals that the trusted side has seen.
    """

    chain: list[Base64] = Field(min_length=1, max_length=8)
    signature: Base64
    signals: list[SignalName] = Field(default=[], max_length=16)


class Installed(Answer):
    """The terminal that the phone now is."""

    terminal: TerminalId


class Wiped(Answer):
    """Whether the keys are wiped now."""

    wiped: bool


@dataclass(frozen=True, slots=True)
class CommandKind:
    """One command of the list: what it takes, gives, and how long it may take in seconds."""

    name: str
    arguments: type[Arguments]
    answer: type[Answer]
    seconds: float
    about: str


COMMANDS: Final[Mapping[str, CommandKind]] = {
    kind.name: kind
    for kind in (
        CommandKind("sale", OfSale, Receipt, PAYMENT_SECONDS, "take a payment"),
        CommandKind("balance", OfTerminal, Receipt, PAYMENT_SECONDS, "ask for the balance of a card"),
        CommandKind("cancel", OfTerminal, Cancelled, MANAGEMENT_SECONDS, "stop what is in progress"),
        CommandKind("static_code", OfStaticCode, Managed, MANAGEMENT_SECONDS, "show the code for any amount"),
        CommandKind("history", OfHistory, History, MANAGEMENT_SECONDS, "the latest sales"),
        CommandKind("status", OfStatus, State, MANAGEMENT_SECONDS, "what the phone is doing"),
        CommandKind("sign_on", OfTerminal, Managed, MANAGEMENT_SECONDS, "get new session keys"),
        CommandKind("sign_off", OfTerminal, Managed, MANAGEMENT_SECONDS, "sign off at the acquirer"),
        CommandKind("echo", OfTerminal, Managed, MANAGEMENT_SECONDS, "ask whether the acquirer is there"),
        CommandKind("download", OfTerminal, Managed, PAYMENT_SECONDS, "fetch CA keys and parameters"),
        CommandKind("attest", OfAttestation, Attested, MANAGEMENT_SECONDS, "prove what this device is"),
        CommandKind("install", OfInstallation, Installed, MANAGEMENT_SECONDS, "become a terminal"),
        CommandKind("signal", OfSignals, Wiped, MANAGEMENT_SECONDS, "report tamper signals"),
        CommandKind("kill", OfKill, Wiped, MANAGEMENT_SECONDS, "wipe all keys"),
    )
}


def admit(name: str, arguments: Mapping[str, object]) -> tuple[CommandKind, dict[str, Json]]:
    """Check a command against the list.

    Returns
    -------
    tuple
        The command and its arguments as the party takes them.

    Raises
    ------
    CommandRefused
        It is not in the list, or its arguments are not as the list says; the message names the first that is not.
    """
    kind = COMMANDS.get(name)
    if kind is None:
        raise CommandRefused(ErrorCode.UNKNOWN_COMMAND, "there is no such command")
    try:
        checked = kind.arguments.model_validate(arguments)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"])[:100]
        # what was sent is not repeated; a name that nobody knows is, as far as it can be printed
        shown = place.encode("ascii", "backslashreplace").decode()
        raise CommandRefused(ErrorCode.BAD_ARGUMENTS, f"{shown}: {first['msg']}") from None
    return kind, checked.model_dump(exclude_none=True)


def released(kind: CommandKind, answer: Json) -> dict[str, Json]:
    """What of the party's answer may leave.

    Raises
    ------
    CommandRefused
        The answer is not what the list says; nothing of it leaves.
    """
    try:
        checked = kind.answer.model_validate(answer)
    except ValidationError as error:
        place = ".".join(str(part) for part in error.errors(include_input=False)[0]["loc"])[:100]
        raise CommandRefused(ErrorCode.FAILED, f"the answer is not as it should be: {place or 'no object'}") from None
    content: dict[str, Json] = checked.model_dump()
    return content
