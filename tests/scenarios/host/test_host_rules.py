"""Rules of a test host: which request meets which, how they are counted, and what is no rule."""

from __future__ import annotations

import pytest

from network.iso8583 import Message
from network.service import ConfigurationError
from scenarios.host.rule_book import RuleBook, sighting_of
from scenarios.host.rules import parse_rules

SALE = {
    2: "6228480000000000018",
    3: "000000",
    4: "000000012345",
    18: "5411",
    22: "071",
    41: "00000009",
    42: "898290054110001",
}


def decided(when: str, mti: str = "0200", **changed: str) -> bool:
    """Whether a rule with these conditions decides a sale with these elements changed."""
    book = RuleBook(parse_rules(f'[[rule]]\nname = "it"\nwhen = {{ {when} }}\n'))
    fields: dict[int, str | bytes] = {**SALE, **{int(name[2:]): value for name, value in changed.items()}}
    return book.rule_for(sighting_of(Message(mti, fields), "right", "none")).name == "it"


@pytest.mark.parametrize(
    ("when", "meets"),
    [
        ("", True),
        ("amount = 12_345", True),
        ("amount = 12_346", False),
        ("amount_min = 12_345, amount_max = 12_345", True),
        ("amount_min = 12_346", False),
        ("amount_max = 12_344", False),
        ('amount_ends_with = "45"', True),
        ('amount_ends_with = "46"', False),
        ('pan_prefix = "622848"', True),
        ('pan_prefix = ["1", "6228"]', True),
        ('pan_prefix = "622849"', False),
        ('pan_from = "622848", pan_to = "622848"', True),
        ('pan_from = "62284800000000000"', True),
        ('pan_from = "6228490"', False),
        ('pan_to = "6228479"', False),
        ('mcc = "5411"', True),
        ('mcc = ["5811", "5812"]', False),
        ('merchant = "898290054110001", terminal = "00000009"', True),
        ('terminal = "00000010"', False),
        ('processing_code = "000000"', True),
        ('processing_code = "300000"', False),
        ('entry_mode = "07"', True),
        ('entry_mode = "02"', False),
        ('pin = "right", cryptogram = "none"', True),
        ('pin = "wrong"', False),
        ('cryptogram = "right"', False),
        ('mti = "0220"', False),
        ("probability = 0.0", False),
    ],
)
def test_conditions(when: str, meets: bool) -> None:
    assert decided(when) is meets


def test_a_rule_without_a_type_is_for_requests_and_not_for_reversals() -> None:
    assert not decided("", mti="0420")
    assert decided('mti = "0420"', mti="0420")
    assert decided("", mti="0220")


@pytest.mark.parametrize(
    ("when", "numbers"),
    [
        ("every = 3", [3, 6, 9]),
        ("first = 2", [1, 2]),
        ("skip = 2, first = 2", [3, 4]),
        ("every = 2, first = 2", [2, 4]),
        ("skip = 8", [9, 10]),
    ],
)
def test_counting(when: str, numbers: list[int]) -> None:
    book = RuleBook(parse_rules(f'[[rule]]\nname = "it"\nwhen = {{ {when} }}\n'))
    seen = sighting_of(Message("0200", dict(SALE)), "none", "none")
    assert [number for number in range(1, 11) if book.rule_for(seen).name == "it"] == numbers
    assert (book.matched["it"], book.matched["default"]) == (len(numbers), 10 - len(numbers))


def test_the_first_rule_that_is_met_decides_and_chance_repeats_with_the_seed() -> None:
    text = '[host]\nseed = 4\n[[rule]]\nwhen = { probability = 0.5 }\n[[rule]]\nname = "rest"\n'
    seen = sighting_of(Message("0200", dict(SALE)), "none", "none")
    runs = []
    for _ in range(2):
        book = RuleBook(parse_rules(text))
        runs.append([book.rule_for(seen).name for _ in range(30)])
    assert runs[0] == runs[1]
    assert set(runs[0]) == {"rule-1", "rest"}


def test_a_turn_that_is_lost_is_not_counted() -> None:
    book = RuleBook(parse_rules('[[rule]]\nname = "it"\nwhen = { first = 1 }\n'))
    seen = sighting_of(Message("0200", dict(SALE)), "none", "none")
    book.begin()
    assert book.rule_for(seen).name == "it"
    book.rolled_back()
    assert book.matched["it"] == 0
    book.begin()
    assert book.rule_for(seen).name == "it"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            '[[rule]]\nname = "a"\n\n[[rule]]\nname = "b"\nwen = {}',
            "the rules: line 4, rule 2 (b): wen: there is no such key",
        ),
        ("[[rule]]\n[rule.then]\ndeclin = '51'", "line 1, rule 1: then.declin: there is no such key"),
        ("[[rule]]\nthen = { decline = '5' }", "rule 1: then.decline"),
        ("[[rule]]\nthen = { approve = false }", "rule 1: then: approve = false needs decline"),
        ("[[rule]]\nthen = { late = true, delay = 5 }", "give either late or delay"),
        ("[[rule]]\nwhen = { mti = '0800' }", "rules are for 0200, 0220, 0420, not 0800"),
        ("[[rule]]\nwhen = { amount_min = -1 }", "when.amount_min"),
        ("[[rule]]\nname = 'x'\n[[rule]]\nname = 'x'", "the rules: two rules are named x"),
        ("[host]\nseeds = 1", "host.seeds: there is no such key"),
        ("rules = []", "rules: there is no such key"),
        ("[[rule]", "the rules is not TOML"),
    ],
)
def test_what_is_no_rule_is_named_with_its_place(text: str, reason: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_rules(text)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_secrets_of_cards_are_shown_nowhere() -> None:
    rules = parse_rules(
        '[[card]]\npan = "6228480000000000018"\npin = "123456"\nimk = "00112233445566778899AABBCCDDEEFF"\n'
    )
    assert "6228480000000000018" not in repr(rules)
    assert "123456" not in repr(rules)
    assert "0011" not in repr(rules)
    with pytest.raises(ConfigurationError) as caught:
        parse_rules('[[card]]\npan = "622848000000000001x"\n')
    assert "622848000000000001x" not in str(caught.value)
