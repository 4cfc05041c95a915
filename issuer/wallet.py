"""Tokens and the wallets they are on: what operators and payers' phones may ask of the issuer.

The operator's: a token is made for a card whose holder the bank has identified, suspended, resumed, deleted, or its
keys are revoked. The wallet's, each signed by it (`issuer.wallet_proof`): more limited-use keys, a payer's code, an
order paid, and how its payments ended. Some of them ask the switch and are answered in a later turn.

A status is in force here with the command; the switch is told, and told again, one change of a token at a time, so that
no late message can undo a later one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Final

from issuer.arguments import number_of, text_of
from issuer.configuration import Configuration
from issuer.installation import INDEX_KEY, SEAL_KEY, pan_index, storage_key
from issuer.questions import (
    DELETE,
    MAKE_CODE,
    PAY_ORDER,
    PROVISION,
    RESUME,
    STATUS_FUNCTIONS,
    SUSPEND,
    Questions,
)
from issuer.tables import ACTIVE, Authorisation, Card
from issuer.token_keys import current_key, keys_for_wallet, provisioned
from issuer.token_tables import (
    DELETED,
    DOMAINS,
    IN_USE,
    SUSPENDED,
    Question,
    Token,
    TokenPayment,
    Wallet,
)
from issuer.wallet_proof import ProofError, check_signature, wallet_key
from network.emv.qr import MAX_FEN, MAX_TEXT, MerchantCode, QrError
from network.keys import SecurityModule
from network.keys.limited_use import LAST_KEY_NUMBER
from network.member import MemberSession
from network.party import SECOND, Command, CommandError, Json, Turn

KEY_SEQUENCE: Final = "00"
"""Sequence number in the derivation of a token's key."""

CODE_SECONDS: Final = 60
"""How long a payer's code is good."""

MAX_PAYMENTS: Final = 50
MAX_COMMANDS: Final = 2**53
"""The highest counter of a wallet's commands: what every JSON reader keeps exactly."""

OPERATIONS: Final[Mapping[str, tuple[str, str]]] = {
    "provision_token": ("POST", "/tokens"),
    "suspend_token": ("POST", "/tokens/suspend"),
    "resume_token": ("POST", "/tokens/resume"),
    "delete_token": ("POST", "/tokens/delete"),
    "revoke_keys": ("POST", "/tokens/revoke-keys"),
    "replenish": ("POST", "/wallet/replenish"),
    "request_code": ("POST", "/wallet/code"),
    "pay_order": ("POST", "/wallet/pay"),
    "payments": ("POST", "/wallet/payments"),
}
"""Operations over tokens, which are commands of the party too: method and path of their routes.

Those below ``/wallet/`` are the wallet's own and need its signature, all others the operator's token.
"""

_FUNCTION_OF: Final = {SUSPENDED: SUSPEND, IN_USE: RESUME, DELETED: DELETE}
_STATUS_OF: Final = {function: status for status, function in _FUNCTION_OF.items()}

_Order = Callable[[Turn, Command], Json | None]


class WalletDesk:
    """Obeys the commands over tokens; some are answered in a later turn.

    Parameters
    ----------
    configuration : Configuration
    module : SecurityModule
    session : MemberSession
        The issuer's, to ask the switch over.
    """

    def __init__(self, configuration: Configuration, module: SecurityModule, session: MemberSession) -> None:
        self._configuration = configuration
        self._module = module
        self.questions = Questions(configuration, module, session, self._answered)
        self.orders: dict[str, _Order] = {
            "provision_token": self._provision,
            "suspend_token": lambda turn, command: self._set_status(turn, command, SUSPENDED),
            "resume_token": lambda turn, command: self._set_status(turn, command, IN_USE),
            "delete_token": lambda turn, command: self._set_status(turn, command, DELETED),
            "revoke_keys": self._revoke_keys,
            "replenish": self._replenish,
            "request_code": self._request_code,
            "pay_order": self._pay_order,
            "payments": self._payments,
        }
        # tickets of those who wait, by question; what a turn did to it is undone where the turn is lost
        self._waiting: dict[str, list[int]] = {}
        self._joined: list[tuple[str, int]] = []
        self._left: list[str] = []

    def begin(self) -> None:
        """A turn begins: the one before was committed."""
        for question_id in self._left:
            self._waiting.pop(question_id, None)
        self._left.clear()
        self._joined.clear()

    def rolled_back(self) -> None:
        """Nobody waits because of a turn that was lost, and nobody was answered in it."""
        for question_id, ticket in self._joined:
            tickets = self._waiting.get(question_id, [])
            if ticket in tickets:
                tickets.remove(ticket)
            if not tickets:
                self._waiting.pop(question_id, None)
        self._joined.clear()
        self._left.clear()
        self.questions.rolled_back()

    # the operator's

    def _provision(self, turn: Turn, command: Command) -> Json | None:
        arguments = command.arguments
        card = self._card(turn, arguments)
        try:
            public_key = wallet_key(text_of(arguments, "wallet_public_key", 300))
        except ProofError as error:
            raise CommandError(f"wallet_public_key: {error}") from None
        wanted = arguments.get("domains")
        if not isinstance(wanted, list | tuple) or not wanted or any(one not in DOMAINS for one in wanted):
            raise CommandError(f"domains: one or both of {', '.join(DOMAINS)}")
        domains = ",".join(domain for domain in DOMAINS if domain in wanted)
        if card.status != ACTIVE:
            raise CommandError("the card is not active")
        if card.expiry < turn.local.strftime("%y%m"):
            raise CommandError("the card is expired")
        wallet_id = hashlib.sha256(public_key + card.pan_index.encode("ascii")).hexdigest()[:32]
        wallet = turn.store.find(Wallet, "wallet_id", wallet_id)
        if wallet is None:
            wallet = Wallet(wallet_id, public_key, card.pan_index, domains, None, None)
            turn.store.insert(wallet)
        if wallet.domains != domains:
            raise CommandError("this wallet's token is for other domains")
        if wallet.token_index is not None:
            token = self._token_of(turn, wallet.token_index)
            if token.status == DELETED:
                raise CommandError("this wallet's token was deleted: it needs a new key")
            return provisioned(turn, self._module, token, wallet)
        if wallet.asked is None or not self.questions.is_under_way(turn, wallet_id, frozenset((PROVISION,))):
            turn.store.change(wallet)
            wallet.asked = self.questions.ask(turn, PROVISION, wallet_id).question_id
        self._wait(wallet.asked, command)
        return None

    def _set_status(self, turn: Turn, command: Command, status: str) -> Json:
        token = self._token(turn, command.arguments)
        if token.status == DELETED and status != DELETED:
            raise CommandError("the token was deleted")
        turn.store.change(token)
        token.status = status
        self._tell(turn, token)
        return {"token_id": token.token_index, "status": token.status}

    def _tell(self, turn: Turn, token: Token) -> None:
        """Tell the switch of the token's status, unless it knows or is being told of another one just now."""
        if token.status != token.told and not self.questions.is_under_way(turn, token.token_index, STATUS_FUNCTIONS):
            self.questions.ask(turn, _FUNCTION_OF[token.status], token.token_index)

    def _revoke_keys(self, turn: Turn, command: Command) -> Json:
        token = self._token(turn, command.arguments)
        turn.store.change(token)
        token.first_key = token.end_key
        return {"token_id": token.token_index, "first_key": token.first_key}

    # the wallet's

    def _replenish(self, turn: Turn, command: Command) -> Json:
        token, wallet = self._signed(turn, command)
        self._must_be_in_use(token)
        last = number_of(command.arguments, "last", LAST_KEY_NUMBER, minimum=-1)
        if last >= token.end_key:
            raise CommandError("last: a key that was not issued")
        good = max(token.first_key, current_key(token))  # keys before it are used up or revoked
        first = max(last + 1, good)
        end = min(first + self._configuration.keys_at_once, 0xFFFF // token.uses_per_key)
        if end - good > self._configuration.keys_outstanding:
            raise CommandError("the wallet has keys enough")
        if first >= end:
            raise CommandError("the token has used up its transaction counters")
        turn.store.change(token)
        token.first_key = good
        token.end_key = max(token.end_key, end)
        return keys_for_wallet(turn, self._module, token, wallet, first, end)

    def _request_code(self, turn: Turn, command: Command) -> Json | None:
        token, _ = self._signed(turn, command)
        self._must_be_in_use(token)
        _must_be_verified(command.arguments)
        self._wait(self.questions.ask(turn, MAKE_CODE, token.token_index).question_id, command)
        return None

    def _pay_order(self, turn: Turn, command: Command) -> Json | None:
        token, _ = self._signed(turn, command)
        self._must_be_in_use(token)
        _must_be_verified(command.arguments)
        code = _merchant_code(command.arguments)
        if code.order is None or code.order[:8] != code.acquirer_id:
            raise CommandError("the code names no order of its acquirer")
        if code.currency != self._configuration.currency:
            raise CommandError("the code asks for another currency")
        stated = command.arguments.get("amount")
        amount = code.amount
        if stated is not None or amount is None:
            amount = number_of(command.arguments, "amount", MAX_FEN, minimum=1)
        if code.amount is not None and amount != code.amount:
            raise CommandError("amount: not that of the code")
        if self.questions.is_under_way(turn, token.token_index, frozenset((PAY_ORDER,)), code.order):
            raise CommandError("this order's payment is under way")
        question = self.questions.ask(turn, PAY_ORDER, token.token_index, amount=amount, order_number=code.order)
        self._wait(question.question_id, command)
        return None

    def _payments(self, turn: Turn, command: Command) -> Json:
        token, _ = self._signed(turn, command)
        limit = number_of(command.arguments, "limit", MAX_PAYMENTS, minimum=1, default=10)
        newest = range(token.payments, max(0, token.payments - limit), -1)
        keys = [TokenPayment.key(token.token_index, number) for number in newest]
        noted = turn.store.load(TokenPayment, "payment_id", keys)
        payments = [payment for key in keys if (payment := noted[key]) is not None]
        rows = turn.store.load(Authorisation, "reference", [payment.reference for payment in payments])
        return {
            "token_id": token.token_index,
            "status": token.status,
            "payments": [
                _payment(row, payment) for payment in payments if (row := rows[payment.reference]) is not None
            ],
        }

    # what the switch says

    def _answered(self, turn: Turn, question: Question, fields: Mapping[int, str] | None) -> None:
        """A question ended."""
        result: Json | CommandError
        if question.function in STATUS_FUNCTIONS:
            self._told(turn, question)
            return
        try:
            if fields is None:
                raise CommandError("the switch did not answer")
            if question.function == PROVISION:
                result = self._token_made(turn, question, fields)
            elif question.function == MAKE_CODE:
                result = _code_made(question, fields)
            else:
                result = {
                    "response_code": fields[39],
                    "order": question.order_number,
                    "amount": question.amount,
                }
        except CommandError as error:
            result = error
        for ticket in self._waiting.get(question.question_id, ()):
            turn.answer(ticket, result)
        self._left.append(question.question_id)

    def _told(self, turn: Turn, question: Question) -> None:
        token = self._token_of(turn, question.subject)
        told = _STATUS_OF[question.function]
        if question.response_code == "00":
            turn.store.change(token)
            token.told = told
        # what was refused is not said again and again; what changed meanwhile is said now
        if token.status != told:
            self._tell(turn, token)

    def _token_made(self, turn: Turn, question: Question, fields: Mapping[int, str]) -> Json:
        if fields[39] != "00":
            raise CommandError(f"the switch made no token: {fields[39]}")
        number, expiry = fields.get(103, ""), fields.get(14, "")
        if not (13 <= len(number) <= 19 and number.isascii() and number.isdigit() and len(expiry) == 4):
            raise CommandError("the switch made a token that is none")
        store = turn.store
        wallet = store.find(Wallet, "wallet_id", question.subject)
        if wallet is None:
            raise LookupError("a token's wallet is not there")
        index = pan_index(self._module, storage_key(store, self._module, INDEX_KEY), number)
        if store.find(Token, "token_index", index) is not None:
            raise CommandError("the switch made a token that is another wallet's")
        token = Token(
            token_index=index,
            sealed_token=self._module.seal(
                storage_key(store, self._module, SEAL_KEY), number.encode("ascii"), index.encode("ascii")
            ),
            pan_index=wallet.pan_index,
            wallet_id=wallet.wallet_id,
            sequence=KEY_SEQUENCE,
            expiry=expiry,
            domains=wallet.domains,
            status=IN_USE,
            told=IN_USE,
            uses_per_key=self._configuration.uses_per_key,
            first_key=0,
            end_key=self._configuration.keys_at_once,
            highest_atc=0,
            command_counter=0,
            payments=0,
            code_used_on=0,
            code_used_amount=0,
            issued_at=turn.now,
        )
        store.insert(token)
        store.change(wallet)
        wallet.token_index = index
        return provisioned(turn, self._module, token, wallet)

    # who and what is meant

    def _signed(self, turn: Turn, command: Command) -> tuple[Token, Wallet]:
        """The token of a wallet's command, once the wallet has proved that the command is its own and new."""
        token = self._token(turn, command.arguments)
        wallet = turn.store.find(Wallet, "wallet_id", token.wallet_id)
        if wallet is None:
            raise LookupError("a token's wallet is not there")
        counter = number_of(command.arguments, "counter", MAX_COMMANDS, minimum=1)
        try:
            check_signature(wallet.public_key, command.name, command.arguments)
        except ProofError as error:
            raise CommandError(str(error)) from None
        if counter <= token.command_counter:
            raise CommandError("counter: it was used")
        turn.store.change(token)
        token.command_counter = counter
        return token, wallet

    @staticmethod
    def _must_be_in_use(token: Token) -> None:
        if token.status != IN_USE:
            raise CommandError(f"the token is {token.status}")

    def _card(self, turn: Turn, arguments: Mapping[str, Json]) -> Card:
        index_key = storage_key(turn.store, self._module, INDEX_KEY)
        card = turn.store.find(Card, "pan_index", pan_index(self._module, index_key, text_of(arguments, "pan", 19)))
        if card is None:
            raise CommandError("there is no card of this number")
        return card

    def _token(self, turn: Turn, arguments: Mapping[str, Json]) -> Token:
        """The token named by its number or by its id."""
        name = text_of(arguments, "token", 32)
        if len(name) < 32:
            name = pan_index(self._module, storage_key(turn.store, self._module, INDEX_KEY), name)
        token = turn.store.find(Token, "token_index", name)
        if token is None:
            raise CommandError("there is no such token")
        return token

    @staticmethod
    def _token_of(turn: Turn, token_index: str) -> Token:
        token = turn.store.find(Token, "token_index", token_index)
        if token is None:
            raise LookupError("a token that was named by a row is not there")
        return token

    def _wait(self, question_id: str, command: Command) -> None:
        """The command is answered when its question is."""
        self._waiting.setdefault(question_id, []).append(command.ticket)
        self._joined.append((question_id, command.ticket))


def _code_made(question: Question, fields: Mapping[int, str]) -> Json:
    if fields[39] != "00" or 102 not in fields:
        raise CommandError(f"the switch made no code: {fields[39]}")
    return {"code": fields[102], "expires": question.asked_at + CODE_SECONDS * SECOND}


def _payment(row: Authorisation, payment: TokenPayment) -> dict[str, Json]:
    return {
        "reference": row.reference,
        "status": row.status,
        "response_code": row.response_code,
        "amount": row.amount,
        "currency": row.currency,
        "domain": payment.domain,
        "order": payment.order_number,
        "auth_code": row.auth_code,
        "rrn": row.rrn,
        "merchant_id": row.merchant_id,
        "terminal_id": row.terminal_id,
        "decided_at": row.decided_at,
    }


def _merchant_code(arguments: Mapping[str, Json]) -> MerchantCode:
    try:
        return MerchantCode.parse(text_of(arguments, "text", MAX_TEXT))
    except QrError as error:
        raise CommandError(f"text: {error}") from None


def _must_be_verified(arguments: Mapping[str, Json]) -> None:
    """The wallet signs that its holder was verified on it: without that no money leaves by code."""
    if arguments.get("verified") is not True:
        raise CommandError("verified: the holder was not verified on the phone")
