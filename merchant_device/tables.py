"""The merchant device's rows: its phones, their sales, what their kernels go by, and the key that protects secrets.

Keys are key blocks under the module's storage key; of a card there is the PAN and expiry date, sealed, for the
reversal that may be needed, and the masked PAN for people. No track, PIN or PIN block is ever stored.
"""

from __future__ import annotations

from typing import Final

from merchant_device.device_tables import DEVICE_TABLES
from merchant_device.order_tables import ORDER_TABLES
from network.party import Instant
from network.store import Row, table

INSTALLED: Final = "installed"
SIGNED_ON: Final = "signed_on"
SIGNED_OFF: Final = "signed_off"
WIPED: Final = "wiped"
"""A phone's states: without keys that the acquirer accepts, with them, signed off by its operator, and without any key.

A wiped phone does nothing until it is installed anew.
"""

PENDING: Final = "pending"
APPROVED: Final = "approved"
DECLINED: Final = "declined"
REVERSING: Final = "reversing"
REVERSED: Final = "reversed"
OFFLINE: Final = "offline"
"""A sale's states. Money may have moved while it is pending or reversing; it stays only where it is approved.

`OFFLINE`: approved by the card, which has paid; the acquirer has not answered the 0220 that tells it so yet.
"""

CARD: Final = "card"
PHONE: Final = "phone"
MERCHANT_CODE: Final = "merchant_code"
PAYER_CODE: Final = "payer_code"
"""Ways in which a sale was paid: a card held to the phone, a payer's phone held to it, or a code."""

IN_FORCE: Final = "in_force"
WITHDRAWN: Final = "withdrawn"
"""States of a certification authority's key, of a kernel parameter and of a page of stopped cards."""

SEAL: Final = "seal"
"""Purpose of the storage key that seals PANs."""


@table(
    "phone",
    key="terminal_id",
    mutable=("tmk", "pik", "mak", "tdk", "batch", "stan_reserved", "status", "device_id", "place"),
    cached=True,
)
class Phone(Row):
    """A phone that is a terminal.

    Attributes
    ----------
    terminal_id, merchant_id : str
        DE41 (8 characters) and DE42 (15).
    tmk : str
        Terminal master key; empty while the phone is `WIPED`.
    pik, mak, tdk : str or None
        PIN, MAC and track data key of the last sign-on.
    batch : int
        DE60.2, 1 to 999999; the next begins when the trace numbers are used up.
    stan_reserved : int
        Trace numbers up to this one may have been used in `batch`, so that a sale needs no write for its own.
    status : str
        `INSTALLED`, `SIGNED_ON`, `SIGNED_OFF` or `WIPED`.
    device_id : str or None
        The device that the terminal is bound to, 1 to 40 characters; None of a conventional terminal.
    place : str or None
        Where the device is, as DE59 A2 03 has it (docs/protocol.md).
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
    device_id: str | None = None
    place: str | None = None


@table(
    "sale",
    key="reference",
    indexed=("status=pending", "status=reversing", "status=offline"),
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
    """A sale that is or may be money: written before its 0200 is sent, or before its receipt if the card approved it.

    Attributes
    ----------
    reference : str
        Made of the instant, terminal, batch and STAN: the last three are how the acquirer knows it, the first makes
        the keys grow, so that the rows of one turn lie side by side.
    amount : int
        Fen.
    pan_masked : str or None
        None of a sale by code, of which the phone knows no card number.
    card : bytes or None
        PAN and expiry, sealed; their context is `card_context`.
    entry_mode, card_sequence : str, str or None
        DE22 and DE23 as sent.
    chip : bytes or None
        DE55 as sent.
    cvm : str or None
        How the cardholder was verified: ``no_cvm``, ``signature``, ``online_pin``, ``cdcvm``.
    status : str
        `PENDING`, `APPROVED`, `DECLINED`, `REVERSING`, `REVERSED` or `OFFLINE`.
    response_code : str or None
        DE39 of the 0210, of an offline sale that of the last 0230; None when none came.
    reason : str or None
        Why it was not approved, for people.
    reversal_reason, reversal_code : str or None
        DE39 of the 0400 and of the last 0410.
    started_at, finished_at : int, int or None
        Instants: when the 0200 was made, and when the sale or its reversal ended.
    way : str
        `CARD`, `PHONE`, `MERCHANT_CODE` or `PAYER_CODE`.
    is_offline : int
        1 where the card approved it offline, else 0.
    order_number : str or None
        The order that the payer paid (DE59 A5 01).
    additional : str or None
        DE59 of an offline sale's 0220: it is the same at every sending, wherever the phone has gone meanwhile.
    """

    reference: str
    terminal_id: str
    merchant_id: str
    batch: str
    stan: str
    amount: int
    pan_masked: str | None
    card: bytes | None
    entry_mode: str
    card_sequence: str | None
    chip: bytes | None
    cvm: str | None
    started_at: int
    status: str
    response_code: str | None = None
    reason: str | None = None
    rrn: str | None = None
    authorisation_code: str | None = None
    finished_at: int | None = None
    reversal_reason: str | None = None
    reversal_code: str | None = None
    way: str = CARD
    is_offline: int = 0
    order_number: str | None = None
    additional: str | None = None


@table("ca_key", key="identifier", mutable=("data", "status"))
class CaKey(Row):
    """A certification authority's public key, by which the kernel checks cards' certificates.

    Attributes
    ----------
    identifier : str
        Registered application provider and index, 12 hexadecimal digits.
    data : bytes
        The key as downloaded: 9F06, 9F22, DF05, DF06, DF07, DF02, DF04, DF03 (docs/protocol.md).
    status : str
        `IN_FORCE` or `WITHDRAWN`.
    """

    identifier: str
    data: bytes
    status: str


@table("kernel_parameter", key="identifier", mutable=("floor_limit", "contactless_limit", "cvm_limit", "status"))
class Parameter(Row):
    """Limits of a terminal's kernel: for one application, or for every one that has none of its own.

    Attributes
    ----------
    identifier : str
        `parameter_identifier`.
    terminal_id : str
    application : str
        Application identifier, hexadecimal; empty for the default of all of them.
    floor_limit, contactless_limit, cvm_limit : int or None
        Fen; None leaves what the configuration says.
    status : str
        `IN_FORCE` or `WITHDRAWN`.
    """

    identifier: str
    terminal_id: str
    application: str
    floor_limit: int | None
    contactless_limit: int | None
    cvm_limit: int | None
    status: str


@table("hot_card_page", key="number", mutable=("salt", "digests", "status"))
class HotCards(Row):
    """A page of the list of stopped cards; `network.hot_cards` says how a card is named and what that is worth.

    Attributes
    ----------
    number : int
        From 1.
    salt : bytes
        Of the version of the list; all pages in force have the same.
    digests : bytes
        8 bytes for each card.
    status : str
        `IN_FORCE` or `WITHDRAWN`.
    """

    number: int
    salt: bytes
    digests: bytes
    status: str


@table("storage_key", key="purpose", cached=True)
class StorageKey(Row):
    """A key that protects rows, as a key block under the module's storage key."""

    purpose: str
    block: str


def sale_reference(started_at: Instant, terminal_id: str, batch: str, stan: str) -> str:
    """The key of a sale's row."""
    return f"{started_at:016d}|{terminal_id}|{batch}|{stan}"


def parameter_identifier(terminal_id: str, application: str) -> str:
    """The key of a parameter's row; `application` in capital hexadecimal digits, or empty."""
    return f"{terminal_id}|{application}"


def card_context(reference: str) -> bytes:
    """What the sealed card of a sale is bound to."""
    return b"merchant_device/sale/" + reference.encode()


TABLES: Final[tuple[type[Row], ...]] = (
    Phone,
    Sale,
    StorageKey,
    CaKey,
    Parameter,
    HotCards,
    *DEVICE_TABLES,
    *ORDER_TABLES,
)
