"""The switch's rows."""

from __future__ import annotations

from typing import Final

from network.ledger import LEDGER_TABLES
from network.member import ZoneKeys
from network.store import Row, table

ACTIVE: Final = "active"
SUSPENDED: Final = "suspended"
"""States of a member."""

PENDING: Final = "pending"
"""Forwarded to the issuer, whose answer is awaited until the deadline."""

APPROVED: Final = "approved"
DECLINED: Final = "declined"
"""What the issuer answered."""

REFUSED: Final = "refused"
"""The switch declined it itself; no issuer has seen it."""

TIMED_OUT: Final = "timed out"
"""The issuer did not answer in time: the acquirer was answered 98."""

CANCELLED: Final = "cancelled"
"""The acquirer reversed it while the issuer's answer was awaited."""

REVERSED: Final = "reversed"
"""It was approved, and then reversed by the acquirer."""

BARRED: Final = "barred"
"""Its reversal came first: the original, should it come, is declined 25."""


SALE: Final = "000000"
BALANCE: Final = "300000"
"""Processing codes (DE3) that are switched."""


REQUEST: Final = "0200"
OFFLINE_SALE: Final = "0220"
"""Message types of transactions: what may be declined, and what has happened already."""

TOKEN_SUSPENDED: Final = "suspended"  # noqa: S105 - a state
TOKEN_DELETED: Final = "deleted"  # noqa: S105 - a state
"""States of a token besides `ACTIVE`."""

CONTACTLESS: Final = "contactless"
CODE: Final = "code"
"""Domains in which a token may be used."""

ANSWERED: Final = "answered"
"""An administrative request, or a claim, that has its answer."""


@table("member", key="member_id", indexed=("state",), mutable=("name", "state"), cached=True)
class Member(Row):
    """An institution of the network, as acquirer, issuer or both. Its keys are the `ZoneKeys` row of the same id.

    `state` is `ACTIVE` or `SUSPENDED`; whether the member is signed on is known to the links only.
    """

    member_id: str
    name: str
    state: str
    joined_at: int


@table("route", key="prefix", indexed=("member_id",), mutable=("member_id",))
class Route(Row):
    """Card numbers that begin with `prefix` belong to the member; the longest prefix decides."""

    prefix: str
    member_id: str
    created_at: int


@table(
    "switch_transaction",
    key="reference",
    indexed=("status=pending",),
    mutable=(
        "status",
        "response_code",
        "authorisation",
        "balances",
        "chip_reply",
        "answered_at",
        "reversal_code",
        "reversed_at",
        "late_code",
    ),
)
class Transaction(Row):
    """A request of an acquirer, what became of it, and all that its reply and its reversal are made of.

    `reference` is its identity (`network.member.reference`), `mti` what it came as. `card` is PAN and expiry
    (`switch.card_data`), sealed with the reference as context; `token_index` names the token that stood for it, None
    where none did. `risk_score` and `risk_rules` (names, separated by commas) are why risk sensing decided as it did,
    None where no rule fired. The reply's own elements are DE39 `response_code`, DE38 `authorisation`, DE54
    `balances` and DE55 `chip_reply`; `response_code` is None until it is known. `reversal_code` is what a reversal
    of it was answered, None while there was none; `late_code` is DE39 of an answer that came too late. Times are
    instants; `settlement_date` is MMDD.
    """

    reference: str
    mti: str
    status: str
    acquirer: str
    issuer: str | None
    forwarder: str | None
    card: bytes
    token_index: str | None
    processing_code: str
    amount: int
    local_time: str | None
    local_date: str | None
    settlement_date: str
    merchant_type: str | None
    entry_mode: str | None
    card_sequence: str | None
    condition: str | None
    rrn: str | None
    terminal: str | None
    merchant: str | None
    currency: str
    received_at: int
    deadline: int
    response_code: str | None
    authorisation: str | None
    balances: str | None
    chip_reply: bytes | None
    answered_at: int | None
    reversal_code: str | None
    reversed_at: int | None
    late_code: str | None
    risk_score: int | None
    risk_rules: str | None

    @property
    def transmission(self) -> str:
        """DE7, MMDDhhmmss, which is part of the reference."""
        return self.reference[4:14]

    @property
    def stan(self) -> str:
        """DE11, which is part of the reference."""
        return self.reference[14:20]


@table(
    "advice",
    key="reference",
    unique=("original",),
    indexed=("pending_for",),
    mutable=("pending_for", "attempts", "answer_code", "answered_at"),
)
class Advice(Row):
    """A reversal advice that the switch owes an issuer: stored, then sent until it is answered.

    `reference` is its own identity (DE7, DE11 and DE32, with the year), `original` that of the transaction it
    reverses. `pending_for` is the issuer's id until the advice is answered, then None. `reason` is DE39.
    """

    reference: str
    original: str
    issuer: str
    pending_for: str | None
    transmission: str
    stan: str
    forwarder: str
    reason: str
    created_at: int
    attempts: int
    answer_code: str | None
    answered_at: int | None


@table("sequence", key="name", mutable=("next_value",), cached=True)
class Sequence(Row):
    """The first number of a sequence that no process has taken yet."""

    name: str
    next_value: int


@table("data_key", key="purpose", cached=True)
class DataKey(Row):
    """A key of the switch's own for data at rest, as a key block under its module's storage key."""

    purpose: str
    block: str


@table("token", key="token_index", indexed=("card_index",), mutable=("status", "changed_at"))
class Token(Row):
    """A number of the switch's own that stands for a card of an issuer.

    `token_index` and `card_index` are keyed hashes of the two numbers. `sealed` is the card's number and expiry and the
    token, sealed with `token_index` as context; `masked` is the token for people. `domains` are separated by commas,
    `expiry` is YYMM, `status` one of `ACTIVE`, `TOKEN_SUSPENDED` and `TOKEN_DELETED`.
    """

    token_index: str
    card_index: str
    sealed: bytes
    masked: str
    issuer: str
    domains: str
    expiry: str
    status: str
    created_at: int
    changed_at: int


@table("payer_code", key="code_index", mutable=("expires_at", "used_by", "used_at"))
class PayerCode(Row):
    """A code that a payer shows, good for one sale until `expires_at`.

    `code_index` is the keyed hash of its digits, or of the token and ATC of an EMVCo code, whose row is written when it
    is used. `used_by` is the reference of the sale it was used in. A code made for an order is good for a sale of
    `amount` fen of `acquirer` under the number `order_number` only.
    """

    code_index: str
    token_index: str
    made_at: int
    expires_at: int
    used_by: str | None
    used_at: int | None
    acquirer: str | None
    order_number: str | None
    amount: int | None


@table("administrative_request", key="reference", mutable=("status", "response_code", "answered_at"))
class AdministrativeRequest(Row):
    """An 0600 of a member, and what its reply is made of, so that a copy is answered and does nothing.

    `reference` is its identity: year, DE7, DE11 and the member that asks. `asked` is the keyed hash of what it asks.
    `reply` is the elements of its reply, sealed with the reference as context.
    """

    reference: str
    function: str
    member: str
    status: str
    asked: str
    reply: bytes
    response_code: str | None
    received_at: int
    answered_at: int | None


@table(
    "claim",
    key="reference",
    indexed=("status=pending",),
    mutable=("status", "attempts", "response_code", "answered_at", "late_code"),
)
class Claim(Row):
    """An order that the switch claims at its acquirer with a one-use code: sent until it is answered, so often.

    `reference` is its identity: year, DE7, DE11 of the switch's own and the acquirer asked. `asked_by` is the issuer's
    `AdministrativeRequest`. `code` is the code's digits, sealed with the reference as context.
    """

    reference: str
    status: str
    asked_by: str
    acquirer: str
    order_number: str
    amount: int
    code_index: str
    code: bytes
    created_at: int
    attempts: int
    response_code: str | None
    answered_at: int | None
    late_code: str | None

    @property
    def transmission(self) -> str:
        """DE7, MMDDhhmmss, which is part of the reference."""
        return self.reference[4:14]

    @property
    def stan(self) -> str:
        """DE11, which is part of the reference."""
        return self.reference[14:20]


@table("blocked_device", key="name", mutable=("is_blocked", "reason", "changed_at"), cached=True)
class BlockedDevice(Row):
    """A device whose sales are declined while `is_blocked` is 1; `reason` says which rules did it, or who.

    `name` is ``acquirer|device id`` (`device_name`): each acquirer names its own devices, and what one of
    them says of a device must not harm another's.
    """

    name: str
    acquirer: str
    device_id: str
    is_blocked: int
    reason: str
    changed_at: int


def device_name(acquirer: str, device_id: str) -> str:
    """What the row of an acquirer's device is found by."""
    return f"{acquirer}|{device_id}"


@table("risk_rule_set", key="name", mutable=("content", "changed_at"), cached=True)
class RiskRuleSet(Row):
    """The operator's rules for risk sensing, as JSON (`switch.risk_rules.RiskRules`)."""

    name: str
    content: str
    changed_at: int


TABLES: Final[tuple[type[Row], ...]] = (
    Member,
    ZoneKeys,
    Route,
    Transaction,
    Advice,
    Token,
    PayerCode,
    AdministrativeRequest,
    Claim,
    BlockedDevice,
    RiskRuleSet,
    Sequence,
    DataKey,
    *LEDGER_TABLES,
)
