"""Hosts are parties: a paying one meets one that answers by rules, in virtual time, with every message really made."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
import simpy

from network.keys import Algorithm, KeyUsage, SecurityModule
from network.party import SECOND
from network.store import Store
from network.virtual import VirtualNetwork, Wire
from scenarios.host.account import account_of
from scenarios.host.acquirer import AcquirerHost
from scenarios.host.rules import parse_rules
from scenarios.host.script import parse_script
from scenarios.host.switch import SWITCH_TABLES, SwitchHost
from scenarios.host.tables import APPROVED, TABLES, HostAuthorisation

EPOCH = 1_790_125_200 * SECOND
ACQUIRER, SWITCH = "48020000", "00010000"
IMK = "0123456789ABCDEFFEDCBA9876543210"
SECRETS = f'pan = "6228480000000000018"\npin = "123456"\nimk = "{IMK}"\n'
CARD = f'[[card]]\nname = "it"\nexpiry = "3012"\n{SECRETS}'
KNOWN = f"[[card]]\n{SECRETS}"


class World:
    """A host that pays, one in the switch's place, and a wire between them."""

    def __init__(self, script: str, rules: str, wire: Wire | None = None, seed: int = 1) -> None:
        self.env = simpy.Environment()
        network = VirtualNetwork(self.env, seed, EPOCH)
        self.stores = [Store("sqlite://", (*TABLES, *SWITCH_TABLES), durable=False) for _ in range(2)]
        random = Random(seed)
        modules = [SecurityModule(random.randbytes(32), random) for _ in range(2)]
        zone = random.randbytes(16)
        near, far = (one.import_clear(KeyUsage.KEY_ENCRYPTION, Algorithm.TDES_DOUBLE, zone) for one in modules)
        self.acquirer = AcquirerHost(ACQUIRER, SWITCH, modules[0], near, parse_script(script + CARD))
        self.switch = SwitchHost(SWITCH, modules[1], {ACQUIRER: far}, parse_rules(rules + KNOWN))
        here = network.add(lambda: self.acquirer, self.stores[0])
        there = network.add(lambda: self.switch, self.stores[1])
        network.connect(here, "switch", there, "member:1", wire or Wire())
        network.start()

    def play(self, seconds: float = 600) -> dict[str, Any]:
        while not self.acquirer.is_over and self.env.now < seconds:
            self.env.run(until=self.env.now + 1)
        return account_of(self.acquirer)

    def approved(self) -> int:
        table = self.stores[1].tables[HostAuthorisation]
        with self.stores[1].read() as connection:
            rows = connection.execute(table.select()).mappings().all()
        return sum(row["amount"] for row in rows if row["status"] == APPROVED)


def payment(**fields: str) -> str:
    return "[[payment]]\n" + "".join(f"{name} = {value}\n" for name, value in {"card": '"it"', **fields}.items())


def rule(when: str, then: str) -> str:
    return f"[[rule]]\nwhen = {{ {when} }}\nthen = {{ {then} }}\n"


QUICK = "[host]\nanswer_within = 2_000\nreversal_retry = 1_000\n"


@pytest.mark.parametrize(
    ("then", "expect", "paid"),
    [
        ("approve = true", 'code = "00", has = ["DE38", "DE55"]', 100),
        ('decline = "51"', 'code = "51", has_not = ["DE38"]', 0),
        ("balance = 777", 'code = "00", has = ["DE54"]', 100),
        ("delay = 1_000, jitter = 200", 'code = "00"', 100),
        ("delay = 1_000", 'code = "00", within = 1_500', 100),
        ("late = true", "no_answer = true", 0),
        ("drop = true", "no_answer = true", 0),
        ("ignore = true", 'no_answer = true, reversal = "25"', 0),
        ("duplicate = 3", 'code = "00"', 100),
        ("wrong_mac = true", "no_answer = true", 0),
        ('corrupt = "DE4"', "no_answer = true", 0),
        ("other_stan = true", "no_answer = true", 0),
        ("malformed_length = true", "no_answer = true", 0),
        ('reject = "00030"', "no_answer = true", 0),
    ],
)
def test_what_a_rule_does_to_an_answer_and_what_it_costs(then: str, expect: str, paid: int) -> None:
    world = World(QUICK + payment(amount="100", expect=f"{{ {expect} }}"), rule("", then))
    account = world.play()
    assert account["passed"], account
    assert account["paid"] == world.approved() == paid
    assert world.switch.responder.book.matched["rule-1"] == 1


@pytest.mark.parametrize(
    ("fields", "rules", "code"),
    [
        ({"pin": '"wrong"'}, "", "55"),
        ({"pin": '"wrong"'}, rule('pin = "wrong"', "approve = true"), "00"),
        ({"pin": '"none"'}, rule('pin = "none"', 'decline = "55"'), "55"),
        ({}, rule('pin = "right", cryptogram = "right"', 'decline = "05"'), "05"),
        ({"chip": "false"}, rule('cryptogram = "none", entry_mode = "01"', 'decline = "57"'), "57"),
        ({"mcc": '"7995"'}, rule('mcc = "7995"', 'decline = "57"'), "57"),
        ({"send": "{ wrong_mac = true }"}, "", "A0"),
        ({"send": '{ remove = ["DE2", "DE35"] }'}, "", "30"),
    ],
)
def test_what_is_asked_decides_what_is_answered(fields: dict[str, str], rules: str, code: str) -> None:
    world = World(payment(amount="100", expect=f'{{ code = "{code}" }}', **fields), rules)
    account = world.play()
    assert account["passed"], account
    assert world.approved() == account["paid"]


def test_copies_are_answered_from_the_record_and_reversals_until_they_are_answered() -> None:
    script = QUICK + payment(amount="100", send="{ resend = 2 }") + payment(amount="50", reverse="true")
    world = World(script, rule('mti = "0420", first = 3', "drop = true") + rule("first = 1", 'auth_id = "FIRST1"'))
    account = world.play()
    assert account["passed"], account
    assert (account["paid"], world.approved()) == (100, 100)
    assert world.switch.responder.seen["0200"] == 4
    assert world.switch.responder.seen["0420"] == 4


def test_on_a_bad_wire_everything_comes_to_an_end_and_both_say_the_same() -> None:
    bad = Wire(loss=0.1, duplication=0.1, reordering=0.2, corruption=0.05)
    script = "[host]\nin_flight = 5\nanswer_within = 2_000\nreversal_retry = 1_000\n" + payment(amount="7", repeat="60")
    told = []
    for _ in range(2):
        world = World(script, "", bad, seed=9)
        account = world.play()
        assert not account["trouble"]
        assert len(account["payments"]) == 60
        assert account["paid"] == world.approved()
        assert 0 < account["paid"] < 60 * 7
        told.append([(one["code"], one["milliseconds"]) for one in account["payments"]])
    assert told[0] == told[1]


def test_a_member_whose_session_is_gone_is_answered_77_and_signs_on_again() -> None:
    gone = payment(amount="100", pause="2_000", expect='{ code = "77" }')
    world = World(gone + payment(amount="200"), "")
    world.env.run(until=1.5)
    assert world.acquirer.session.ready
    world.switch.members.sessions.clear()
    account = world.play()
    assert account["passed"], account
    assert account["paid"] == world.approved() == 200


def test_what_is_not_as_expected_is_said() -> None:
    wrong = '{ code = ["05", "51"], has = ["DE63"], has_not = ["DE38"], within = 1, reversal = "25" }'
    script = QUICK + payment(amount="100", reverse="true", expect=wrong)
    script += payment(amount="100", reverse="true", expect="{ no_answer = true }") + payment(amount="200")
    world = World(script, rule("amount = 200", "drop = true"))
    account = world.play()
    assert not account["passed"]
    first, second, third = (one["problems"] for one in account["payments"])
    took = account["payments"][0]["milliseconds"]
    assert first == [
        "answered 00, expected 05 or 51",
        f"took {took} ms, expected at most 1",
        "the answer has no DE63",
        "the answer has DE38",
        "its reversal was answered 00, expected 25",
    ]
    assert second == ["answered 00, no answer was expected"]
    assert third == ["not answered within 2000 ms"]
    assert account["paid"] == world.approved() == 0


def test_a_switch_that_does_not_answer_is_said() -> None:
    world = World("[host]\nready_within = 3_000\n" + payment(amount="100"), "", Wire(loss=1.0))
    account = world.play()
    assert account["trouble"] == "the switch did not let it sign on within 3 s"
    assert (account["passed"], account["payments"]) == (False, [])
