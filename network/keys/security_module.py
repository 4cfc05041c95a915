"""The security module: the only place where clear keys exist.

Outside it keys are handles or key blocks. Its operations take and give enciphered PINs, MACs and cryptograms;
each refuses a key whose TR-31 usage, algorithm or mode of use is not made for it. Keyed cipher contexts are
kept with the keys, so a module belongs to one thread.
"""

from network.keys.data_operations import DataOperations
from network.keys.elliptic_operations import EllipticOperations
from network.keys.limited_use import LimitedUseOperations
from network.keys.mac_operations import MacOperations
from network.keys.pin_operations import PinOperations
from network.keys.rsa_operations import RsaOperations
from network.keys.terminal_download import TerminalDownload


class SecurityModule(
    TerminalDownload,
    MacOperations,
    PinOperations,
    LimitedUseOperations,
    DataOperations,
    EllipticOperations,
    RsaOperations,
):
    """A software security module.

    Parameters
    ----------
    storage_key : bytes
        The module's own AES key, 16, 24 or 32 bytes: what is stored outside is wrapped under it.
    rng : random.Random
        All randomness of the module: `random.SystemRandom` in live runs, seeded in virtual ones.
    cache_size : int
        How many opened keys are kept, the oldest are dropped first; keyword only.

    Raises
    ------
    KeyBlockError
        The storage key is no AES key.

    Examples
    --------
    >>> import random
    >>> from network.keys import Algorithm, KeyUsage, PinFormat, SecurityModule
    >>> module = SecurityModule(bytes(32), random.Random(1))
    >>> terminal = module.load(module.generate(KeyUsage.PIN_ENCRYPTION, Algorithm.TDES_DOUBLE))
    >>> zone = module.load(module.generate(KeyUsage.PIN_ENCRYPTION, Algorithm.TDES_DOUBLE))
    >>> block = module.encrypt_pin(terminal, "1234", "6212345678901232", PinFormat.ISO_0)
    >>> len(module.translate_pin(
    ...     terminal, zone, block, "6212345678901232", PinFormat.ISO_0, PinFormat.ISO_0))
    8
    """
