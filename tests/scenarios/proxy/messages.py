"""Messages for the proxy's tests."""

from __future__ import annotations

from network.iso8583 import INTERBANK, TERMINAL, Message
from network.member import NO_MAC


def sale(stan: int = 1, *, amount: int = 1_000, terminal: str = "T0000001", mti: str = "0200", code: str = "") -> bytes:
    """A body of the member link."""
    fields: dict[int, str | bytes] = {
        2: "6251880000051688",
        3: "000000",
        4: f"{amount:012d}",
        11: f"{stan:06d}",
        41: terminal,
        128: NO_MAC,
    }
    if code:
        fields[39] = code
    return INTERBANK.pack(Message(mti, fields))


def terminal_sale(stan: int = 1, *, amount: int = 1_000, track: bool = False) -> bytes:
    """A body of the terminal link."""
    fields: dict[int, str | bytes] = {3: "000000", 4: f"{amount:012d}", 11: f"{stan:06d}", 41: "T0000001", 64: NO_MAC}
    fields[35 if track else 2] = "6251880000051688=30121011234" if track else "6251880000051688"
    return TERMINAL.pack(Message("0200", fields))


def stans(bodies: list[bytes]) -> list[int]:
    """The traces of bodies of the member link."""
    return [int(INTERBANK.unpack(body).text(11)) for body in bodies]
