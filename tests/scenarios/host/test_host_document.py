"""What docs/test_host.md shows is what the code takes; its rules and its script are also played end to end."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from scenarios.host.rules import Then, When, parse_rules
from scenarios.host.script import Expect, PayingCard, Payment, Send, parse_script
from scenarios.proxy import parse_toxic
from scenarios.proxy.serving import read_configuration
from scenarios.proxy.toxics import _EFFECTS, Selection

TEXT = (Path(__file__).parents[3] / "docs" / "test_host.md").read_text()


def example(name: str) -> str:
    (found,) = re.findall(rf"```toml\n# {re.escape(name)}\n(.*?)```", TEXT, re.DOTALL)
    return str(found)


def named_in(head: str) -> set[str]:
    """The code words in the first cells of the table with this head."""
    rows = TEXT[TEXT.index(head) :].split("\n\n")[0].splitlines()[2:]
    return {word for row in rows for word in re.findall(r"`(\w+)`", row.split("|")[1])}


def test_the_examples_are_what_they_say() -> None:
    assert len(parse_rules(example("rules.toml")).rule) == 6
    assert len(parse_script(example("payments.toml")).payment) == 7


def test_the_proxies_of_the_example(tmp_path: Path) -> None:
    path = tmp_path / "faults.toml"
    path.write_text(example("faults.toml"))
    _, proxies = read_configuration(path)
    assert [(one.name, len(one.toxics)) for one in proxies] == [("switch-issuer", 2), ("terminals", 0)]


@pytest.mark.parametrize("text", re.findall(r"--toxic (\S+)", TEXT))
def test_toxics_of_commands_are_toxics(text: str) -> None:
    assert parse_toxic(text).type in _EFFECTS


def test_every_condition_and_action_is_in_its_table_and_no_other() -> None:
    assert named_in("| when |") == set(When.model_fields)
    assert named_in("| then |") == set(Then.model_fields)


def test_every_toxic_and_its_attributes_are_in_the_table() -> None:
    rows = TEXT[TEXT.index("| toxic | attributes |") :].split("\n\n")[0].splitlines()[2:]
    shown = {
        re.findall(r"`(\w+)`", row.split("|")[1])[0]: set(re.findall(r"`(\w+)`", row.split("|")[2])) for row in rows
    }
    own = {name: set(kind.model_fields) - set(Selection.model_fields) for name, kind in _EFFECTS.items()}
    for name, kind in _EFFECTS.items():
        if not issubclass(kind, Selection):
            own[name] = set(kind.model_fields)
    assert shown == own
    for name in Selection.model_fields:
        assert f"`{name}`" in TEXT


def test_what_a_script_has_is_told() -> None:
    for model in (Payment, Send, Expect, PayingCard):
        for name in model.model_fields:
            assert f"`{name}`" in TEXT or f"`{name} =" in TEXT, name
