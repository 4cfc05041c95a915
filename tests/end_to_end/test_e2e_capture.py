"""A live run's capture, read by Wireshark and by our own codec: both must see the same messages."""

import stat
import subprocess
import time
from collections import defaultdict
from pathlib import Path

import pytest
import tshark
from running_network import command, environment

from network.capture import merge
from network.framing import MEMBER_FRAMING, TERMINAL_FRAMING
from network.iso8583 import INTERBANK, TERMINAL, Message
from scenarios.demo_network.embedded import prepare
from scenarios.demo_network.processes import Processes, free_base_port

pytestmark = pytest.mark.live


def read_ourselves(file: Path) -> dict[tuple[int, int], list[Message]]:
    """Messages by the ports of who sent them and of who got them."""
    found = {}
    for ports, data in tshark.streams_of(file).items():
        buffer = bytearray(data)
        if data[:1] == b"0":
            found[ports] = [INTERBANK.unpack(body) for body in MEMBER_FRAMING.split(buffer)]
        else:
            found[ports] = [TERMINAL.unpack(body) for body in TERMINAL_FRAMING.split(buffer)]
        assert not buffer
    return found


def by_ports(seen: list[tshark.Seen]) -> dict[tuple[int, int], list[tshark.Seen]]:
    found = defaultdict(list)
    for one in seen:
        found[one.ports].append(one)
    return found


def agree(seen: tshark.Seen, message: Message) -> None:
    assert seen.get("mti") == message.mti
    assert seen.elements == {number: tshark.expected(value) for number, value in message.fields.items()}
    for name, number in (("stan", 11), ("rrn", 37), ("rc", 39), ("terminal", 41), ("pan", 2)):
        assert seen.get(name) == message.get(number)
    amount = message.get(4)
    assert seen.get("amount") == (None if amount is None else str(int(amount)))


def test_a_whole_run_message_by_message(tmp_path: Path) -> None:
    file = tmp_path / "run.pcapng"
    arguments = ("run", "street_market", "--live", "--duration", "2s", "--phones", 4, "--pcap", file)
    done = subprocess.run(
        command(*arguments, "--report", tmp_path / "report"),
        cwd=tmp_path,
        env=environment(),
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert f"capturing to {file}, which holds card numbers in clear" in done.stderr
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert not file.with_name("run.pcapng.parts").exists()
    assert subprocess.run(["capinfos", file], capture_output=True, check=False).returncode == 0

    found = tshark.messages(file)
    tshark.no_fault(found)
    assert not any("fourparty.error" in one.values for one in found)
    names = ("frame.interface_name", "tcp.analysis.flags", "_ws.malformed", "tcp.reassembled_in")
    columns = [part for name in names for part in ("-e", name)]
    rows = [line.split("\t") for line in tshark.run(file, "-Y", "tcp.len > 0", "-T", "fields", *columns).splitlines()]
    assert {row[0] for row in rows} == {"acquirer", "switch", "issuer"}
    assert {"".join(row[2:]) for row in rows} == {""}
    assert len({one.frame for one in found}) == len(rows), "there is nothing else on the links"

    ours = read_ourselves(file)
    theirs = by_ports(found)
    assert ours.keys() == theirs.keys()
    for ports, messages in ours.items():
        for one, message in zip(theirs[ports], messages, strict=True):
            agree(one, message)
    sales = [one for one in found if one.get("transaction") == "sale" and one.get("mti") == "0200"]
    assert len(sales) >= 6
    assert len(sales) % 3 == 0, "every sale crosses three links, and stands once for each"
    assert len(found) > 40
    answered = [one for one in found if one.get("mti") == "0210" and one.get("request_in")]
    assert len(answered) == len(sales)


def test_with_tls_also_what_a_killed_service_left_can_be_decrypted(tmp_path: Path) -> None:
    """And the one that is started again leaves another capture."""
    captures = tmp_path / "captures"
    captures.mkdir()
    prepare(tmp_path / "network", free_base_port(), cards=2, free_terminals=1, tls=True)
    processes = Processes(tmp_path / "network", ("issuer", "switch", "acquirer"), captures)
    processes.start()
    try:
        time.sleep(0.2)  # as long as what has been said takes to be in the file
        processes.kill("issuer")
        processes.start_one("issuer")
        processes.wait_until_ready()
    finally:
        processes.stop()
    merged = tmp_path / "merged.pcapng"
    killed, again = sorted(captures.glob("issuer-*.pcapng"))
    for file in (killed, again):
        tshark.no_fault(found := tshark.messages(file, "-Y", "tls && fourparty"))
        assert {one.get("mti") for one in found} >= {"0800", "0810", "0820", "0830"}
        assert not any("fourparty.error" in one.values for one in found)
        assert b"48020000" not in file.read_bytes(), "the ids of the header"
    assert merge(sorted(captures.glob("*.pcapng")), merged) > 30
    assert {one.get("transaction") for one in tshark.messages(merged)} >= {"sign-on", "key exchange"}
