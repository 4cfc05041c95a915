"""The acquirer's rows.

Nothing secret stands here in clear: working keys are key blocks under the security module's storage key, card
numbers are sealed, PIN blocks and tracks are not kept at all.
"""

from __future__ import annotations

from typing import Final

from acquirer.device_tables import DEVICE_TABLES
from acquirer.hot_card_tables import HOT_CARD_TABLES
from network.ledger import LEDGER_TABLES
from network.member import ZoneKeys
from network.store import Row, table

ACTIVE: Final = "active"
SUSPENDED: Final = "suspended"
"""States of merchants, terminals and CA keys."""

SALE: Final = "sale"
BALANCE: Final = "balance"
OFFLINE: Final = "offline"
UNKNOWN: Final = "unknown"
"""Kinds of transaction. Offline is a sale that the card approved, unknown an original that only its reversal spoke
of."""

PENDING: Final = "pending"
APPROVED: Final = "approved"
DECLINED: Final = "declined"
TIMED_OUT: Final = "timed_out"
REVERSED: Final = "reversed"
TOMBSTONE: Final = "tombstone"
ACCEPTED: Final = "accepted"
"""States of a transaction. Only pending ones change by an answer; a tombstone bars an identity for good. An offline
sale is accepted until the issuer has: then it is approved or declined."""

OPEN: Final = "open"
CLAIMED: Final = "claimed"
PAID: Final = "paid"
CANCELLED: Final = "cancelled"
"""States of an order. One that is open and past its expiry has expired; a static one stays open while it is paid."""

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
    mutable=("status", "master_key", "pin_key", "mac_key", "track_key", "session", "signed_on_at", "device_id"),
    cached=True,
)
class Terminal(Row):
    """A terminal and its keys, as key blocks.

    `session` counts its sign-ons: a trace number that comes again in a later session is a new request.
    It is signed on while it has a MAC key. `mac_algorithm` is a value of `network.keys.MacAlgorithm`. `device_id` is
    the device that is bound to it; None where it is a conventional terminal.
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
    device_id: str | None


@table(
    "card_transaction",
    key="reference",
    unique=("trace",),
    indexed=("status=pending", "kind=offline"),
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
    """A payment or balance inquiry: what must be known to answer it again, to reverse it and to account for it.

    `reference` is its identity on the member link (`network.member.reference`). `trace` is its identity at the
    terminal, ``terminal|batch|STAN``: 8, 6 and 6 characters. A trace that is used again after a sign-on gets the
    reference appended, and the first row with it points to the latest in `latest`, so that inserts never meet an
    older row's trace. `before` is the reference of the row that was the latest until then.

    `card` is the sealed ``PAN=YYMM`` (the expiry may be missing), empty where the payer showed a code; `digest` is that
    of the request's bytes, of an offline sale that of what the card signed; `link` and `header` are where and under
    which TPDU and head the terminal waits for the answer. `order_number` is the order that it pays: then no terminal
    waits, and the trace is the acquirer's own (batch 000000, its STAN, the reference appended). `amount` is in fen, 0
    for a balance inquiry; instants are in microseconds.
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
    response_code: str | None = None
    authorisation_code: str | None = None
    settlement_date: str | None = None
    issuer_id: str | None = None
    balances: str | None = None
    chip_response: bytes | None = None
    answered_at: int | None = None
    order_number: str | None = None
    before: str | None = None

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
    """An advice to the switch: stored, sent and sent again until it is answered.

    `reference` is the advice's own identity, which every sending repeats; `original` is that of the transaction. A
    reversal is made of its original, with `reason` as DE39. An offline sale, whose own identity the advice has, is kept
    whole in `message`: the sealed 0220 without DE128.
    """

    reference: str
    original: str
    status: str
    reason: str
    created_at: int
    attempts: int
    response_code: str | None
    answered_at: int | None
    message: bytes | None


@table(
    "payment_order",
    key="number",
    unique=("trace",),
    indexed=("terminal_id",),
    mutable=(
        "status",
        "link",
        "header",
        "payment",
        "paid_amount",
        "paid_rrn",
        "paid_code",
        "paid_at",
        "payments",
        "payments_total",
    ),
)
class PaymentOrder(Row):
    """What a merchant-presented code stands for.

    `number` is the acquirer's id (8) and a count (12), `trace` the identity of the terminal's request,
    ``terminal|batch|STAN|session``. `amount` is in fen, None for a static code, which has no expiry either and stands
    for any number of sales. `device` is DE59 A2 as the terminal gave it. `payment` is the reference of the latest 0200
    that was to pay it, the `paid_` columns tell the latest that did; `payments` and `payments_total` (fen) tell how
    many did, and how much that was. `link` and `header` are where and under which TPDU
    and head the terminal was heard of last.
    """

    number: str
    trace: str
    merchant_id: str
    terminal_id: str
    amount: int | None
    currency: str
    created_at: int
    expires_at: int | None
    device: str | None
    status: str
    link: str
    header: bytes
    payment: str | None
    paid_amount: int | None
    paid_rrn: str | None
    paid_code: str | None
    paid_at: int | None
    payments: int = 0
    payments_total: int = 0


@table("order_claim", key="code_index", indexed=("order_number",))
class Claim(Row):
    """An answer to the switch's question whether a payer's code may pay an order; it is given again to every copy.

    `code_index` is the keyed hash of order and code. `reference` is that of the 0200 that the claim led to, None where
    it was refused.
    """

    code_index: bytes
    order_number: str
    amount: int
    response_code: str
    reference: str | None
    claimed_at: int


@table("ca_key", key="name", indexed=("status",), mutable=("status", "block", "expiry", "changed_at"), cached=True)
class CaKey(Row):
    """A certification authority's public key that terminals download while it is active.

    `name` is ``RID|index`` in hexadecimal, `expiry` YYYYMMDD, `block` the download's TLV, hash included.
    """

    name: str
    status: str
    block: bytes
    expiry: str | None
    changed_at: int


@table(
    "application_parameters",
    key="aid",
    mutable=("floor_limit", "contactless_limit", "cvm_limit", "changed_at"),
    cached=True,
)
class ApplicationParameters(Row):
    """Limits of one application (its AID in hexadecimal), in fen, where they are not the acquirer's defaults."""

    aid: str
    floor_limit: int
    contactless_limit: int
    cvm_limit: int
    changed_at: int


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
    PaymentOrder,
    Claim,
    CaKey,
    ApplicationParameters,
    Sequence,
    OwnKey,
    ZoneKeys,
    *DEVICE_TABLES,
    *HOT_CARD_TABLES,
    *LEDGER_TABLES,
)
