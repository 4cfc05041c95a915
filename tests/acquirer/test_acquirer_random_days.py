"""Random days: messages lost, doubled, delayed, reordered, crashes; afterwards the books agree with the switch's."""

from __future__ import annotations

from random import Random

import pytest
from acquirer_bed import MERCHANT, Bed, Terminal

from network.iso8583 import TERMINAL, Message
from network.member import OriginalData
from network.store import Store


class Issuer:
    """What lies behind the switch: approves most sales, and takes back what is reversed, whichever comes first."""

    def __init__(self, bed: Bed, random: Random) -> None:
        self.bed = bed
        self.random = random
        self.approved: dict[str, int] = {}
        self.reversed: set[str] = set()
        self.answers: dict[str, bytes] = {}

    def decide(self, message: Message) -> bytes:
        key = message.text(7) + message.text(11)
        if key in self.answers:
            return self.answers[key]
        if message.mti == "0420":
            original = OriginalData.parse(message.text(90))
            self.reversed.add(original.transmission + original.stan)
            return self.bed.switch.answer(message, "96" if self.random.random() < 0.2 else "00")
        code = "25" if key in self.reversed else self.random.choice(("00", "00", "00", "51"))
        if code == "00":
            self.approved[key] = int(message.text(4))
        self.answers[key] = self.bed.switch.answer(message, code)
        return self.answers[key]

    @property
    def total(self) -> int:
        return sum(amount for key, amount in self.approved.items() if key not in self.reversed)


@pytest.mark.parametrize("seed", range(8))
def test_the_books_agree_after_a_random_day(empty: Store, seed: int) -> None:
    random = Random(seed)
    terminals = [Terminal(f"T000000{k}", f"terminal:{k}") for k in range(3)]
    bed = Bed(empty, terminals)
    bed.connect()
    for terminal in terminals:
        bed.sign_on(terminal)
    issuer = Issuer(bed, random)
    seen = 0
    to_acquirer: list[tuple[str, bytes]] = []
    approved_at_terminal: dict[tuple[str, str], int] = {}
    taken_back: set[tuple[str, str]] = set()
    asked: list[tuple[Terminal, bytes, str, int]] = []

    for step in range(400):
        terminal = random.choice(terminals)
        dice = random.random()
        if step >= 320:  # no new business: the day ends
            dice = 1.0
        if dice < 0.35:
            amount = random.randrange(1, 10_000)
            body = terminal.sale(amount)
            asked.append((terminal, body, f"{terminal.stan:06d}", amount))
            to_acquirer.append((terminal.link, body))
        elif dice < 0.45 and asked:
            # a copy of something earlier
            other, body, _, _ = random.choice(asked[-10:])
            to_acquirer.append((other.link, body))
        elif dice < 0.57 and asked:
            other, _, stan, amount = random.choice(asked[-10:])
            taken_back.add((other.terminal_id, stan))
            to_acquirer.append((other.link, other.reversal(stan, amount)))
        elif dice < 0.59:
            bed.restart()
            to_acquirer.clear()
            bed.connect()
        elif dice < 0.61:
            bed.disconnect()
            bed.wait(random.choice((1, 35)))
            bed.connect()
        # what waits arrives in some order, some of it not, some twice
        random.shuffle(to_acquirer)
        count = random.randrange(len(to_acquirer) + 1)
        batch, to_acquirer = to_acquirer[:count], to_acquirer[count:]
        batch = [one for one in batch if random.random() < 0.9 or step >= 320]
        batch += [one for one in batch if random.random() < 0.1]
        replies = bed.pump(bed.messages(*batch)) if batch else []
        replies += bed.wait(random.choice((0.01, 0.01, 0.5, 11)) if step < 390 else 11)
        fresh, seen = bed.switch.received[seen:], len(bed.switch.received)
        for message in fresh:
            if random.random() < 0.9 or step >= 320:
                to_acquirer.append(("switch", issuer.decide(message)))
        for link, body in replies:
            reply = TERMINAL.unpack(body)
            if reply.mti == "0210" and reply.fields[39] == "00" and random.random() < 0.8:
                approved_at_terminal[reply.text(41), reply.text(11)] = int(reply.text(4))
                assert link.startswith("terminal")
    assert not bed.failures
    assert {advice.status for advice in bed.advices()} <= {"answered"}
    assert all(row.status != "pending" for row in bed.rows())
    balances = bed.balances()
    assert balances.get("receivable:network", 0) == balances.get(f"merchant:{MERCHANT}", 0) == issuer.total
    assert issuer.total > 0
    assert len(issuer.reversed) > 5
    posted = {(row.terminal_id, row.stan): row.amount for row in bed.rows() if row.status == "approved"}
    # every receipt that was not taken back is in the books, for its amount
    receipts = {key: amount for key, amount in approved_at_terminal.items() if key not in taken_back}
    assert receipts.items() <= posted.items()
    assert sum(posted.values()) == issuer.total
