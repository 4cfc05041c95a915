"""``fourparty host acquirer`` in the acquirer's place of ``fourparty up --without acquirer,device``."""

from __future__ import annotations

import json
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from host_process import HostProcess, document_example, until
from pem_files import Authority
from running_network import PROJECT, command, environment

from scenarios.demo_network import embedded
from scenarios.demo_network.processes import NetworkError, RunningNetwork, free_base_port

pytestmark = pytest.mark.live

GOOD = """
[host]
in_flight = 4
answer_within = 8_000

[[payment]]
name = "plain"
card = "card-001"
amount = 1_250
expect = { code = "00", within = 5_000, has = ["DE38", "DE15"], has_not = ["DE44"] }

[[payment]]
name = "keyed in wrongly"
card = "card-002"
amount = 1_000
pin = "wrong"
expect = { code = "55" }

[[payment]]
name = "no funds"
card = "card-024"
amount = 10_000
expect = { code = "51" }

[[payment]]
name = "sent three times"
card = "card-003"
amount = 2_000
send = { resend = 2 }

[[payment]]
name = "taken back"
card = "card-004"
amount = 3_000
reverse = true

[[payment]]
name = "wrong MAC"
card = "card-005"
amount = 4_000
send = { wrong_mac = true }
expect = { code = "A0" }

[[payment]]
name = "changed on the way"
card = "card-005"
amount = 4_000
send = { corrupt = "DE4" }
expect = { code = "A0" }

[[payment]]
name = "nothing"
card = "card-006"
amount = 1
send = { set = { DE4 = "000000000000" } }
expect = { code = "13" }

[[payment]]
name = "no such issuer"
card = "elsewhere"
amount = 1_000
chip = false
pin = "none"
expect = { code = "92" }

[[payment]]
name = "balance"
card = "card-007"
kind = "balance"
expect = { code = "00", has = ["DE54"] }

[[payment]]
name = "in a row"
card = "card-008"
amount = 10
repeat = 5
pause = 20

[[card]]
name = "elsewhere"
pan = "4000000000000002"
expiry = "3012"
"""
PAID = 1_250 + 2_000 + 5 * 10


class Standing:
    """The network without its acquirer."""

    def __init__(self, folder: Path, base_port: int) -> None:
        self.folder = folder
        self.up = HostProcess(
            folder / "up.log", "up", "--dir", folder, "--base-port", base_port, "--without", "acquirer,device"
        )
        self.network = RunningNetwork(folder)
        try:
            until(self._is_up, "the issuer signs on", 30)
        except BaseException:
            self.up.stop()
            raise

    def _is_up(self) -> bool:
        assert self.up.process.poll() is None, self.up.said()
        try:
            members = {one["member_id"]: one["ready"] for one in self.network.get("switch", "/members")}
        except NetworkError:
            return False
        return bool(members[self.network.description["issuer"]["id"]])

    def paid(self) -> tuple[int, int]:
        """What the acquirer has paid, fen, as the switch and the issuer say."""
        acquirer = self.network.description["acquirer"]["id"]
        nets = {}
        for party in ("switch", "issuer"):
            books = self.network.get(party, "/books")
            assert books["imbalance"] == 0
            nets |= {one["account_id"]: one["credits"] - one["debits"] for one in books["accounts"]}
        return nets.get(f"member:{acquirer}", 0), nets.get("settlement:network", 0)

    def play(self, script: str) -> tuple[int, dict[str, Any]]:
        path = self.folder / "payments.toml"
        path.write_text(script)
        played = subprocess.run(
            command("host", "acquirer", "--script", path, "--network", self.folder, "--json"),
            cwd=PROJECT,
            env=environment(),
            capture_output=True,
            timeout=60,
            check=False,
        )
        return played.returncode, json.loads(played.stdout) if played.stdout else {"trouble": played.stderr.decode()}


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standing]:
    folder = tmp_path_factory.mktemp("host_acquirer")
    base_port = free_base_port()
    embedded.prepare(folder, base_port, cards=1, free_terminals=2)
    made = Standing(folder, base_port)
    yield made
    assert made.up.stop() == 0


def test_a_script_is_played_to_its_end_and_three_books_agree(standing: Standing) -> None:
    before = standing.paid()
    assert before[0] == before[1]
    code, account = standing.play(GOOD)
    assert [one for one in account["payments"] if one["problems"]] == []
    assert (code, account["passed"], len(account["payments"])) == (0, True, 15)
    assert account["paid"] == PAID
    until(lambda: standing.paid() == (before[0] + PAID,) * 2, "switch and issuer agree with the host")
    taken_back = next(one for one in account["payments"] if one["payment"] == "taken back")
    assert (taken_back["code"], taken_back["reversal_code"]) == ("00", "00")


def test_the_script_of_the_document_comes_as_it_says(standing: Standing) -> None:
    before = standing.paid()
    code, account = standing.play(document_example("payments.toml"))
    assert (code, [one for one in account["payments"] if one["problems"]]) == (0, [])
    assert account["paid"] == 1_250 + 2_000 + 20 * 10
    until(lambda: standing.paid() == (before[0] + account["paid"],) * 2, "switch and issuer agree with the host")


@pytest.mark.parametrize("secured", [False, True], ids=["plain", "TLS"])
def test_two_hosts_meet_without_any_network(tmp_path: Path, secured: bool) -> None:
    """A host in the switch's place, known by ids and a key file, and one in an acquirer's.

    Without TLS the script expects something else than what comes.
    """
    (tmp_path / "zone.key").write_text("00112233445566778899AABBCCDDEEFF\n")
    (tmp_path / "rules.toml").write_text(
        '[[rule]]\nname = "all"\nwhen = { amount_min = 500 }\nthen = { decline = "61" }\n'
    )
    (tmp_path / "payments.toml").write_text(
        '[[card]]\nname = "it"\npan = "6228480000000000018"\nexpiry = "3012"\n'
        + "".join(
            f'[[payment]]\ncard = "it"\npin = "none"\nchip = false\namount = {amount}\nexpect = {{ code = "{code}" }}\n'
            for amount, code in ((499, "00"), (500, "61" if secured else "00"))
        )
    )
    (tmp_path / "token").write_text("a token\n")
    link, api = (f"127.0.0.1:{free_base_port() + place}" for place in (0, 1))
    who = ("--id", "48020000", "--switch-id", "00010000", "--zone-key-file", tmp_path / "zone.key")
    rules = ("--rules", tmp_path / "rules.toml", "--token-file", tmp_path / "token", "--api", api)
    near: tuple[object, ...] = ()
    far: tuple[object, ...] = ()
    trust = ssl.create_default_context()
    if secured:
        authority = Authority(tmp_path)
        trust.load_verify_locations(authority.ca)
        near, far = (
            ("--tls-ca", authority.ca, "--tls-certificate", certificate, "--tls-key", key)
            for certificate, key in (authority.make("near", "48020000"), authority.make("far", "00010000"))
        )
    host = HostProcess(tmp_path / "host.log", "host", "switch", *rules, "--listen", link, *who, *far)
    try:
        played = subprocess.run(
            command("host", "acquirer", "--script", tmp_path / "payments.toml", "--dial", link, *who, *near, "--json"),
            cwd=PROJECT,
            env=environment(),
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert played.returncode == (0 if secured else 1), played.stderr.decode()
        assert json.loads(played.stdout)["paid"] == 499
        with httpx.Client(
            base_url=f"http{'s' if secured else ''}://{api}",
            headers={"Authorization": "Bearer a token"},
            verify=trust,
            trust_env=False,
        ) as http:
            assert http.get("/approved").json() == {"amount": 499, "count": 1}
            assert [one["matched"] for one in http.get("/rules").json()["rules"]] == [1, 1]
            assert http.get("/rules", headers={"Authorization": "Bearer another"}).status_code == 401
    finally:
        assert host.stop() == 0
