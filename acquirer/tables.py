"""The acquirer's rows.

Nothing secret stands here in clear: working keys are key blocks under the security module's storage key, card
numbers are sealed, PIN blocks and tracks are not kept at all.
"""

from __future__ import annotations

from typing import Final

from network.ledger import LEDGER_TABLES
from network.member import ZoneKeys
from network.store import Row, table

ACTIVE: Final = "active"
SUSPENDED: Final = "suspended"
"""States of merchants and terminals."""

SALE: Final = "sale"
BALANCE: Final = "balance"
UNKNOWN: Final = "unknown"
"""Kinds of transaction; unknown is that of an original that only its reversal spoke of."""

PENDING: Final = "pending"
APPROVED: Final = "approved"
DECLINED: Final = "declined"
TIMED_OUT: Final = "timed_out"
REVERSED: Final = "reversed"
TOMBSTONE: Final = "tombstone"
"""States of a transaction. Only pending ones change by an answer; a tombstone bars an identity for good."""

ANSWERED: Final = "answered"
"""State of an advice that the switch has answered; until then it is pending."""


@table("merchant", key="merchant_id", mutable=("status",), cached=True)
class Merchant(Row):
    """A card acceptor.

    `category` is its MCC (DE18), `acceptor` its DE43 of 40 bytes.
    """

    merchant_id: str
    name: str
    city: str
    country: str
    category: str
    acceptor: str
    status: str
    enrolled_at: int


@table(
    "terminal",
    key="terminal_id",
    mutable=("status", "pin_key", "mac_key", "track_key", "session", "signed_on_at"),
    cached=True,
)
class Terminal(Row):
    """A terminal and its keys, as key blocks.

    `session` counts its sign-ons: a trace number that comes again in a later session is a new request.
    It is signed on while it has a MAC key. `mac_algorithm` is a value of `network.keys.MacAlgorithm`.
    """

    terminal_id: str
    merchant_id: str
    status: str
    master_key: str
    mac_algorithm: str
    pin_key: str | None
    mac_key: str | None
    track_key: str | None
    session: int
    signed_on_at: int | None
    enrolled_at: int


@table(
    "card_transaction",
    key="reference",
    unique=("trace",),
    indexed=("status=pending",),
    mutable=(
        "status",
        "latest",
        "link",
        "header",
        "response_code",
        "authorisation_code",
        "settlement_date",
        "issuer_id",
        "balances",
        "chip_response",
        "answered_at",
    ),
)
class Transaction(Row):
    """A sale or balance inquiry: what must be known to answer it again, to reverse it and to account for it.

    `reference` is its identity on the member link (`network.member.reference`). `trace` is its identity at the
    terminal, ``terminal|batch|STAN``: 8, 6 and 6 characters. A trace that is used again after a sign-on gets the
    reference appended, and the first row with it points to the latest in `latest`, so that inserts never meet an
    older row's trace.

    `card` is the sealed ``PAN=YYMM`` (the expiry may be missing), `digest` that of the request's bytes, `link` and
    `header` are where and under which TPDU and head the terminal waits for the answer. `amount` is in fen, 0 for a
    balance inquiry; instants are in microseconds.
    """

    reference: str
    trace: str
    latest: str | None
    status: str
    kind: str
    terminal_id: str
    merchant_id: str
    session: int
    digest: bytes
    link: str
    header: bytes
    card: bytes
    amount: int
    currency: str
    entry_mode: str
    card_sequence: str | None
    condition: str
    private_data: str | None
    rrn: str
    created_at: int
    response_code: str | None
    authorisation_code: str | None
    settlement_date: str | None
    issuer_id: str | None
    balances: str | None
    chip_response: bytes | None
    answered_at: int | None

    @property
    def stan(self) -> str:
        """DE11 of the terminal's request."""
        return self.trace[16:22]

    @property
    def batch(self) -> str:
        """DE60.2 of the terminal's request."""
        return self.trace[9:15]


@table(
    "advice",
    key="reference",
    indexed=("status=pending",),
    mutable=("status", "attempts", "response_code", "answered_at"),
)
class Advice(Row):
    """A reversal advice to the switch: stored, sent and sent again until it is answered.

    `reference` is the advice's own identity, which every sending repeats; `original` is that of the transaction and
    `reason` DE39.
    """

    reference: str
    original: str
    status: str
    reason: str
    created_at: int
    attempts: int
    response_code: str | None
    answered_at: int | None


@table("sequence", key="name", mutable=("reserved",), cached=True)
class Sequence(Row):
    """How far a running number has been reserved; what a process reserved and did not use is lost with it."""

    name: str
    reserved: int


@table("own_key", key="name", cached=True)
class OwnKey(Row):
    """A key that only this party uses, as a key block."""

    name: str
    block: str


TABLES: Final[tuple[type[Row], ...]] = (
    Merchant,
    Terminal,
    Transaction,
    Advice,
    Sequence,
    OwnKey,
    ZoneKeys,
    *LEDGER_TABLES,
)
