"""Risk sensing: rules give a sale points, and the sum decides what becomes of it.

Rules are data (`switch.risk_rules`): the operator's row, else the configuration's. What they count is memory
(`switch.risk_counters`); what they decided is in the transaction's row, and a device that they blocked is a row.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Final, NamedTuple

from network.emv import tlv
from network.iso8583 import Message
from network.iso8583.additional_data import AdditionalDataError, decode_objects
from network.party import SECOND, Turn
from network.store import UnitOfWork
from switch.configuration import Configuration
from switch.risk_counters import LastPlaces, Place, WindowCounter
from switch.risk_rules import Amount, Attestation, Hour, RiskRules, Travel, Velocity
from switch.tables import BlockedDevice, RiskRuleSet, device_name

RULE_SET: Final = "operator"
"""Key of the row that holds the operator's rules."""

BLOCKED: Final = "device blocked"
"""What stands for a rule in the record of a sale whose device is blocked."""

MOST_NAMES: Final = 400
"""Longest text of rule names in a record and in DE59 R1; what is beyond it is left out."""

LONGEST_DEVICE: Final = 40
"""Most characters of a device id."""

_PHONE: Final = "11"
_CDCVM: Final = b"\x01\x00\x02"
_HOUR: Final = 3600.0
_NEVER: Final = 10**12
"""More fen than DE4 can say."""


class Device(NamedTuple):
    """What DE59 tells of a terminal.

    Attributes
    ----------
    device_id : str or None
    is_phone : bool
    place : Place or None
    is_attested : bool or None
        None where the acquirer says nothing of it.
    verdict_age : int
        Seconds.
    """

    device_id: str | None
    is_phone: bool
    place: Place | None
    is_attested: bool | None
    verdict_age: int


class Assessment(NamedTuple):
    """What risk sensing makes of a sale.

    Attributes
    ----------
    code : str or None
        DE39 of the answer, None where the sale may go on.
    score : int
    rules : str
        Names of the rules that fired, separated by commas.
    """

    code: str | None
    score: int
    rules: str


def read_device(objects: dict[str, str]) -> Device:
    """Read A2 and A4 of DE59.

    Raises
    ------
    AdditionalDataError
        One of them is malformed; a place that is none counts as not given.
    """
    about, verdict = decode_objects(objects.get("A2", "")), decode_objects(objects.get("A4", ""))
    device_id = about.get("02")
    if device_id is not None and not (1 <= len(device_id) <= LONGEST_DEVICE and device_id.isprintable()):
        raise AdditionalDataError("A2 02 is not 1 to 40 printable characters")
    state, age = verdict.get("01"), verdict.get("02", "0")
    if state not in (None, "0", "1") or len(age) > 9 or not (age.isascii() and age.isdigit()):
        raise AdditionalDataError("A4 is not a verdict and its age")
    return Device(
        device_id, about.get("01") == _PHONE, _place(about.get("03")), None if state is None else state == "1", int(age)
    )


def _place(text: str | None) -> Place | None:
    north, comma, east = (text or "").partition(",")
    if not comma or len(north) > 20 or len(east) > 20:
        return None
    try:
        place = Place(float(north), float(east))
    except ValueError:
        return None
    # comparisons with a value that is no number are false
    return place if -90 <= place.latitude <= 90 and -180 <= place.longitude <= 180 else None


class _Sale:
    """What the rules look at. The card's key is made when the first of them asks."""

    __slots__ = ("_card_key", "_card_of", "amount", "device", "device_id", "hour", "merchant", "mode", "now")

    def __init__(
        self, turn: Turn, message: Message, sender: str, amount: int, device: Device | None, card_of: Callable[[], str]
    ) -> None:
        fields = message.fields
        self.now = turn.now
        self.hour = turn.local.hour
        self.amount = amount
        self.device = device
        self.device_id = None if device is None else device.device_id
        self.merchant = (sender, fields.get(42))
        self.mode = str(fields[22])[:2]
        self._card_of = card_of
        self._card_key: str | None = None

    def key(self, over: str) -> Hashable | None:
        """What the sale is counted under; None where that is not known of it."""
        device = self.device
        if over == "merchant":
            return self.merchant
        if over == "device":
            return None if self.device_id is None else (self.merchant[0], self.device_id)
        if over == "place":
            place = None if device is None else device.place
            return None if place is None else (round(place.latitude * 100), round(place.longitude * 100))
        if self._card_key is None:
            self._card_key = self._card_of()
        return self._card_key


class _Check(NamedTuple):
    """A rule made ready: `fires` decides, after what every rule says was looked at."""

    name: str
    points: int
    terminals: str
    entry_modes: frozenset[str]
    amount_from: int
    fires: Callable[[_Sale], bool]

    def looks_at(self, sale: _Sale) -> bool:
        if self.amount_from > sale.amount or (self.entry_modes and sale.mode not in self.entry_modes):
            return False
        if self.terminals == "any":
            return True
        device = sale.device
        return device is not None and (device.is_phone if self.terminals == "phone" else device.device_id is not None)


class RiskSensing:
    """Looks at every request and says whether it may go on.

    Attributes
    ----------
    rules : RiskRules
        The rules in force.
    least_amount : int
        Below this many fen none of them looks at a sale of which DE59 tells nothing.
    """

    def __init__(self, configuration: Configuration) -> None:
        self._default = configuration.risk
        self.rules = configuration.risk
        self._counters: list[WindowCounter | LastPlaces] = []
        self._replaced: tuple[RiskRules, list[WindowCounter | LastPlaces], tuple[_Check, ...]] | None = None
        self.least_amount = _NEVER
        self._for_any: tuple[_Check, ...] = ()
        self._all: tuple[_Check, ...] = ()
        self._prepare(configuration.risk)

    def begin(self) -> None:
        """A turn begins: what the last one counted stands."""
        self._replaced = None
        for counter in self._counters:
            counter.begin()

    def rolled_back(self) -> None:
        """Take back what the turn counted; the caller has `load` called before the next."""
        if self._replaced is not None:
            # rules that were put in force began to count anew: what was counted before them is needed again
            self._enforce(*self._replaced)
            self._replaced = None
        for counter in self._counters:
            counter.rolled_back()

    def load(self, store: UnitOfWork) -> None:
        """Put the rules in force that the store has, else the configuration's."""
        row = store.find(RiskRuleSet, "name", RULE_SET)
        rules = self._default if row is None else RiskRules.model_validate_json(row.content)
        if rules != self.rules:
            self._prepare(rules)

    def replace(self, turn: Turn, rules: RiskRules) -> None:
        """Put other rules in force and keep them; they begin to count anew."""
        content = rules.model_dump_json()
        row = turn.store.find(RiskRuleSet, "name", RULE_SET)
        if row is None:
            turn.store.insert(RiskRuleSet(RULE_SET, content, turn.now))
        else:
            turn.store.change(row)
            row.content = content
            row.changed_at = turn.now
        if self._replaced is None:
            self._replaced = self.rules, self._counters, self._all
        self._prepare(rules)

    def assess(
        self,
        turn: Turn,
        message: Message,
        sender: str,
        amount: int,
        device: Device | None,
        card_of: Callable[[], str],
        *,
        is_verified: bool,
    ) -> Assessment | None:
        """What becomes of a request that could be forwarded; None where no rule fires.

        Parameters
        ----------
        amount
            Fen.
        device
            What DE59 tells; None where there is no DE59.
        card_of
            Gives what the card, or its token, is counted under.
        is_verified
            Whether it is known by other means than the message that the cardholder was verified.
        """
        checks = self._for_any if device is None else self._all
        if device is not None and device.device_id is not None:
            blocked = turn.store.find(BlockedDevice, "name", device_name(sender, device.device_id))
            if blocked is not None and blocked.is_blocked:
                return Assessment("59", self.rules.block_device, BLOCKED)
        if not checks:
            return None
        sale = _Sale(turn, message, sender, amount, device, card_of)
        # all are asked: those that count must count
        fired = [check for check in checks if check.looks_at(sale) and check.fires(sale)]
        if not fired:
            return None
        score = sum(check.points for check in fired)
        names = _joined([check.name for check in fired])
        rules = self.rules
        if score >= rules.decline:
            if score >= rules.block_device and sale.device_id is not None:
                block(turn, sender, sale.device_id, names)
            return Assessment("59", score, names)
        needs_step_up = score >= rules.step_up and not (is_verified or 52 in message.fields or _has_cdcvm(message))
        return Assessment("55" if needs_step_up else None, score, names)

    def _prepare(self, rules: RiskRules) -> None:
        counters: list[WindowCounter | LastPlaces] = []
        checks = tuple(
            _Check(
                rule.name,
                rule.points,
                rule.terminals,
                frozenset(rule.entry_modes),
                max(rule.amount_from, rule.above + 1) if isinstance(rule, Amount) else rule.amount_from,
                _decision(rule, counters),
            )
            for rule in rules.rules
        )
        self._enforce(rules, counters, checks)

    def _enforce(
        self, rules: RiskRules, counters: list[WindowCounter | LastPlaces], checks: tuple[_Check, ...]
    ) -> None:
        self.rules = rules
        self._counters = counters
        self._all = checks
        self._for_any = tuple(check for check in checks if check.terminals == "any")
        self.least_amount = min((check.amount_from for check in self._for_any), default=_NEVER)


def block(turn: Turn, acquirer: str, device_id: str, reason: str) -> None:
    """Decline every sale of an acquirer's device from now on."""
    _set_blocked(turn, acquirer, device_id, 1, reason)


def unblock(turn: Turn, acquirer: str, device_id: str, reason: str) -> bool:
    """Let a device sell again; False where it is not blocked."""
    row = turn.store.find(BlockedDevice, "name", device_name(acquirer, device_id))
    if row is None or not row.is_blocked:
        return False
    _set_blocked(turn, acquirer, device_id, 0, reason)
    return True


def _set_blocked(turn: Turn, acquirer: str, device_id: str, is_blocked: int, reason: str) -> None:
    name = device_name(acquirer, device_id)
    row = turn.store.find(BlockedDevice, "name", name)
    if row is None:
        turn.store.insert(BlockedDevice(name, acquirer, device_id, is_blocked, reason, turn.now))
        return
    turn.store.change(row)
    row.is_blocked = is_blocked
    row.reason = reason
    row.changed_at = turn.now


def _decision(
    rule: Velocity | Travel | Attestation | Amount | Hour, counters: list[WindowCounter | LastPlaces]
) -> Callable[[_Sale], bool]:
    """What decides whether `rule` fires; its counter, where it has one, is added to `counters`."""
    if isinstance(rule, Velocity):
        return _velocity(rule, counters)
    if isinstance(rule, Travel):
        return _travel(rule, counters)
    if isinstance(rule, Attestation):
        return _attestation(rule)
    if isinstance(rule, Amount):
        # the amount is looked at before
        return lambda _: True
    begins, ends = rule.begins, rule.ends
    if begins <= ends:
        return lambda sale: begins <= sale.hour < ends
    return lambda sale: sale.hour >= begins or sale.hour < ends


def _velocity(rule: Velocity, counters: list[WindowCounter | LastPlaces]) -> Callable[[_Sale], bool]:
    counter = WindowCounter(rule.seconds)
    counters.append(counter)
    over, above, add = rule.over, rule.above, counter.add
    place = 0 if rule.measure == "count" else 1

    def fires(sale: _Sale) -> bool:
        key = sale.key(over)
        return key is not None and add(key, sale.now, sale.amount)[place] > above

    return fires


def _travel(rule: Travel, counters: list[WindowCounter | LastPlaces]) -> Callable[[_Sale], bool]:
    last = LastPlaces()
    counters.append(last)
    over, fastest, least = rule.over, rule.kilometres_an_hour, rule.kilometres

    def fires(sale: _Sale) -> bool:
        place = None if sale.device is None else sale.device.place
        key = None if place is None else sale.key(over)
        if place is None or key is None:
            return False
        kilometres, taken = last.move(key, sale.now, place)
        return kilometres >= least and kilometres > fastest * (taken / SECOND / _HOUR)

    return fires


def _attestation(rule: Attestation) -> Callable[[_Sale], bool]:
    state, seconds = rule.state, rule.seconds

    def fires(sale: _Sale) -> bool:
        device = sale.device
        attested = None if device is None else device.is_attested
        if state == "missing":
            return attested is None
        if state == "failed":
            return attested is False
        return attested is True and device is not None and device.verdict_age > seconds

    return fires


def _joined(names: list[str]) -> str:
    text = ",".join(names)
    while len(text) > MOST_NAMES:
        names.pop()
        text = ",".join(names)
    return text


def _has_cdcvm(message: Message) -> bool:
    """Whether tag 9F34 of DE55 says that the payer was verified on their own device; its code is unconfirmed [G]."""
    chip = message.fields.get(55)
    if not isinstance(chip, bytes):
        return False
    try:
        return tlv.flat(chip).get("9F34") == _CDCVM
    except tlv.TlvError:
        return False
