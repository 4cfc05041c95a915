"""The phone's end of the monitoring link: it proves what it is before payments and PIN entries, and it can be wiped.

A payment on a phone that is bound to a device goes on while the last verdict for its purpose counts (docs/protocol.md,
the monitoring link). Otherwise the phone asks for a challenge, shows evidence and waits for the verdict. Whatever is
lost is asked for again, from the challenge on: the acquirer gives the same challenge while it is unused, and a new one
when only the verdict was lost. A verdict counts from the moment at which its evidence was shown, so never for longer
than the acquirer thinks. Steps and verdicts are in rows, so nothing of them is remembered here.

Commands, each with an argument ``device``: ``signal`` (``signals``: names of what was seen, of `SIGNALS`) and ``kill``
wipe the device's keys, as a ``kill`` of the acquirer does; both give ``wiped``.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Final

from merchant_device.context import Context
from merchant_device.device_tables import (
    ASKED,
    BOUND,
    IDLE,
    SHOWN,
    Attestation,
    SecureElement,
    attestation_subject,
)
from merchant_device.rooms import PIN, TRANSACTION, Room
from merchant_device.secure_element import device_of, evidence
from merchant_device.tables import WIPED, Phone
from merchant_device.terminal import Phase, Terminal
from merchant_device.wiping import FAREWELL_TIMER, KILLED, Wiping, alarm
from network.attestation.monitoring_link import MonitoringError, pack_monitoring, unpack_monitoring
from network.party import SECOND, Command, CommandError, Json, Turn
from network.store import UnitOfWork

SIGNALS: Final = frozenset(("debugger", "root", "integrity", "clock"))
"""Tamper signals: a debugger is attached, the system is rooted, the App was changed, the clock was put back."""

ATTESTATION_TIMER: Final = "attestation"

TRIES: Final = 3
"""How often the acquirer is asked for one verdict."""

LINK: Final = "monitor"

_SCAN_LIMIT: Final = 100_000
_REASON: Final = 200
_CHALLENGE: Final = 32
_PURPOSES: Final = (TRANSACTION, PIN)
# the acquirer's words for a challenge that it does not know any more, as loss and delay bring it
_ASK_AGAIN: Final = frozenset(
    ("no challenge is out", "challenge expired", "challenge used before", "attestation of another challenge")
)


class Monitoring(Room):
    """The room; it is also the payments' `Trust`.

    Parameters
    ----------
    context : Context
    """

    links = (LINK,)
    timers = (ATTESTATION_TIMER, FAREWELL_TIMER)
    device_commands = ("signal", "kill")

    def __init__(self, context: Context) -> None:
        configuration = context.configuration
        self._payments = context.payments
        self._module = context.keystore.module
        self._timeout = round(configuration.management_timeout * SECOND)
        self._margin = round(configuration.attestation_margin * SECOND)
        self._wiping = Wiping(context)
        self._payments.trust = self

    def start(self, turn: Turn) -> None:
        """See `Room`: farewells go on. An attestation was for a payment that is gone."""
        self._wiping.start(turn, _SCAN_LIMIT)

    # trust

    def needs(self, turn: Turn, terminal: Terminal, phone: Phone, purpose: str) -> bool:
        """See `merchant_device.rooms.Trust`."""
        verdict = turn.store.find(Attestation, "subject", attestation_subject(terminal.terminal_id, purpose))
        return verdict is None or verdict.until - self._margin < turn.now

    def begin(self, turn: Turn, terminal: Terminal, phone: Phone, purpose: str) -> None:
        """See `merchant_device.rooms.Trust`."""
        element = _element(turn.store, phone)
        if element is None or element.status != BOUND or element.terminal_id != terminal.terminal_id:
            self._payments.attested(turn, terminal, phone, "no secure element is bound to the terminal")
            return
        asking = None
        for one in _PURPOSES:
            row = turn.store.find(Attestation, "subject", attestation_subject(terminal.terminal_id, one))
            if one == purpose:
                asking = row
            elif row is not None and row.step != IDLE:
                # of a payment that has ended: there is one at a time
                turn.store.change(row)
                row.step = IDLE
        if asking is None:
            asking = Attestation(attestation_subject(terminal.terminal_id, purpose), IDLE, None, 0, 0, 0, 0)
            turn.store.insert(asking)
        turn.store.change(asking)
        asking.tries = 0
        self._ask(turn, terminal, phone, asking)

    def _ask(self, turn: Turn, terminal: Terminal, phone: Phone, row: Attestation) -> None:
        """Ask for a challenge; the row is one that this turn changes."""
        row.step = ASKED
        row.tries += 1
        self._await(turn, terminal, row)
        self._say(turn, terminal, phone, {"type": "challenge_request", "purpose": _purpose(row)})

    def _await(self, turn: Turn, terminal: Terminal, row: Attestation) -> None:
        row.deadline = turn.now + self._timeout
        turn.timer((ATTESTATION_TIMER, terminal.terminal_id), row.deadline)

    def _say(self, turn: Turn, terminal: Terminal, phone: Phone, content: dict[str, Json]) -> None:
        if phone.mak is None:
            # the sign-on has just been lost: the time allowed for the attestation ends it
            return
        said = {"type": content["type"], "terminal": terminal.terminal_id, **content}
        turn.send(f"{LINK}:{terminal.terminal_id}", pack_monitoring(self._module, self._module.load(phone.mak), said))

    # what comes

    def link_changed(self, turn: Turn, terminal: Terminal, phone: Phone, kind: str, up: bool) -> None:
        """See `Room`: what the link may have lost is said again when it is up."""
        if not up:
            return
        if phone.status == WIPED:
            self._wiping.repeat(turn, _element(turn.store, phone), asked=True)
            return
        row = self._under_way(turn.store, terminal)
        if row is not None and row.tries < TRIES:
            turn.store.change(row)
            self._ask(turn, terminal, phone, row)

    def due(self, turn: Turn, terminal: Terminal, phone: Phone, timer: str) -> None:
        """See `Room`."""
        if timer == FAREWELL_TIMER:
            self._wiping.repeat(turn, _element(turn.store, phone), asked=False)
            return
        row = self._under_way(turn.store, terminal)
        if row is None or row.deadline > turn.now:
            return
        turn.store.change(row)
        if row.tries < TRIES:
            self._ask(turn, terminal, phone, row)
        else:
            self._refused(turn, terminal, phone, row, "no verdict came in time")

    def received(self, turn: Turn, terminal: Terminal, phone: Phone, kind: str, body: bytes) -> str | None:
        """See `Room`."""
        element = _element(turn.store, phone)
        if element is None:
            return "monitoring: no device"
        try:
            arrived = unpack_monitoring(body)
        except MonitoringError:
            return "monitoring: undecodable"
        content = arrived.content
        if phone.status == WIPED:
            return self._received_wiped(turn, element, content, body)
        if phone.mak is None or not arrived.is_genuine(self._module, self._module.load(phone.mak)):
            return "monitoring: wrong MAC"
        if content.get("terminal") != terminal.terminal_id:
            return "monitoring: for another terminal"
        said = content.get("type")
        if said == "kill":
            given = content.get("reason")
            reason = f"killed: {given[:_REASON]}" if isinstance(given, str) and given else "killed"
            self._wiping.wipe(turn, element, terminal, phone, KILLED, reason)
            return None
        purpose = content.get("purpose")
        row = None
        if isinstance(purpose, str) and purpose in _PURPOSES:
            row = turn.store.find(Attestation, "subject", attestation_subject(terminal.terminal_id, purpose))
        if row is None or row.step == IDLE:
            return "monitoring: unexpected"
        if said == "challenge":
            return self._challenged(turn, terminal, phone, element, row, content)
        if said == "verdict" and row.step == SHOWN:
            return self._judged(turn, terminal, phone, row, content)
        return "monitoring: unexpected"

    def _received_wiped(
        self, turn: Turn, element: SecureElement, content: Mapping[str, Json], body: bytes
    ) -> str | None:
        """Nothing can be believed but the answer that was made beforehand; saying goodbye again is safe."""
        if self._wiping.noted(turn, element, body):
            return None
        if content.get("type") != "kill":
            return "monitoring: the keys are wiped"
        self._wiping.repeat(turn, element, asked=True)
        return None

    def _challenged(
        self,
        turn: Turn,
        terminal: Terminal,
        phone: Phone,
        element: SecureElement,
        row: Attestation,
        content: Mapping[str, Json],
    ) -> str | None:
        challenge = _hexadecimal(content.get("challenge"))
        if challenge is None:
            return "monitoring: malformed challenge"
        if row.step == SHOWN and row.challenge is not None and hmac.compare_digest(row.challenge, challenge):
            return "monitoring: a challenge again"
        turn.store.change(row)
        row.step = SHOWN
        row.challenge = challenge
        row.shown_at = turn.now
        self._await(turn, terminal, row)
        shown = evidence(self._module, element, challenge, turn.now, fresh=True)
        if phone.place is not None:
            shown["place"] = phone.place
        # a device that has seen tampering has wiped its keys and shows nothing
        self._say(turn, terminal, phone, {"type": "evidence", "purpose": _purpose(row), **shown, "signals": []})
        return None

    def _judged(
        self, turn: Turn, terminal: Terminal, phone: Phone, row: Attestation, content: Mapping[str, Json]
    ) -> str | None:
        accepted, seconds, reason = content.get("accepted"), content.get("valid_seconds"), content.get("reason")
        if not isinstance(accepted, bool) or not isinstance(seconds, int) or isinstance(seconds, bool) or seconds < 0:
            return "monitoring: malformed verdict"
        turn.store.change(row)
        if not accepted:
            if isinstance(reason, str) and reason in _ASK_AGAIN and row.tries < TRIES:
                self._ask(turn, terminal, phone, row)
            else:
                told = reason[:_REASON] if isinstance(reason, str) and reason else "refused"
                self._refused(turn, terminal, phone, row, told)
            return None
        row.step = IDLE
        # a verdict that speaks of more than a day is cut to one: the sum must fit a row
        row.until = row.shown_at + min(seconds, 86_400) * SECOND
        turn.timer((ATTESTATION_TIMER, terminal.terminal_id), None)
        self._tell(turn, terminal, phone, row, None)
        return None

    def _refused(self, turn: Turn, terminal: Terminal, phone: Phone, row: Attestation, reason: str) -> None:
        row.step = IDLE
        row.until = 0
        turn.timer((ATTESTATION_TIMER, terminal.terminal_id), None)
        self._tell(turn, terminal, phone, row, reason)

    def _tell(self, turn: Turn, terminal: Terminal, phone: Phone, row: Attestation, reason: str | None) -> None:
        """Tell the payment, if it is one that waits for this."""
        if terminal.phase is Phase.ATTESTING and terminal.attesting == _purpose(row):
            self._payments.attested(turn, terminal, phone, reason)

    @staticmethod
    def _under_way(store: UnitOfWork, terminal: Terminal) -> Attestation | None:
        """The attestation that a payment waits for."""
        if terminal.phase is not Phase.ATTESTING:
            return None
        row = store.find(Attestation, "subject", attestation_subject(terminal.terminal_id, terminal.attesting))
        return row if row is not None and row.step != IDLE else None

    # commands

    def terminal_of(self, turn: Turn, command: Command) -> str | None:
        """See `Room`: the one that the device is."""
        try:
            return device_of(turn.store, command).terminal_id
        except CommandError:
            return None

    def device_command(self, turn: Turn, command: Command, terminal: Terminal | None, phone: Phone | None) -> None:
        """See `Room`."""
        try:
            element = device_of(turn.store, command)
            signals = _signals(command.arguments.get("signals")) if command.name == "signal" else ()
        except CommandError as error:
            turn.answer(command.ticket, error)
            return
        if command.name == "signal":
            self._wiping.wipe(turn, element, terminal, phone, alarm(signals), f"tamper signals: {', '.join(signals)}")
        else:
            self._wiping.wipe(turn, element, terminal, phone, KILLED, "killed")
        turn.answer(command.ticket, {"device": element.device_id, "wiped": True})


def _element(store: UnitOfWork, phone: Phone) -> SecureElement | None:
    return None if phone.device_id is None else store.find(SecureElement, "device_id", phone.device_id)


def _purpose(row: Attestation) -> str:
    return row.subject.rpartition("|")[2]


def _hexadecimal(text: Json) -> bytes | None:
    """32 bytes; None where it is anything else."""
    if not isinstance(text, str) or len(text) != 2 * _CHALLENGE or not text.isascii() or not text.isalnum():
        return None
    try:
        return bytes.fromhex(text)
    except ValueError:
        return None


def _signals(asked: Json) -> tuple[str, ...]:
    """Names of tamper signals, each once, in the order of the alphabet."""
    if not isinstance(asked, list | tuple) or not 1 <= len(asked) <= len(SIGNALS):
        raise CommandError(f"signals: a list of {', '.join(sorted(SIGNALS))}")
    names = {one for one in asked if isinstance(one, str) and one in SIGNALS}
    if len(names) != len(asked):
        raise CommandError(f"signals: a list of different ones of {', '.join(sorted(SIGNALS))}")
    return tuple(sorted(names))
