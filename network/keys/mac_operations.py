"""MACs inside the security module."""

import hmac
from binascii import hexlify

from network.keys.attributes import KeyUsage
from network.keys.ciphers import Algorithm
from network.keys.errors import KeyUsageError
from network.keys.key_store import KeyHandle, KeyStore, Slot, usage_error
from network.keys.mac import MacAlgorithm, MacFunction, Padding, mac_function

MIN_TRUNCATED_MAC = 4
"""A truncated MAC is accepted down to this many bytes (ISO 9797-1, annex C)."""

_CBC_USAGES = frozenset({KeyUsage.MAC_ISO_16609, KeyUsage.MAC_ALGORITHM_1})
_RETAIL_USAGES = frozenset({KeyUsage.MAC_ALGORITHM_3})
# TR-31 has no usage for the terminals' own MAC: keys of either block cipher MAC may do it.
_USAGES = {
    MacAlgorithm.CUP_ECB: _CBC_USAGES | _RETAIL_USAGES,
    MacAlgorithm.X9_9: _CBC_USAGES,
    MacAlgorithm.X9_19: _RETAIL_USAGES,
    MacAlgorithm.ISO_9797_1_ALGORITHM_1: _CBC_USAGES,
    MacAlgorithm.ISO_9797_1_ALGORITHM_3: _RETAIL_USAGES,
    MacAlgorithm.CMAC: frozenset({KeyUsage.MAC_CMAC}),
}
_RESET_KEYS = frozenset({KeyUsage.PIN_ENCRYPTION, *_CBC_USAGES, *_RETAIL_USAGES})
_RESET_MTIS = (b"0800", b"0810")
# A member looked up on its class costs several times a global of the module.
_CUP_ECB = MacAlgorithm.CUP_ECB


class MacOperations(KeyStore):
    """Generation and verification of MACs; only keys of a MAC usage that fits the algorithm may."""

    def mac(
        self,
        key: KeyHandle,
        algorithm: MacAlgorithm,
        data: bytes,
        padding: Padding = Padding.METHOD_1,
    ) -> bytes:
        """Return the MAC of `data`.

        Parameters
        ----------
        key : KeyHandle
            Usage M0 or M1 for X9.9 and algorithm 1, M3 for X9.19 and algorithm 3, M6 for CMAC, M0, M1 or M3
            for CUP_ECB.
        algorithm : MacAlgorithm
            The algorithm.
        data : bytes
            What the MAC covers.
        padding : Padding
            For ISO 9797-1 algorithms 1 and 3 only.

        Returns
        -------
        bytes
            8 ASCII hex characters for CUP_ECB (DE64 as it is), else one cipher block.

        Raises
        ------
        KeyUsageError
            The key may not be used for this.
        """
        slot = self._slots.get(key) or self._slot(key)
        if slot.mode not in "CGN":
            raise usage_error(slot, "making MACs")
        function = slot.mac_functions.get((algorithm, padding))
        return (function or _keyed(slot, algorithm, padding))(data)

    def verify_mac(
        self,
        key: KeyHandle,
        algorithm: MacAlgorithm,
        data: bytes,
        received: bytes,
        padding: Padding = Padding.METHOD_1,
    ) -> bool:
        """Return whether `received` is the MAC of `data`, in constant time.

        `received` may be truncated to 4 bytes or more, but not for CUP_ECB. The other parameters are those
        of `mac`.

        Raises
        ------
        KeyUsageError
            The key may not be used for this.
        """
        slot = self._slots.get(key) or self._slot(key)
        if slot.mode not in "CVN":
            raise usage_error(slot, "verifying MACs")
        function = slot.mac_functions.get((algorithm, padding))
        actual = (function or _keyed(slot, algorithm, padding))(data)
        least = len(actual) if algorithm is _CUP_ECB else MIN_TRUNCATED_MAC
        return len(received) >= least and hmac.compare_digest(actual[: len(received)], received)

    def interbank_mac(self, key: KeyHandle, data: bytes) -> bytes:
        """Return DE128: the first 4 bytes of an X9.9 (single) or X9.19 (double-length key) MAC, in hex.

        Parameters
        ----------
        key : KeyHandle
            Usage M1 with DES or M3 with double-length TDES; or M1 with SM4: CBC MAC, general practice that no
            citable text confirms.
        data : bytes
            The MAC block of DE128.

        Returns
        -------
        bytes
            8 upper-case ASCII hex characters.

        Raises
        ------
        KeyUsageError
            The key may not be used for this.
        """
        slot = self._slots.get(key) or self._slot(key)
        if slot.mode not in "CGN":
            raise usage_error(slot, "making MACs")
        function = slot.interbank_mac or _interbank(slot)
        return hexlify(function(data)[:4]).upper()

    def verify_interbank_mac(self, key: KeyHandle, data: bytes, received: bytes) -> bool:
        """Return whether `received` (8 ASCII hex characters) is the DE128 of `data`, in constant time.

        Raises
        ------
        KeyUsageError
            The key may not be used for this.
        """
        slot = self._slots.get(key) or self._slot(key)
        if slot.mode not in "CVN":
            raise usage_error(slot, "verifying MACs")
        function = slot.interbank_mac or _interbank(slot)
        return hmac.compare_digest(hexlify(function(data)[:4]).upper(), received)

    def key_reset_mac(self, key: KeyHandle, data: bytes) -> bytes:
        """Return DE128 of a key reset, which is made with the new key, also when that is a PIN key.

        This is the one MAC that a PIN key may make; so `data` must be that of an 0800 or 0810 message.

        Parameters
        ----------
        key : KeyHandle
            The new PIN or MAC key, DES or double-length TDES.
        data : bytes
            The MAC block, beginning with the MTI.

        Returns
        -------
        bytes
            8 upper-case ASCII hex characters.

        Raises
        ------
        KeyUsageError
            The key is of another usage or algorithm, or `data` is not of a key reset.
        """
        slot = self._slot(key)
        if slot.usage not in _RESET_KEYS or slot.algorithm not in (Algorithm.DES, Algorithm.TDES_DOUBLE):
            raise usage_error(slot, "the MAC of a key reset")
        if not data.startswith(_RESET_MTIS):
            raise KeyUsageError("the MAC of a key reset covers an 0800 or 0810 message only")
        algorithm = MacAlgorithm.X9_9 if slot.algorithm is Algorithm.DES else MacAlgorithm.X9_19
        function = mac_function(algorithm, slot.algorithm, slot.key, Padding.METHOD_1)
        if function is None:
            raise usage_error(slot, "the MAC of a key reset")
        return hexlify(function(data)[:4]).upper()

    def verify_key_reset_mac(self, key: KeyHandle, data: bytes, received: bytes) -> bool:
        """Return whether `received` is what `key_reset_mac` makes, in constant time."""
        return hmac.compare_digest(self.key_reset_mac(key, data), received)


def _keyed(slot: Slot, algorithm: MacAlgorithm, padding: Padding) -> MacFunction:
    """Key a MAC algorithm with a slot's key, once the key may be used for it."""
    function = None
    if slot.usage in _USAGES[algorithm]:
        function = mac_function(algorithm, slot.algorithm, slot.key, padding)
    if function is None:
        raise usage_error(slot, f"{algorithm.value} MACs with padding: {padding.value}")
    slot.mac_functions[algorithm, padding] = function
    return function


def _interbank(slot: Slot) -> MacFunction:
    algorithm = {
        Algorithm.DES: MacAlgorithm.X9_9,
        Algorithm.TDES_DOUBLE: MacAlgorithm.X9_19,
        Algorithm.SM4: MacAlgorithm.ISO_9797_1_ALGORITHM_1,
    }.get(slot.algorithm)
    if algorithm is None:
        raise usage_error(slot, "the MAC of the member link")
    slot.interbank_mac = _keyed(slot, algorithm, Padding.METHOD_1)
    return slot.interbank_mac
