"""The merchant device's rows: its phones, their sales, and the key that protects what must not be read.

Keys are key blocks under the module's storage key; of a card there is the PAN and expiry date, sealed, for the
reversal that may be needed, and the masked PAN for people. No track, PIN or PIN block is ever stored.
"""

from __future__ import annotations

from typing import Final

from network.party import Instant
from network.store import Row, table

INSTALLED: Final = "installed"
SIGNED_ON: Final = "signed_on"
SIGNED_OFF: Final = "signed_off"
"""A phone's states: without keys that the acquirer accepts, with them, and signed off by its operator."""

PENDING: Final = "pending"
APPROVED: Final = "approved"
DECLINED: Final = "declined"
REVERSING: Final = "reversing"
REVERSED: Final = "reversed"
"""A sale's states. Money may have moved while it is pending or reversing; it stays only where it is approved."""

SEAL: Final = "seal"
"""Purpose of the storage key that seals PANs."""


@table(
    "phone",
    key="terminal_id",
    mutable=("pik", "mak", "tdk", "batch", "stan_reserved", "status"),
    cached=True,
)
class Phone(Row):
    """A phone that is a terminal.

    Attributes
    ----------
    terminal_id, merchant_id : str
        DE41 (8 characters) and DE42 (15).
    tmk : str
        Terminal master key.
    pik, mak, tdk : str or None
        PIN, MAC and track data key of the last sign-on.
    batch : int
        DE60.2, 1 to 999999; the next begins when the trace numbers are used up.
    stan_reserved : int
        Trace numbers up to this one may have been used in `batch`, so that a sale needs no write for its own.
    status : str
        `INSTALLED`, `SIGNED_ON` or `SIGNED_OFF`.
    """

    terminal_id: str
    merchant_id: str
    tmk: str
    pik: str | None
    mak: str | None
    tdk: str | None
    batch: int
    stan_reserved: int
    status: str


@table(
    "sale",
    key="reference",
    indexed=("status=pending", "status=reversing"),
    mutable=(
        "status",
        "response_code",
        "reason",
        "rrn",
        "authorisation_code",
        "finished_at",
        "reversal_reason",
        "reversal_code",
    ),
)
class Sale(Row):
    """A sale that has left the phone or is about to: written before its 0200 is sent.

    Attributes
    ----------
    reference : str
        Made of the instant, terminal, batch and STAN: the last three are how the acquirer knows it, the first makes
        the keys grow, so that the rows of one turn lie side by side.
    amount : int
        Fen.
    card : bytes
        PAN and expiry, sealed; their context is `card_context`.
    entry_mode, card_sequence : str, str or None
        DE22 and DE23 as sent.
    chip : bytes
        DE55 as sent.
    cvm : str
        How the cardholder was verified: ``no_cvm``, ``signature``, ``online_pin``, ``cdcvm``.
    status : str
        `PENDING`, `APPROVED`, `DECLINED`, `REVERSING` or `REVERSED`.
    response_code : str or None
        DE39 of the 0210; None when none came.
    reason : str or None
        Why it was not approved, for people.
    reversal_reason, reversal_code : str or None
        DE39 of the 0400 and of the 0410 that ended it.
    started_at, finished_at : int, int or None
        Instants: when the 0200 was made, and when the sale or its reversal ended.
    """

    reference: str
    terminal_id: str
    merchant_id: str
    batch: str
    stan: str
    amount: int
    pan_masked: str
    card: bytes
    entry_mode: str
    card_sequence: str | None
    chip: bytes
    cvm: str
    started_at: int
    status: str
    response_code: str | None = None
    reason: str | None = None
    rrn: str | None = None
    authorisation_code: str | None = None
    finished_at: int | None = None
    reversal_reason: str | None = None
    reversal_code: str | None = None


@table("storage_key", key="purpose", cached=True)
class StorageKey(Row):
    """A key that protects rows, as a key block under the module's storage key."""

    purpose: str
    block: str


def sale_reference(started_at: Instant, terminal_id: str, batch: str, stan: str) -> str:
    """The key of a sale's row."""
    return f"{started_at:016d}|{terminal_id}|{batch}|{stan}"


def card_context(reference: str) -> bytes:
    """What the sealed card of a sale is bound to."""
    return b"merchant_device/sale/" + reference.encode()


TABLES: Final[tuple[type[Row], ...]] = (Phone, Sale, StorageKey)
