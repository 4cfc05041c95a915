"""Packing and unpacking beside two other libraries, on the same messages.

Run ``python benchmarks/codec.py``. The message is a 0200 with PIN block (DE52) and chip data (DE55), once as members
write it (ASCII, binary bitmap) and once as terminals do (BCD). pyiso8583 is given a specification of exactly that
format, and must give the same bytes. iso8583sim is given its native format, the faster of those it has (text with
a hexadecimal bitmap, parsed by its compiled code), for the ASCII message, and its BCD wire format for the other; it
must give back the same values. Rounds alternate between the libraries, so that a noisy moment is noisy for all; the
best round of each counts, and its median stands beside it.
"""

from __future__ import annotations

import copy
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import iso8583
from iso8583.specs import default_ascii
from iso8583sim.core.builder import ISO8583Builder
from iso8583sim.core.parser import ISO8583Parser
from iso8583sim.core.types import ISO8583Message
from iso8583sim.wire.format import WireFormat

from network.iso8583 import INTERBANK, TERMINAL, Message
from network.iso8583.field import Field

ROUNDS = 15
CALLS = 300

CHIP_DATA = bytes.fromhex(
    "9F2608C20428A3FF53F0AD9F2701809F101307020103AB806010000000000900000C060A299F37040B7FBD489F36023788950500001800009A0323"
    "08259C01019F02060000000123455F2A02015682027D009F1A0201569F03060000000000009F3303E098C09F3501229F1E083230303331323330"
)
ELEMENTS: dict[int, str | bytes] = {
    2: "6226010000005479",
    3: "000000",
    4: "000000012345",
    11: "863787",
    12: "123011",
    13: "0825",
    14: "3011",
    22: "071",
    23: "001",
    25: "00",
    26: "06",
    35: "6226010000005479=30112201234514800",
    37: "000000021681",
    41: "12345678",
    42: "123456789012345",
    49: "156",
    52: bytes.fromhex("3F1A5C99E0042B77"),
    53: "2600000000000000",
    55: CHIP_DATA,
    64: b"23B01FCE",
}
SWITCHED: dict[int, str | bytes] = {7: "0825123011", 18: "5411", 32: "92250000", 33: "92250000"}


def _pyiso_spec(fields: dict[int, Field], terminal: bool) -> dict[str, dict[str, Any]]:
    """The dialect's table as a pyiso8583 specification."""
    spec: dict[str, dict[str, Any]] = copy.deepcopy(default_ascii)
    bcd = "b" if terminal else "ascii"
    spec["t"].update(data_enc=bcd, max_len=2 if terminal else 4)
    spec["p"].update(data_enc="b", max_len=8)
    spec["1"].update(data_enc="b", max_len=8)
    for number, field in fields.items():
        own = spec[str(number)]
        packed = field.coding == "bcd"
        own["data_enc"] = "b" if packed or field.kind == "b" else "ascii"
        own["max_len"] = field.maximum
        own["len_enc"] = "bcd" if terminal else "ascii"
        own["len_type"] = field.prefix_width
        if packed:
            own["len_count"] = "nibbles"
            own["left_pad" if field.pad == "left" else "right_pad"] = "0"
    return spec


def _hexadecimal(elements: dict[int, str | bytes]) -> dict[str, str]:
    """Elements as pyiso8583 has them: bytes as hex, tracks with D."""
    return {str(n): v.hex().upper() if isinstance(v, bytes) else v for n, v in elements.items()}


class Contest:
    """One thing to do, and how each library does it."""

    def __init__(self, name: str, **contestants: Callable[[], object]) -> None:
        self.name = name
        self.contestants = contestants
        self.rounds: dict[str, list[float]] = {library: [] for library in contestants}

    def round(self) -> None:
        for library, call in self.contestants.items():
            # Equal time rather than equal calls: the slow ones are called less often.
            calls = CALLS * 10 if library == "fourparty" else CALLS
            begin = time.perf_counter()
            for _ in range(calls):
                call()
            self.rounds[library].append((time.perf_counter() - begin) / calls * 1e6)


def contests() -> list[Contest]:
    """Every contest, the answers checked beforehand."""
    made = []
    for name, dialect, elements in (
        ("interbank", INTERBANK, {**ELEMENTS, **SWITCHED}),
        ("terminal", TERMINAL, ELEMENTS),
    ):
        terminal = dialect is TERMINAL
        message = Message("0200", dict(sorted(elements.items())))
        data = dialect.pack_body(message)

        spec = _pyiso_spec(dialect.fields, terminal)
        theirs = {"t": "0200", **_hexadecimal(message.fields)}
        if terminal:
            theirs["35"] = theirs["35"].replace("=", "D")
        if bytes(iso8583.encode(dict(theirs), spec)[0]) != data:
            sys.exit(f"pyiso8583 packs the {name} message to other bytes")
        if iso8583.decode(data, spec)[0]["35"] != theirs["35"]:
            sys.exit(f"pyiso8583 reads the {name} message otherwise")

        # Its binary elements are hex; DE64 is read as hex of 8 bytes.
        sim_fields = {0: "0200", **{int(n): v for n, v in _hexadecimal(message.fields).items()}}
        builder, parser = ISO8583Builder(), ISO8583Parser()
        sim_message = ISO8583Message(mti="0200", fields=sim_fields)
        wire = WireFormat.bcd()
        built: str | bytes = builder.build_bytes(sim_message, wire) if terminal else builder.build(sim_message)
        parsed = parser.parse_bytes(built, wire) if isinstance(built, bytes) else parser.parse(built)
        if parsed.fields[2] != sim_fields[2] or parsed.fields[55] != sim_fields[55]:
            sys.exit(f"iso8583sim does not give the {name} message back")

        def sim_pack(
            builder: ISO8583Builder = builder, m: ISO8583Message = sim_message, bcd: bool = terminal
        ) -> object:
            return builder.build_bytes(m, WIRE) if bcd else builder.build(m)

        def sim_unpack(parser: ISO8583Parser = parser, built: Any = built, bcd: bool = terminal) -> object:
            return parser.parse_bytes(built, WIRE) if bcd else parser.parse(built)

        made.append(
            Contest(
                f"{name} pack",
                fourparty=lambda d=dialect, m=message: d.pack_body(m),
                pyiso8583=lambda t=theirs, s=spec: iso8583.encode(t, s),
                iso8583sim=sim_pack,
            )
        )
        made.append(
            Contest(
                f"{name} unpack",
                fourparty=lambda d=dialect, b=data: d.unpack_body(b),
                pyiso8583=lambda b=data, s=spec: iso8583.decode(b, s),
                iso8583sim=sim_unpack,
            )
        )
    return made


WIRE = WireFormat.bcd()


def main() -> None:
    """Run all contests and print what came out, in microseconds a call."""
    all_contests = contests()
    for _ in range(ROUNDS):
        for contest in all_contests:
            contest.round()
    libraries = ("fourparty", "pyiso8583", "iso8583sim")
    print(f"0200 with DE52 and DE55, us a call: best of {ROUNDS} rounds (median)")
    print(f"{'':<20}" + "".join(f"{library:>20}" for library in libraries) + f"{'times faster':>24}")
    totals: dict[str, dict[str, float]] = {}
    for contest in all_contests:
        best = {library: min(contest.rounds[library]) for library in libraries}
        dialect = contest.name.partition(" ")[0]
        total = totals.setdefault(dialect, dict.fromkeys(libraries, 0.0))
        for library in libraries:
            total[library] += best[library]
        median = {library: statistics.median(contest.rounds[library]) for library in libraries}
        cells = "".join(f"{f'{best[library]:.2f} ({median[library]:.2f})':>20}" for library in libraries)
        print(f"{contest.name:<20}{cells}{_ratios(best):>24}")
    for dialect, total in totals.items():
        cells = "".join(f"{total[library]:>12.2f}{'':>8}" for library in libraries)
        print(f"{dialect + ' both':<20}{cells}{_ratios(total):>24}")


def _ratios(best: dict[str, float]) -> str:
    own = best["fourparty"]
    return f"{best['pyiso8583'] / own:.1f} / {best['iso8583sim'] / own:.1f}"


if __name__ == "__main__":
    main()
