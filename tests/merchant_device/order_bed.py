"""An acquirer that also keeps orders, keys and limits, and a bed whose phones have a camera and a display."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from device_bed import MERCHANT_ID, TERMINAL_ID, Bed, ScriptedAcquirer

from merchant_device.configuration import Configuration
from merchant_device.downloads import Downloads
from merchant_device.order_tables import Order
from merchant_device.orders import Orders
from merchant_device.payer_code import PayerCodes
from merchant_device.static_code import StaticCodes
from network.emv import tlv
from network.emv.ca_keys import CaPublicKey
from network.emv.qr import MerchantCode
from network.hot_cards import HotListPage
from network.iso8583 import TERMINAL, Message, TerminalHeader
from network.iso8583.additional_data import decode_objects, encode_objects
from network.keys import KeyHandle, MacAlgorithm
from network.party import SECOND, local_time

ACQUIRER_ID = "12345678"
ORDER_LIFE = 120


class OfficeAcquirer(ScriptedAcquirer):
    """Besides sales: orders (401 to 404) by number, downloads, all with DE64.

    `orders` holds the state of each order. `text_of` may change the code of an order. `codes` tells what a request
    with a DE60.3 is answered instead of 00. `silent` may hold such a DE60.3 too.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now: Callable[[], int] = lambda: 0
        self.orders: dict[str, str] = {}
        self.amounts: dict[str, int | None] = {}
        self.payments: dict[str, tuple[str, str, int]] = {}
        self.codes: dict[str, str] = {}
        self.asked: list[str] = []
        self.text_of: Callable[[MerchantCode], str] = MerchantCode.build
        self.number_of: Callable[[str], str] = lambda number: number
        self.expiry_of: Callable[[str], str] = lambda text: text
        self.key_blocks: dict[str, bytes] = {}
        self.limits: dict[str, tuple[int, int, int]] = {}
        self.spoil: set[str] = set()
        self.stopped: list[HotListPage] = []

    def take(self, body: bytes) -> bytes | None:
        request = TERMINAL.unpack(body)
        code = request.text(60)[8:11]
        if request.mti not in ("0800", "0820") or code[0] not in "34" or code in ("301", "302"):
            return super().take(body)
        self.requests.append(request)
        self.asked.append(code)
        if code in self.silent:
            return None
        mti = "0810" if request.mti == "0800" else "0830"
        keys = self.keys.get(request.text(41))
        if keys is None:
            return TERMINAL.pack(self._reply(request, mti, "77"))
        if not self.module.verify_mac(keys[1], MacAlgorithm.CUP_ECB, body[11:-8], body[-8:]):
            return self._sealed(self._reply(request, mti, "A0"), keys[1])
        reply = self._reply(request, mti, self.codes.get(code, "00"))
        reply[32] = ACQUIRER_ID
        if reply[39] == "00":
            self._manage(request, reply, code)
        self.change(reply)
        return self._sealed_or_spoiled(reply, keys[1], code)

    def _sealed_or_spoiled(self, reply: Message, mak: KeyHandle, code: str) -> bytes:
        body = self._sealed(reply, mak)
        return body[:-8] + b"00000000" if code in self.spoil else body

    def _manage(self, request: Message, reply: Message, code: str) -> None:
        if code == "401":
            self._order(request, reply)
        elif code in ("402", "404"):
            self._state(request, reply, withdraw=code == "404")
        elif code == "372":
            names = b"".join(
                tlv.encode_all({tag: tlv.flat(block)[tag] for tag in ("9F06", "9F22")})
                for block in self.key_blocks.values()
            )
            reply[62] = b"1" + names if names else b"0"
        elif code == "370":
            asked = tlv.flat(request.binary(62))
            block = self.key_blocks.get((asked["9F06"] + asked["9F22"]).hex().upper())
            reply[62] = b"0" if block is None else b"1" + block
        elif code == "380":
            application = request.binary(62)
            limits = self.limits.get(tlv.flat(application)["9F06"].hex().upper())
            reply[62] = b"0" if limits is None else b"1" + application + written(limits)
        elif code == "390":
            number = int(request.binary(62))
            reply[62] = self.stopped[number - 1].build() if self.stopped else b"0"
        elif code == "360":
            reply[62] = written(self.limits[""]) + tlv.encode("9F1A", b"\x01\x56") + tlv.encode("5F2A", b"\x01\x56")

    def _order(self, request: Message, reply: Message) -> None:
        amount = int(request.text(4)) if 4 in request else None
        number = f"{ACQUIRER_ID}{len(self.orders) + 1:012d}"
        self.orders[number] = "open"
        self.amounts[number] = amount
        text = self.text_of(merchant_code(number, amount))
        expiry = "" if amount is None else f"{local_time(self.now() + ORDER_LIFE * SECOND):%Y%m%d%H%M%S}"
        told = {"01": self.number_of(number), "02": self.expiry_of(expiry), "03": text}
        reply[62] = encode_objects({"A5": told}).encode()
        reply.fields.pop(4, None)

    def _state(self, request: Message, reply: Message, *, withdraw: bool) -> None:
        number = decode_objects(decode_objects(request.binary(62).decode())["A5"])["01"]
        if number not in self.orders:
            reply[39] = "25"
            return
        if withdraw and self.orders[number] == "open":
            self.orders[number] = "cancelled"
        payment = self.payments.get(number)
        if payment is not None:
            reply[37], reply[38], reply[4] = payment[0], payment[1], f"{payment[2]:012d}"
        elif self.amounts[number] is not None:
            reply[4] = f"{self.amounts[number]:012d}"
        reply[62] = encode_objects({"A5": {"01": number, "04": self.orders[number]}}).encode()

    def pay(self, number: str, amount: int | None = None, rrn: str = "600210000777") -> bytes:
        """Somebody pays an order: the 0820/403 that says so."""
        paid = amount or self.amounts[number] or 0
        if self.amounts[number] is not None:
            self.orders[number] = "paid"
        self.payments[number] = (rrn, "C00777", paid)
        fields = {
            4: f"{paid:012d}",
            11: "900001",
            37: rrn,
            38: "C00777",
            41: TERMINAL_ID,
            42: MERCHANT_ID,
            60: "00000001403",
            62: encode_objects({"A5": {"01": number, "04": "paid"}}).encode(),
        }
        header = TerminalHeader(bytes.fromhex("6000000003"), "610100000000")
        return self._sealed(Message("0820", fields, header), self.keys[TERMINAL_ID][1])  # type: ignore[arg-type]


def merchant_code(number: str, amount: int | None) -> MerchantCode:
    return MerchantCode(
        is_static=amount is None,
        acquirer_id=ACQUIRER_ID,
        order=number,
        merchant_id=MERCHANT_ID,
        terminal_id=TERMINAL_ID,
        merchant_name="Stall 7",
        city="Shanghai",
        category="5411",
        amount=amount,
    )


def written(limits: tuple[int, int, int]) -> bytes:
    tags = ("DF19", "DF20", "DF21")
    return b"".join(tlv.encode(tag, bytes.fromhex(f"{fen:012d}")) for tag, fen in zip(tags, limits, strict=True))


class OfficeBed(Bed):
    """A bed with all of these rooms; `pictures` are what the camera gives, the last one again and again."""

    acquirer: OfficeAcquirer

    def __init__(self, url: str = "sqlite://", *, configuration: Configuration | None = None) -> None:
        super().__init__(url, configuration=configuration, up=False, rooms=[Downloads, Orders, StaticCodes, PayerCodes])
        self.acquirer = OfficeAcquirer()
        self.acquirer.now = lambda: self.now
        self.pictures: list[bytes | None] = []
        self.photographer = Random(5)
        self.looked = 0
        self.links(True)
        self.settle()

    def answer_of(self, kind: str, terminal: str, body: bytes) -> bytes | None:
        if kind == "camera":
            assert body == b'{"request":"picture"}'
            self.looked += 1
            return self.pictures.pop(0) if len(self.pictures) > 1 else self.pictures[0]
        return super().answer_of(kind, terminal, body)

    def order(self, amount: int = 1250, **arguments: list[str]) -> tuple[int, str]:
        """Begin a sale by the merchant's code: its ticket and the order's number."""
        ticket = self.command("sale", amount=amount, **{"ways": ["merchant_code"], **arguments})  # type: ignore[arg-type]
        self.settle()
        return ticket, list(self.acquirer.orders)[-1]

    def tell(self, body: bytes) -> None:
        """Something comes from the acquirer unasked."""
        self.receive(f"acquirer:{TERMINAL_ID}", body)
        self.step()
        self.settle()

    def kept(self, number: str) -> Order:
        """An order as committed."""
        row = self.store.unit_of_work().find(Order, "number", number)
        assert row is not None
        return row


def ca_blocks(keys: dict[tuple[bytes, int], CaPublicKey]) -> dict[str, bytes]:
    """Keys by identifier, as they are downloaded."""
    return {f"{rid.hex().upper()}{index:02X}": key.build() for (rid, index), key in keys.items()}
