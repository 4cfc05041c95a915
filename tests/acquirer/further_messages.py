"""What terminals and the switch say beyond a card sale: codes, orders, offline sales, downloads."""

from __future__ import annotations

from acquirer_bed import ACQUIRER_ID, EXPIRY, PAN, SWITCH_ID, Bed, SwitchPeer, Terminal, changed

from network.emv import tlv
from network.iso8583 import TERMINAL, InterbankHeader, Message
from network.iso8583.additional_data import decode_objects, encode_objects
from network.iso8583.message import Value
from network.member import pack_with_mac

CODE = "6212345678901234567"
"""A payer's code."""

OTHER_CODE = "6298765432109876543"

CHIP = tlv.encode_all(
    {
        "9F26": bytes.fromhex("1122334455667788"),
        "9F27": b"\x40",
        "9F36": b"\x00\x07",
        "9F10": bytes.fromhex("07010103900000010A"),
    }
)


def managed(terminal: Terminal, mti: str, code: str, **changes: Value | None) -> bytes:
    """Network management with DE64."""
    fields: dict[int, Value] = {
        11: terminal.next_stan(),
        41: terminal.terminal_id,
        42: terminal.merchant_id,
        60: f"00{terminal.batch}{code}",
    }
    return terminal.sealed(Message(mti, changed(fields, changes)))


def order(terminal: Terminal, amount: int | None = 1250, **changes: Value | None) -> bytes:
    """An 0800 that asks for an order; a static one without an amount."""
    fields: dict[str, Value | None] = {"de49": "156", "de4": None if amount is None else f"{amount:012d}"}
    return managed(terminal, "0800", "401", **{**fields, **changes})


def asked(terminal: Terminal, number: str, code: str = "402", **changes: Value | None) -> bytes:
    """An 0820 that asks for an order's state, or with 404 withdraws it."""
    return managed(terminal, "0820", code, **{"de62": encode_objects({"A5": {"01": number}}).encode(), **changes})


def described(message: Message) -> dict[str, str]:
    """What DE62 says of an order."""
    return decode_objects(decode_objects(message.binary(62).decode())["A5"])


def new_order(bed: Bed, terminal: Terminal, amount: int | None = 1250, **changes: Value | None) -> str:
    """Have an order made; its number."""
    (reply,) = bed.ask(terminal, order(terminal, amount, **changes))
    assert (reply.mti, reply.fields[39]) == ("0810", "00")
    return described(reply)["01"]


def state(bed: Bed, terminal: Terminal, number: str, code: str = "402") -> str:
    """What the acquirer says of an order."""
    (reply,) = bed.ask(terminal, asked(terminal, number, code))
    assert (reply.mti, reply.fields[39]) == ("0830", "00")
    return described(reply)["04"]


def claim(switch: SwitchPeer, number: str, code: str = CODE, amount: int = 1250, **changes: Value | None) -> bytes:
    """The switch's 0600: a payer's code is to pay an order."""
    switch.stan += 1
    fields: dict[int, Value] = {
        3: "950000",
        4: f"{amount:012d}",
        7: "1123100000",
        11: f"{switch.stan:06d}",
        33: SWITCH_ID,
        102: number,
        103: code,
    }
    message = Message("0600", changed(fields, changes), InterbankHeader(destination=ACQUIRER_ID, source=SWITCH_ID))
    return pack_with_mac(message, switch.module, switch.keys["2"])


def claimed(bed: Bed, *bodies: bytes) -> list[str]:
    """Send claims in one turn; the codes of their answers."""
    before = len(bed.switch.received)
    assert bed.pump(bed.messages(*[("switch", body) for body in bodies])) == []
    answers = [message for message in bed.switch.received[before:] if message.mti == "0610"]
    for message in answers:
        assert (message.fields[33], message.fields[100]) == (ACQUIRER_ID, ACQUIRER_ID)
    return [message.text(39) for message in answers]


def payments(bed: Bed) -> list[Message]:
    """The 0200s that the switch has got."""
    return [message for message in bed.switch.received if message.mti == "0200"]


def sent(bed: Bed, mti: str) -> list[Message]:
    """What the switch has got of a kind."""
    return [message for message in bed.switch.received if message.mti == mti]


def code_sale(terminal: Terminal, amount: int = 1250, code: str = CODE, **changes: Value | None) -> bytes:
    """A sale by the payer's code."""
    fields: dict[str, Value | None] = {f"de{n}": None for n in (2, 14, 23, 35, 55)}
    additional = encode_objects({"A2": {"01": "11", "02": "phone-1", "03": "+31.2304,+121.4737"}, "A3": {"01": code}})
    fields |= {"de22": "032", "de59": additional}
    return terminal.sealed(terminal.sale_message(amount, pin=None, **{**fields, **changes}))  # type: ignore[arg-type]


def offline_sale(terminal: Terminal, amount: int = 1250, **changes: Value | None) -> bytes:
    """An 0220: the card has approved."""
    fields: dict[int, Value] = {
        2: PAN,
        3: "000000",
        4: f"{amount:012d}",
        11: terminal.next_stan(),
        12: "095930",
        13: "1123",
        14: EXPIRY,
        22: "072",
        23: "001",
        25: "00",
        41: terminal.terminal_id,
        42: terminal.merchant_id,
        49: "156",
        55: CHIP,
        59: encode_objects({"A2": {"01": "11", "02": "phone-1"}}),
        60: f"36{terminal.batch}00060",
    }
    return terminal.sealed(Message("0220", changed(fields, changes)))


def repacked(terminal: Terminal, body: bytes) -> bytes:
    """The same request under the terminal's present MAC key, as a phone sends it again after a sign-on."""
    return terminal.sealed(TERMINAL.unpack(body))
