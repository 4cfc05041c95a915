"""The acquirer's turn: terminals on one side, the switch on the other, and phones that prove what they are.

A turn hears what came over the monitoring link first, so that a payment finds its phone attested. It then unpacks all
else that has arrived, loads the rows it needs with one query a table, and decides each message in
arrival order over them; then commands, then timers. Whatever comes from a link is junk until proved otherwise: it
is answered with a DE39 that says what is wrong, or dropped and counted in `dropped`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from acquirer.advice import Advices
from acquirer.claims import Claims, claim_of
from acquirer.configuration import Configuration
from acquirer.context import Context
from acquirer.devices import load_devices
from acquirer.downloads import Downloads
from acquirer.enrolment import RECEIVABLE, account_of, open_receivable
from acquirer.hot_cards import HotCards
from acquirer.mapping import batch_of, is_offline_sale, refusal_of_kind
from acquirer.monitoring import LINK_PREFIX, Monitoring
from acquirer.numbering import Moment
from acquirer.offline_sale import OfflineSales
from acquirer.onboarding import Onboarding
from acquirer.operations import Operations
from acquirer.orders import NEW_ORDER, Orders, needed_order, order_trace
from acquirer.reversal import Reversals, original_trace
from acquirer.sale import TIMER, Sales
from acquirer.tables import PENDING, Advice, Claim, Merchant, PaymentOrder, Terminal, Transaction
from acquirer.terminal_link import (
    TerminalRequest,
    is_sealed,
    management_code,
    refusal_of_sender,
    response_mti,
    trace_of,
)
from acquirer.terminal_sign_on import SignOns
from network.iso8583 import INTERBANK, TERMINAL, DecodeError, Message
from network.keys import SecurityModule
from network.ledger import LedgerAccount
from network.member import ECHO, MemberSession
from network.party import LinkName, Received, Standing, Turn
from network.store import Store, UnitOfWork

_MORE_PENDING = ("more-pending", "")


class _Arrived:
    """A message of this turn, and what it is about.

    `reference` is that of the transaction or advice that a switch's answer speaks of, `trace` that of a terminal's
    transaction; `fault` is set where only part of the message could be read.
    """

    __slots__ = ("body", "fault", "link", "message", "reference", "terminal_id", "trace")

    def __init__(self, link: LinkName, body: bytes, message: Message) -> None:
        self.link = link
        self.body = body
        self.message = message
        self.reference = ""
        self.terminal_id = ""
        self.trace = ""
        self.fault = False


class _Needed:
    """The keys of the rows that the messages of a turn are about."""

    __slots__ = ("advices", "claims", "new_orders", "orders", "references", "terminal_ids", "traces")

    def __init__(self) -> None:
        self.traces: list[str] = []
        self.references: list[str] = []
        self.advices: list[str] = []
        self.orders: list[str] = []
        self.new_orders: list[tuple[str, str]] = []
        self.claims: list[bytes] = []
        self.terminal_ids: set[str] = set()


class Acquirer:
    """The acquirer as a party.

    Parameters
    ----------
    configuration : Configuration
    module : SecurityModule
        Its own; no other party's keys can be opened with it.
    """

    def __init__(self, configuration: Configuration, module: SecurityModule) -> None:
        self.name = configuration.name
        self.configuration = configuration
        self._context = context = Context(configuration, module)
        self._advices = Advices(context)
        self._orders = Orders(context, self._advices)
        self._claims = Claims(context)
        self._sales = Sales(context, self._advices, self._orders)
        self._offline_sales = OfflineSales(context, self._advices)
        self._reversals = Reversals(context, self._advices)
        self._sign_ons = SignOns(context)
        hot_cards = HotCards(context)
        self._downloads = Downloads(context, hot_cards)
        self._operations = Operations(context, {**Onboarding(context).commands, **hot_cards.commands})
        self._monitoring = Monitoring(context, self._reversals)
        self._was_ready = False

    @property
    def dropped(self) -> Counter[str]:
        """Messages that were dropped, and answers that came to nothing, by reason."""
        return self._context.dropped

    @property
    def session(self) -> MemberSession:
        """The state of the link to the switch."""
        return self._context.switch.session

    def start(self, turn: Turn) -> None:
        """See `Party`: what was pending when the last process ended is awaited further, or times out at once."""
        self._context.begin()
        self._context.open_own_keys(turn.store)
        open_receivable(turn.store, self.configuration.currency)
        self._monitoring.start(turn)
        self._await_pending(turn)

    def rolled_back(self) -> None:
        """See `Party`."""
        self._context.rolled_back()
        self._operations.rolled_back()
        # whatever the turn set in motion when the link became ready is set in motion again
        self._was_ready = False

    def standing(self, store: Store) -> Standing:
        """See `Stationed`: without the switch every sale is declined."""
        return self.session.standing()

    def drain(self) -> None:
        """See `Stationed`: new sales are answered as while the switch cannot be reached."""
        self._context.switch.draining = True

    def awaits(self, store: UnitOfWork) -> bool:
        """See `Stationed`: sales that the switch has not answered."""
        return bool(store.scan(Transaction, "status", PENDING, 1))

    def turn(self, turn: Turn) -> None:
        """See `Party`."""
        context = self._context
        context.begin()
        self._operations.begin()
        session = context.switch.session
        for change in turn.link_changes:
            if change.link == context.switch.name:
                session.changed(turn, change, speaks_first=True)
        moment = Moment(turn)
        if turn.inbox:
            self._decide(turn, moment, turn.inbox)
        for command in turn.commands:
            self._operations.command(turn, command)
        if turn.due:
            self._due(turn, moment)
        ready = session.ready
        if ready and not self._was_ready:
            self._advices.release(turn)
        self._was_ready = ready

    def _decide(self, turn: Turn, moment: Moment, inbox: Sequence[Received]) -> None:
        context = self._context
        switch = context.switch.name
        arrived: list[_Arrived] = []
        needed = _Needed()
        for link, body in inbox:
            if link.startswith(LINK_PREFIX):
                self._monitoring.received(turn, moment, link, body)
                continue
            one = self._from_switch(moment, body, needed) if link == switch else self._from_terminal(link, body, needed)
            if one is not None:
                arrived.append(one)
        self._load(turn, needed)
        for one in arrived:
            if one.link == switch:
                self._switch_message(turn, moment, one)
            else:
                self._terminal_message(turn, moment, one)

    def _from_switch(self, moment: Moment, body: bytes, needed: _Needed) -> _Arrived | None:
        try:
            message = INTERBANK.unpack(body)
        except DecodeError:
            self.dropped["undecodable"] += 1
            return None
        one = _Arrived(self._context.switch.name, body, message)
        mti = message.mti
        fields = message.fields
        if mti in ("0210", "0430", "0230"):
            transmission, stan, acquirer = fields.get(7), fields.get(11), fields.get(32)
            if isinstance(transmission, str) and isinstance(stan, str) and isinstance(acquirer, str):
                one.reference = moment.reference(transmission, stan, acquirer)
                if mti != "0430":
                    needed.references.append(one.reference)
                if mti != "0210":
                    needed.advices.append(one.reference)
        elif mti == "0600" and (wanted := claim_of(fields)) is not None:
            needed.orders.append(wanted[0])
            needed.claims.append(self._context.code_index(*wanted))
        return one

    def _from_terminal(self, link: LinkName, body: bytes, needed: _Needed) -> _Arrived | None:
        try:
            one = _Arrived(link, body, TERMINAL.unpack(body))
        except DecodeError as error:
            if error.partial is None or 41 not in error.partial.fields:
                self.dropped["undecodable"] += 1
                return None
            one = _Arrived(link, body, error.partial)
            one.fault = True
        message = one.message
        fields = message.fields
        mti = message.mti
        if response_mti(mti) is None:
            self.dropped["answer from a terminal"] += 1
            return None
        terminal_id = fields.get(41)
        if isinstance(terminal_id, str):
            one.terminal_id = terminal_id
            needed.terminal_ids.add(terminal_id)
            if mti == "0400":
                one.trace = original_trace(terminal_id, message)
            else:
                stan = fields.get(11)
                if isinstance(stan, str):
                    one.trace = trace_of(terminal_id, batch_of(fields), stan)
            if one.trace and mti in ("0200", "0400", "0220"):
                needed.traces.append(one.trace)
            elif mti in ("0800", "0820"):
                self._from_management(one, needed)
        return one

    @staticmethod
    def _from_management(one: _Arrived, needed: _Needed) -> None:
        fields = one.message.fields
        code = management_code(fields)
        number = needed_order(fields, code)
        if number is not None:
            needed.orders.append(number)
        elif code == NEW_ORDER and one.trace:
            needed.new_orders.append((one.terminal_id, one.trace))

    def _load(self, turn: Turn, needed: _Needed) -> None:
        """Every row that the messages need, one query a table and index."""
        store = turn.store
        store.load(Transaction, "trace", needed.traces)
        rows = store.load(Transaction, "reference", needed.references)
        if needed.advices:
            store.load(Advice, "reference", needed.advices)
        if needed.claims:
            store.load(Claim, "code_index", needed.claims)
        if needed.orders:
            orders = store.load(PaymentOrder, "number", needed.orders)
            needed.terminal_ids.update(
                [order.terminal_id for number in needed.orders if (order := orders[number]) is not None]
            )
        answered = [row for reference in needed.references if (row := rows[reference]) is not None]
        self._load_parties(turn, needed.terminal_ids, answered)
        if needed.new_orders:
            terminals = store.load(Terminal, "terminal_id", ())
            traces = [(trace, terminals[terminal_id]) for terminal_id, trace in needed.new_orders]
            keys = [order_trace(trace, found.session) for trace, found in traces if found is not None]
            store.load(PaymentOrder, "trace", keys)

    @staticmethod
    def _load_parties(turn: Turn, terminal_ids: set[str], rows: Sequence[Transaction]) -> None:
        """Terminals, merchants and accounts, which stay in memory between turns; and the orders that the rows pay."""
        store = turn.store
        orders = [row.order_number for row in rows if row.order_number is not None]
        if orders:
            store.load(PaymentOrder, "number", orders)
        terminal_ids.update([row.terminal_id for row in rows])
        terminals = store.load(Terminal, "terminal_id", terminal_ids)
        known = [found for name in terminal_ids if (found := terminals[name]) is not None]
        merchant_ids = {terminal.merchant_id for terminal in known}
        store.load(Merchant, "merchant_id", merchant_ids)
        devices = [terminal.device_id for terminal in known if terminal.device_id is not None]
        if devices:
            load_devices(store, devices)
        accounts = [account_of(merchant_id) for merchant_id in merchant_ids]
        store.load(LedgerAccount, "account_id", [RECEIVABLE, *accounts])

    def _switch_message(self, turn: Turn, moment: Moment, one: _Arrived) -> None:
        context = self._context
        message = one.message
        if context.switch.session.handle(turn, one.link, message):
            if message.mti == "0830" and message.fields.get(70) == ECHO:
                self._operations.echoed(turn, message)
            return
        mti = message.mti
        if mti not in ("0210", "0430", "0230", "0600"):
            self.dropped["unexpected from the switch"] += 1
            return
        context.switch.keys_refused(turn, message)
        fault = context.switch.fault_of(turn, message)
        if mti == "0600" and fault in (None, "mac"):
            self._claims.request(turn, moment, message, fault)
            return
        if fault is None and not one.reference:
            fault = "unmatched"
        if fault is not None:
            self.dropped[fault] += 1
            turn.note("answer not believed", one.reference, fault=fault, mti=mti)
        elif mti == "0210":
            self._sales.answered(turn, moment, message, one.reference)
        elif mti == "0430":
            self._advices.answered(turn, message, one.reference)
        else:
            self._offline_sales.answered(turn, message, one.reference)

    def _terminal_message(self, turn: Turn, moment: Moment, one: _Arrived) -> None:
        """The checks in the order of docs/protocol.md, then the room whose business it is."""
        context = self._context
        message = one.message
        store = turn.store
        terminal = store.find(Terminal, "terminal_id", one.terminal_id) if one.terminal_id else None
        merchant = None if terminal is None else store.find(Merchant, "merchant_id", terminal.merchant_id)
        if terminal is None or merchant is None:
            self._refuse(turn, moment, one, terminal, "97" if terminal is None else "03")
            return
        code = refusal_of_sender(terminal, merchant, message)
        mti = message.mti
        sealed = is_sealed(message)
        if one.fault:
            code = code or "30"
        elif sealed and terminal.mac_key is None:
            code = code or "77"
        elif sealed and not context.terminals.mac_is_valid(terminal, message, one.body):
            # first of all, for what the rest of the message says is not to be trusted
            code = "A0"
            turn.note("wrong MAC", None, terminal=terminal.terminal_id, mti=mti)
        elif mti == "0400" or (mti == "0220" and is_offline_sale(message.fields)):
            # who may not sell any more may still take back, and tell what was sold: both mend money
            code = None
        if code is not None:
            self._refuse(turn, moment, one, terminal, code)
            return
        request = TerminalRequest(one.link, one.body, message, terminal, merchant, one.trace)
        if mti == "0200":
            self._sales.request(turn, moment, request)
        elif mti == "0400":
            self._reversals.request(turn, moment, request)
        elif mti == "0220":
            self._offline_sales.request(turn, moment, request)
        elif mti not in ("0800", "0820"):
            self._refuse(turn, moment, one, terminal, refusal_of_kind(mti, message.fields))
        elif not sealed:
            self._sign_ons.request(turn, moment, request)
        elif management_code(message.fields).startswith("4"):
            self._orders.request(turn, moment, request)
        else:
            self._downloads.request(turn, moment, request)

    def _refuse(self, turn: Turn, moment: Moment, one: _Arrived, terminal: Terminal | None, code: str) -> None:
        context = self._context
        rrn = context.new_retrieval_reference(turn.store, moment)
        context.terminals.refuse(turn, moment, one.link, one.message, terminal, code, rrn)

    def _due(self, turn: Turn, moment: Moment) -> None:
        context = self._context
        references: list[str] = []
        others = []
        for key in turn.due:
            if key[0] == TIMER:
                references.append(key[1])
            elif key[0] == MemberSession.TIMER:
                context.switch.session.due(turn)
            elif key == _MORE_PENDING:
                self._await_pending(turn)
            elif not (self._operations.due(turn, key) or self._monitoring.due(turn, key)):
                others.append(key)
        if references:
            rows = turn.store.load(Transaction, "reference", references)
            self._load_parties(turn, set(), [row for name in references if (row := rows[name]) is not None])
            for reference in references:
                self._sales.timed_out(turn, moment, reference)
        if others:
            self._advices.due(turn, others)

    def _await_pending(self, turn: Turn) -> None:
        """Set the timers of pending transactions; those whose time is over are due at once."""
        timeout = self._context.switch_timeout
        limit = self.configuration.backlog
        pending = turn.store.scan(Transaction, "status", PENDING, limit)
        for row in pending:
            turn.timer((TIMER, row.reference), max(turn.now, row.created_at + timeout))
        if len(pending) == limit:
            # those found now are answered or timed out by then
            turn.timer(_MORE_PENDING, turn.now + timeout)
