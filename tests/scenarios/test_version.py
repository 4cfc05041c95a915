"""``fourparty --version``."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import version

import pytest

from scenarios import cli


@pytest.mark.parametrize("more", [[], ["run", "nonsense"]])
def test_the_version_is_told_whatever_else_is_asked(
    more: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["fourparty", "--version", *more])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = capsys.readouterr()
    assert (ended.value.code, said.err) == (0, "")
    assert said.out == f"fourparty {version('fourparty')}, Python {platform.python_version()}\n"
