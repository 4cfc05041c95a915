"""Keys: the security module and what goes into and out of it.

`SecurityModule` is the face of this package. Callers hold `KeyHandle` objects or key blocks; clear keys
exist inside the module only.
"""

from network.keys.attributes import Exportability, KeyUsage, ModeOfUse
from network.keys.card_verification import CVN2_SERVICE_CODE, ICVV_SERVICE_CODE
from network.keys.ciphers import Algorithm
from network.keys.cryptograms import CardKeyOption, Scheme
from network.keys.data_operations import SealError
from network.keys.errors import (
    KeyBlockError,
    KeyCheckError,
    KeyUsageError,
    PinBlockError,
    PinTranslationError,
    SecurityModuleError,
)
from network.keys.key_store import KeyHandle
from network.keys.mac import MacAlgorithm, Padding
from network.keys.pin_block import PinFormat
from network.keys.pin_verification import ValidationData
from network.keys.rsa_operations import RsaKey
from network.keys.security_module import SecurityModule
from network.keys.terminal_download import TerminalKeys

__all__ = [
    "CVN2_SERVICE_CODE",
    "ICVV_SERVICE_CODE",
    "Algorithm",
    "CardKeyOption",
    "Exportability",
    "KeyBlockError",
    "KeyCheckError",
    "KeyHandle",
    "KeyUsage",
    "KeyUsageError",
    "MacAlgorithm",
    "ModeOfUse",
    "Padding",
    "PinBlockError",
    "PinFormat",
    "PinTranslationError",
    "RsaKey",
    "Scheme",
    "SealError",
    "SecurityModule",
    "SecurityModuleError",
    "TerminalKeys",
    "ValidationData",
]
