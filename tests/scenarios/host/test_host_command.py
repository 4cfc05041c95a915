"""Wrong arguments of ``fourparty host`` and of the places that ``fourparty up`` leaves free: one line, exit code 2."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from scenarios import cli

WHO = ["--id", "03090000", "--switch-id", "00010000", "--zone-key-file", "zone.key"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["host", "issuer", "--rules", "rules.toml"], "give --network, or --id, --switch-id and --zone-key-file"),
        (["host", "issuer", "--rules", "rules.toml", *WHO], "give --listen or --dial"),
        (["host", "issuer", "--rules", "rules.toml", "--listen", "x:1", "--dial", "x:1", *WHO], "either --listen or"),
        (["host", "issuer", "--rules", "none.toml", "--dial", "x:1", *WHO], "cannot read none.toml"),
        (["host", "issuer", "--rules", "rules.toml", "--dial", "x:1", "--network", ".", *WHO], "--network: it tells"),
        (["host", "switch", "--rules", "rules.toml", "--id", "1", *WHO[2:]], "--id: an id has 8 digits"),
        (["host", "acquirer", "--script", "rules.toml", "--dial", "x:1", *WHO], "rules.toml: host.check_pin"),
        (["host", "acquirer", "--script", "pay.toml", "--dial", "x:1", *WHO], "there is no card nobody's"),
        (["host", "acquirer", "--script", "pay.toml", "--network", "none"], "cannot read none/network.json"),
        (["up", "--dir", "net", "--without", "isuer"], "--without: there is no service isuer; there are issuer"),
        (["up", "--dir", "net", "--only", "switch", "--without", "issuer"], "give either --only or --without"),
        (["up", "--dir", "net", "--without", "issuer,switch,acquirer,device"], "no service is left to run"),
        (["up", "--dir", "net", "--at", "link=x:1"], "--at: there is no link 'link'; there are terminal_link"),
        (["up", "--dir", "net", "--at", "member_link"], "is not LINK=HOST:PORT"),
    ],
)
def test_wrong_arguments(
    arguments: list[str],
    reason: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("zone.key").write_text("00112233445566778899AABBCCDDEEFF")
    Path("rules.toml").write_text("[host]\ncheck_pin = false\n")
    Path("pay.toml").write_text('[[payment]]\ncard = "nobody\'s"\namount = 1\n')
    monkeypatch.setattr(sys, "argv", ["fourparty", *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    said = capsys.readouterr().err
    assert caught.value.code == 2
    assert reason in said
    assert said.count("\n") == 1
