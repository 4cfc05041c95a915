"""The messages of a host that pays, and the account that it gives of each payment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Final

from network.iso8583 import InterbankHeader, Message
from network.member import OriginalData, ZoneKeys
from network.party import Instant, Turn
from scenarios.host.purse import Purse
from scenarios.host.script import Payment

_REVERSED: Final = (2, 3, 4, 12, 13, 18, 22, 23, 25, 32, 33, 37, 41, 42, 43, 49)


@dataclass
class Attempt:
    """One payment under way or over.

    Attributes
    ----------
    request : Message
        As it was meant, whatever was done to its bytes.
    code, reversal_code : str
        DE39 of the answers, empty while there is none.
    milliseconds : int
        What the answer took.
    problems : list of str
        What is otherwise than the script expects.
    """

    payment: Payment
    request: Message = field(repr=False)
    sent_at: Instant
    code: str = ""
    reversal_code: str = ""
    milliseconds: int = 0
    reversal: Message | None = field(default=None, repr=False)
    tries: int = 0
    is_over: bool = False
    problems: list[str] = field(default_factory=list)

    @property
    def key(self) -> str:
        """What its messages are known by: DE7 and DE11."""
        return self.request.text(7) + self.request.text(11)

    @property
    def stands(self) -> int:
        """Fen that it has moved in the end."""
        is_paid = self.code == "00" and self.payment.kind == "sale" and self.reversal_code != "00"
        return self.payment.amount if is_paid else 0

    def check(self, fields: Mapping[int, str | bytes]) -> None:
        """Hold an answer against what the script expects."""
        expect = self.payment.expect
        if expect.no_answer:
            self.problems.append(f"answered {self.code}, no answer was expected")
            return
        if self.code not in expect.code:
            self.problems.append(f"answered {self.code}, expected {' or '.join(expect.code)}")
        if expect.within and self.milliseconds > expect.within:
            self.problems.append(f"took {self.milliseconds} ms, expected at most {expect.within}")
        self.problems += [f"the answer has no {one}" for one in expect.has if int(one[2:]) not in fields]
        self.problems += [f"the answer has {one}" for one in expect.has_not if int(one[2:]) in fields]


def request_for(
    payment: Payment, turn: Turn, stan: str, purse: Purse, zone: ZoneKeys, header: InterbankHeader, random: Random
) -> Message:
    """The 0200 of a payment; DE128 is still to be set."""
    card = purse.card(payment.card)
    is_sale = payment.kind == "sale"
    moment = turn.local.strftime("%m%d%H%M%S")
    fields: dict[int, str | bytes] = {
        2: card.pan,
        3: "000000" if is_sale else "300000",
        7: moment,
        11: stan,
        12: moment[4:],
        13: moment[:4],
        14: card.expiry,
        18: payment.mcc,
        22: ("07" if payment.chip else "01") + ("2" if payment.pin == "none" else "1"),
        23: card.sequence.rjust(3, "0"),
        25: "00",
        32: header.source,
        33: header.source,
        37: f"{turn.local:%y%j}"[1:] + "00" + stan,
        41: payment.terminal,
        42: payment.merchant,
        43: "TEST HOST".ljust(40),
        49: "156",
    }
    if is_sale:
        fields[4] = f"{payment.amount:012d}"
    if payment.chip:
        if card.track2:
            fields[35] = card.track2
        transaction_type = "00" if is_sale else "31"
        day = turn.local.strftime("%y%m%d")
        fields[55] = purse.chip_data(payment.card, payment.amount, day, transaction_type, random)
    if payment.pin != "none":
        fields |= {26: "12", 52: purse.pin_block(payment.card, payment.pin, zone), 53: "2600000000000000"}
    for name, value in payment.send.set.items():
        old = fields.get(int(name[2:]))
        fields[int(name[2:])] = bytes.fromhex(value) if isinstance(old, bytes) else value
    for name in payment.send.remove:
        fields.pop(int(name.removeprefix("DE")), None)
    return Message("0200", dict(sorted(fields.items())), header)


def reversal_of(attempt: Attempt, turn: Turn, stan: str, answer: Mapping[int, str | bytes]) -> Message:
    """The 0420 that takes a payment back; DE128 is still to be set.

    Parameters
    ----------
    answer
        The elements of the 0210, empty where none came.
    """
    request = attempt.request
    fields = {number: request[number] for number in _REVERSED if number in request}
    fields |= {number: answer[number] for number in (15, 38) if number in answer}
    acquirer = request.text(32)
    original = OriginalData("0200", request.text(11), request.text(7), acquirer, acquirer)
    reason = "06" if answer else "98"
    fields |= {7: turn.local.strftime("%m%d%H%M%S"), 11: stan, 39: reason, 90: original.pack()}
    return Message("0420", dict(sorted(fields.items())), request.header)
