"""The command line as people and scripts use it: help, mistakes, decode, and a payment on a running network."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from running_network import PROJECT, Network, command, environment
from typer.main import get_command

from scenarios import cli
from scenarios.demo_network.processes import free_base_port
from scenarios.stories import SCENARIOS, UNDER_LOAD

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "messages.json").read_text())
MESSAGES = {one["id"]: one for one in VECTORS if one["dialect"] != "cupshdr"}
COMMANDS = ("up", "serve", "pay", "decode", "run")
ESCAPE = "\x1b"
COLOUR = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-8]|4[0-8]|9[0-7]|10[0-7])(?:;\d+)*m")


@dataclass(frozen=True)
class Outcome:
    """What a command said and how it ended."""

    code: int
    out: str
    err: str

    def is_one_line_refusal(self) -> bool:
        lines = self.err.strip().splitlines()
        return self.code == 2 and len(lines) == 1 and lines[0].startswith("fourparty: ") and len(lines[0]) > 20


class CommandLine:
    """Runs the command line in this process, which is fast, or in one of its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
        self.monkeypatch = monkeypatch
        self.capfd = capfd

    def here(self, *arguments: str, stdin: str = "") -> Outcome:
        self.monkeypatch.setattr(sys, "argv", ["fourparty", *arguments])
        self.monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        self.capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = self.capfd.readouterr()
        return Outcome(int(ended.value.code or 0), out, err)

    def process(self, *arguments: object, stdin: str = "", variables: dict[str, str] | None = None) -> Outcome:
        done = subprocess.run(
            command(*arguments),
            cwd=PROJECT,
            env=environment() | (variables or {}),
            input=stdin.encode(),
            capture_output=True,
            timeout=60,
            check=False,
        )
        return Outcome(done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.fixture
def fourparty(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> CommandLine:
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    return CommandLine(monkeypatch, capfd)


# help


def test_help_names_every_command(fourparty: CommandLine) -> None:
    shown = fourparty.here("--help")
    assert shown.code == 0
    for name in COMMANDS:
        assert re.search(rf"^ +{name} ", shown.out, re.MULTILINE)


def test_the_installed_command_and_the_module_are_the_same() -> None:
    installed = shutil.which("fourparty", path=str(Path(sys.executable).parent))
    assert installed is not None
    done = subprocess.run([installed, "--help"], capture_output=True, timeout=60, check=False)
    assert done.returncode == 0
    assert b"pay" in done.stdout


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_every_commands_help_shows_an_example(fourparty: CommandLine, name: str, option: str) -> None:
    shown = fourparty.here(name, option)
    assert shown.code == 0
    assert re.search(rf"Example: .*fourparty {name} ", shown.out)
    assert shown.err == ""


@pytest.mark.parametrize("group", [[], ["report"], ["host"], ["stack"]], ids=" ".join)
def test_a_group_alone_shows_its_help_as_help_does(fourparty: CommandLine, group: list[str]) -> None:
    shown = fourparty.here(*group)
    assert (shown.code, shown.out) == (2, "")
    assert shown.err == fourparty.here(*group, "--help").out


def test_the_help_tells_every_command_in_whole_words(fourparty: CommandLine) -> None:
    def summaries(group: Any, words: list[str]) -> None:
        shown = fourparty.here(*words, "--help").out.partition("Commands:")[2]
        assert "..." not in shown, f"fourparty {' '.join(words)}: a summary is cut off"
        for name, below in group.commands.items():
            assert re.search(rf"^  {name} +\S", shown, re.MULTILINE)
            if hasattr(below, "commands"):
                summaries(below, [*words, name])

    summaries(get_command(cli.app), [])


def test_a_newcomer_reads_first_what_is_typed_first(fourparty: CommandLine) -> None:
    named = re.findall(r"^  (\w+) ", fourparty.here("--help").out.partition("Commands:")[2], re.MULTILINE)
    assert tuple(named[: len(cli.FIRST)]) == cli.FIRST
    assert len(named) == len(set(named)) > len(cli.FIRST)


@pytest.mark.parametrize(("name", "scenarios"), [("run", SCENARIOS), ("load", UNDER_LOAD), ("sweep", UNDER_LOAD)])
def test_help_names_the_scenarios(fourparty: CommandLine, name: str, scenarios: tuple[str, ...]) -> None:
    shown = " ".join(fourparty.here(name, "--help").out.split())
    assert f"{', '.join(scenarios)}; or a Python file" in shown


# mistakes

MISTAKES: dict[str, list[str]] = {
    "no such command": ["nope"],
    "no such option": ["pay", "--amount", "1", "--bogus"],
    "one argument too many": ["run", "street_market", "again"],
    "no amount": ["pay"],
    "amount in words": ["pay", "--amount", "abc"],
    "amount of nothing": ["pay", "--amount", "0"],
    "amount below nothing": ["pay", "--amount", "-5"],
    "half a fen": ["pay", "--amount", "1.005"],
    "amount that is not finite": ["pay", "--amount", "inf"],
    "amount beyond 12 digits": ["pay", "--amount", "10000000000"],
    "PIN with letters": ["pay", "--amount", "1", "--pin", "12x4"],
    "PIN too short": ["pay", "--amount", "1", "--pin", "123"],
    "no network there": ["pay", "--amount", "1", "--dir", "/nonexistent"],
    "no such service": ["serve", "nobody", "--config", "x.toml"],
    "no configuration": ["serve", "issuer"],
    "configuration missing": ["serve", "issuer", "--config", "/nonexistent.toml"],
    "no scenario": ["run"],
    "unknown scenario": ["run", "nope"],
    "scenario file missing": ["run", "/nonexistent/scenario.py"],
    "duration that is none": ["run", "street_market", "--duration", "x"],
    "duration of nothing": ["run", "street_market", "--duration", "0"],
    "seed that is none": ["run", "street_market", "--seed", "x"],
    "no phones": ["run", "street_market", "--phones", "0"],
    "run on no network": ["run", "street_market", "--live", "--dir", "/nonexistent"],
    "port that is none": ["up", "--base-port", "x"],
    "port out of range": ["up", "--base-port", "80"],
    "port beyond all": ["up", "--base-port", "70000"],
    "not hex": ["decode", "zz"],
    "half a byte": ["decode", "123"],
    "link that is none": ["up", "--dir", "/nonexistent", "--at", "no_link=127.0.0.1:7101"],
    "report that cannot be written": ["run", "street_market", "--virtual", "--report", "/dev/null"],
    "report below a file": ["load", "steady", "--virtual", "--report", "/dev/null/report"],
    "record that is a folder": ["load", "steady", "--virtual", "--record", "/"],
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_code_2(fourparty: CommandLine, mistake: str) -> None:
    outcome = fourparty.here(*MISTAKES[mistake])
    assert outcome.is_one_line_refusal(), f"code {outcome.code}: {outcome.err[-400:]}"
    assert outcome.out == ""


def test_a_mistake_names_what_is_wrong(fourparty: CommandLine) -> None:
    assert "--base-port" in fourparty.here("up", "--base-port", "x").err
    assert "--seed" in fourparty.here("run", "street_market", "--seed", "x").err
    assert "nope" in fourparty.here("run", "nope").err
    assert "street_market" in fourparty.here("run", "nope").err
    assert "--amount" in fourparty.here("pay").err
    assert "--config" in fourparty.here("serve", "issuer").err


def test_a_mistake_in_a_process_of_its_own(fourparty: CommandLine) -> None:
    outcome = fourparty.process("pay", "--amount", "abc")
    assert outcome.is_one_line_refusal()
    assert outcome.out == ""


def test_a_folder_that_is_a_file(fourparty: CommandLine, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("")
    assert fourparty.here("up", "--dir", str(path)).is_one_line_refusal()


@pytest.mark.parametrize("content", ["", "junk", "[]", "{}"])
def test_a_network_file_that_is_none(fourparty: CommandLine, tmp_path: Path, content: str) -> None:
    (tmp_path / "network.json").write_text(content)
    assert fourparty.here("pay", "--amount", "1", "--dir", str(tmp_path)).is_one_line_refusal()
    base = str(free_base_port())
    assert fourparty.process("up", "--dir", tmp_path, "--base-port", base).is_one_line_refusal()


@pytest.mark.parametrize("content", ["junk", "", 'database = 1\n[["', 'bogus = "x"\n'])
def test_a_configuration_that_is_none(fourparty: CommandLine, tmp_path: Path, content: str) -> None:
    path = tmp_path / "issuer.toml"
    path.write_text(content)
    for service in ("issuer", "switch", "acquirer", "device"):
        assert fourparty.here("serve", service, "--config", str(path)).is_one_line_refusal()


@pytest.mark.parametrize("offset", [0, 1, 2, 10, 13])
def test_a_port_in_use(fourparty: CommandLine, tmp_path: Path, offset: int) -> None:
    base = free_base_port()
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as of an earlier network, the port may linger
        taken.bind(("127.0.0.1", base + offset))
        taken.listen()
        outcome = fourparty.here("up", "--dir", str(tmp_path / "network"), "--base-port", str(base))
    assert outcome.is_one_line_refusal()
    assert str(base + offset) in outcome.err
    assert not (tmp_path / "network").exists()


def test_a_folder_that_cannot_be_made(fourparty: CommandLine) -> None:
    outcome = fourparty.process("up", "--dir", "/proc/network", "--base-port", free_base_port())
    assert outcome.code == 2
    assert "/proc/network" in outcome.err.strip().splitlines()[-1]
    assert "Traceback" not in outcome.err


@pytest.mark.live
def test_serving_where_somebody_serves_already(fourparty: CommandLine, network: Network, tmp_path: Path) -> None:
    settings = (network.folder / "issuer.toml").read_text()
    (tmp_path / "issuer.toml").write_text(settings.replace(str(network.folder / "issuer.db"), str(tmp_path / "own.db")))
    outcome = fourparty.process("serve", "issuer", "--config", tmp_path / "issuer.toml")
    assert outcome.is_one_line_refusal()
    assert network.description["issuer"]["api"].rpartition(":")[2] in outcome.err


# decode


def _account(sample: dict[str, Any]) -> str | None:
    """The card number of a sample as its description has it."""
    shown = sample["decoded"].get("2")
    return shown.partition("] ")[2] if shown else None


@pytest.mark.parametrize("name", MESSAGES)
def test_decode_describes_every_sample(fourparty: CommandLine, name: str) -> None:
    sample = MESSAGES[name]
    shown = fourparty.here("decode", sample["hex"])
    assert (shown.code, shown.err) == (0, "")
    assert sample["decoded"]["MTI"] in shown.out
    assert ("terminal" if sample["dialect"] == "pos" else "interbank") in shown.out
    elements = {int(element) for element in sample["decoded"] if element.isdigit()}
    assert {int(number) for number in re.findall(r"^ {2,4}(\d{1,3}) {2}\S", shown.out, re.MULTILINE)} >= elements
    account = _account(sample)
    if account is not None:
        assert account not in shown.out
        assert account in fourparty.here("decode", "--unmask", sample["hex"]).out


@pytest.mark.parametrize("name", MESSAGES)
def test_decode_as_json(fourparty: CommandLine, name: str) -> None:
    sample = MESSAGES[name]
    shown = fourparty.here("decode", "--json", sample["hex"])
    assert (shown.code, shown.err) == (0, "")
    content = json.loads(shown.out)
    assert content["mti"] == sample["decoded"]["MTI"]
    assert set(content["fields"]) == {element for element in sample["decoded"] if element.isdigit()}
    assert content["fields"].get("11") == sample["decoded"].get("11")
    account = _account(sample)
    assert account is None or account not in shown.out
    whole = json.loads(fourparty.here("decode", "--json", "--unmask", sample["hex"]).out)
    assert whole["fields"].get("2") == account


def test_decode_reads_stdin_in_any_spelling(fourparty: CommandLine) -> None:
    text = MESSAGES["pos-0200-sale-macok"]["hex"]
    plain = fourparty.here("decode", text)
    assert plain.code == 0
    pairs = [text[start : start + 2] for start in range(0, len(text), 2)]
    for spelling in (text, text.lower() + "\n", " ".join(pairs), ":".join(pairs), "\n".join(pairs) + "\n"):
        assert fourparty.here("decode", "-", stdin=spelling) == plain
        assert fourparty.here("decode", stdin=spelling) == plain
    assert fourparty.process("decode", "-", stdin=text) == plain


@pytest.mark.parametrize("junk", ["00", "60", "FF" * 40, "6000030000603100310000020070", "30" * 12, "00" * 200])
def test_decode_of_junk_is_one_line(fourparty: CommandLine, junk: str) -> None:
    shown = fourparty.here("decode", junk)
    assert shown.code in (1, 2)
    assert len(shown.err.strip().splitlines()) == 1
    as_json = fourparty.here("decode", "--json", junk)
    assert as_json.code == shown.code
    assert "error" in json.loads(as_json.out)


def test_decode_of_nothing_is_refused(fourparty: CommandLine) -> None:
    assert fourparty.here("decode", "-", stdin="").is_one_line_refusal()
    assert fourparty.here("decode", "").is_one_line_refusal()


def test_decode_says_what_it_could_read(fourparty: CommandLine) -> None:
    whole = MESSAGES["cups-alatka-test01"]["hex"]
    shown = fourparty.here("decode", whole[: len(whole) // 4 * 2])
    assert shown.code != 0
    assert "863743" in shown.out
    assert re.search(r"DE\d+ at byte \d+", shown.err)


# a payment


def _numbers(network: Network) -> set[str]:
    """Every card number that could be shown by mistake."""
    wallet = json.loads((network.folder / "wallet.json").read_text())
    return {card["pan"] for card in [*wallet, *network.description["cards"]]}


HOPS = [
    ("phone -> acquirer", "0200"),
    ("acquirer -> switch", "0200"),
    ("switch -> issuer", "0200"),
    ("issuer -> switch", "0210"),
    ("switch -> acquirer", "0210"),
    ("acquirer -> phone", "0210"),
]


@pytest.mark.live
def test_pay_shows_every_message_on_every_hop(fourparty: CommandLine, network: Network) -> None:
    shown = fourparty.process("pay", "--amount", "12.50", "--dir", network.folder)
    network.paid_elsewhere += 1250 * (shown.code == 0)
    assert (shown.code, shown.err) == (0, "")
    assert re.findall(r"(\w+ -> \w+) +(\d{4})", shown.out) == HOPS
    described = re.findall(r"^ *(02[01]0)  financial (?:request|response) \((\w+)\)", shown.out, re.MULTILINE)
    dialects = ["terminal", "interbank", "interbank", "interbank", "interbank", "terminal"]
    assert described == list(zip([mti for _, mti in HOPS], dialects, strict=True))
    assert shown.out.count("000000001250") >= 6
    assert "12.50" in shown.out.splitlines()[-1]
    assert "approved" in shown.out.splitlines()[-1]
    assert re.search(r"\d{6}\*+\d{4}", shown.out)
    assert not any(pan in shown.out for pan in _numbers(network))
    assert ESCAPE not in shown.out


@pytest.mark.live
def test_pay_as_json(fourparty: CommandLine, network: Network) -> None:
    shown = fourparty.process("pay", "--amount", "0.01", "--dir", network.folder, "--json")
    network.paid_elsewhere += shown.code == 0
    assert (shown.code, shown.err) == (0, "")
    content = json.loads(shown.out)
    assert [(one["hop"], one["mti"]) for one in content["messages"]] == HOPS
    assert content["receipt"]["outcome"] == "approved"
    assert content["receipt"]["response_code"] == "00"
    assert not any(pan in shown.out for pan in _numbers(network))


@pytest.mark.live
def test_pay_with_a_wrong_pin_is_declined_and_exits_1(fourparty: CommandLine, network: Network) -> None:
    pin = json.loads((network.folder / "wallet.json").read_text())[0]["pin"]
    wrong = f"{(int(pin) + 1) % 10 ** len(pin):0{len(pin)}d}"
    shown = fourparty.process("pay", "--amount", "3", "--dir", network.folder, "--pin", wrong)
    assert shown.code == 1
    assert re.findall(r"(\w+ -> \w+) +(\d{4})", shown.out) == HOPS
    last = shown.out.splitlines()[-1]
    assert "declined" in last
    assert "55" in last
    assert "None" not in last
    as_json = fourparty.process("pay", "--amount", "3", "--dir", network.folder, "--pin", wrong, "--json")
    assert as_json.code == 1
    assert json.loads(as_json.out)["receipt"]["response_code"] == "55"
    right = fourparty.process("pay", "--amount", "3", "--dir", network.folder)
    network.paid_elsewhere += 300 * (right.code == 0)
    assert right.code == 0
    assert pin not in shown.out + as_json.out + right.out


@pytest.mark.live
def test_pay_beyond_the_money_is_declined(fourparty: CommandLine, network: Network) -> None:
    shown = fourparty.process("pay", "--amount", "9999999999.99", "--dir", network.folder)
    assert shown.code == 1
    assert re.search(r"declined.*\b(51|61)\b", shown.out.splitlines()[-1])


@pytest.mark.live
def test_pay_where_nothing_runs_any_more(fourparty: CommandLine, network: Network, tmp_path: Path) -> None:
    base = free_base_port()
    text = (network.folder / "network.json").read_text()
    for port in range(network.base_port, network.base_port + 20):
        text = text.replace(f":{port}", f":{base + port - network.base_port}")
    (tmp_path / "network.json").write_text(text)
    shutil.copy(network.folder / "wallet.json", tmp_path)
    shown = fourparty.process("pay", "--amount", "1", "--dir", tmp_path)
    assert shown.code in (1, 2)
    assert len(shown.err.strip().splitlines()) == 1


# colours


def _on_a_screen(arguments: list[object], variables: dict[str, str]) -> str:
    """What a command writes to a pseudo-terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command(*arguments),
        cwd=PROJECT,
        env=environment() | {"TERM": "xterm-256color", **variables},
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    written = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # Linux says so when the other side is closed
            break
        if not piece:
            break
        written += piece
    os.close(ours)
    process.wait(30)
    return written.decode()


@pytest.mark.live
def test_colours_on_a_screen_only_and_none_with_no_color(network: Network) -> None:
    arguments: list[object] = ["pay", "--amount", "0.01", "--dir", network.folder]
    coloured = _on_a_screen(arguments, {})
    plain = _on_a_screen(arguments, {"NO_COLOR": "1"})
    network.paid_elsewhere += 2
    assert COLOUR.search(coloured)
    assert not COLOUR.search(plain)
    for text in (coloured, plain):
        assert "approved" in text


@pytest.mark.live
def test_a_network_without_its_phones_tells_only_of_what_is_there(tmp_path: Path) -> None:
    base_port = free_base_port()
    with subprocess.Popen(
        command("up", "--dir", tmp_path, "--base-port", base_port, "--only", "switch"),
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        assert running.stderr is not None
        try:
            said = running.stderr.readline()
            while "stop with" not in said:
                line = running.stderr.readline()
                assert line, said
                said += line
        finally:
            running.terminate()
        assert running.wait(30) == 0
    assert f"member link      127.0.0.1:{base_port + 1}" in said
    assert not [absent for absent in ("terminal link", "issuer link", "acquirer api", "pay with") if absent in said]


@pytest.mark.live
def test_an_interrupt_stops_a_load_and_all_its_processes_in_one_line(tmp_path: Path) -> None:
    with subprocess.Popen(
        command("load", "steady", "--rate", "5", "--for", "60s", "--report", tmp_path),
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as running:
        assert running.stderr is not None
        said = running.stderr.readline()
        while "sign on" not in said:
            line = running.stderr.readline()
            assert line, said
            said += line
        os.killpg(running.pid, signal.SIGINT)  # as a terminal does: to everybody in the foreground
        said += running.stderr.read()  # its end means that no process is left that could write
        assert running.wait(30) == cli.INTERRUPTED
    assert said.splitlines()[-1] == "fourparty: stopped"
    assert "Traceback" not in said
