"""Limited-use keys of a token inside the security module.

A payer's phone has no chip that could keep the token's own key, so it gets a few keys at a time, each good for a small
number of transaction counters. The key numbered n is made of the token's key, which never leaves the issuer:
`E(UDK, D) || E(UDK, ~D)` with `D = "LU" || n (6 bytes)`, under SM4 the encryption of `D || ~D` (*own*: no public text
gives UnionPay's derivation). It then stands where a card's key stands: session keys and cryptograms are made of it as
of that. The transaction counter alone says which key it was: `limited_use_key_number`.
"""

import hmac

from network.keys.attributes import Exportability, KeyUsage
from network.keys.ciphers import Algorithm, ecb_encryptor
from network.keys.cryptogram_operations import CryptogramOperations
from network.keys.cryptograms import (
    Scheme,
    Session,
    application_cryptogram,
    card_key_input,
    response_cryptogram,
    session,
)
from network.keys.errors import KeyUsageError
from network.keys.key_store import KeyHandle

LAST_KEY_NUMBER = 0xFFFF
"""As many keys as there are transaction counters: a token that has used them up is at its end."""

_ALGORITHMS = {Scheme.PBOC_3DES: Algorithm.TDES_DOUBLE, Scheme.PBOC_SM4: Algorithm.SM4}


def limited_use_key_number(counter: int, uses_per_key: int) -> int:
    """Return which limited-use key a transaction counter belongs to.

    Parameters
    ----------
    counter : int
        Application transaction counter, 1 to 65535.
    uses_per_key : int
        How many counters a key is good for.

    Raises
    ------
    ValueError
        Either is below 1.

    Examples
    --------
    >>> [limited_use_key_number(counter, 10) for counter in (1, 10, 11)]
    [0, 0, 1]
    """
    if counter < 1 or uses_per_key < 1:
        raise ValueError("a transaction counter and the uses of a key are at least 1")
    return (counter - 1) // uses_per_key


def limited_use_key_input(number: int) -> bytes:
    """Return `D || ~D`, what the token's key enciphers to give its limited-use key `number`.

    Raises
    ------
    ValueError
        The number is not 0 to 65535.
    """
    if not 0 <= number <= LAST_KEY_NUMBER:
        raise ValueError(f"a limited-use key is numbered 0 to {LAST_KEY_NUMBER}")
    diversifier = b"LU" + number.to_bytes(6)
    return diversifier + bytes(byte ^ 0xFF for byte in diversifier)


class LimitedUseOperations(CryptogramOperations):
    """Cryptograms of tokens on phones."""

    def derive_limited_use_key(
        self, imk: KeyHandle, token: str, sequence: str, number: int, label: str = ""
    ) -> KeyHandle:
        """Make one limited-use key of a token, for the phone that it is on.

        Parameters
        ----------
        imk : KeyHandle
            Issuer master key for application cryptograms (usage E0).
        token : str
            8 to 19 digits; it stands where the PAN stands.
        sequence : str
            Sequence number of the token, as in `derive_card_key`.
        number : int
            0 to 65535.
        label : str
            As in `generate`.

        Returns
        -------
        KeyHandle
            Usage `CARD_APPLICATION_CRYPTOGRAM`, so that it makes cryptograms and nothing else.

        Raises
        ------
        KeyUsageError
            The master key may not be used for this.
        ValueError
            Malformed token, sequence or key number.
        """
        slot = self._issuer_key(imk)
        key = self._limited_use_key(imk, token, sequence, number)
        return self._store(
            key,
            KeyUsage.CARD_APPLICATION_CRYPTOGRAM,
            slot.algorithm,
            label,
            exportability=Exportability.EXPORTABLE,
        )

    def check_limited_use_ac(
        self,
        imk: KeyHandle,
        scheme: Scheme,
        token: str,
        sequence: str,
        number: int,
        atc: bytes,
        data: bytes,
        received: bytes,
        response_code: bytes,
    ) -> bytes | None:
        """Return the ARPC when the phone's cryptogram is right, None when it is not. Compared in constant time.

        Parameters
        ----------
        imk, token, sequence, number
            As in `derive_limited_use_key`.
        scheme, atc, data
            As in `generate_ac`.
        received : bytes
            The cryptogram, 8 bytes.
        response_code : bytes
            ARC for the answer, 2 bytes.

        Raises
        ------
        KeyUsageError
            The master key may not be used for this, or is of another cipher than the scheme.
        ValueError
            Malformed token, sequence, key number or ATC.
        """
        keyed = self._limited_use_session(imk, scheme, token, sequence, number, atc)
        if not hmac.compare_digest(application_cryptogram(keyed, data), received):
            return None
        return response_cryptogram(keyed, received, response_code)

    def make_limited_use_arpc(
        self,
        imk: KeyHandle,
        scheme: Scheme,
        token: str,
        sequence: str,
        number: int,
        atc: bytes,
        cryptogram: bytes,
        response_code: bytes,
    ) -> bytes:
        """Return the issuer's answer (ARPC, method 1) to a cryptogram that `check_limited_use_ac` found right.

        Parameters are those of `check_limited_use_ac`.
        """
        keyed = self._limited_use_session(imk, scheme, token, sequence, number, atc)
        return response_cryptogram(keyed, cryptogram, response_code)

    def _limited_use_key(self, imk: KeyHandle, token: str, sequence: str, number: int) -> bytes:
        slot = self._issuer_key(imk)
        token_key = slot.encrypt(card_key_input(token, sequence))
        return ecb_encryptor(slot.algorithm, token_key)(limited_use_key_input(number))

    def _limited_use_session(
        self, imk: KeyHandle, scheme: Scheme, token: str, sequence: str, number: int, atc: bytes
    ) -> Session:
        algorithm = self._issuer_key(imk).algorithm
        if _ALGORITHMS.get(scheme) is not algorithm:
            raise KeyUsageError(f"a {algorithm.name} master key makes no limited-use keys of the scheme {scheme.value}")
        key = self._limited_use_key(imk, token, sequence, number)
        return session(scheme, key, ecb_encryptor(algorithm, key), atc)
