"""A test bed with a payer's phone: the issuer ready at the switch, and a switch that answers its questions as told."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from issuer_bed import ISSUER, LINK, SWITCH, Bed, TestCard

from issuer.payer_phone import PayerPhone
from issuer.token_tables import Token
from network.emv import tlv
from network.emv.qr import PayerCode
from network.iso8583 import INTERBANK, InterbankHeader, Message, interbank_mac_input
from network.iso8583.additional_data import encode_objects
from network.keys import Algorithm, KeyUsage, SecurityModule
from network.ledger import CNY
from network.member import KEY_RESET_SECURITY, MAC_KEY, PIN_KEY, pack_with_mac, reset_with_mac
from network.party import Command, CommandError, Json, LinkChange, Turn

TOKEN = "6299000000000017"
HEADER = InterbankHeader(destination=ISSUER, source=SWITCH)
OK = b"\x90\x00"


@dataclass
class WalletBed(Bed):
    """The issuer under test, ready; `asked` are its 0600 that were not answered yet."""

    asked: list[Message] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.become_ready()

    def become_ready(self) -> Turn:
        """The link comes up, the issuer signs on and gets its keys; gives the turn of the last key."""
        self._management("0820", "301", LinkChange(LINK, True))
        self._management("0830", "001", None)
        self.pin_key, self.mac_key = self._key(KeyUsage.PIN_ENCRYPTION), self._key(KeyUsage.MAC_ALGORITHM_3)
        resets = []
        for which, key in ((PIN_KEY, self.pin_key), (MAC_KEY, self.mac_key)):
            fields: dict[int, str | bytes] = {
                7: "0331120001",
                11: "000077",
                33: SWITCH,
                48: "NK" + self.module.export_cryptogram(key, self.master).hex().upper(),
                53: KEY_RESET_SECURITY[which],
                70: "101",
                100: ISSUER,
            }
            resets.append(reset_with_mac(Message("0800", fields, HEADER), self.module, key))
        turn = self.take(*resets)
        assert self.party.session.ready
        self.asked += self.questions(turn)
        return turn

    def _management(self, mti: str, code: str, change: LinkChange | None) -> None:
        fields: dict[int, str | bytes] = {7: "0331120000", 11: "000009", 33: SWITCH, 70: code}
        if mti == "0830":
            fields[39] = "00"
        self.take(INTERBANK.pack(Message(mti, fields, HEADER)), links=() if change is None else (change,))

    # the switch

    def questions(self, turn: Turn) -> list[Message]:
        """The 0600 that a turn sent; their MACs are checked."""
        found = []
        for _, body in turn.sent:
            message = INTERBANK.unpack(body)
            if message.mti == "0600":
                mac = message.binary(128)
                assert self.module.verify_interbank_mac(self.mac_key, interbank_mac_input(message), mac)
                found.append(message)
        return found

    def answer_to(self, question: Message, code: str = "00", **more: str) -> bytes:
        """A sealed 0610; `more` by element, ``de103="..."``."""
        fields = {n: question[n] for n in (2, 3, 4, 7, 11, 14, 102, 103) if n in question}
        fields |= {33: SWITCH, 39: code, 100: SWITCH}
        fields |= {int(name.removeprefix("de")): value for name, value in more.items()}
        return pack_with_mac(Message("0610", dict(sorted(fields.items())), HEADER), self.module, self.mac_key)

    def give(self, name: str, ticket: int = 1, **arguments: Json) -> Turn:
        """A command's turn; what it asked of the switch is noted."""
        turn = self.take(commands=(Command(name, arguments, ticket),))
        self.asked += self.questions(turn)
        return turn

    def reply(self, code: str = "00", **more: str) -> list[tuple[int, Json | CommandError]]:
        """The switch answers the oldest question; gives what commands were answered with."""
        turn = self.take(self.answer_to(self.asked.pop(0), code, **more))
        self.asked += self.questions(turn)
        return turn.answers

    def wallet(self, phone: PayerPhone, name: str, **arguments: Json) -> Json:
        """A wallet's command that needs no answer of the switch; a refusal is raised."""
        ((_, answer),) = self.give(name, **phone.signed(name, **arguments)).answers
        if isinstance(answer, CommandError):
            raise answer
        return answer

    # phones

    def new_phone(self, seed: int = 1, **wanted: int) -> PayerPhone:
        return PayerPhone(SecurityModule(bytes([seed]) * 32, Random(seed)), lambda: self.now, **wanted)

    def provision(
        self, card: TestCard, phone: PayerPhone | None = None, token: str = TOKEN, domains: tuple[str, ...] = ()
    ) -> PayerPhone:
        """A phone with a token of the card."""
        phone = phone or self.new_phone()
        self.give(
            "provision_token",
            pan=card.issued.pan,
            domains=list(domains or ("contactless", "code")),
            wallet_public_key=phone.public_key,
        )
        ((_, answer),) = self.reply(de103=token, de14="2812")
        assert isinstance(answer, dict)
        phone.install(answer)
        return phone

    def token_row(self, phone: PayerPhone) -> Token:
        answer = self.wallet(phone, "payments")
        assert isinstance(answer, dict)
        row = self.unit.find(Token, "token_index", str(answer["token_id"]))
        assert row is not None
        return row

    def select(self, chip: PayerPhone) -> None:
        aid = bytes.fromhex("A000000333010101")
        assert chip.transmit(b"\x00\xa4\x04\x00" + bytes((len(aid),)) + aid)[-2:] == OK

    def options(self, chip: PayerPhone, amount: int, qualifiers: str = "26000080") -> tuple[dict[str, bytes], bytes]:
        """SELECT and GET PROCESSING OPTIONS: what the reader said, and the phone's answer."""
        reader = {
            "9F66": bytes.fromhex(qualifiers),
            "9F02": bytes.fromhex(f"{amount:012d}"),
            "9F03": bytes(6),
            "9F1A": b"\x01\x56",
            "95": bytes(5),
            "5F2A": b"\x01\x56",
            "9A": bytes.fromhex("260331"),
            "9C": b"\x00",
            "9F37": self.random.randbytes(4),
        }
        self.select(chip)
        data = b"".join(reader.values())
        return reader, chip.transmit(b"\x80\xa8\x00\x00" + bytes((len(data) + 2, 0x83, len(data))) + data)

    def tap(self, phone: PayerPhone, amount: int, qualifiers: str = "26000080") -> bytes:
        """DE55 of a payment by the phone."""
        reader, answer = self.options(phone, amount, qualifiers)
        assert answer[-2:] == OK, answer[-2:].hex()
        card = tlv.flat(tlv.flat(answer[:-2])["77"])
        values = {tag: card[tag] for tag in ("9F26", "9F10", "9F36", "82")}
        values |= {tag: value for tag, value in reader.items() if tag != "9F66"}
        return tlv.encode_all({"9F27": b"\x80", **values})

    @staticmethod
    def code_data(text: str) -> bytes:
        """DE55 that the switch makes of a payer's code: the amount was not known."""
        code = PayerCode.parse(text)
        return tlv.encode_all(
            {
                "9F26": code.cryptogram,
                "9F10": code.iad,
                "9F36": code.atc,
                "9F37": code.unpredictable_number,
                "9F02": bytes(6),
            }
        )

    def token_sale(
        self,
        card: TestCard,
        amount: int,
        chip: bytes | None,
        *,
        token: str = TOKEN,
        mode: str = "072",
        order: str | None = None,
        **changes: str | bytes | None,
    ) -> bytes:
        """A packed 0200 as the switch makes it of a sale by token."""
        objects: dict[str, str | dict[str, str]] = {"A2": {"01": "11"}, "T1": token}
        if order is not None:
            objects["A5"] = {"01": order}
        fields: dict[int, str | bytes] = {
            2: card.issued.pan,
            3: "000000",
            4: f"{amount:012d}",
            14: card.issued.expiry,
            18: "5411",
            22: mode,
            25: "00",
            41: "00000001",
            42: "898310000000001",
            49: CNY,
            59: encode_objects(objects),
            **self.identity(),
        }
        if chip is not None:
            fields[55] = chip
        mti = "0200"
        for name, value in changes.items():
            if name == "mti":
                mti = str(value)
            elif value is None:
                fields.pop(int(name.removeprefix("de")), None)
            else:
                fields[int(name.removeprefix("de"))] = value
        return self.seal(mti, fields)


def new_key(bed: Bed, usage: KeyUsage) -> str:
    return bed.module.generate(usage, Algorithm.TDES_DOUBLE)
