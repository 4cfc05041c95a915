"""The key download of a terminal's sign-on: DE62 of an 0810.

====== ==================================================================================
length layout, keys enciphered in ECB mode under the terminal master key
====== ==================================================================================
24     PIN key 8, check value 4, MAC key 8, check value 4
40     PIN key 16, check value 4, MAC key 8 and 8 zero bytes, check value 4
60     the same, then track data key 16, check value 4
====== ==================================================================================

A check value is the first 4 bytes of the key's encryption of 8 zero bytes; the MAC key's is made with its
first 8 bytes as single DES. A MAC key whose second half is not zero is a double-length key.
"""

import hmac
from collections.abc import Set
from dataclasses import dataclass

from network.keys.attributes import KeyUsage
from network.keys.ciphers import Algorithm
from network.keys.errors import KeyCheckError, KeyUsageError
from network.keys.key_exchange import KeyExchange
from network.keys.key_store import KeyHandle

DE62_LENGTHS = (24, 40, 60)
_CHECK = 4
_MAC_USAGES = frozenset({KeyUsage.MAC_ALGORITHM_1, KeyUsage.MAC_ALGORITHM_3})


@dataclass(frozen=True, slots=True)
class TerminalKeys:
    """The working keys of a terminal.

    Attributes
    ----------
    pik : KeyHandle
        PIN encryption key.
    mak : KeyHandle
        MAC key: usage M1 when single-length, M3 when double-length.
    tdk : KeyHandle or None
        Track data encryption key.
    """

    pik: KeyHandle
    mak: KeyHandle
    tdk: KeyHandle | None


class TerminalDownload(KeyExchange):
    """DE62 made by the acquirer and read by the terminal."""

    def make_de62(self, tmk: KeyHandle, pik: KeyHandle, mak: KeyHandle, tdk: KeyHandle | None = None) -> bytes:
        """Encipher working keys for a terminal.

        Parameters
        ----------
        tmk : KeyHandle
            Terminal master key (usage K0), DES or TDES.
        pik : KeyHandle
            PIN key: single-length gives the layout of 24 bytes, double-length that of 40 or 60.
        mak : KeyHandle
            MAC key (M1 or M3): single-length, or double-length in the longer layouts.
        tdk : KeyHandle, optional
            Track data key (D0), double-length; with it the layout has 60 bytes.

        Returns
        -------
        bytes
            24, 40 or 60 bytes.

        Raises
        ------
        KeyUsageError
            A key of another usage or length, or one that may not leave as a bare cryptogram.
        """
        _require(tmk, {KeyUsage.KEY_ENCRYPTION}, (Algorithm.DES, Algorithm.TDES_DOUBLE, Algorithm.TDES_TRIPLE))
        _require(pik, {KeyUsage.PIN_ENCRYPTION}, (Algorithm.DES, Algorithm.TDES_DOUBLE))
        single = pik.algorithm is Algorithm.DES
        _require(mak, _MAC_USAGES, (Algorithm.DES,) if single else (Algorithm.DES, Algorithm.TDES_DOUBLE))
        parts = [self.export_cryptogram(pik, tmk), self._check(pik), self.export_cryptogram(mak, tmk)]
        if not single:
            parts.append(bytes(16 - mak.algorithm.key_length))
        parts.append(self._check(mak))
        if tdk is not None:
            if single:
                raise KeyUsageError("a download of single-length keys has no room for a track data key")
            _require(tdk, {KeyUsage.DATA_ENCRYPTION}, (Algorithm.TDES_DOUBLE,))
            parts += [self.export_cryptogram(tdk, tmk), self._check(tdk)]
        return b"".join(parts)

    def read_de62(self, tmk: KeyHandle, data: bytes) -> TerminalKeys:
        """Take the working keys of a download.

        Parameters
        ----------
        tmk : KeyHandle
            Terminal master key (usage K0), DES or TDES.
        data : bytes
            DE62, 24, 40 or 60 bytes.

        Returns
        -------
        TerminalKeys
            Handles of keys that do not leave this module again.

        Raises
        ------
        KeyCheckError
            Another length, or a key that does not have its check value.
        KeyUsageError
            The terminal master key may not be used for this.
        """
        _require(tmk, {KeyUsage.KEY_ENCRYPTION}, (Algorithm.DES, Algorithm.TDES_DOUBLE, Algorithm.TDES_TRIPLE))
        if len(data) not in DE62_LENGTHS:
            raise KeyCheckError(f"a key download has 24, 40 or 60 bytes, not {len(data)}")
        length = 8 if len(data) == 24 else 16
        step = length + _CHECK
        algorithm = Algorithm.DES if length == 8 else Algorithm.TDES_DOUBLE
        pik = self.import_cryptogram(KeyUsage.PIN_ENCRYPTION, algorithm, data[:length], tmk, data[length:step], "PIK")
        mac_field, mac_check = data[step : step + length], data[step + length : 2 * step]
        if any(mac_field[8:]):
            mak = self.import_cryptogram(KeyUsage.MAC_ALGORITHM_3, Algorithm.TDES_DOUBLE, mac_field, tmk, None, "MAK")
        else:
            mak = self.import_cryptogram(KeyUsage.MAC_ALGORITHM_1, Algorithm.DES, mac_field[:8], tmk, None, "MAK")
        if not hmac.compare_digest(self._check(mak), mac_check):
            raise KeyCheckError("the MAC key of a download does not have the check value that came with it")
        tdk = None
        if len(data) == 60:
            tdk = self.import_cryptogram(KeyUsage.DATA_ENCRYPTION, algorithm, data[40:56], tmk, data[56:], "TDK")
        return TerminalKeys(pik, mak, tdk)

    def _check(self, key: KeyHandle) -> bytes:
        """Return the 4-byte check value as DE62 has it."""
        slot = self._slot(key)
        if slot.usage in _MAC_USAGES:
            return slot.encrypt_left(bytes(8))[:_CHECK]
        return slot.check_value("zero", _CHECK)


def _require(key: KeyHandle, usages: Set[KeyUsage], algorithms: tuple[Algorithm, ...]) -> None:
    if key.usage not in usages or key.algorithm not in algorithms:
        raise KeyUsageError(
            f"a key download does not take a {key.algorithm.name} key of usage {key.usage.value} "
            f"({key.usage.name}) in this place"
        )
