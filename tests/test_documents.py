"""What the documents show works as they show it."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import network
from scenarios import cli, virtual_world
from scenarios.running import find_scenario

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


def test_the_scenario_in_the_documents_runs(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "scenarios.md").read_text()
    code = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert code is not None
    path = tmp_path / "one_till.py"
    path.write_text(code.group(1))
    scenario = find_scenario(str(path))
    with virtual_world.virtual_world(1, phones=1, cards=40) as world:
        result = virtual_world.play(world, "one_till", scenario, duration=120.0, phones=1)
    assert result.approved > 5
    assert result.books.agree


def test_commands_in_the_documents_are_commands() -> None:
    known = {command.name or command.callback.__name__ for command in cli.app.registered_commands if command.callback}
    for path in DOCUMENTS:
        for command in re.findall(r"(?:^|`)fourparty ([a-z]+)[ `]", path.read_text(), re.MULTILINE):
            assert command in known, f"{path.name}: fourparty {command}"


def test_make_targets_in_the_readme_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for target in re.findall(r"`?make ([a-z-]+)", (ROOT / "README.md").read_text()):
        assert target in targets or target == "nothing", target
