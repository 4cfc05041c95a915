"""A payer's phone: the wallet App of this issuer, with a token in place of a card.

It answers a reader's APDUs as a card does (host card emulation), shows codes, and signs what it asks of its issuer. It
has no secret of the token's own, only limited-use keys, each good for a few payments; when they have run out it pays no
more until it is replenished. Its holder confirms on it (CDCVM) what is above its limit or what a reader wants verified:
a confirmation is good for one payment, within a minute.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Final

from issuer.applet import DEBIT_AID, LAST_ATC, CvmRule, Personalisation, TransactionCounter
from issuer.arguments import number_of, text_of
from issuer.phone_applet import VERIFIED_ON_DEVICE, PhoneApplet
from issuer.wallet_proof import signed_text
from network.emv import CardOutcome, CardVerificationResults, IssuerApplicationData, assemble
from network.emv.qr import PayerCode
from network.keys import KeyHandle, KeyUsage, Scheme, SecurityModule, SecurityModuleError
from network.keys.limited_use import LAST_KEY_NUMBER, limited_use_key_number
from network.party import SECOND, CommandError, Instant, Json

CONFIRMATION_SECONDS: Final = 60
SMALL_AMOUNT: Final = 100_000
"""Fen that are paid without confirmation by the holder: the network's limit for small payments."""

MAX_KEYS: Final = 64
"""Most limited-use keys in one answer of the issuer."""

_SEE_PHONE: Final = b"\x69\x86"
_CONDITIONS_NOT_SATISFIED: Final = b"\x69\x85"
_VERIFICATION_REQUIRED: Final = 0x40
_KEY_INDEX: Final = 1
_TRIPLE_DES: Final = 0x01
_CODE_VERSION: Final = 0x17

_NEEDS_CONFIRMATION: Final = frozenset(("request_code", "pay_order"))


class PayerPhoneError(Exception):
    """What the phone cannot do now, said to its holder."""


class PayerPhone:
    """A payer's phone with the issuer's wallet App.

    Parameters
    ----------
    module : SecurityModule
        The phone's own.
    clock : callable
        Gives the time.
    limit : int
        Fen that may be paid without confirmation.
    name : str or None
        The payer's, shown in codes.
    """

    def __init__(
        self,
        module: SecurityModule,
        clock: Callable[[], Instant],
        *,
        limit: int = SMALL_AMOUNT,
        name: str | None = None,
    ) -> None:
        self._module = module
        self._clock = clock
        self._limit = limit
        self._name = name
        self._pair = module.generate_ec("wallet")
        self._token = ""
        self._expiry = ""
        self._sequence = ""
        self._uses_per_key = 1
        self._keys: dict[int, KeyHandle] = {}
        self._last_key = -1
        self._command_counter = 0
        self._confirmed_until: Instant | None = None
        self._counter = TransactionCounter()
        self._applet: PhoneApplet | None = None

    def __repr__(self) -> str:
        return f"<PayerPhone {'with' if self._applet else 'without'} a token, {self.payments_left} payments left>"

    @property
    def public_key(self) -> str:
        """What the issuer is given to provision this phone: base64 of DER SubjectPublicKeyInfo."""
        return base64.b64encode(self._pair.public_key).decode("ascii")

    @property
    def token(self) -> str:
        """The token, 13 to 19 digits; empty before `install`."""
        return self._token

    @property
    def payments_left(self) -> int:
        """How many payments the keys on the phone are good for."""
        return sum(
            (number + 1) * self._uses_per_key - max(self._counter.value, number * self._uses_per_key)
            for number in self._keys
            if (number + 1) * self._uses_per_key > self._counter.value
        )

    # kept between runs of the App

    def saved(self) -> dict[str, Json]:
        """What the App keeps on the phone: keys as blocks under the module's storage key, all else as it is.

        Examples
        --------
        `PayerPhone.restored(module, clock, phone.saved())` is the phone again, but for a confirmation.
        """
        return {
            "pair": self._pair.block,
            "token": self._token,
            "expiry": self._expiry,
            "sequence": self._sequence,
            "uses_per_key": self._uses_per_key,
            "numbers": sorted(self._keys),
            "keys": [self._keys[number].block for number in sorted(self._keys)],
            "last_key": self._last_key,
            "command_counter": self._command_counter,
            "atc": self.atc,
        }

    @classmethod
    def restored(
        cls,
        module: SecurityModule,
        clock: Callable[[], Instant],
        saved: Mapping[str, Json],
        *,
        limit: int = SMALL_AMOUNT,
        name: str | None = None,
    ) -> PayerPhone:
        """The phone that was saved.

        Parameters
        ----------
        module, clock, limit, name
            As of the phone itself; the module has the storage key under which it was saved.

        Raises
        ------
        PayerPhoneError
            What was saved is malformed or of another module.
        """
        phone = cls(module, clock, limit=limit, name=name)
        numbers, blocks = saved.get("numbers"), saved.get("keys")
        if not isinstance(numbers, list) or not isinstance(blocks, list) or len(numbers) != len(blocks):
            raise PayerPhoneError("what was saved: keys and their numbers do not match")
        try:
            phone._pair = module.load_ec(text_of(saved, "pair", 1024))
            phone._uses_per_key = number_of(saved, "uses_per_key", LAST_ATC, minimum=1)
            phone._last_key = number_of(saved, "last_key", LAST_KEY_NUMBER, minimum=-1)
            phone._command_counter = number_of(saved, "command_counter", 2**53)
            phone._counter.value = number_of(saved, "atc", LAST_ATC)
            phone._keys = {int(number): module.load(str(block)) for number, block in zip(numbers, blocks, strict=True)}
            if saved.get("token"):
                phone._begin(text_of(saved, "token", 19), text_of(saved, "expiry", 4), text_of(saved, "sequence", 3))
        except (CommandError, ValueError, TypeError, SecurityModuleError) as error:
            raise PayerPhoneError(f"what was saved: {error}") from None
        return phone

    def _begin(self, token: str, expiry: str, sequence: str) -> None:
        """Put the payment application of a token into the phone; `ValueError` where it cannot be one."""
        written = Personalisation(
            pan=token, expiry=expiry, sequence=sequence, aid=DEBIT_AID, cvm_rule=CvmRule.ON_DEVICE, key_index=_KEY_INDEX
        )
        self._applet = PhoneApplet(self, written, self._module, self._counter)
        self._token, self._expiry, self._sequence = token, expiry, sequence

    # what the issuer answers

    def install(self, answer: Mapping[str, Json]) -> None:
        """Take what `provision_token` answered. The same token may be installed again.

        Raises
        ------
        PayerPhoneError
            The answer is malformed, for another phone, or of another token than the one here.
        """
        try:
            token, expiry = text_of(answer, "token", 19), text_of(answer, "expiry", 4)
            sequence = text_of(answer, "sequence", 2)
            atc = number_of(answer, "atc", LAST_ATC)
            command_counter = number_of(answer, "command_counter", 2**53)
            uses_per_key = number_of(answer, "uses_per_key", LAST_ATC, minimum=1)
            if self._token not in ("", token):
                raise CommandError("another token is on this phone")
            # none where all were revoked before this answer was fetched: the phone is replenished first
            keys, valid_from = self._opened(answer)
            if self._applet is None:
                self._begin(token, expiry, f"0{sequence}")
        except (CommandError, ValueError) as error:
            raise PayerPhoneError(f"the issuer's answer: {error}") from None
        self._uses_per_key = uses_per_key
        self._command_counter = max(self._command_counter, command_counter)
        self._counter.value = max(self._counter.value, atc)
        self._put(keys, valid_from)

    def replenished(self, answer: Mapping[str, Json]) -> None:
        """Take the further keys that `replenish` answered.

        Raises
        ------
        PayerPhoneError
            The answer is malformed or for another phone.
        """
        try:
            keys, valid_from = self._opened(answer)
        except CommandError as error:
            raise PayerPhoneError(f"the issuer's answer: {error}") from None
        self._put(keys, valid_from)

    def _opened(self, answer: Mapping[str, Json]) -> tuple[dict[int, KeyHandle], int]:
        """The keys of an answer by their numbers, and the number of the first key that is still good."""
        first = number_of(answer, "first_key", LAST_KEY_NUMBER)
        valid_from = number_of(answer, "valid_from", LAST_KEY_NUMBER)
        envelopes = answer.get("keys")
        if not isinstance(envelopes, list | tuple) or len(envelopes) > MAX_KEYS:
            raise CommandError(f"keys: a list of at most {MAX_KEYS} is needed")
        keys: dict[int, KeyHandle] = {}
        for number, envelope in enumerate(envelopes, first):
            try:
                key = self._module.open_envelope(self._pair, base64.b64decode(str(envelope), validate=True))
            except (binascii.Error, ValueError, SecurityModuleError):
                raise CommandError("keys: an envelope that is not for this phone") from None
            if key.usage is not KeyUsage.CARD_APPLICATION_CRYPTOGRAM:
                raise CommandError("keys: an envelope with a key for something else")
            keys[number] = key
        return keys, valid_from

    def _put(self, keys: Mapping[int, KeyHandle], valid_from: int) -> None:
        """Keep what was opened; keys that were used up or revoked are dropped."""
        kept = {**self._keys, **keys}
        self._last_key = max(self._last_key, *keys, -1)
        self._keys = {
            number: key
            for number, key in kept.items()
            if number >= valid_from and (number + 1) * self._uses_per_key > self.atc
        }

    # as a card

    @property
    def atc(self) -> int:
        """How many payments were begun."""
        return self._counter.value

    def transmit(self, apdu: bytes) -> bytes:
        """Answer a reader's command; see `issuer.applet.ChipCard.transmit`.

        Raises
        ------
        PayerPhoneError
            There is no token on the phone.
        """
        return self._with_token().transmit(apdu)

    def reset(self) -> None:
        """Take the phone out of the field."""
        self._with_token().reset()

    def confirm(self) -> None:
        """The holder confirms (fingerprint or the phone's own code): one payment within a minute."""
        self._confirmed_until = self._clock() + CONFIRMATION_SECONDS * SECOND

    @property
    def is_confirmed(self) -> bool:
        """Whether a confirmation is there and still good."""
        return self._confirmed_until is not None and self._clock() <= self._confirmed_until

    def refusal(self, qualifiers: bytes, amount: int) -> bytes | None:
        """The status word with which a payment is refused before it begins; None where it may begin.

        6986: the holder must confirm on the phone first [G]; 6985: no key is left.
        """
        if not self.is_confirmed and (amount > self._limit or qualifiers[1] & _VERIFICATION_REQUIRED):
            return _SEE_PHONE
        return None if self._has_key() else _CONDITIONS_NOT_SATISFIED

    def key(self, atc: int) -> KeyHandle:
        """The limited-use key of a transaction counter.

        Raises
        ------
        PayerPhoneError
            There is none.
        """
        key = self._keys.get(limited_use_key_number(atc, self._uses_per_key))
        if key is None:
            raise PayerPhoneError("the phone has no key left: it must be replenished")
        return key

    def use_confirmation(self) -> bool:
        """Whether the holder has confirmed; that is used up."""
        confirmed = self.is_confirmed
        self._confirmed_until = None
        return confirmed

    def _has_key(self) -> bool:
        """Find a key for the next payment; counters whose key is not here (it was revoked) are passed over."""
        if self.atc >= LAST_ATC:
            return False
        if limited_use_key_number(self.atc + 1, self._uses_per_key) in self._keys:
            return True
        later = [number for number in self._keys if number * self._uses_per_key > self.atc]
        if not later:
            return False
        self._counter.value = min(later) * self._uses_per_key
        return True

    # codes and commands

    def show_code(self) -> str:
        """A payer-presented code with a cryptogram (EMVCo CPM), as text.

        The amount is not known yet: zero is signed. 9F37 is the time, in seconds since 1970 (*own*).

        Raises
        ------
        PayerPhoneError
            There is no token or no key.
        """
        self._with_token()
        if not self._has_key():
            raise PayerPhoneError("the phone has no key left: it must be replenished")
        self._counter.value += 1
        atc = self.atc.to_bytes(2)
        second = 0x80 | CardOutcome.ARQC.value | (VERIFIED_ON_DEVICE if self.use_confirmation() else 0)
        results = CardVerificationResults(bytes((0x03, second, 0x00, 0x00)))
        iad = IssuerApplicationData(_KEY_INDEX, _CODE_VERSION, results, _TRIPLE_DES).build()
        made_at = (self._clock() // SECOND & 0xFFFFFFFF).to_bytes(4)
        data = assemble(_CODE_VERSION, {"9F02": bytes(6), "9F37": made_at, "9F36": atc, "9F10": iad})
        cryptogram = self._module.generate_ac(self.key(self.atc), Scheme.PBOC_3DES, atc, data)
        return PayerCode(
            DEBIT_AID, self._token, self._expiry, self._sequence, iad, cryptogram, atc, made_at, self._name
        ).build()

    def signed(self, command: str, **arguments: Json) -> dict[str, Json]:
        """Arguments of a command to the issuer, with what this phone adds and its signature.

        Parameters
        ----------
        command : str
            ``replenish``, ``request_code``, ``pay_order`` or ``payments``.

        Raises
        ------
        PayerPhoneError
            There is no token, or the holder has not confirmed what needs that.
        """
        self._with_token()
        content = dict(arguments)
        if command in _NEEDS_CONFIRMATION:
            if not self.use_confirmation():
                raise PayerPhoneError("the holder has not confirmed")
            content["verified"] = True
        if command == "replenish":
            content["last"] = self._last_key
        self._command_counter += 1
        content |= {"token": self._token, "counter": self._command_counter}
        signature = self._module.sign_ec(self._pair, signed_text(command, content))
        return {**content, "signature": base64.b64encode(signature).decode("ascii")}

    def _with_token(self) -> PhoneApplet:
        if self._applet is None:
            raise PayerPhoneError("there is no token on this phone")
        return self._applet
