"""The issuer's rows for tokens on payers' phones, for what it asks of the switch, and for offline sales.

Token numbers are stored sealed and found by their index, as PANs are.
"""

from __future__ import annotations

from typing import Final

from network.store import Row, table

IN_USE: Final = "active"
SUSPENDED: Final = "suspended"
DELETED: Final = "deleted"
"""A token's states. What was deleted stays deleted."""

CONTACTLESS: Final = "contactless"
CODE: Final = "code"
DOMAINS: Final = (CONTACTLESS, CODE)
"""Where a token may be used."""

PENDING: Final = "pending"
ANSWERED: Final = "answered"
GIVEN_UP: Final = "given_up"
"""States of a question to the switch."""


@table("wallet", key="wallet_id", mutable=("token_index", "asked"), cached=True)
class Wallet(Row):
    """A payer's phone that asked for a token of a card.

    Attributes
    ----------
    wallet_id : str
        Hash of its public key and the card's index, hexadecimal: the same wallet asks for the same token again.
    public_key : bytes
        DER SubjectPublicKeyInfo, P-256: what its commands are signed with and limited-use keys are enveloped for.
    domains : str
        As wanted, separated by a comma.
    token_index : str or None
        Its token; None until the switch has made one.
    asked : str or None
        The `Question` for the token that is under way or was answered last.
    """

    wallet_id: str
    public_key: bytes
    pan_index: str
    domains: str
    token_index: str | None
    asked: str | None


@table(
    "token",
    key="token_index",
    indexed=("pan_index",),
    mutable=(
        "status",
        "told",
        "highest_atc",
        "first_key",
        "end_key",
        "command_counter",
        "payments",
        "code_used_on",
        "code_used_amount",
    ),
    cached=True,
)
class Token(Row):
    """A token that stands for a card on one phone.

    Attributes
    ----------
    token_index : str
        Keyed index of the token's number, hexadecimal; what operators and wallets call the token by.
    sealed_token : bytes
        The number, enciphered; its context is the index.
    pan_index : str
        The card's.
    wallet_id : str
        The wallet it is on.
    sequence : str
        Sequence number in the derivation of its key, two digits.
    expiry : str
        YYMM, as the switch gave it.
    domains : str
        `DOMAINS` it may be used in, separated by a comma.
    status : str
        `IN_USE`, `SUSPENDED` or `DELETED`: the issuer's word, in force at once.
    told : str
        The status that the switch has confirmed last.
    uses_per_key : int
        Transaction counters that a limited-use key is good for.
    first_key, end_key : int
        Limited-use keys from the first to before the end are issued and not revoked.
    highest_atc : int
        The highest counter that came with a right cryptogram; 0 before the first.
    command_counter : int
        Counter of the wallet's latest command.
    payments : int
        How many `TokenPayment` rows there are.
    code_used_on, code_used_amount : int
        The local day, YYYYMMDD, and what was paid by code on it, fen.
    """

    token_index: str
    sealed_token: bytes
    pan_index: str
    wallet_id: str
    sequence: str
    expiry: str
    domains: str
    status: str
    told: str
    uses_per_key: int
    first_key: int
    end_key: int
    highest_atc: int
    command_counter: int
    payments: int
    code_used_on: int
    code_used_amount: int
    issued_at: int


@table("token_payment", key="payment_id")
class TokenPayment(Row):
    """That an authorisation was one of a token: what the payer's phone is told of.

    Attributes
    ----------
    payment_id : str
        The token's index and a count, so that the latest are found by their keys.
    reference : str
        Of the `Authorisation`.
    domain : str
        One of `DOMAINS`.
    order_number : str or None
        The order that was paid.
    """

    payment_id: str
    token_index: str
    reference: str
    domain: str
    order_number: str | None

    @staticmethod
    def key(token_index: str, number: int) -> str:
        """The key of a token's payment number `number`, counted from 1."""
        return f"{token_index}/{number:08d}"


@table(
    "question",
    key="question_id",
    indexed=("status=pending",),
    mutable=("status", "tries", "response_code", "answered_at"),
)
class Question(Row):
    """A 0600 to the switch: everything that it takes to send it again, and how it ended.

    Attributes
    ----------
    question_id : str
        Year, DE7 and DE11 as sent: its identity, which grows with time.
    function : str
        DE3.
    subject : str
        What it is about: of a new token the `Wallet`, else the `Token`.
    amount, order_number
        DE4 in fen and DE102 where an order is paid.
    status : str
        `PENDING`, `ANSWERED` or `GIVEN_UP`.
    tries : int
        How often it was sent.
    response_code : str or None
        DE39 of the answer.
    """

    question_id: str
    function: str
    transmission: str
    stan: str
    subject: str
    amount: int | None
    order_number: str | None
    status: str
    tries: int
    response_code: str | None
    asked_at: int
    answered_at: int | None


@table("counter", key="name", mutable=("value",), cached=True)
class Counter(Row):
    """A number that must not start again with the process."""

    name: str
    value: int


@table("offline_sale", key="offline_sale_id")
class OfflineSale(Row):
    """A transaction certificate that was redeemed.

    Attributes
    ----------
    offline_sale_id : str
        The card's index and the transaction counter: a certificate is redeemed once.
    reference : str
        Of the `Authorisation`.
    overdrawn : int
        1 where the e-cash account did not hold the amount: the card's promise is kept, and somebody should look.
    """

    offline_sale_id: str
    pan_index: str
    reference: str
    amount: int
    overdrawn: int
    redeemed_at: int

    @staticmethod
    def key(pan_index: str, counter: int) -> str:
        """The key of what the card promised under a transaction counter."""
        return f"{pan_index}/{counter:05d}"


TOKEN_TABLES: Final[tuple[type[Row], ...]] = (Wallet, Token, TokenPayment, Question, Counter, OfflineSale)
