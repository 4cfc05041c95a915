"""Application cryptograms of chip cards inside the security module."""

import hmac
import random

from network.keys.attributes import Exportability, KeyUsage
from network.keys.ciphers import Algorithm, Transform, ecb_encryptor
from network.keys.cryptograms import (
    CardKeyOption,
    Scheme,
    Session,
    application_cryptogram,
    card_key_input,
    response_cryptogram,
    session,
)
from network.keys.key_store import KeyHandle, KeyStore, Slot, oldest, usage_error

MAX_CARD_KEYS = 8192
"""Card keys an issuer's module keeps keyed, about 1 KB each."""

MAX_SESSIONS = 1024
"""Sessions kept from the check of a cryptogram to the making of its answer."""

# A member looked up on its class costs several times a global of the module.
_SM4, _PBOC_SM4 = Algorithm.SM4, Scheme.PBOC_SM4
_ISSUER_MASTER = KeyUsage.ISSUER_MASTER_APPLICATION_CRYPTOGRAM
_CARD = KeyUsage.CARD_APPLICATION_CRYPTOGRAM

_IssuerSession = tuple[KeyHandle, Scheme, str, str, bytes, CardKeyOption]
_CardSession = tuple[KeyHandle, Scheme, bytes]


class CryptogramOperations(KeyStore):
    """Cryptograms of the card and of its issuer.

    The session of a transaction is derived once: the check keeps it for the answer, the card keeps it from
    its cryptogram to the issuer's answer. Both stores are bounded; what was dropped is derived again.
    """

    def __init__(self, storage_key: bytes, rng: random.Random, *, cache_size: int = 16384) -> None:
        super().__init__(storage_key, rng, cache_size=cache_size)
        self._card_keys: dict[tuple[KeyHandle, str, str, CardKeyOption], tuple[bytes, Transform]] = {}
        self._sessions: dict[_IssuerSession | _CardSession, Session] = {}

    def derive_card_key(
        self,
        imk: KeyHandle,
        pan: str,
        sequence: str,
        option: CardKeyOption = CardKeyOption.A,
        label: str = "",
    ) -> KeyHandle:
        """Derive a card's own key, for personalisation.

        Parameters
        ----------
        imk : KeyHandle
            Issuer master key for application cryptograms (usage E0), double-length TDES or SM4.
        pan : str
            8 to 19 digits.
        sequence : str
            PAN sequence number, 2 digits, or 3 with a leading zero.
        option : CardKeyOption
            EMV option A or B; PBOC uses A.
        label : str
            As in `generate`.

        Returns
        -------
        KeyHandle
            Usage `CARD_APPLICATION_CRYPTOGRAM`.

        Raises
        ------
        KeyUsageError
            The key may not be used for this.
        ValueError
            Malformed PAN or sequence number.
        """
        slot = self._issuer_key(imk)
        key = slot.encrypt(card_key_input(pan, sequence, option))
        return self._store(
            key,
            KeyUsage.CARD_APPLICATION_CRYPTOGRAM,
            slot.algorithm,
            label,
            exportability=Exportability.EXPORTABLE,
        )

    def generate_ac(self, card_key: KeyHandle, scheme: Scheme, atc: bytes, data: bytes) -> bytes:
        """Return the application cryptogram: what the chip does.

        Parameters
        ----------
        card_key : KeyHandle
            The card's own key.
        scheme : Scheme
            How the session key is made.
        atc : bytes
            Application transaction counter, 2 bytes.
        data : bytes
            What the cryptogram covers, unpadded.

        Returns
        -------
        bytes
            8 bytes.

        Raises
        ------
        KeyUsageError
            The key may not be used for this.
        """
        return application_cryptogram(self._card_session(card_key, scheme, atc), data)

    def check_arpc(
        self,
        card_key: KeyHandle,
        scheme: Scheme,
        atc: bytes,
        cryptogram: bytes,
        response_code: bytes,
        received: bytes,
    ) -> bool:
        """Return whether the issuer's answer (ARPC, method 1) is right: what the chip does.

        Parameters
        ----------
        card_key, scheme, atc
            As in `generate_ac`.
        cryptogram : bytes
            The card's ARQC, 8 bytes.
        response_code : bytes
            ARC, 2 bytes.
        received : bytes
            The ARPC, 8 bytes.
        """
        keyed = self._card_session(card_key, scheme, atc)
        return hmac.compare_digest(response_cryptogram(keyed, cryptogram, response_code), received)

    def check_ac(
        self,
        imk: KeyHandle,
        scheme: Scheme,
        pan: str,
        sequence: str,
        atc: bytes,
        data: bytes,
        received: bytes,
        option: CardKeyOption = CardKeyOption.A,
    ) -> bool:
        """Return whether a card's cryptogram is right: what the issuer does. In constant time.

        Parameters
        ----------
        imk, pan, sequence, option
            As in `derive_card_key`.
        scheme, atc, data
            As in `generate_ac`.
        received : bytes
            The cryptogram, 8 bytes.

        Raises
        ------
        KeyUsageError
            The key may not be used for this.
        ValueError
            Malformed PAN, sequence number or ATC.
        """
        keyed = self._issuer_session(imk, scheme, pan, sequence, atc, option)
        return hmac.compare_digest(application_cryptogram(keyed, data), received)

    def make_arpc(
        self,
        imk: KeyHandle,
        scheme: Scheme,
        pan: str,
        sequence: str,
        atc: bytes,
        cryptogram: bytes,
        response_code: bytes,
        option: CardKeyOption = CardKeyOption.A,
    ) -> bytes:
        """Return the issuer's answer to a cryptogram (ARPC, method 1), 8 bytes.

        After `check_ac` of the same transaction its session is used again.

        Parameters
        ----------
        imk, scheme, pan, sequence, atc, option
            As in `check_ac`.
        cryptogram : bytes
            The card's ARQC, 8 bytes.
        response_code : bytes
            ARC, 2 bytes.
        """
        keyed = self._issuer_session(imk, scheme, pan, sequence, atc, option)
        return response_cryptogram(keyed, cryptogram, response_code)

    def check_ac_and_make_arpc(
        self,
        imk: KeyHandle,
        scheme: Scheme,
        pan: str,
        sequence: str,
        atc: bytes,
        data: bytes,
        received: bytes,
        response_code: bytes,
        option: CardKeyOption = CardKeyOption.A,
    ) -> bytes | None:
        """Return the ARPC when the cryptogram is right, None when it is not.

        Parameters are those of `check_ac` and `make_arpc`.
        """
        keyed = self._issuer_session(imk, scheme, pan, sequence, atc, option)
        if not hmac.compare_digest(application_cryptogram(keyed, data), received):
            return None
        return response_cryptogram(keyed, received, response_code)

    def _issuer_key(self, imk: KeyHandle) -> Slot:
        slot = self._slots.get(imk) or self._slot(imk)
        if slot.usage is not _ISSUER_MASTER or slot.mode not in "XN":
            raise usage_error(slot, "application cryptograms of an issuer")
        return slot

    def _issuer_session(
        self, imk: KeyHandle, scheme: Scheme, pan: str, sequence: str, atc: bytes, option: CardKeyOption
    ) -> Session:
        session_name = (imk, scheme, pan, sequence, atc, option)
        known = self._sessions.get(session_name)
        if known is not None:
            return known
        slot = self._issuer_key(imk)
        _check_cipher(slot, scheme)
        name = (imk, pan, sequence, option)
        card = self._card_keys.get(name)
        if card is None:
            key = slot.encrypt(card_key_input(pan, sequence, option))
            card = key, ecb_encryptor(slot.algorithm, key)
            if len(self._card_keys) >= MAX_CARD_KEYS:
                for dropped in oldest(self._card_keys, MAX_CARD_KEYS):
                    del self._card_keys[dropped]
            self._card_keys[name] = card
        return self._keep_session(session_name, session(scheme, card[0], card[1], atc))

    def _card_session(self, card_key: KeyHandle, scheme: Scheme, atc: bytes) -> Session:
        name = (card_key, scheme, atc)
        known = self._sessions.get(name)
        if known is not None:
            return known
        slot = self._slots.get(card_key) or self._slot(card_key)
        if slot.usage is not _CARD or slot.mode not in "XN":
            raise usage_error(slot, "application cryptograms of a card")
        _check_cipher(slot, scheme)
        return self._keep_session(name, session(scheme, slot.key, slot.encrypt, atc))

    def _keep_session(self, name: _IssuerSession | _CardSession, keyed: Session) -> Session:
        if len(self._sessions) >= MAX_SESSIONS:
            for dropped in oldest(self._sessions, MAX_SESSIONS):
                del self._sessions[dropped]
        self._sessions[name] = keyed
        return keyed


def _check_cipher(slot: Slot, scheme: Scheme) -> None:
    if (slot.algorithm is _SM4) != (scheme is _PBOC_SM4):
        raise usage_error(slot, f"cryptograms of the scheme {scheme.value}")
