"""The issuer's rows: accounts, cards, the keys they are verified with, and what was decided.

Money itself stands in the ledger: an account's balance is that of the `LedgerAccount` of the same id, credit-normal
since the issuer owes it to the cardholder. PANs are stored sealed and found by their index; no PIN, PIN block or
track is stored, a PIN only as its offset.
"""

from __future__ import annotations

from typing import Final

from issuer.certification import IssuerCertificate
from issuer.token_tables import TOKEN_TABLES
from network.ledger import LEDGER_TABLES
from network.member import ZoneKeys
from network.store import Row, table

SETTLEMENT_ACCOUNT: Final = "settlement:network"
"""What the issuer owes the network for the day's sales: a liability."""

CASH_ACCOUNT: Final = "cash:deposits"
"""Where money paid into cardholders' accounts is kept: an asset."""

ECASH_PREFIX: Final = "ecash:"
"""Before an account's id: the ledger account of what its holder's cards carry as e-cash, a liability."""

ACTIVE: Final = "active"
LOST: Final = "lost"
STOLEN: Final = "stolen"
BLOCKED: Final = "blocked"
PICK_UP: Final = "pick_up"
CARD_STATUSES: Final = (ACTIVE, LOST, STOLEN, BLOCKED, PICK_UP)

APPROVED: Final = "approved"
DECLINED: Final = "declined"
REVERSED: Final = "reversed"
TOMBSTONE: Final = "tombstone"
"""An authorisation's states. A tombstone stands for an original that was reversed before it came."""


@table("account", key="account_id", cached=True)
class Account(Row):
    """A cardholder's account.

    `account_type` is what DE54 calls it: 10 savings, 20 cheque, 30 credit. `credit_limit` (fen) is how far below
    zero the balance may go: available is the ledger balance and the credit limit together.
    """

    account_id: str
    account_type: str
    credit_limit: int
    opened_at: int


@table("key_set", key="key_set_id", cached=True)
class KeySet(Row):
    """The issuer's keys for a range of cards, as key blocks under the module's storage key.

    Issuer master keys for application cryptograms (triple DES, and SM4 where such cards are issued), card
    verification key, PIN verification key.
    """

    key_set_id: str
    imk_ac: str
    imk_ac_sm4: str | None
    cvk: str
    pvk: str


@table("storage_key", key="purpose", cached=True)
class StorageKey(Row):
    """A key that protects rows: ``seal`` enciphers PANs, ``index`` makes what they are looked up by."""

    purpose: str
    block: str


@table(
    "card",
    key="pan_index",
    mutable=(
        "status",
        "pin_tries_left",
        "highest_atc",
        "sale_limit",
        "daily_amount_limit",
        "daily_count_limit",
        "used_on",
        "used_amount",
        "used_count",
    ),
    cached=True,
)
class Card(Row):
    """A card.

    Attributes
    ----------
    pan_index : str
        Keyed index of the PAN, hexadecimal.
    sealed_pan : bytes
        The PAN, enciphered; its context is the index.
    sequence : str
        PAN sequence number, three digits as DE23 has it.
    expiry : str
        YYMM; good until the end of that month.
    service_code : str
        Three digits, as on the track.
    is_chip, manual_entry : int
        1 where the card has a chip; 1 where its number may be keyed in (DE22 01).
    pin_offset : str
        IBM 3624 offset, as many digits as the PIN has. It stands for the whole PIN; a PVV would for four digits only.
    pin_tries_left : int
        Wrong PINs that are still allowed.
    highest_atc : int
        The highest application transaction counter that came with a right cryptogram; -1 before the first.
    pin_free_limit : int
        The largest sale without a PIN, fen. 1000 CNY is the network's limit for small payments; cards whose holders
        sign, or are verified on their own device, have more.
    sale_limit, daily_amount_limit : int
        Fen in one sale, and in all sales of a local day.
    daily_count_limit : int
        Sales in a local day.
    used_on : int
        The local day, YYYYMMDD, that `used_amount` and `used_count` are of.
    """

    pan_index: str
    sealed_pan: bytes
    sequence: str
    expiry: str
    service_code: str
    is_chip: int
    manual_entry: int
    account_id: str
    key_set_id: str
    status: str
    pin_offset: str
    pin_tries_left: int
    highest_atc: int
    pin_free_limit: int
    sale_limit: int
    daily_amount_limit: int
    daily_count_limit: int
    used_on: int
    used_amount: int
    used_count: int


@table("authorisation", key="reference", mutable=("status", "reversal_code", "reversed_at"))
class Authorisation(Row):
    """What was decided on a request, enough of it to answer the request again.

    Attributes
    ----------
    reference : str
        The request's identity (`network.member.reference`); it grows with time.
    mti, processing_code : str
        Of the request; of a tombstone, what DE90 and DE3 of the reversal say.
    status : str
        `APPROVED`, `DECLINED`, `REVERSED` or `TOMBSTONE`.
    response_code : str
        DE39 as answered; 25 of a tombstone.
    pan_index : str
        Of a tombstone, the reversal's.
    account_id : str or None
        What was or would have been debited, of a card's own approval its e-cash; None where the card was unknown.
    amount : int
        Fen; 0 of a balance enquiry.
    auth_code : str or None
        DE38.
    issuer_authentication : bytes or None
        Tag 91: ARPC and ARC.
    account_type, ledger_balance, available_balance
        DE54 as answered, fen after this transaction; None unless approved.
    settlement_date : str
        DE15, MMDD.
    used_on : int
        The local day whose limits were used, YYYYMMDD.
    rrn, terminal_id, merchant_id : str
        DE37, 41, 42.
    decided_at, reversed_at : int, int or None
        Instants.
    reversal_code : str or None
        DE39 with which a reversal was answered.
    token_payment : str or None
        The `TokenPayment`, where the payer's phone stood for the card.
    """

    reference: str
    mti: str
    processing_code: str
    status: str
    response_code: str
    pan_index: str
    account_id: str | None
    amount: int
    currency: str
    auth_code: str | None
    issuer_authentication: bytes | None
    account_type: str | None
    ledger_balance: int | None
    available_balance: int | None
    settlement_date: str
    used_on: int
    rrn: str
    terminal_id: str
    merchant_id: str
    decided_at: int
    reversed_at: int | None
    reversal_code: str | None
    token_payment: str | None = None


TABLES: Final[tuple[type[Row], ...]] = (
    ZoneKeys,
    *LEDGER_TABLES,
    Account,
    KeySet,
    StorageKey,
    Card,
    Authorisation,
    *TOKEN_TABLES,
    IssuerCertificate,
)
