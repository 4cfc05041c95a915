"""What Wireshark's command line says of a capture, and what our own codec says of the same bytes."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from xml.etree import ElementTree

import pytest

from network.capture import pcapng
from network.capture.segments import Peer, Segments

DISSECTOR = Path(__file__).parents[1] / "wireshark" / "fourparty.lua"
LOCAL = ip_address("127.0.0.1")
SECOND = 1_000_000_000


@dataclass
class Seen:
    """A message as the dissector shows it: values by the names of their filter fields, in the order of the tree."""

    frame: int
    stream: int
    ports: tuple[int, int]
    values: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def get(self, name: str) -> str | None:
        found = self.values.get(f"fourparty.{name}")
        return found[0] if found else None

    @property
    def elements(self) -> dict[int, str]:
        return {number: text for number in range(2, 129) if (text := self.get(f"de{number}")) is not None}


def need(*programs: str) -> None:
    """In CI the programs must be there; elsewhere their absence skips what needs them."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing and os.environ.get("CI", "").lower() in ("true", "1"):
        pytest.fail(f"{', '.join(missing)}: CI must test with Wireshark's tools")
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")


def run(capture: Path, *arguments: str) -> str:
    """What tshark prints; nothing may go wrong in Lua."""
    need("tshark")
    done = subprocess.run(
        ["tshark", "-n", "-X", f"lua_script:{DISSECTOR}", "-r", str(capture), *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    said = [line for line in done.stderr.splitlines() if not line.startswith("Running as user")]
    assert done.returncode == 0, done.stderr
    assert said == [], done.stderr
    return done.stdout


def messages(capture: Path, *arguments: str, unmask: bool = True) -> list[Seen]:
    """Every message of a capture."""
    show = ("-o", f"fourparty.unmask:{str(unmask).upper()}")
    text = run(capture, *show, "-T", "pdml", "-Y", "fourparty", *arguments)
    found = []
    for packet in ElementTree.fromstring(text).iter("packet"):
        known = {one.get("name"): one.get("show") for one in packet.iter("field")}
        for proto in packet.findall("proto[@name='fourparty']"):
            ports = int(known["tcp.srcport"]), int(known["tcp.dstport"])
            seen = Seen(int(known["frame.number"]), int(known["tcp.stream"]), ports)
            for one in proto.iter("field"):
                seen.values[str(one.get("name"))].append(str(one.get("show")))
            found.append(seen)
    return found


def no_fault(seen: Iterable[Seen]) -> None:
    assert [one.values["_ws.expert.message"] for one in seen if "fourparty.dissector_fault" in one.values] == []


def expected(value: str | bytes) -> str:
    """An element of our codec as the dissector shows it in clear."""
    if isinstance(value, str):
        return value
    return value.decode() if len(value) == 8 and value.isalnum() else value.hex().upper()


def write_capture(path: Path, streams: Sequence[tuple[int, Sequence[bytes]]]) -> None:
    """A capture of connections to ports of this machine: the pieces that the client wrote, a packet each."""
    at = 1_700_000_000 * SECOND
    with path.open("wb") as file:
        file.write(pcapng.section("tests", "none") + pcapng.interface("tests", "made by a test", "none"))
        for number, (port, pieces) in enumerate(streams):
            ends = Peer(LOCAL, 40_000 + number), Peer(LOCAL, port)
            line = Segments(*ends, accepted=False, first=at >> 12)
            rows = [line.opening(), *(line.data(True, piece) for piece in pieces), line.closing(reset=False)]
            for segments in rows:
                at += 1000
                for segment in segments:
                    file.write(pcapng.packet(at, segment.packet, outgoing=segment.outgoing))


def streams_of(capture: Path) -> dict[tuple[int, int], bytes]:
    """What our own reader finds on the wire: bytes by source and destination port, in the order of the file."""
    found: dict[tuple[int, int], bytearray] = defaultdict(bytearray)
    with capture.open("rb") as file:
        for block in pcapng.read_blocks(file):
            if block.kind == pcapng.PACKET:
                length = int.from_bytes(block.body[12:16], "little")
                packet = block.body[20 : 20 + length]
                tcp = packet[20:]
                ports = int.from_bytes(tcp[:2], "big"), int.from_bytes(tcp[2:4], "big")
                found[ports] += tcp[tcp[12] // 16 * 4 :]
    return {ports: bytes(data) for ports, data in found.items() if data}
