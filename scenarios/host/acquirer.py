"""A test host in an acquirer's place: signs on to the switch and pays by a script."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random
from typing import Final

from network.iso8583 import INTERBANK, DecodeError, InterbankHeader, Message
from network.keys import KeyHandle, SecurityModule
from network.member import KEY_OVERLAP, MemberSession, ZoneKeys, mac_is_valid, pack_with_mac
from network.party import SECOND, CommandError, LinkName, Turn
from scenarios.host.payments import Attempt, request_for, reversal_of
from scenarios.host.purse import Purse
from scenarios.host.script import PayingCard, Payment, Script
from scenarios.proxy.dialects import LinkDialect, corrupted, reader_of
from scenarios.proxy.toxics import Corrupt

DONE: Final[LinkName] = "host-done"
"""The local link that is told when the script is over."""

REVERSAL_TRIES: Final = 20
UNDECIDED: Final = ("96", "A0", "77")
"""What says nothing about an advice: it is sent again."""

_MS: Final = SECOND // 1000
_RETRY: Final = 2 * SECOND


class AcquirerHost:
    """The party.

    Parameters
    ----------
    member_id, switch_id : str
    module : SecurityModule
    master_key : KeyHandle
        The zone master key that it shares with the switch.
    script : Script
    cards : iterable of PayingCard
        Cards besides those of the script, whose own go before them.

    Attributes
    ----------
    attempts : list of Attempt
        The payments so far, in the order in which they were sent.
    is_over : bool
        Every payment and reversal has come to its end.
    trouble : str
        Why the script could not be played to its end; empty as a rule.

    Raises
    ------
    ConfigurationError
        The script names a card that there is not.
    """

    TIMERS: Final = ("host-payment", "host-reversal", "host-pause", "host-ready")

    def __init__(
        self,
        member_id: str,
        switch_id: str,
        module: SecurityModule,
        master_key: KeyHandle,
        script: Script,
        cards: Iterable[PayingCard] = (),
    ) -> None:
        self.name = "acquirer_host"
        self.session = MemberSession(member_id, switch_id, module, retry=_RETRY)
        self.attempts: list[Attempt] = []
        self.is_over = False
        self.trouble = ""
        self._module = module
        self._master_key = module.block(master_key)
        self._switch_id = switch_id
        self._script = script
        self._purse = Purse(module, (*cards, *script.card))
        self._left: list[Payment] = [one for one in script.named() for _ in range(one.repeat)][::-1]
        for one in script.named():
            self._purse.check(one)
        self._asked: dict[str, Attempt] = {}
        self._reversing: dict[str, Attempt] = {}
        self._stan = 0
        self._rests = False

    def start(self, turn: Turn) -> None:
        """Set down the zone that it shares with the switch, and wait for it so long."""
        if turn.store.find(ZoneKeys, "zone", self._switch_id) is None:
            turn.store.insert(ZoneKeys(self._switch_id, self._master_key, None, None, None, None, turn.now))
        self._stan = turn.random.randrange(900_000)
        turn.timer(("host-ready", ""), turn.now + self._script.host.ready_within * _MS)

    def turn(self, turn: Turn) -> None:
        """Decide everything that has arrived."""
        for change in turn.link_changes:
            self.session.changed(turn, change, speaks_first=True)
        for link, body in turn.inbox:
            self._take(turn, link, body)
        for command in turn.commands:
            turn.answer(command.ticket, CommandError(f"there is no command {command.name}"))
        for kind, name in turn.due:
            if kind == MemberSession.TIMER:
                self.session.due(turn)
            else:
                self._due(turn, kind, name)
        self._go_on(turn)

    def rolled_back(self) -> None:
        """What it remembers is no longer what was sent: the script cannot be believed any more."""
        self.trouble = self.trouble or "a turn was lost; see the log"

    # the script

    def _go_on(self, turn: Turn) -> None:
        if self.is_over:
            return
        zone = turn.store.find(ZoneKeys, "zone", self._switch_id)
        while self._left and len(self._asked) < self._script.host.in_flight and not self.trouble:
            if zone is None or not self.session.ready:
                break
            pause = self._left[-1].pause
            if pause and not self._rests:
                self._rests = True
                turn.timer(("host-pause", ""), turn.now + pause * _MS)
            if self._rests:
                break
            self._pay(turn, self._left.pop(), zone)
        if self.trouble or not (self._left or self._asked or self._reversing):
            self.is_over = True
            turn.send(DONE, b"")

    def _pay(self, turn: Turn, payment: Payment, zone: ZoneKeys) -> None:
        seed = turn.random.getrandbits(64)
        chance = Random(seed)  # noqa: S311 - of an unpredictable number and spoilt bytes, drawn from the turn's own
        message = request_for(payment, turn, self._next_stan(), self._purse, zone, self.session.header, chance)
        attempt = Attempt(payment, message.copy(), turn.now)
        self.attempts.append(attempt)
        self._asked[attempt.key] = attempt
        body = self._sealed(message, zone)
        if payment.send.wrong_mac:
            body = body[:-1] + (b"0" if body[-1:] != b"0" else b"1")
        reader = reader_of(LinkDialect.MEMBER)
        if payment.send.corrupt and reader is not None:
            corrupt = Corrupt(element="" if payment.send.corrupt == "byte" else payment.send.corrupt)
            body = corrupted(body, corrupt, reader, chance) or body
        for _ in range(1 + payment.send.resend):
            self._send(turn, body)
        turn.timer(("host-payment", attempt.key), turn.now + self._script.host.answer_within * _MS)

    def _due(self, turn: Turn, kind: str, name: str) -> None:
        if kind == "host-pause":
            self._rests = False
            zone = turn.store.find(ZoneKeys, "zone", self._switch_id)
            if self._left and zone is not None and self.session.ready:
                self._pay(turn, self._left.pop(), zone)
        elif kind == "host-ready" and not self.session.ready and not self.attempts:
            seconds = self._script.host.ready_within / 1000
            self.trouble = f"the switch did not let it sign on within {seconds:g} s"
        elif kind == "host-payment" and name in self._asked:
            attempt = self._asked.pop(name)
            if not attempt.payment.expect.no_answer:
                attempt.problems.append(f"not answered within {self._script.host.answer_within} ms")
            self._reverse(turn, attempt, {})
        elif kind == "host-reversal" and name in self._reversing:
            self._send_reversal(turn, name, self._reversing[name])

    def _reverse(self, turn: Turn, attempt: Attempt, answer: dict[int, str | bytes]) -> None:
        attempt.reversal = reversal_of(attempt, turn, self._next_stan(), answer)
        name = attempt.reversal.text(7) + attempt.reversal.text(11)
        self._reversing[name] = attempt
        self._send_reversal(turn, name, attempt)

    def _send_reversal(self, turn: Turn, name: str, attempt: Attempt) -> None:
        zone = turn.store.find(ZoneKeys, "zone", self._switch_id)
        if attempt.tries >= REVERSAL_TRIES:
            attempt.problems.append(f"its reversal was not answered, {REVERSAL_TRIES} times")
            attempt.is_over = True
            del self._reversing[name]
            return
        if attempt.reversal is not None and zone is not None and zone.mac_key is not None and self.session.ready:
            attempt.tries += 1
            self._send(turn, self._sealed(attempt.reversal, zone))
        turn.timer(("host-reversal", name), turn.now + self._script.host.reversal_retry * _MS)

    # messages

    def _take(self, turn: Turn, link: LinkName, body: bytes) -> None:
        try:
            message = INTERBANK.unpack(body)
        except DecodeError:
            return
        header = message.header
        if not isinstance(header, InterbankHeader) or header.source != self._switch_id:
            return
        if self.session.handle(turn, link, message):
            return
        key = str(message.get(7, "")) + str(message.get(11, ""))
        zone = turn.store.find(ZoneKeys, "zone", self._switch_id)
        is_believed = zone is not None and mac_is_valid(message, self._module, zone, turn.now, KEY_OVERLAP)
        # 77 has no MAC where the two ends have no key in common; nothing is paid by it
        if not is_believed and message.get(39) != "77":
            return
        if message.mti == "0210" and key in self._asked:
            self._answered(turn, self._asked.pop(key), message)
        elif message.mti == "0430" and key in self._reversing:
            attempt = self._reversing[key]
            code = str(message.get(39, ""))
            if code in UNDECIDED and code not in attempt.payment.expect.reversal:
                self._session_refused(turn, code)
                return
            del self._reversing[key]
            turn.timer(("host-reversal", key), None)
            attempt.reversal_code = code
            attempt.is_over = True
            if attempt.reversal_code not in attempt.payment.expect.reversal:
                wanted = " or ".join(attempt.payment.expect.reversal)
                attempt.problems.append(f"its reversal was answered {attempt.reversal_code}, expected {wanted}")

    def _answered(self, turn: Turn, attempt: Attempt, message: Message) -> None:
        turn.timer(("host-payment", attempt.key), None)
        attempt.code = str(message.get(39, ""))
        attempt.milliseconds = (turn.now - attempt.sent_at) // _MS
        attempt.check(message.fields)
        self._session_refused(turn, attempt.code)
        if attempt.payment.reverse:
            self._reverse(turn, attempt, message.fields)
        else:
            attempt.is_over = True

    def _session_refused(self, turn: Turn, code: str) -> None:
        """77 says that the switch has no session with us: sign on again, and pay no more until that is done."""
        if code == "77" and self.session.ready and self.session.link is not None:
            self.session.sign_on(turn, self.session.link)

    def _sealed(self, message: Message, zone: ZoneKeys) -> bytes:
        return pack_with_mac(message.copy(), self._module, self._module.load(zone.mac_key or ""))

    def _send(self, turn: Turn, body: bytes) -> None:
        if self.session.link is not None:
            turn.send(self.session.link, body)

    def _next_stan(self) -> str:
        self._stan = self._stan % 999_999 + 1
        return f"{self._stan:06d}"
