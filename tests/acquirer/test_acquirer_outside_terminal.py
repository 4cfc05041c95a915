"""A terminal written from the link's description alone: its bytes, its DES and its MAC are its own."""

from __future__ import annotations

import pytest
from acquirer_bed import MERCHANT, PAN, PIN, Bed, Terminal
from cryptography.hazmat.decrepit.ciphers.algorithms import TripleDES
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.modes import ECB

from network.store import Store

TMK = bytes.fromhex("0123456789ABCDEFFEDCBA9876543210")
TPDU_AND_HEAD = bytes.fromhex("6000030000603100310100")


def des(key: bytes, data: bytes, *, encrypt: bool = True) -> bytes:
    key = {8: key * 3, 16: key + key[:8]}[len(key)]
    cipher = Cipher(TripleDES(key), ECB())
    worker = cipher.encryptor() if encrypt else cipher.decryptor()
    return worker.update(data) + worker.finalize()


def cup_ecb(key: bytes, data: bytes) -> bytes:
    data += bytes(-len(data) % 8)
    folded = bytes(8)
    for at in range(0, len(data), 8):
        folded = bytes(a ^ b for a, b in zip(folded, data[at : at + 8], strict=True))
    digits = folded.hex().upper().encode()
    first = des(key, digits[:8])
    return des(key, bytes(a ^ b for a, b in zip(first, digits[8:], strict=True))).hex().upper()[:8].encode()


def bcd(digits: str, *, fill: str = "0") -> bytes:
    return bytes.fromhex(digits + fill if len(digits) % 2 else digits)


def message(mti: str, elements: dict[int, bytes]) -> bytes:
    bitmap = sum(1 << (64 - number) for number in elements)
    return bytes.fromhex(mti) + bitmap.to_bytes(8, "big") + b"".join(elements[n] for n in sorted(elements))


def split(body: bytes, layout: dict[int, tuple[str, int]], requirement: int = 0) -> dict[int, bytes]:
    """The elements of a reply: ``layout`` tells their kinds: ``n`` and ``b`` fixed, ``L`` or ``LL`` with a length."""
    assert body[:11] == bytes.fromhex("6000000003" + f"60310{requirement}310100")
    bitmap = int.from_bytes(body[13:21], "big")
    at, elements = 21, {}
    for number in range(2, 65):
        if bitmap >> (64 - number) & 1:
            kind, size = layout[number]
            if kind == "LLn":
                digits = int(body[at : at + size].hex())
                at += size
                size = (digits + 1) // 2
            elif kind == "LL":
                length = int(body[at : at + size].hex())
                at += size
                size = length
            elements[number] = body[at : at + size]
            at += size
    assert at == len(body)
    return elements


REPLY = {
    2: ("LLn", 1),
    3: ("n", 3),
    4: ("n", 6),
    11: ("n", 3),
    12: ("n", 3),
    13: ("n", 2),
    14: ("n", 2),
    15: ("n", 2),
    23: ("n", 2),
    25: ("n", 1),
    32: ("LLn", 1),
    37: ("n", 12),
    38: ("n", 6),
    39: ("n", 2),
    41: ("n", 8),
    42: ("n", 15),
    44: ("LL", 1),
    49: ("n", 3),
    54: ("LL", 2),
    55: ("LL", 2),
    60: ("LLn", 2),
    62: ("LL", 2),
    63: ("LL", 2),
    64: ("n", 8),
}


@pytest.mark.parametrize(("with_track", "fill"), [(True, "0"), (False, "0"), (True, "F")])
def test_an_outside_terminal_signs_on_and_pays(empty: Store, with_track: bool, fill: str) -> None:
    bed = Bed(empty, [Terminal("OUTSIDE1", "terminal:1", tmk=TMK)])
    bed.connect()
    sign_on = message(
        "0800",
        {
            11: bcd("000001"),
            41: b"OUTSIDE1",
            42: MERCHANT.encode(),
            60: bytes.fromhex("0011") + bcd("00000001003", fill=fill),
            63: bytes.fromhex("0003") + b"01 ",
        },
    )
    ((_, body),) = bed.messages(("terminal:1", TPDU_AND_HEAD + sign_on))
    reply = split(body, REPLY)
    assert reply[39] == b"00"
    keys = reply[62]
    pik, mak = des(TMK, keys[:16], encrypt=False), des(TMK, keys[20:28], encrypt=False)
    assert keys[16:20] == des(pik, bytes(8))[:4]
    assert keys[28:36] == bytes(8)
    assert keys[36:40] == des(mak, bytes(8))[:4]

    clear = int(f"06{PIN}FFFFFFFF", 16) ^ int(f"0000{PAN[3:15]}", 16)
    elements = {
        3: bcd("000000"),
        4: bcd("000000009999"),
        11: bcd("000002"),
        22: bcd("051", fill="0"),
        25: bcd("00"),
        41: b"OUTSIDE1",
        42: MERCHANT.encode(),
        49: b"156",
        52: des(pik, clear.to_bytes(8, "big")),
        53: bcd("2600000000000000"),
        60: bytes.fromhex("0008") + bcd("22000001"),
        64: bytes(8),
    }
    if with_track:
        track = f"{PAN}D30122010000"
        elements[35] = bytes([int(str(len(track)), 16)]) + bcd(track, fill=fill)
    else:
        elements[2] = bytes.fromhex("16") + bcd(PAN)
        elements[14] = bcd("3012")
    unsealed = message("0200", elements)[:-8]
    sealed = TPDU_AND_HEAD + unsealed + cup_ecb(mak, unsealed)
    assert bed.pump(bed.messages(("terminal:1", sealed))) == []
    (request,) = bed.switch.received
    assert (request.fields[2], request.fields[4], request.fields[14]) == (PAN, "000000009999", "3012")
    assert bed.switch.pin_of(request, PIN)
    ((_, body),) = bed.answer(bed.switch.answer(request))
    reply = split(body, REPLY)
    assert (reply[39], reply[38], reply[11]) == (b"00", b"A1B2C3", bcd("000002"))
    assert reply[64] == cup_ecb(mak, body[11:-8])
    tampered = sealed[:-1] + (b"G")
    ((_, body),) = bed.messages(("terminal:1", tampered))
    reply = split(body, REPLY, requirement=3)
    assert reply[39] == b"A0"
    assert reply[64] == cup_ecb(mak, body[11:-8])
    assert bed.balances() == {"receivable:network": 9999, f"merchant:{MERCHANT}": 9999}
