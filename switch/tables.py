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

    `reference` is its identity (`network.member.reference`). `card` is PAN and expiry (``PAN=YYMM``), sealed with
    the reference as context. The reply's own elements are DE39 `response_code`, DE38 `authorisation`, DE54
    `balances` and DE55 `chip_reply`; `response_code` is None until it is known. `reversal_code` is what a reversal
    of it was answered, None while there was none; `late_code` is DE39 of an answer that came too late. Times are
    instants; `settlement_date` is MMDD.
    """

    reference: str
    status: str
    acquirer: str
    issuer: str | None
    forwarder: str | None
    card: bytes
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


TABLES: Final[tuple[type[Row], ...]] = (Member, ZoneKeys, Route, Transaction, Advice, Sequence, DataKey, *LEDGER_TABLES)
