"""Keys that enter and leave the security module."""

import hmac
from collections.abc import Sequence

from network.keys.attributes import Exportability, KeyUsage, ModeOfUse
from network.keys.ciphers import Algorithm, odd_parity, xor
from network.keys.errors import KeyBlockError, KeyCheckError, KeyUsageError
from network.keys.key_block import KeyBlockHeader, KeyBlockProtection, parse_header
from network.keys.key_store import KeyHandle, KeyStore, Slot, read_attributes, usage_error


class KeyExchange(KeyStore):
    """Import and export of keys.

    A zone key that protects key blocks has usage K1, one that enciphers bare keys K0. No key travels under a
    weaker one.
    """

    def import_clear(
        self,
        usage: KeyUsage,
        algorithm: Algorithm,
        key: bytes,
        label: str = "",
        *,
        mode: ModeOfUse | None = None,
        exportability: Exportability | None = None,
    ) -> KeyHandle:
        """Take a clear key: for the published keys of the demo, tests and vectors only.

        Raises
        ------
        KeyUsageError
            Such a combination does not exist, or the key's length is wrong.
        """
        if len(key) != algorithm.key_length:
            raise KeyUsageError(f"a key of {algorithm.name} has {algorithm.key_length} bytes, not {len(key)}")
        return self._store(key, usage, algorithm, label, mode, exportability)

    def import_components(
        self,
        usage: KeyUsage,
        algorithm: Algorithm,
        components: Sequence[bytes],
        check_value: bytes,
        label: str = "",
    ) -> KeyHandle:
        """Take a key in 2 or 3 components from as many custodians: the key is their XOR.

        Parameters
        ----------
        usage, algorithm, label
            As in `generate`.
        components : sequence of bytes
            2 or 3, each as long as the key, no two alike.
        check_value : bytes
            First 3 to 5 bytes of the key's encryption of zeros.

        Raises
        ------
        KeyCheckError
            The key has another check value.
        KeyUsageError
            Wrong number or length of components, or such a key does not exist.
        """
        if len(components) not in (2, 3) or len(set(components)) != len(components):
            raise KeyUsageError("a key is made of 2 or 3 different components")
        if any(len(component) != algorithm.key_length for component in components):
            raise KeyUsageError(f"each component must have {algorithm.key_length} bytes")
        key = components[0]
        for component in components[1:]:
            key = xor(key, component)
        if algorithm.is_des:
            key = odd_parity(key)
        return self._checked(self._store(key, usage, algorithm, label), check_value)

    def import_block(self, block: str, zone_key: KeyHandle) -> KeyHandle:
        """Take a key block made by someone else under a shared protection key (usage K1).

        Attributes and optional blocks are kept.

        Raises
        ------
        KeyBlockError
            Malformed, wrong MAC, a version that the zone key does not fit.
        KeyUsageError
            The zone key may not do this, or the key is of a kind unknown here.
        """
        protection = self._protection(zone_key, parse_header(block).version, "BDN", "opening key blocks")
        header, key = protection.unwrap(block)
        usage, algorithm, mode, exportability = read_attributes(header, len(key))
        return self._store(key, usage, algorithm, "", mode, exportability, header.optional, header.key_version)

    def export_block(self, key: KeyHandle, zone_key: KeyHandle, version: str | None = None) -> str:
        """Wrap a key for someone who shares a protection key (usage K1).

        Parameters
        ----------
        key : KeyHandle
            A key that is not `NON_EXPORTABLE`.
        zone_key : KeyHandle
            TDES for version B, AES for version D.
        version : str, optional
            B or D; what the zone key fits when not given.

        Raises
        ------
        KeyUsageError
            The key may not leave, the zone key may not do this or is weaker than the key.
        KeyBlockError
            The zone key does not fit the version, or the version is only opened (A, C).
        """
        zone = self._slot(zone_key)
        if version is None:
            version = "B" if zone.algorithm.is_des else "D"
        protection = self._protection(zone_key, version, "BEN", "making key blocks")
        slot = self._slot(key)
        if slot.exportability is Exportability.NON_EXPORTABLE:
            raise KeyUsageError(f"a key of usage {slot.usage.value} ({slot.usage.name}) is not exportable")
        _check_strength(slot, zone)
        header = KeyBlockHeader(
            version,
            slot.header.usage,
            slot.header.algorithm,
            slot.header.mode,
            slot.header.key_version,
            slot.header.exportability,
            slot.header.optional,
        )
        # Hides whether a DES or AES key is short: X9.143, key length obfuscation.
        masked = 24 if slot.algorithm.is_des else 32
        return protection.wrap(header, slot.key, self._random, masked)

    def export_cryptogram(self, key: KeyHandle, zone_key: KeyHandle) -> bytes:
        """Encipher a bare key in ECB mode, as DE48, DE62 and DE96 carry working keys.

        Parameters
        ----------
        key : KeyHandle
            A `SENSITIVE` key: a cryptogram binds no usage to it.
        zone_key : KeyHandle
            Key encryption key (usage K0), DES, TDES or SM4.

        Returns
        -------
        bytes
            As long as the key.

        Raises
        ------
        KeyUsageError
            The key may not leave so, the zone key may not do this or is weaker than the key.
        """
        zone = self._key_encryption(zone_key, "BEN", "enciphering keys")
        slot = self._slot(key)
        if slot.exportability is not Exportability.SENSITIVE:
            raise KeyUsageError(
                f"a key of usage {slot.usage.value} ({slot.usage.name}) and exportability "
                f"{slot.exportability.value} may not leave as a bare cryptogram"
            )
        _check_strength(slot, zone)
        if len(slot.key) % zone.algorithm.block_length:
            raise KeyUsageError(f"a {slot.algorithm.name} key does not fill {zone.algorithm.name} blocks")
        return zone.encrypt(slot.key)

    def import_cryptogram(
        self,
        usage: KeyUsage,
        algorithm: Algorithm,
        cryptogram: bytes,
        zone_key: KeyHandle,
        check_value: bytes | None = None,
        label: str = "",
        *,
        exportability: Exportability = Exportability.NON_EXPORTABLE,
    ) -> KeyHandle:
        """Take a bare key enciphered in ECB mode under a key encryption key (usage K0).

        Raises
        ------
        KeyCheckError
            The key has another check value.
        KeyUsageError
            Wrong length, or the zone key may not do this.
        """
        zone = self._key_encryption(zone_key, "BDN", "deciphering keys")
        if len(cryptogram) != algorithm.key_length or len(cryptogram) % zone.algorithm.block_length:
            raise KeyUsageError(
                f"the cryptogram of a {algorithm.name} key under {zone.algorithm.name} has "
                f"{algorithm.key_length} bytes, not {len(cryptogram)}"
            )
        key = zone.decrypt(cryptogram)
        handle = self._store(key, usage, algorithm, label, None, exportability)
        return handle if check_value is None else self._checked(handle, check_value)

    def generate_and_export(
        self, usage: KeyUsage, algorithm: Algorithm, zone_key: KeyHandle, label: str = ""
    ) -> tuple[KeyHandle, bytes]:
        """Make a working key and its cryptogram, as for a key reset on the member link (0800, DE70 101).

        Raises
        ------
        KeyUsageError
            Such a key does not exist, or the zone key may not carry it.
        """
        block = self.generate(usage, algorithm, label, exportability=Exportability.SENSITIVE)
        handle = self.load(block)
        return handle, self.export_cryptogram(handle, zone_key)

    def _checked(self, handle: KeyHandle, check_value: bytes) -> KeyHandle:
        if not 3 <= len(check_value) <= 8:
            raise KeyCheckError(f"a check value has 3 to 8 bytes, not {len(check_value)}")
        actual = self._slot(handle).check_value("zero", len(check_value))
        if not hmac.compare_digest(actual, check_value):
            raise KeyCheckError(f"the {handle.usage.name} key does not have the check value that came with it")
        return handle

    def _key_encryption(self, zone_key: KeyHandle, modes: str, purpose: str) -> Slot:
        zone = self._slot(zone_key)
        if zone.usage is not KeyUsage.KEY_ENCRYPTION or zone.mode not in modes:
            raise usage_error(zone, purpose)
        return zone

    def _protection(self, zone_key: KeyHandle, version: str, modes: str, purpose: str) -> KeyBlockProtection:
        zone = self._slot(zone_key)
        if zone.usage is not KeyUsage.KEY_BLOCK_PROTECTION or zone.mode not in modes:
            raise usage_error(zone, purpose)
        if zone.algorithm.is_des == (version == "D"):
            raise KeyBlockError(f"a {zone.algorithm.name} key does not fit key block version {version}")
        protection = zone.protections.get(version)
        if protection is None:
            protection = zone.protections[version] = KeyBlockProtection(version, zone.key)
        return protection


def _check_strength(slot: Slot, zone: Slot) -> None:
    if zone.algorithm.strength < slot.algorithm.strength:
        raise KeyUsageError(f"a {slot.algorithm.name} key may not leave under a {zone.algorithm.name} key")
