"""Answers requests by rules: decides, records, makes the answer, and does to it what the rule says.

It knows no session: whoever uses it says over which link and under which zone's keys a message came. So it serves an
issuer's place and a switch's alike.
"""

from __future__ import annotations

from collections import Counter
from typing import Final, NamedTuple

from network.emv import tlv
from network.iso8583 import INTERBANK, InterbankHeader, Message, mask_pan
from network.keys import KeyHandle, SecurityModule
from network.member import KEY_OVERLAP, OriginalData, ZoneKeys, mac_is_valid, pack_with_mac, reference
from network.party import Instant, Json, LinkName, Turn
from scenarios.host.cards import KnownCards
from scenarios.host.line import break_link, without_length
from scenarios.host.rule_book import DEFAULT, RuleBook, sighting_of
from scenarios.host.rules import Rule, Rules, Then
from scenarios.host.tables import APPROVED, BARRED, DECLINED, REVERSED, HostAuthorisation
from scenarios.proxy.dialects import LinkDialect, corrupted, reader_of
from scenarios.proxy.toxics import Corrupt

_ECHOED: Final = (2, 3, 4, 7, 11, 12, 13, 14, 18, 23, 25, 32, 37, 41, 42, 49)
_ECHOED_OF_REVERSAL: Final = (2, 3, 4, 7, 11, 15, 25, 32, 37, 41, 42, 49)
REPLIES: Final = {
    "0200": ("0210", _ECHOED),
    "0220": ("0230", _ECHOED),
    "0420": ("0430", _ECHOED_OF_REVERSAL),
}
_BALANCE: Final = "300000"
_WAITING: Final = 100_000
"""Answers that may wait for their time."""


class Envelope(NamedTuple):
    """Where a request came from and under which keys: what answering it takes."""

    link: LinkName
    header: InterbankHeader
    member_id: str
    zone: ZoneKeys


class _Late(NamedTuple):
    link: LinkName
    body: bytes

    def __repr__(self) -> str:
        return f"_Late(link={self.link!r})"


class Responder:
    """Answers by rules.

    Parameters
    ----------
    module : SecurityModule
    rules : Rules
    cards : KnownCards

    Attributes
    ----------
    book : RuleBook
        The rules in force.
    seen : Counter
        Messages by type, and what was dropped by the reason.
    """

    TIMER: Final = "host-answer"

    def __init__(self, module: SecurityModule, rules: Rules, cards: KnownCards) -> None:
        self.book = RuleBook(rules)
        self.seen: Counter[str] = Counter()
        self._module = module
        self._cards = cards
        self._late: dict[str, _Late] = {}
        self._new: list[str] = []
        self._sent: dict[str, _Late] = {}
        self._number = 0

    def begin(self) -> None:
        """A turn begins."""
        self.book.begin()
        self._new, self._sent = [], {}

    def rolled_back(self) -> None:
        """The turn is lost: what it was going to answer later as well."""
        self.book.rolled_back()
        for name in self._new:
            self._late.pop(name, None)
        self._late |= self._sent

    def use(self, rules: Rules) -> None:
        """Answer by other rules from now on; they count from nought."""
        self.book = RuleBook(rules)

    def due(self, turn: Turn, name: str) -> None:
        """An answer's time has come."""
        late = self._late.pop(name, None)
        if late is not None:
            self._sent[name] = late
            turn.send(late.link, late.body)

    def told(self) -> dict[str, Json]:
        """The rules, how often each has decided, and what was seen, for people."""
        return {"rules": self.book.told(), "seen": dict(sorted(self.seen.items()))}

    def take(self, turn: Turn, envelope: Envelope, message: Message) -> None:
        """Decide a 0200, 0220 or 0420 and answer it."""
        self.seen[message.mti] += 1
        zone = envelope.zone
        if zone.mac_key is None:
            self.seen["dropped: no MAC key yet"] += 1
            return
        mac_key = self._module.load(zone.mac_key)
        if not mac_is_valid(message, self._module, zone, turn.now, KEY_OVERLAP):
            self.seen["a wrong MAC"] += 1
            self._send(turn, envelope, message, DEFAULT.then, self._reply(envelope, message, "A0", {}), mac_key)
        elif not isinstance(message.get(7), str) or message.get(32) is None or message.get(2) is None:
            self._send(turn, envelope, message, DEFAULT.then, self._reply(envelope, message, "30", {}), mac_key)
        elif message.mti == "0420":
            self._reverse(turn, envelope, message, mac_key)
        else:
            self._authorise(turn, envelope, message, mac_key)

    # deciding

    def _authorise(self, turn: Turn, envelope: Envelope, message: Message, mac_key: KeyHandle) -> None:
        name = reference(turn.local.year, turn.local.month, message.text(7), message.text(11), message.text(32))
        row = turn.store.find(HostAuthorisation, "reference", name)
        rule = DEFAULT
        if row is None:
            decided = self._decide(turn, envelope, message, name)
            if decided is None:
                return
            row, rule = decided
            turn.store.insert(row)
        code = row.code if row.status in (APPROVED, DECLINED) else "25"
        extra: dict[int, str | bytes] = {15: turn.local.strftime("%m%d")}
        if code == "00":
            extra |= {38: row.auth_id} if row.auth_id else {}
            extra |= {54: row.balance} if row.balance else {}
        if row.answer_to_card:
            extra[55] = tlv.encode("91", bytes.fromhex(row.answer_to_card))
        self._send(turn, envelope, message, rule.then, self._reply(envelope, message, code, extra), mac_key)

    def _decide(
        self, turn: Turn, envelope: Envelope, message: Message, name: str
    ) -> tuple[HostAuthorisation, Rule] | None:
        pan = message.text(2)
        pin = self._cards.pin(message, pan, envelope.zone)
        cryptogram = self._cards.cryptogram(message, pan)
        seen = sighting_of(message, pin, cryptogram.verdict)
        rule = self.book.rule_for(seen)
        then, host = rule.then, self.book.rules.host
        if then.ignore:
            return None
        code = then.decline or "00"
        if code == "00" and host.check_pin and pin == "wrong" and not rule.when.pin:
            code = "55"
        if code == "00" and host.check_cryptogram and cryptogram.verdict == "wrong" and not rule.when.cryptogram:
            code = "05"
        auth_id = then.auth_id or f"{turn.random.randrange(10**6):06d}"
        balance = ""
        if then.balance is not None:
            balance = "".join(f"10{kind}156C{then.balance:012d}" for kind in ("01", "02"))
        answer = self._cards.answer(cryptogram, pan, code)
        row = HostAuthorisation(
            reference=name,
            decided_at=turn.now,
            mti=message.mti,
            processing_code=str(message.get(3, "")),
            amount=0 if message.get(3) == _BALANCE else seen.amount or 0,
            card=mask_pan(pan),
            terminal=str(message.get(41, "")),
            rule=rule.name,
            code=code,
            auth_id=auth_id if code == "00" else "",
            balance=balance,
            answer_to_card=answer.hex() if answer is not None else "",
            status=APPROVED if code == "00" else DECLINED,
        )
        return row, rule

    def _reverse(self, turn: Turn, envelope: Envelope, message: Message, mac_key: KeyHandle) -> None:
        rule = self.book.rule_for(sighting_of(message, "none", "none"))
        if rule.then.ignore:
            return
        code = rule.then.decline
        if code is None:
            code = self._undo(turn, message)
        self._send(turn, envelope, message, rule.then, self._reply(envelope, message, code, {}), mac_key)

    def _undo(self, turn: Turn, message: Message) -> str:
        try:
            original = OriginalData.parse(str(message.get(90, "")))
        except ValueError:
            return "30"
        name = reference(turn.local.year, turn.local.month, original.transmission, original.stan, original.acquirer)
        row = turn.store.find(HostAuthorisation, "reference", name)
        if row is None:
            barred = (0, mask_pan(message.text(2)), str(message.get(41, "")), "", "25", "", "", "", BARRED)
            turn.store.insert(HostAuthorisation(name, turn.now, original.mti, str(message.get(3, "")), *barred))
            return self.book.rules.host.unknown_reversal
        if row.status == BARRED:
            return self.book.rules.host.unknown_reversal
        if row.status == APPROVED:
            turn.store.change(row)
            row.status = REVERSED
        return "00"

    # answering

    def _reply(self, envelope: Envelope, message: Message, code: str, extra: dict[int, str | bytes]) -> Message:
        mti, echoed = REPLIES[message.mti]
        fields = {number: message[number] for number in echoed if number in message}
        fields |= {33: envelope.member_id, 39: code, 100: envelope.member_id, **extra}
        return Message(mti, fields, envelope.header)

    def _send(
        self, turn: Turn, envelope: Envelope, request: Message, then: Then, reply: Message, mac_key: KeyHandle
    ) -> None:
        """Let the answer leave as the rule says."""
        link = envelope.link
        if then.close == "before":
            break_link(turn, link)
            return
        if then.drop:
            return
        body = self._packed(turn, request, then, reply, mac_key)
        host = self.book.rules.host
        delay = host.late_after if then.late else then.delay
        delay += round(turn.random.random() * then.jitter)
        for _ in range(1 + then.duplicate):
            if delay:
                self._wait(turn, link, body, turn.now + delay * 1_000)
            else:
                turn.send(link, body)
        if then.close == "after":
            break_link(turn, link)

    def _packed(self, turn: Turn, request: Message, then: Then, reply: Message, mac_key: KeyHandle) -> bytes:
        if then.reject and isinstance(request.header, InterbankHeader):
            return INTERBANK.pack(Message(request.mti, request.fields, request.header.reply(then.reject)))
        if then.other_stan:
            reply[11] = f"{int(reply.text(11)) % 999_999 + 1:06d}"
        body = pack_with_mac(reply, self._module, mac_key)
        if then.wrong_mac:
            # the last of eight hexadecimal digits becomes another one
            body = body[:-1] + (b"0" if body[-1:] != b"0" else b"1")
        if then.corrupt:
            corrupt = Corrupt(element="" if then.corrupt == "byte" else then.corrupt)
            reader = reader_of(LinkDialect.MEMBER)
            if reader is not None:
                body = corrupted(body, corrupt, reader, turn.random) or body
        return without_length(body) if then.malformed_length else body

    def _wait(self, turn: Turn, link: LinkName, body: bytes, at: Instant) -> None:
        if len(self._late) >= _WAITING:
            del self._late[next(iter(self._late))]
        self._number += 1
        name = str(self._number)
        self._late[name] = _Late(link, body)
        self._new.append(name)
        turn.timer((self.TIMER, name), at)
