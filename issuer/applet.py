"""The chip of a UnionPay card: a personalised QuickPass application that answers APDUs.

It knows SELECT, GET PROCESSING OPTIONS, READ RECORD, EXTERNAL AUTHENTICATE and GET DATA (EMV 4.4 Book 3, 6.5;
DOMAIN.md 4). The cryptogram is computed by the chip's own key in its security module, the transaction counter is the
chip's own and never runs backwards. There is no GENERATE AC: the decision is in the answer to GET PROCESSING OPTIONS.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import ClassVar, Final, NamedTuple

from network.emv import CRYPTOGRAM_DATA, CardOutcome, CardVerificationResults, IssuerApplicationData, assemble, dol, tlv
from network.keys import Algorithm, KeyHandle, Scheme, SecurityModule

PPSE: Final = b"2PAY.SYS.DDF01"
DEBIT_AID: Final = bytes.fromhex("A000000333010101")
CREDIT_AID: Final = bytes.fromhex("A000000333010102")
LAST_ATC: Final = 0xFFFF
"""Where the transaction counter stays: a card that has reached it makes no more payments."""

# Status words (ISO/IEC 7816-4, 5.6)
_OK: Final = b"\x90\x00"
_AUTHENTICATION_FAILED: Final = b"\x63\x00"
_WRONG_LENGTH: Final = b"\x67\x00"
_CONDITIONS_NOT_SATISFIED: Final = b"\x69\x85"
_WRONG_DATA: Final = b"\x6a\x80"
_FILE_NOT_FOUND: Final = b"\x6a\x82"
_RECORD_NOT_FOUND: Final = b"\x6a\x83"
_WRONG_PARAMETERS: Final = b"\x6a\x86"
_DATA_NOT_FOUND: Final = b"\x6a\x88"
_INSTRUCTION_NOT_SUPPORTED: Final = b"\x6d\x00"
_CLASS_NOT_SUPPORTED: Final = b"\x6e\x00"

_PDOL: Final = bytes.fromhex("9F66049F02069F03069F1A0295055F2A029A039C019F3704")
_PDOL_ENTRIES: Final = tuple(dol.parse(_PDOL))
_PDOL_LENGTH: Final = sum(length for _, length in _PDOL_ENTRIES)
# Cardholder verification, terminal risk management and issuer authentication are supported; offline data
# authentication is not (EMV 4.4 Book 3, Annex C1).
_INTERCHANGE_PROFILE: Final = b"\x1c\x00"
_ALGORITHMS: Final = {Scheme.PBOC_3DES: 0x01, Scheme.PBOC_SM4: 0x04}
_MAX_TRACK2: Final = 37


class CvmRule(Enum):
    """When the card demands that its holder be verified."""

    ABOVE_LIMIT = "PIN, or else signature, above the card's limit"
    ALWAYS = "PIN, or else signature, at every amount"
    NEVER = "never; the card knows no way of verification"
    ON_DEVICE = "done by the holder on their own device before each payment"


@dataclass(frozen=True, slots=True, repr=False)
class Personalisation:
    """What is written into a card before its holder gets it, but for the key.

    Attributes
    ----------
    pan : str
        Account number, 13 to 19 digits.
    expiry : str
        YYMM, the last month the card is good for.
    sequence : str
        Card sequence number, three digits, the first of them 0.
    service_code : str
        Three digits beginning 2 or 6, which announce a chip: 201, 220.
    track2 : str
        Track 2 equivalent data with separator ``=``, at most 37 characters; must agree with the attributes above. When
        empty it is made of them.
    aid : bytes
        Application identifier, 5 to 16 bytes.
    label : str
        Application label, 1 to 16 ASCII characters.
    scheme : Scheme
        How the card key makes cryptograms: triple DES or SM4.
    cryptogram_version : int
        0x01 or 0x17, see `network.emv.CRYPTOGRAM_DATA`.
    key_index : int
        Which issuer master key the card key comes from, 0 to 255.
    cvm_rule : CvmRule
        When the holder must be verified. The reader may demand it too.
    cvm_limit : int
        Fen; for `CvmRule.ABOVE_LIMIT`.
    currency, country : str
        Of the account, ISO number of three digits. In another currency the limit does not count as small.

    """

    pan: str
    expiry: str
    sequence: str = "001"
    service_code: str = "220"
    track2: str = ""
    aid: bytes = DEBIT_AID
    label: str = "UnionPay Debit"
    scheme: Scheme = Scheme.PBOC_3DES
    cryptogram_version: int = 0x01
    key_index: int = 1
    cvm_rule: CvmRule = CvmRule.ABOVE_LIMIT
    cvm_limit: int = 100_000
    currency: str = "156"
    country: str = "156"

    def __post_init__(self) -> None:
        for name, digits, least, most in (
            ("pan", self.pan, 13, 19),
            ("expiry", self.expiry, 4, 4),
            ("sequence", self.sequence, 3, 3),
            ("service_code", self.service_code, 3, 3),
            ("currency", self.currency, 3, 3),
            ("country", self.country, 3, 3),
        ):
            if not (least <= len(digits) <= most and digits.isascii() and digits.isdigit()):
                raise ValueError(f"{name}: {least} to {most} digits" if least != most else f"{name}: {most} digits")
        if not 1 <= int(self.expiry[2:]) <= 12:
            raise ValueError("expiry: YYMM with a month of 01 to 12")
        if self.sequence[0] != "0":
            raise ValueError("sequence: begins with 0, the chip holds two digits")
        if self.service_code[0] not in "26":
            raise ValueError("service_code: begins with 2 or 6 on a chip card")
        start = f"{self.pan}={self.expiry}{self.service_code}"
        if not self.track2:
            object.__setattr__(self, "track2", start)
        rest = self.track2.removeprefix(start)
        if (
            not self.track2.startswith(start)
            or len(self.track2) > _MAX_TRACK2
            or not (rest + "0").isdigit()
            or not rest.isascii()
        ):
            raise ValueError("track2: pan, '=', expiry, service code and further digits, 37 characters at most")
        if not 5 <= len(self.aid) <= 16:
            raise ValueError("aid: 5 to 16 bytes")
        if not (1 <= len(self.label) <= 16 and self.label.isascii()):
            raise ValueError("label: 1 to 16 ASCII characters")
        if self.scheme not in _ALGORITHMS:
            raise ValueError("scheme: one of the PBOC schemes")
        if self.cryptogram_version not in CRYPTOGRAM_DATA:
            raise ValueError("cryptogram_version: not known")
        if not 0 <= self.key_index <= 0xFF:
            raise ValueError("key_index: 0 to 255")
        if self.cvm_limit < 0:
            raise ValueError("cvm_limit: not negative, in fen")

    def __repr__(self) -> str:
        return f"Personalisation(pan={self.pan[:6]}...{self.pan[-4:]}, aid={self.aid.hex().upper()})"


class _Command(NamedTuple):
    p1: int
    p2: int
    data: bytes


class _State(Enum):
    IDLE = "no application selected"
    SELECTED = "application selected, no payment begun"
    ONLINE = "asked to go online, waits for the issuer's answer"
    DONE = "nothing more to do until selected again"


class ChipCard:
    """A personalised card.

    Parameters
    ----------
    personalisation : Personalisation
        What is written in it.
    security_module : SecurityModule
        The chip's own, which holds its key.
    card_key : KeyHandle
        The key derived for this card, see `SecurityModule.derive_card_key`.
    atc : int
        Where the transaction counter stands: the number of payments begun so far.

    """

    __slots__ = (
        "_arqc",
        "_atc",
        "_card_key",
        "_currency",
        "_directory",
        "_fci",
        "_file",
        "_iad_head",
        "_iad_tail",
        "_issuer_authentication_failed",
        "_module",
        "_online_not_completed",
        "_options_head",
        "_state",
        "personalisation",
    )

    def __init__(
        self, personalisation: Personalisation, security_module: SecurityModule, card_key: KeyHandle, atc: int = 0
    ) -> None:
        if not 0 <= atc <= LAST_ATC:
            raise ValueError("atc: 0 to 65535")
        if (card_key.algorithm is Algorithm.SM4) != (personalisation.scheme is Scheme.PBOC_SM4):
            raise ValueError("card_key: of another cipher than the scheme")
        self.personalisation = personalisation
        self._module = security_module
        self._card_key = card_key
        self._atc = atc
        self._state = _State.IDLE
        self._arqc = b""
        self._online_not_completed = False
        self._issuer_authentication_failed = False
        self._prepare()

    @property
    def atc(self) -> int:
        """Where the transaction counter stands, 0 to 65535."""
        return self._atc

    def reset(self) -> None:
        """Take the card out of the field: it forgets the selection and the payment under way, not its counter."""
        self._state = _State.IDLE
        self._arqc = b""

    def transmit(self, apdu: bytes) -> bytes:
        """Answer one command.

        Parameters
        ----------
        apdu : bytes
            Command APDU, short form; any bytes at all.

        Returns
        -------
        bytes
            Response data, if there are any, and the status word.

        """
        size = len(apdu)
        if size < 4:
            return _WRONG_LENGTH
        known = self._COMMANDS.get(apdu[1])
        if known is None:
            # ISO/IEC 7816-4 5.4: a class that is not supported is told before an instruction that is not.
            return _INSTRUCTION_NOT_SUPPORTED if apdu[0] in (0x00, 0x80) else _CLASS_NOT_SUPPORTED
        class_byte, answer = known
        if apdu[0] != class_byte:
            return _CLASS_NOT_SUPPORTED
        data = b""
        if size > 5:
            end = 5 + apdu[4]
            # Data of the length announced, with or without the expected length behind; length 0 would announce the
            # extended form, which this card has not.
            if end == 5 or size not in (end, end + 1):
                return _WRONG_LENGTH
            data = apdu[5:end]
        return answer(self, _Command(apdu[2], apdu[3], data))

    def __repr__(self) -> str:
        return f"ChipCard({self.personalisation!r}, atc={self._atc})"

    def _prepare(self) -> None:
        """Compute whatever is the same in every payment."""
        profile = self.personalisation
        label = tlv.encode("50", profile.label.encode("ascii")) + tlv.encode("87", b"\x01")
        entry = tlv.encode("61", tlv.encode("4F", profile.aid) + label)
        self._directory = _fci(PPSE, tlv.encode("BF0C", entry)) + _OK
        self._fci = _fci(profile.aid, label + tlv.encode("9F38", _PDOL)) + _OK
        digits = profile.track2.replace("=", "D")
        track2 = tlv.encode("57", bytes.fromhex(digits + "F" * (len(digits) % 2)))
        sequence = tlv.encode("5F34", bytes.fromhex(profile.sequence[1:]))
        self._options_head = tlv.encode("82", _INTERCHANGE_PROFILE) + track2 + sequence
        self._currency = bytes.fromhex("0" + profile.currency)
        pan = bytes.fromhex(profile.pan + "F" * (len(profile.pan) % 2))
        _, last_day = monthrange(2000 + int(profile.expiry[:2]), int(profile.expiry[2:]))
        expiry = bytes.fromhex(f"{profile.expiry}{last_day:02}")
        country = bytes.fromhex("0" + profile.country)
        account = tlv.encode("5A", pan) + tlv.encode("5F24", expiry) + sequence + tlv.encode("5F28", country)
        self._file: dict[tuple[int, int], bytes] = {
            (1, 1): tlv.encode("70", track2) + _OK,
            (2, 1): tlv.encode("70", account) + _OK,
        }
        iad = IssuerApplicationData(
            profile.key_index,
            profile.cryptogram_version,
            CardVerificationResults(b"\x03\x00\x00\x00"),
            _ALGORITHMS[profile.scheme],
        ).build()
        self._iad_head, self._iad_tail = iad[:3], iad[7:]

    def _select(self, command: _Command) -> bytes:
        if command.p1 != 0x04 or command.p2 not in (0x00, 0x02):
            return _WRONG_PARAMETERS
        name = command.data
        if not 1 <= len(name) <= 16:
            return _WRONG_LENGTH
        # There is one application, hence no next one; a name of less than a RID (5 bytes) means none in particular.
        if command.p2 == 0x02 or len(name) < 5:
            return _FILE_NOT_FOUND
        if name == PPSE:
            self.reset()
            return self._directory
        if not self.personalisation.aid.startswith(name):
            return _FILE_NOT_FOUND
        self.reset()
        self._state = _State.SELECTED
        return self._fci

    def _get_processing_options(self, command: _Command) -> bytes:
        if command.p1 or command.p2:
            return _WRONG_PARAMETERS
        data = command.data
        if len(data) != _PDOL_LENGTH + 2:
            return _WRONG_LENGTH
        if data[0] != 0x83 or data[1] != _PDOL_LENGTH:
            return _WRONG_DATA
        values: dict[str, bytes] = {}
        offset = 2
        for tag, length in _PDOL_ENTRIES:
            values[tag] = data[offset : offset + length]
            offset += length
        qualifiers = values["9F66"]
        if self._state is not _State.SELECTED or self._atc == LAST_ATC or not qualifiers[0] & 0x20:
            return _CONDITIONS_NOT_SATISFIED
        amount_digits = values["9F02"].hex()
        if not amount_digits.isdecimal():
            return _WRONG_DATA
        return self._pay(values, qualifiers, int(amount_digits))

    def _pay(self, values: dict[str, bytes], qualifiers: bytes, amount: int) -> bytes:
        self._atc += 1
        atc = self._atc.to_bytes(2, "big")
        card_qualifiers = self._verification(qualifiers, amount, values["5F2A"])
        # A reader that can only work offline cannot be served: this card approves nothing by itself.
        online = card_qualifiers is not None and not qualifiers[0] & 0x08
        iad = self._iad_head + self._verification_results(online) + self._iad_tail
        values["82"] = _INTERCHANGE_PROFILE
        values["9F36"] = atc
        values["9F10"] = iad
        profile = self.personalisation
        data = assemble(profile.cryptogram_version, values)
        cryptogram = self._module.generate_ac(self._card_key, profile.scheme, atc, data)
        if online:
            self._state, self._arqc, self._online_not_completed = _State.ONLINE, cryptogram, True
        else:
            self._state = _State.DONE
        options = b"".join(
            (
                self._options_head,
                b"\x9f\x6c\x02",
                card_qualifiers or b"\x00\x00",
                b"\x9f\x10",
                bytes((len(iad),)),
                iad,
                b"\x9f\x26\x08",
                cryptogram,
                b"\x9f\x36\x02",
                atc,
            )
        )
        return tlv.encode("77", options) + _OK

    def _verification(self, qualifiers: bytes, amount: int, currency: bytes) -> bytes | None:
        """Give the card transaction qualifiers 9F6C; None when holder verification is due and no way is in common."""
        rule = self.personalisation.cvm_rule
        if rule is CvmRule.ON_DEVICE:
            return b"\x00\x80"
        due = (
            bool(qualifiers[1] & 0x40)
            or rule is CvmRule.ALWAYS
            or (rule is CvmRule.ABOVE_LIMIT and (amount > self.personalisation.cvm_limit or currency != self._currency))
        )
        if not due:
            return b"\x00\x00"
        if rule is CvmRule.NEVER:
            return None
        if qualifiers[0] & 0x04:
            return b"\x80\x00"
        return b"\x40\x00" if qualifiers[0] & 0x02 else None

    def _verification_results(self, online: bool) -> bytes:
        outcome = CardOutcome.ARQC if online else CardOutcome.AAC
        # 80: "second cryptogram not requested", which in a contactless payment it never is.
        second = 0x80 | outcome.value
        third = (0x80 if self._online_not_completed else 0) | (0x08 if self._issuer_authentication_failed else 0)
        return bytes((0x03, second, third, 0x00))

    def _read_record(self, command: _Command) -> bytes:
        if command.data:
            return _WRONG_LENGTH
        file, mode = command.p2 >> 3, command.p2 & 0x07
        if mode != 0x04 or not 1 <= file <= 30:
            return _WRONG_PARAMETERS
        if self._state is _State.IDLE:
            return _CONDITIONS_NOT_SATISFIED
        record = self._file.get((file, command.p1))
        if record is not None:
            return record
        return _RECORD_NOT_FOUND if any(name == file for name, _ in self._file) else _FILE_NOT_FOUND

    def _external_authenticate(self, command: _Command) -> bytes:
        if command.p1 or command.p2:
            return _WRONG_PARAMETERS
        if len(command.data) != 10:
            return _WRONG_LENGTH
        if self._state is not _State.ONLINE:
            return _CONDITIONS_NOT_SATISFIED
        self._state = _State.DONE
        self._online_not_completed = False
        accepted = self._module.check_arpc(
            self._card_key,
            self.personalisation.scheme,
            self._atc.to_bytes(2, "big"),
            self._arqc,
            command.data[8:],
            command.data[:8],
        )
        self._issuer_authentication_failed = not accepted
        return _OK if accepted else _AUTHENTICATION_FAILED

    def _get_data(self, command: _Command) -> bytes:
        if command.data:
            return _WRONG_LENGTH
        if self._state is _State.IDLE:
            return _CONDITIONS_NOT_SATISFIED
        if (command.p1, command.p2) != (0x9F, 0x36):
            return _DATA_NOT_FOUND
        return tlv.encode("9F36", self._atc.to_bytes(2, "big")) + _OK

    # Instruction to class and answer: what the card understands.
    _COMMANDS: ClassVar[dict[int, tuple[int, Callable[[ChipCard, _Command], bytes]]]] = {
        0xA4: (0x00, _select),
        0xA8: (0x80, _get_processing_options),
        0xB2: (0x00, _read_record),
        0x82: (0x00, _external_authenticate),
        0xCA: (0x80, _get_data),
    }


def _fci(name: bytes, proprietary: bytes) -> bytes:
    return tlv.encode("6F", tlv.encode("84", name) + tlv.encode("A5", proprietary))
