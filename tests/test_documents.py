"""What the documents show works as they show it."""

from __future__ import annotations

import doctest
import importlib
import itertools
import pkgutil
import re
import shlex
import typing
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

import network
from acquirer.attestation_policy import Refusal
from acquirer.configuration import Configuration as AcquirerConfiguration
from issuer.card_profiles import PROFILES
from issuer.faulty_card import FAULTS
from issuer.wallet import OPERATIONS as ISSUER_OPERATIONS
from merchant_device.kernel import Outcome
from merchant_device.sdk import ERRORS, Phone
from merchant_device.tee.commands import COMMANDS, CommandKind
from merchant_device.tee.serving import TrustedSideSettings
from network.attestation import ChainFault
from network.service import ServiceSettings
from scenarios import cli
from scenarios.demo_network.processes import PORTS
from scenarios.running import find_scenario
from scenarios.stage import cast_of
from scenarios.worlds import virtual_world

ROOT = Path(__file__).parent.parent
DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_examples_in_documents(path: Path) -> None:
    assert doctest.testfile(str(path), module_relative=False, optionflags=doctest.ELLIPSIS).failed == 0


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
        if not target.startswith("http"):
            assert (path.parent / target).exists(), target


@pytest.mark.parametrize("name", [module.name for module in pkgutil.walk_packages(network.__path__, "network.")])
def test_examples_in_docstrings(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def scenarios_in_the_documents() -> dict[str, str]:
    """Programs by the names of their scenarios."""
    text = (ROOT / "docs" / "scenarios.md").read_text()
    programs = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    return {re.findall(r"^def (\w+)\(stage", program, re.MULTILINE)[0]: program for program in programs}


@pytest.mark.parametrize(
    ("name", "ways"), [("one_till", {"card"}), ("kiosk", {"card", "merchant_code"}), ("held_breath", {"card"})]
)
def test_the_scenarios_in_the_documents_run(tmp_path: Path, name: str, ways: set[str]) -> None:
    path = tmp_path / f"{name}.py"
    path.write_text(scenarios_in_the_documents()[name])
    scenario = find_scenario(str(path))
    needs = cast_of(scenario)
    with virtual_world.virtual_world(1, phones=1, cards=40, cast=needs) as world:
        result = virtual_world.play(world, name, scenario, duration=240.0, phones=1)
    assert result.approved > 5
    assert result.ways.keys() == ways
    assert result.books.agree


def commands_in(path: Path) -> list[list[str]]:
    """What a document says after ``fourparty``: lines of their own, and code within sentences."""
    return [shlex.split(line) for line in re.findall(r"(?:^|`)fourparty ([^`\n]+)", path.read_text(), re.MULTILINE)]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_commands_in_the_documents_are_commands(path: Path) -> None:
    every: Any = get_command(cli.app)
    for words in commands_in(path):
        command = every
        said, names = " ".join(words), iter(words)
        while hasattr(command, "commands") and (name := next(names, None)) is not None:
            assert name in command.commands, f"fourparty {said}: there is no {name}"
            command = command.commands[name]
        options = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        for word in names:
            if word.startswith("--"):
                assert word.partition("=")[0] in {*options, "--help"}, f"fourparty {said}: there is no {word}"


def test_the_documents_show_every_command() -> None:
    command: Any = get_command(cli.app)
    shown = {words[0] for path in DOCUMENTS for words in commands_in(path)}
    assert command.commands.keys() == shown


def test_make_targets_in_the_readme_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for target in re.findall(r"`?make ([a-z-]+)", (ROOT / "README.md").read_text()):
        assert target in targets or target == "nothing", target


# tables that say what the code says


def table(document: str, head: str) -> list[list[str]]:
    """The rows of the table with this head, their cells without backticks."""
    lines = (ROOT / "docs" / document).read_text().splitlines()
    rows = lines[lines.index(head) + 2 :]
    return [
        [cell.strip().replace("`", "") for cell in line.strip("|").split("|")]
        for line in itertools.takewhile(lambda line: line.startswith("|"), rows)
    ]


def test_the_list_of_the_command_channel() -> None:
    def arguments(kind: CommandKind) -> str:
        fields = kind.arguments.model_fields.items()
        return ", ".join(name if field.is_required() else f"[{name}]" for name, field in fields)

    expected = [[kind.name, arguments(kind), kind.about, f"{kind.seconds:.0f}"] for kind in COMMANDS.values()]
    assert table("phone.md", "| command | arguments | does | seconds |") == expected


def test_the_error_list() -> None:
    assert table("sdk.md", "| code | meaning | what to do |") == [list(line) for line in ERRORS.values()]


def test_the_calls_of_the_sdk() -> None:
    shown = re.findall(r"(\w+)\(", " ".join(row[0] for row in table("sdk.md", "| call | gives | does |")))
    public = [name for name, value in vars(Phone).items() if not name.startswith("_") and callable(value)]
    assert sorted(shown) == sorted([*public, "start"])


def test_the_reasons_of_attestations() -> None:
    expected = [[fault.value, "the chain"] for fault in ChainFault] + [[one.value, "the policy"] for one in Refusal]
    assert table("phone.md", "| reason | of |") == expected


def test_the_products_and_faults_of_cards() -> None:
    assert table("phone.md", "| product | what it is |") == [[name, one.meaning] for name, one in PROFILES.items()]
    named = [[name, one.meaning] for name, one in FAULTS.items() if not name.startswith("malformed_")]
    assert table("phone.md", "| fault | the card |") == named


def test_the_outcomes_of_the_kernel() -> None:
    shown = {row[0] for row in table("phone.md", "| outcome | what the phone does |")}
    assert shown == {one.__name__ for one in typing.get_args(Outcome)}


def test_the_ports() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    shown = table("operations.md", "| port of `fourparty up` | adds to `--base-port` (7000) |")
    assert [int(number) for row in shown for number in row[1].split(",")] == list(PORTS.values())
    assert f"({cli.DEFAULT_BASE_PORT})" in text


def test_the_settings_in_the_documents_are_settings() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    known = {
        *ServiceSettings.model_fields,
        *TrustedSideSettings.model_fields,
        *AcquirerConfiguration.model_fields,
        "[party]",
    }
    for rows in re.findall(r"\| setting \| meaning \|\n\|---\|---\|\n((?:\|.*\n)+)", text):
        for cell in re.findall(r"^\| ([^|]+) \|", rows, re.MULTILINE):
            for name in re.findall(r"`([^`]+)`", cell):
                assert name in known, name


def test_routes_in_the_documents_exist() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    known = {re.sub(r"\{\w+\}", "{}", path) for path in every_path()}
    for path in re.findall(r"`(?:GET|POST|PUT|DELETE) (/[^ `?]+)", text):
        assert re.sub(r"\{\w+\}", "{}", path) in known, path


def every_path() -> set[str]:
    """The paths of all parties' REST interfaces."""
    sources = [*(ROOT / party for party in ("issuer", "switch", "acquirer", "merchant_device")), ROOT / "network"]
    text = "".join(path.read_text() for folder in sources for path in folder.glob("*.py"))
    paths = set(re.findall(r"@\w+\.(?:get|post|put|delete)\(\s*\"(/[^\"]*)\"", text))
    return paths | {path for _, path in ISSUER_OPERATIONS.values()}
