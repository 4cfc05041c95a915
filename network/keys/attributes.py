"""What a key may be used for: usage, mode of use and exportability, as ANSI X9.143 (TR-31) names them."""

from enum import StrEnum

from network.keys.ciphers import Algorithm


class KeyUsage(StrEnum):
    """TR-31 key usages. The value is what stands in the key block header.

    TR-31 has no usage for the key of a single card; `CARD_APPLICATION_CRYPTOGRAM` takes a number of the
    range left to proprietary use.
    """

    CARD_VERIFICATION = "C0"
    DATA_ENCRYPTION = "D0"
    ISSUER_MASTER_APPLICATION_CRYPTOGRAM = "E0"
    ISSUER_MASTER_SECURE_MESSAGING_CONFIDENTIALITY = "E1"
    ISSUER_MASTER_SECURE_MESSAGING_INTEGRITY = "E2"
    CARD_APPLICATION_CRYPTOGRAM = "10"
    KEY_ENCRYPTION = "K0"
    KEY_BLOCK_PROTECTION = "K1"
    MAC_ISO_16609 = "M0"
    MAC_ALGORITHM_1 = "M1"
    MAC_ALGORITHM_3 = "M3"
    MAC_CMAC = "M6"
    MAC_HMAC = "M7"
    PIN_ENCRYPTION = "P0"
    PIN_VERIFICATION_IBM_3624 = "V1"
    PIN_VERIFICATION_PVV = "V2"


class ModeOfUse(StrEnum):
    """TR-31 modes of use."""

    ENCRYPT_AND_DECRYPT = "B"
    GENERATE_AND_VERIFY = "C"
    DECRYPT_ONLY = "D"
    ENCRYPT_ONLY = "E"
    GENERATE_ONLY = "G"
    NO_RESTRICTION = "N"
    VERIFY_ONLY = "V"
    DERIVE_KEYS = "X"


class Exportability(StrEnum):
    """TR-31 exportability.

    `EXPORTABLE` keys leave in key blocks only. `SENSITIVE` keys may leave as bare cryptograms too, which
    bind no usage to the key: the terminal and member links carry their working keys so.
    """

    EXPORTABLE = "E"
    NON_EXPORTABLE = "N"
    SENSITIVE = "S"


_ENCRYPTION_MODES = frozenset("BDEN")
_MAC_MODES = frozenset("CGVN")
_DERIVATION_MODES = frozenset("XN")
_DES = frozenset({Algorithm.DES, Algorithm.TDES_DOUBLE, Algorithm.TDES_TRIPLE})
_TDES = frozenset({Algorithm.TDES_DOUBLE, Algorithm.TDES_TRIPLE})
_DOUBLE = frozenset({Algorithm.TDES_DOUBLE})
_AES = frozenset({Algorithm.AES_128, Algorithm.AES_192, Algorithm.AES_256})
_SM4 = frozenset({Algorithm.SM4})
_CIPHERS = _DES | _AES | _SM4

# usage: (algorithms, modes, the mode a new key gets)
_RULES: dict[KeyUsage, tuple[frozenset[Algorithm], frozenset[str], ModeOfUse]] = {
    KeyUsage.CARD_VERIFICATION: (_DOUBLE, _MAC_MODES, ModeOfUse.GENERATE_AND_VERIFY),
    KeyUsage.DATA_ENCRYPTION: (_CIPHERS, _ENCRYPTION_MODES, ModeOfUse.ENCRYPT_AND_DECRYPT),
    KeyUsage.ISSUER_MASTER_APPLICATION_CRYPTOGRAM: (
        _DOUBLE | _SM4,
        _DERIVATION_MODES,
        ModeOfUse.DERIVE_KEYS,
    ),
    KeyUsage.ISSUER_MASTER_SECURE_MESSAGING_CONFIDENTIALITY: (
        _DOUBLE | _SM4,
        _DERIVATION_MODES,
        ModeOfUse.DERIVE_KEYS,
    ),
    KeyUsage.ISSUER_MASTER_SECURE_MESSAGING_INTEGRITY: (
        _DOUBLE | _SM4,
        _DERIVATION_MODES,
        ModeOfUse.DERIVE_KEYS,
    ),
    KeyUsage.CARD_APPLICATION_CRYPTOGRAM: (_DOUBLE | _SM4, _DERIVATION_MODES, ModeOfUse.DERIVE_KEYS),
    KeyUsage.KEY_ENCRYPTION: (_DES | _SM4, _ENCRYPTION_MODES, ModeOfUse.ENCRYPT_AND_DECRYPT),
    KeyUsage.KEY_BLOCK_PROTECTION: (_TDES | _AES, _ENCRYPTION_MODES, ModeOfUse.ENCRYPT_AND_DECRYPT),
    KeyUsage.MAC_ISO_16609: (_TDES, _MAC_MODES, ModeOfUse.GENERATE_AND_VERIFY),
    KeyUsage.MAC_ALGORITHM_1: (_CIPHERS, _MAC_MODES, ModeOfUse.GENERATE_AND_VERIFY),
    KeyUsage.MAC_ALGORITHM_3: (_DOUBLE, _MAC_MODES, ModeOfUse.GENERATE_AND_VERIFY),
    KeyUsage.MAC_CMAC: (_TDES | _AES | _SM4, _MAC_MODES, ModeOfUse.GENERATE_AND_VERIFY),
    KeyUsage.MAC_HMAC: (frozenset({Algorithm.HMAC_SHA256}), _MAC_MODES, ModeOfUse.GENERATE_AND_VERIFY),
    KeyUsage.PIN_ENCRYPTION: (_DES | _AES, _ENCRYPTION_MODES, ModeOfUse.ENCRYPT_AND_DECRYPT),
    KeyUsage.PIN_VERIFICATION_IBM_3624: (_TDES, _MAC_MODES, ModeOfUse.GENERATE_AND_VERIFY),
    KeyUsage.PIN_VERIFICATION_PVV: (_DOUBLE, _MAC_MODES, ModeOfUse.GENERATE_AND_VERIFY),
}


def allowed_algorithms(usage: KeyUsage) -> frozenset[Algorithm]:
    """Return the algorithms a key of `usage` may have."""
    return _RULES[usage][0]


def allowed_modes(usage: KeyUsage) -> frozenset[str]:
    """Return the modes of use a key of `usage` may have, as TR-31 characters."""
    return _RULES[usage][1]


def default_mode(usage: KeyUsage) -> ModeOfUse:
    """Return the mode of use a new key of `usage` gets."""
    return _RULES[usage][2]


def default_exportability(usage: KeyUsage, algorithm: Algorithm) -> Exportability:
    """Return the exportability a new key gets.

    Working keys of the links (PIN, MAC and track data keys, DES or SM4) are sensitive, since DE62, DE48 and
    DE96 carry them as cryptograms; all other keys leave in key blocks only.
    """
    working = usage in _WORKING_USAGES and algorithm not in _AES
    return Exportability.SENSITIVE if working else Exportability.EXPORTABLE


_WORKING_USAGES = frozenset(
    {
        KeyUsage.PIN_ENCRYPTION,
        KeyUsage.MAC_ALGORITHM_1,
        KeyUsage.MAC_ALGORITHM_3,
        KeyUsage.DATA_ENCRYPTION,
    }
)
