"""The chip of a UnionPay card: a personalised QuickPass application that answers APDUs.

It knows SELECT, GET PROCESSING OPTIONS, READ RECORD, EXTERNAL AUTHENTICATE and GET DATA (EMV 4.4 Book 3, 6.5;
DOMAIN.md 4). The cryptogram is computed by the chip's own key in its security module, the transaction counter is the
chip's own and never runs backwards. There is no GENERATE AC: the decision is in the answer to GET PROCESSING OPTIONS.

A payment that the card approves by itself is taken from its electronic cash when the last record named by the file
locator is read: then the terminal has all it needs, and a card pulled out before has paid nothing [G]. What the card
made for a payment it keeps, in the field and out of it, until the next payment begins; a terminal from which the card
was torn selects the application again and reads the records, without beginning another payment. However often the last
one is read, the amount is taken once.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from typing import ClassVar, Final, NamedTuple

from issuer.card_application import (
    CREDIT_AID,
    DEBIT_AID,
    ELECTRONIC_CASH_AID,
    QUASI_CREDIT_AID,
    AuthenticationFailure,
    CvmRule,
    ElectronicCash,
    OfflineAuthentication,
    Personalisation,
)
from issuer.card_file import (
    PDOL_ENTRIES,
    PDOL_LENGTH,
    PPSE,
    application_information,
    directory,
    directory_entry,
    interchange_profile,
    records,
    sequence_object,
    track2_object,
)
from issuer.payment_records import PaymentRecords
from issuer.purse import Purse
from network.emv import CardOutcome, CardVerificationResults, IssuerApplicationData, assemble, tlv
from network.keys import Algorithm, KeyHandle, Scheme, SecurityModule

__all__ = [
    "CREDIT_AID",
    "DEBIT_AID",
    "ELECTRONIC_CASH_AID",
    "LAST_ATC",
    "PPSE",
    "QUASI_CREDIT_AID",
    "AuthenticationFailure",
    "ChipCard",
    "CvmRule",
    "ElectronicCash",
    "OfflineAuthentication",
    "Personalisation",
    "TransactionCounter",
]

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

_ALGORITHMS: Final = {Scheme.PBOC_3DES: 0x01, Scheme.PBOC_SM4: 0x04}

# Bits of the terminal transaction qualifiers 9F66 (DOMAIN.md 4.1), by byte
_QUICKPASS: Final = 0x20
_OFFLINE_ONLY: Final = 0x08
_ONLINE_PIN: Final = 0x04
_SIGNATURE: Final = 0x02
_VERIFICATION_REQUIRED: Final = 0x40
_FDDA: Final = 0x80


class _Command(NamedTuple):
    p1: int
    p2: int
    data: bytes


class _State(Enum):
    IDLE = "no application selected"
    SELECTED = "application selected, no payment begun"
    ONLINE = "asked to go online, waits for the issuer's answer"
    DONE = "nothing more to do until selected again"


class TransactionCounter:
    """Counts the payments of a card; applications with the same account and key share one.

    Parameters
    ----------
    value : int
        Payments begun so far, 0 to 65535.

    """

    __slots__ = ("value",)

    def __init__(self, value: int = 0) -> None:
        if not 0 <= value <= LAST_ATC:
            raise ValueError("atc: 0 to 65535")
        self.value = value


class ChipCard:
    """A personalised card with one application.

    Parameters
    ----------
    personalisation : Personalisation
        What is written in it.
    security_module : SecurityModule
        The chip's own, which holds its key.
    card_key : KeyHandle
        The key derived for this card, see `SecurityModule.derive_card_key`.
    atc : int or TransactionCounter
        Where the transaction counter stands: the number of payments begun so far; or the counter itself, which another
        application of the card may have too.
    balance : int or None
        Fen of electronic cash on the card, where it has been used since it was handed out.

    """

    __slots__ = (
        "_arqc",
        "_card_key",
        "_counter",
        "_currency",
        "_directory",
        "_fci",
        "_file",
        "_iad_head",
        "_iad_tail",
        "_interchange_profile",
        "_issuer_authentication_failed",
        "_module",
        "_online_not_completed",
        "_options_head",
        "_payment",
        "_purse",
        "_state",
        "personalisation",
    )

    def __init__(
        self,
        personalisation: Personalisation,
        security_module: SecurityModule,
        card_key: KeyHandle,
        atc: int | TransactionCounter = 0,
        balance: int | None = None,
    ) -> None:
        if (card_key.algorithm is Algorithm.SM4) != (personalisation.scheme is Scheme.PBOC_SM4):
            raise ValueError("card_key: of another cipher than the scheme")
        authentication, cash = personalisation.offline_authentication, personalisation.electronic_cash
        if balance is not None and cash is None:
            raise ValueError("balance: the card has no electronic cash")
        self.personalisation = personalisation
        self._module = security_module
        self._card_key = card_key
        self._payment = None if authentication is None else PaymentRecords(security_module, authentication)
        self._purse = None if cash is None else Purse(cash, balance)
        self._counter = atc if isinstance(atc, TransactionCounter) else TransactionCounter(atc)
        self._state = _State.IDLE
        self._arqc = b""
        self._online_not_completed = False
        self._issuer_authentication_failed = False
        self._prepare()

    @property
    def atc(self) -> int:
        """Where the transaction counter stands, 0 to 65535."""
        return self._counter.value

    @property
    def balance(self) -> int | None:
        """Electronic cash on the card in fen; None on a card without."""
        return self._purse.balance if self._purse is not None else None

    def load(self, amount: int) -> None:
        """Put electronic cash on the card, as its issuer does at a machine of its own, over a link not modelled here.

        Parameters
        ----------
        amount : int
            Fen, positive.

        Raises
        ------
        ValueError
            The card has no electronic cash, or would hold more than it may.

        """
        if self._purse is None:
            raise ValueError("the card has no electronic cash")
        self._purse.load(amount)

    def reset(self) -> None:
        """Take the card out of the field.

        It forgets the selection and that it waits for its issuer, not its counter nor the records of its last payment.
        """
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
        return f"ChipCard({self.personalisation!r}, atc={self.atc})"

    def _key(self, atc: int) -> KeyHandle:
        """Give the key for the cryptograms of payment `atc`; on a card it is always the same."""
        return self._card_key

    def _refusal(self, qualifiers: bytes, amount: int) -> bytes | None:
        """Give the status word with which a payment is refused before it begins; a card begins every one."""
        return None

    def _prepare(self) -> None:
        """Compute whatever is the same in every payment."""
        profile = self.personalisation
        self._directory = directory((directory_entry(profile),)) + _OK
        self._fci = application_information(profile) + _OK
        self._interchange_profile = interchange_profile(profile)
        self._options_head = (
            tlv.encode("82", self._interchange_profile) + track2_object(profile) + sequence_object(profile)
        )
        self._currency = bytes.fromhex("0" + profile.currency)
        self._file = {place: record + _OK for place, record in records(profile).items()}
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
        if len(data) != PDOL_LENGTH + 2:
            return _WRONG_LENGTH
        if data[0] != 0x83 or data[1] != PDOL_LENGTH:
            return _WRONG_DATA
        values: dict[str, bytes] = {}
        offset = 2
        for tag, length in PDOL_ENTRIES:
            values[tag] = data[offset : offset + length]
            offset += length
        qualifiers = values["9F66"]
        if self._state is not _State.SELECTED or self._counter.value == LAST_ATC or not qualifiers[0] & _QUICKPASS:
            return _CONDITIONS_NOT_SATISFIED
        amount_digits = values["9F02"].hex()
        if not amount_digits.isdecimal():
            return _WRONG_DATA
        amount = int(amount_digits)
        return self._refusal(qualifiers, amount) or self._pay(values, qualifiers, amount)

    def _pay(self, values: dict[str, bytes], qualifiers: bytes, amount: int) -> bytes:
        self._counter.value += 1
        counter = self._counter.value
        atc = counter.to_bytes(2, "big")
        card_qualifiers = self._verification(qualifiers, amount, values["5F2A"])
        purse = self._purse
        offline = purse is not None and purse.pays(values, amount, self._currency, card_qualifiers)
        # A reader that can only work offline is declined by a card that does not pay by itself.
        online = card_qualifiers is not None and not offline and not qualifiers[0] & _OFFLINE_ONLY
        results = self._verification_results(online)
        if offline:
            results = bytes((results[0], results[1] | CardOutcome.TC.value, *results[2:]))
        iad = self._iad_head + results + self._iad_tail
        values["82"] = self._interchange_profile
        values["9F36"] = atc
        values["9F10"] = iad
        profile = self.personalisation
        data = assemble(profile.cryptogram_version, values)
        cryptogram = self._module.generate_ac(self._key(counter), profile.scheme, atc, data)
        if online:
            self._state, self._arqc, self._online_not_completed = _State.ONLINE, cryptogram, True
        else:
            self._state = _State.DONE
        card_qualifiers = card_qualifiers or b"\x00\x00"
        more = b""
        payment = self._payment
        if payment is not None:
            payment.records.clear()
            authentication = payment.authentication
            if offline or (online and authentication.online_too and qualifiers[3] & _FDDA):
                card_qualifiers = bytes((card_qualifiers[0] | authentication.on_failure.value, card_qualifiers[1]))
                more = payment.sign(values, atc, card_qualifiers)
            if purse is not None:
                more += tlv.encode("9F5D", purse.begin(amount if offline else 0))
        options = b"".join(
            (
                self._options_head,
                b"\x9f\x6c\x02",
                card_qualifiers,
                b"\x9f\x10",
                bytes((len(iad),)),
                iad,
                b"\x9f\x26\x08",
                cryptogram,
                b"\x9f\x36\x02",
                atc,
                more,
            )
        )
        return tlv.encode("77", options) + _OK

    def _verification(self, qualifiers: bytes, amount: int, currency: bytes) -> bytes | None:
        """Give the card transaction qualifiers 9F6C; None when holder verification is due and no way is in common."""
        rule = self.personalisation.cvm_rule
        if rule is CvmRule.ON_DEVICE:
            return b"\x00\x80"
        due = (
            bool(qualifiers[1] & _VERIFICATION_REQUIRED)
            or rule is CvmRule.ALWAYS
            or (rule is CvmRule.ABOVE_LIMIT and (amount > self.personalisation.cvm_limit or currency != self._currency))
        )
        if not due:
            return b"\x00\x00"
        if rule is CvmRule.NEVER:
            return None
        if qualifiers[0] & _ONLINE_PIN and self.personalisation.online_pin:
            return b"\x80\x00"
        return b"\x40\x00" if qualifiers[0] & _SIGNATURE else None

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
        place = (file, command.p1)
        record = self._file.get(place)
        if record is not None:
            return record
        if self._payment is not None and place in self._payment.records:
            if self._purse is not None and place == self._payment.last:
                self._purse.take()
            return self._payment.records[place] + _OK
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
            self._key(self.atc),
            self.personalisation.scheme,
            self.atc.to_bytes(2, "big"),
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
        tag = f"{command.p1:02X}{command.p2:02X}"
        if tag == "9F36":
            value: bytes | None = self.atc.to_bytes(2, "big")
        else:
            value = None if self._purse is None else self._purse.told(tag)
        return _DATA_NOT_FOUND if value is None else tlv.encode(tag, value) + _OK

    # Instruction to class and answer: what the card understands.
    _COMMANDS: ClassVar[dict[int, tuple[int, Callable[[ChipCard, _Command], bytes]]]] = {
        0xA4: (0x00, _select),
        0xA8: (0x80, _get_processing_options),
        0xB2: (0x00, _read_record),
        0x82: (0x00, _external_authenticate),
        0xCA: (0x80, _get_data),
    }
