"""PINs and card verification values inside the security module."""

import hmac
import random

from network.keys import pin_block
from network.keys.attributes import KeyUsage
from network.keys.card_verification import card_verification_value
from network.keys.errors import PinBlockError
from network.keys.key_store import KeyHandle, KeyStore, Slot, usage_error
from network.keys.pin_block import PinFormat
from network.keys.pin_verification import (
    ValidationData,
    add_offset,
    natural_pin,
    offset_between,
    pvv,
)

_DEFAULT_VALIDATION = ValidationData()
# A member looked up on its class costs several times a global of the module.
_PIN_ENCRYPTION, _ISO_4 = KeyUsage.PIN_ENCRYPTION, PinFormat.ISO_4
_IBM_3624, _PVV = KeyUsage.PIN_VERIFICATION_IBM_3624, KeyUsage.PIN_VERIFICATION_PVV
# Blocks of these two formats are the same for the same PIN and PAN, so they can be enciphered again as they are.
_FIXED_FORMATS = frozenset({PinFormat.ISO_0, PinFormat.WITHOUT_PAN})


class PinOperations(KeyStore):
    """PIN blocks, PIN verification and card verification values.

    No operation gives a PIN out. A wrong PIN is `False`; a block that has not its format is a
    `PinBlockError` (response code 99).
    """

    def encrypt_pin(self, key: KeyHandle, pin: str, pan: str, pin_format: PinFormat) -> bytes:
        """Make an enciphered PIN block: for the PIN pad, where the PIN is typed.

        Parameters
        ----------
        key : KeyHandle
            PIN encryption key (usage P0): DES or TDES, AES for format 4.
        pin : str
            4 to 12 digits.
        pan : str
            PAN with check digit.
        pin_format : PinFormat
            Format of the block.

        Returns
        -------
        bytes
            8 bytes, 16 for format 4.

        Raises
        ------
        PinBlockError
            Malformed PIN or PAN.
        KeyUsageError
            The key may not be used for this.
        """
        slot = self._slots.get(key) or self._slot(key)
        if slot.usage is not _PIN_ENCRYPTION or slot.mode not in "BEN":
            raise usage_error(slot, "enciphering PIN blocks")
        return _encipher(slot, pin, pan, pin_format, self._random)

    def translate_pin(
        self,
        source_key: KeyHandle,
        target_key: KeyHandle,
        block: bytes,
        pan: str,
        source_format: PinFormat,
        target_format: PinFormat,
        target_pan: str | None = None,
    ) -> bytes:
        """Re-encipher a PIN block from one zone to the next.

        ISO 9564-1, 9.5: from a format bound to the PAN (0, 3, 4) to one that is not (1, without PAN) is
        refused, so is anything with format 2. The PAN stays the same, but where the first one is a token and the
        caller knows the card's.

        Parameters
        ----------
        source_key, target_key : KeyHandle
            PIN encryption keys (usage P0).
        block : bytes
            The block under the source key.
        pan : str
            PAN with check digit.
        source_format, target_format : PinFormat
            Formats of the two blocks.
        target_pan : str, optional
            The PAN of the card that `pan` is a token of; `pan` where it is left out.

        Returns
        -------
        bytes
            The block under the target key.

        Raises
        ------
        PinBlockError
            The block does not have the source format.
        PinTranslationError
            A forbidden translation.
        KeyUsageError
            A key may not be used for this.
        """
        source = self._slots.get(source_key) or self._slot(source_key)
        target = self._slots.get(target_key) or self._slot(target_key)
        if source.usage is not _PIN_ENCRYPTION or source.mode not in "BDN":
            raise usage_error(source, "deciphering PIN blocks")
        if target.usage is not _PIN_ENCRYPTION or target.mode not in "BEN":
            raise usage_error(target, "enciphering PIN blocks")
        if source_format is target_format and source_format in _FIXED_FORMATS:
            _check_cipher(source, source_format)
            _check_cipher(target, target_format)
            if len(block) != 8:
                raise PinBlockError(f"a PIN block has 8 bytes, not {len(block)}")
            clear = source.decrypt(block)
            pin = pin_block.decode(clear, pan, source_format)
            if target_pan is None or target_pan == pan:
                return target.encrypt(clear)
            return _encipher(target, pin, target_pan, target_format, self._random)
        pin_block.check_translation(source_format, target_format)
        pin = _decipher(source, block, pan, source_format)
        return _encipher(target, pin, pan if target_pan is None else target_pan, target_format, self._random)

    def verify_pin_pvv(
        self,
        pin_key: KeyHandle,
        block: bytes,
        pan: str,
        pin_format: PinFormat,
        pvk: KeyHandle,
        pvki: str,
        value: str,
    ) -> bool:
        """Return whether the PIN of a block has the given PIN verification value.

        Parameters
        ----------
        pin_key, block, pan, pin_format
            The enciphered block, as in `translate_pin`.
        pvk : KeyHandle
            PIN verification key (usage V2).
        pvki : str
            Its index, one digit.
        value : str
            The PVV on file, 4 digits.

        Raises
        ------
        PinBlockError
            The block does not have the format.
        KeyUsageError
            A key may not be used for this.
        """
        verification = self._pin_verification(pvk, _PVV, "CVN")
        pin = self._pin(pin_key, block, pan, pin_format)
        return hmac.compare_digest(pvv(verification.encrypt, pvki, pan, pin).encode(), value.encode())

    def make_pvv(self, pvk: KeyHandle, pvki: str, pan: str, pin: str) -> str:
        """Return the 4-digit PVV of a clear PIN: for PIN issuing, where the issuer chooses the PIN.

        Raises
        ------
        PinBlockError
            Malformed PIN or PAN.
        KeyUsageError
            The key is not of usage V2.
        """
        slot = self._pin_verification(pvk, _PVV, "CGN")
        return pvv(slot.encrypt, pvki, pan, pin)

    def make_pvv_of_block(
        self,
        pin_key: KeyHandle,
        block: bytes,
        pan: str,
        pin_format: PinFormat,
        pvk: KeyHandle,
        pvki: str,
    ) -> str:
        """Return the 4-digit PVV of an enciphered PIN: for a PIN that the cardholder changes.

        The errors are those of `verify_pin_pvv`.
        """
        slot = self._pin_verification(pvk, _PVV, "CGN")
        return pvv(slot.encrypt, pvki, pan, self._pin(pin_key, block, pan, pin_format))

    def verify_pin_offset(
        self,
        pin_key: KeyHandle,
        block: bytes,
        pan: str,
        pin_format: PinFormat,
        pvk: KeyHandle,
        offset: str,
        validation: ValidationData = _DEFAULT_VALIDATION,
    ) -> bool:
        """Return whether the PIN of a block is the IBM 3624 natural PIN plus the offset.

        Parameters
        ----------
        pin_key, block, pan, pin_format
            The enciphered block, as in `translate_pin`.
        pvk : KeyHandle
            PIN verification key (usage V1).
        offset : str
            As many digits as the PIN has.
        validation : ValidationData
            What of the PAN is enciphered, and the decimalisation table.

        Raises
        ------
        PinBlockError
            The block does not have the format.
        KeyUsageError
            A key may not be used for this.
        """
        slot = self._pin_verification(pvk, _IBM_3624, "CVN")
        _check_offset(offset)
        pin = self._pin(pin_key, block, pan, pin_format)
        natural = natural_pin(slot.encrypt, pan, validation, len(offset))
        return hmac.compare_digest(add_offset(natural, offset).encode(), pin.encode())

    def make_pin_offset(
        self, pvk: KeyHandle, pan: str, pin: str, validation: ValidationData = _DEFAULT_VALIDATION
    ) -> str:
        """Return the IBM 3624 offset of a clear PIN: for PIN issuing, where the issuer chooses the PIN.

        Raises
        ------
        PinBlockError
            Malformed PIN or PAN.
        KeyUsageError
            The key is not of usage V1.
        """
        slot = self._pin_verification(pvk, _IBM_3624, "CGN")
        pin_block.check_pin(pin)
        return offset_between(natural_pin(slot.encrypt, pan, validation, len(pin)), pin)

    def make_cvv(self, key: KeyHandle, pan: str, expiry: str, service_code: str) -> str:
        """Return a 3-digit card verification value.

        Parameters
        ----------
        key : KeyHandle
            Card verification key (usage C0).
        pan : str
            PAN.
        expiry : str
            4 digits as the track has them (YYMM).
        service_code : str
            3 digits: the track's for CVV, 000 for CVN2, 999 for iCVV.

        Raises
        ------
        KeyUsageError
            The key may not be used for this.
        ValueError
            Malformed PAN, expiry or service code.
        """
        slot = self._slot(key)
        if slot.usage is not KeyUsage.CARD_VERIFICATION or slot.mode not in "CGN":
            raise usage_error(slot, "making card verification values")
        return card_verification_value(slot.encrypt_left, slot.encrypt, pan, expiry, service_code)

    def verify_cvv(self, key: KeyHandle, pan: str, expiry: str, service_code: str, value: str) -> bool:
        """Return whether `value` is the card verification value, in constant time.

        Parameters and errors are those of `make_cvv`.
        """
        slot = self._slot(key)
        if slot.usage is not KeyUsage.CARD_VERIFICATION or slot.mode not in "CVN":
            raise usage_error(slot, "verifying card verification values")
        actual = card_verification_value(slot.encrypt_left, slot.encrypt, pan, expiry, service_code)
        return hmac.compare_digest(actual.encode(), value.encode())

    def _pin(self, key: KeyHandle, block: bytes, pan: str, pin_format: PinFormat) -> str:
        slot = self._slots.get(key) or self._slot(key)
        if slot.usage is not _PIN_ENCRYPTION or slot.mode not in "BDN":
            raise usage_error(slot, "deciphering PIN blocks")
        return _decipher(slot, block, pan, pin_format)

    def _pin_verification(self, pvk: KeyHandle, usage: KeyUsage, modes: str) -> Slot:
        slot = self._slots.get(pvk) or self._slot(pvk)
        if slot.usage is not usage or slot.mode not in modes:
            raise usage_error(slot, f"what needs usage {usage.value} ({usage.name})")
        return slot


def _check_cipher(slot: Slot, pin_format: PinFormat) -> None:
    if slot.algorithm.is_des == (pin_format is _ISO_4):
        raise usage_error(slot, f"blocks of {pin_format.value}")


def _encipher(slot: Slot, pin: str, pan: str, pin_format: PinFormat, rng: random.Random) -> bytes:
    _check_cipher(slot, pin_format)
    if pin_format is _ISO_4:
        return pin_block.encipher_format_4(pin, pan, slot.encrypt, rng)
    return slot.encrypt(pin_block.encode(pin, pan, pin_format, rng))


def _decipher(slot: Slot, block: bytes, pan: str, pin_format: PinFormat) -> str:
    _check_cipher(slot, pin_format)
    if pin_format is _ISO_4:
        return pin_block.decipher_format_4(block, pan, slot.decrypt)
    if len(block) != 8:
        raise PinBlockError(f"a PIN block has 8 bytes, not {len(block)}")
    return pin_block.decode(slot.decrypt(block), pan, pin_format)


def _check_offset(offset: str) -> None:
    if len(offset) not in pin_block.PIN_LENGTHS or not (offset.isascii() and offset.isdigit()):
        raise ValueError("a PIN offset is 4 to 12 digits")
