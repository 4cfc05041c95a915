"""What the issuer asks of the switch (0600) and how it is answered (0610): tokens, codes, orders.

A question is a row before it is sent, is sent again with the same identity while no answer comes, and is taken up again
after a crash. That a token changed its status is said until it is answered; what a person waits for is given up after
some tries. Answers A0 and 77 say that the member link is not in order: the question stays and the issuer signs on anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from issuer.configuration import Configuration
from issuer.installation import SEAL_KEY, storage_key
from issuer.tables import Card
from issuer.token_tables import ANSWERED, GIVEN_UP, PENDING, Counter, Question, Token, Wallet
from network.iso8583 import Message
from network.keys import SecurityModule
from network.member import MemberSession, ZoneKeys, pack_with_mac, reference
from network.party import SECOND, CommandError, Turn

PROVISION: Final = "910000"
SUSPEND: Final = "920000"
RESUME: Final = "921000"
DELETE: Final = "922000"
MAKE_CODE: Final = "930000"
PAY_ORDER: Final = "940000"
"""DE3 of a 0600 (docs/protocol.md)."""

STATUS_FUNCTIONS: Final = frozenset((SUSPEND, RESUME, DELETE))

MAX_PENDING: Final = 1000
"""Questions under way at a time. More are refused, but for changes of status."""

MAX_OF_SUBJECT: Final = 4
"""Of these, about one token or wallet: nobody can take them all for himself."""

_LINK_NOT_IN_ORDER: Final = ("A0", "77")
_NO_ANSWER_YET: Final = (*_LINK_NOT_IN_ORDER, "96")

Answered = Callable[[Turn, Question, Mapping[int, str] | None], None]
"""Told of every question that ended: with the answer's elements, or None where it was given up."""


class Questions:
    """Asks the switch, sees to it that answers come, and hands them on.

    Parameters
    ----------
    configuration : Configuration
    module : SecurityModule
    session : MemberSession
        The issuer's, for its link and header.
    answered : callable
        Told in the turn in which a question ends.
    """

    TIMER: Final = "question"

    def __init__(
        self, configuration: Configuration, module: SecurityModule, session: MemberSession, answered: Answered
    ) -> None:
        self._configuration = configuration
        self._module = module
        self._session = session
        self._answered = answered
        self._retry = round(configuration.advice_retry * SECOND)
        # identities of what is pending and what it is about; None where it must be read again
        self._pending: dict[str, tuple[str, str, str | None]] | None = None
        self._was_ready = False

    def start(self, turn: Turn) -> None:
        """First turn of a process: what is pending is asked again when the switch can be reached."""
        for question_id in self._under_way(turn):
            turn.timer((self.TIMER, question_id), turn.now + self._retry)

    def rolled_back(self) -> None:
        """Forget what is remembered of the rows."""
        self._pending = None
        self._was_ready = False

    def is_under_way(
        self, turn: Turn, subject: str, functions: frozenset[str], order_number: str | None = None
    ) -> bool:
        """Whether a question of one of these functions about this subject (and order) is pending."""
        return any(
            (about, order) == (subject, order_number) and function in functions
            for function, about, order in self._under_way(turn).values()
        )

    def ask(
        self, turn: Turn, function: str, subject: str, *, amount: int | None = None, order_number: str | None = None
    ) -> Question:
        """Ask in this turn.

        Parameters
        ----------
        function : str
            DE3.
        subject : str
            Of `PROVISION` the wallet's id, else the token's index.
        amount, order_number
            For `PAY_ORDER`.

        Raises
        ------
        CommandError
            Somebody waits for the answer, and the switch cannot be reached or too much is under way.
        """
        pending = self._under_way(turn)
        if function not in STATUS_FUNCTIONS:
            if not self._session.ready:
                raise CommandError("the switch cannot be reached")
            if len(pending) >= MAX_PENDING:
                raise CommandError("too many questions to the switch are under way")
            if sum(about == subject for _, about, _ in pending.values()) >= MAX_OF_SUBJECT:
                raise CommandError("too many questions about this token are under way")
        transmission, stan = turn.local.strftime("%m%d%H%M%S"), self._next_stan(turn)
        identity = reference(turn.local.year, turn.local.month, transmission, stan, self._configuration.issuer_id)
        question = Question(
            identity,
            function,
            transmission,
            stan,
            subject,
            amount,
            order_number,
            PENDING,
            0,
            None,
            turn.now,
            None,
        )
        turn.store.insert(question)
        pending[identity] = function, subject, order_number
        self._send(turn, question)
        return question

    def received(self, turn: Turn, message: Message) -> str | None:
        """Take a 0610 whose DE128 is right; tells why it counts for nothing, where it does."""
        fields = {number: value for number, value in message.fields.items() if isinstance(value, str)}
        local = turn.local
        try:
            identity = reference(local.year, local.month, fields[7], fields[11], self._configuration.issuer_id)
            code = fields[39]
        except KeyError:
            return "an answer without DE7, DE11 or DE39"
        question = turn.store.find(Question, "question_id", identity)
        if question is None or question.function != fields.get(3):
            return "an answer to no question"
        if question.status != PENDING:
            return "an answer that came before"
        if code in _LINK_NOT_IN_ORDER and self._session.link is not None and self._session.wanted:
            self._session.sign_on(turn, self._session.link)
        if code not in _NO_ANSWER_YET:
            self._end(turn, question, ANSWERED, code)
            self._answered(turn, question, fields)
        return None

    def due(self, turn: Turn, question_id: str) -> None:
        """No answer came in time."""
        question = turn.store.find(Question, "question_id", question_id)
        if question is None or question.status != PENDING:
            return
        is_awaited = question.function not in STATUS_FUNCTIONS
        if is_awaited and (
            question.tries >= self._configuration.administrative_tries or self._is_stale(turn, question)
        ):
            self._end(turn, question, GIVEN_UP, None)
            self._answered(turn, question, None)
            return
        self._send(turn, question)

    def link_may_be_ready(self, turn: Turn) -> None:
        """At a turn's end: where the member link has just become ready, what waits is sent at once."""
        ready, before = self._session.ready, self._was_ready
        self._was_ready = ready
        if ready and not before:
            for question_id in list(self._under_way(turn)):
                self.due(turn, question_id)

    def _is_stale(self, turn: Turn, question: Question) -> bool:
        """Whether it has waited, sent or not, as long as all its tries may take."""
        return turn.now >= question.asked_at + self._retry * self._configuration.administrative_tries

    def _end(self, turn: Turn, question: Question, status: str, code: str | None) -> None:
        turn.store.change(question)
        question.status, question.response_code, question.answered_at = status, code, turn.now
        self._under_way(turn).pop(question.question_id, None)
        turn.timer((self.TIMER, question.question_id), None)

    def _send(self, turn: Turn, question: Question) -> None:
        turn.timer((self.TIMER, question.question_id), turn.now + self._retry)
        zone = turn.store.find(ZoneKeys, "zone", self._configuration.switch_id)
        link = self._session.link
        if not self._session.ready or link is None or zone is None or zone.mac_key is None:
            return
        turn.store.change(question)
        question.tries += 1
        message = Message("0600", self._elements(turn, question), self._session.header)
        turn.send(link, pack_with_mac(message, self._module, self._module.load(zone.mac_key)))

    def _elements(self, turn: Turn, question: Question) -> dict[int, str | bytes]:
        fields: dict[int, str | bytes] = {
            3: question.function,
            7: question.transmission,
            11: question.stan,
            33: self._configuration.issuer_id,
        }
        store = turn.store
        seal_key = storage_key(store, self._module, SEAL_KEY)
        if question.function == PROVISION:
            wallet = store.find(Wallet, "wallet_id", question.subject)
            card = None if wallet is None else store.find(Card, "pan_index", wallet.pan_index)
            if wallet is None or card is None:
                raise LookupError("a question's wallet or card is not there")
            pan = self._module.unseal(seal_key, card.sealed_pan, card.pan_index.encode("ascii"))
            fields |= {2: pan.decode("ascii"), 14: card.expiry, 48: wallet.domains}
        else:
            token = store.find(Token, "token_index", question.subject)
            if token is None:
                raise LookupError("a question's token is not there")
            number = self._module.unseal(seal_key, token.sealed_token, token.token_index.encode("ascii"))
            fields[103] = number.decode("ascii")
        if question.amount is not None and question.order_number is not None:
            fields |= {4: f"{question.amount:012d}", 102: question.order_number}
        return dict(sorted(fields.items()))

    def _next_stan(self, turn: Turn) -> str:
        counter = turn.store.find(Counter, "name", "stan")
        if counter is None:
            counter = Counter("stan", 0)
            turn.store.insert(counter)
        turn.store.change(counter)
        counter.value = counter.value % 999_999 + 1
        return f"{counter.value:06d}"

    def _under_way(self, turn: Turn) -> dict[str, tuple[str, str, str | None]]:
        if self._pending is None:
            # bounded by the number of tokens besides: each has at most one change of status under way
            rows = turn.store.scan(Question, "status", PENDING, 1_000_000)
            self._pending = {row.question_id: (row.function, row.subject, row.order_number) for row in rows}
        return self._pending
