"""Making a phone a terminal: what must be known of it before its first sign-on."""

from __future__ import annotations

from typing import Final

from merchant_device.tables import INSTALLED, SEAL, Phone, StorageKey
from network.keys import Algorithm, KeyHandle, KeyUsage, SecurityModule
from network.store import UnitOfWork

_TMK_ALGORITHMS: Final = (Algorithm.DES, Algorithm.TDES_DOUBLE, Algorithm.TDES_TRIPLE)


def install_terminal(
    uow: UnitOfWork, module: SecurityModule, terminal_id: str, merchant_id: str, tmk: KeyHandle, *, batch: int = 1
) -> Phone:
    """Put a phone into the device's store; the caller commits.

    Parameters
    ----------
    uow : UnitOfWork
        Of the device's store.
    module : SecurityModule
        The device's own.
    terminal_id, merchant_id : str
        DE41, 8 characters, and DE42, 15 characters, printable ASCII.
    tmk : KeyHandle
        Terminal master key in `module` (usage K0), the one that the acquirer has.
    batch : int
        DE60.2 of the first batch, 1 to 999999.

    Raises
    ------
    ValueError
        An id of the wrong length, a key that is no terminal master key, or a terminal that is there already.
    """
    for name, value, length in (("terminal_id", terminal_id, 8), ("merchant_id", merchant_id, 15)):
        if len(value) != length or not (value.isascii() and value.isprintable()):
            raise ValueError(f"{name}: {length} printable ASCII characters")
    if "|" in terminal_id or ":" in terminal_id:
        raise ValueError("terminal_id: may not contain | or :")
    if tmk.usage is not KeyUsage.KEY_ENCRYPTION or tmk.algorithm not in _TMK_ALGORITHMS:
        raise ValueError(f"tmk: a DES or TDES key of usage K0 is needed, not {tmk.algorithm.name} {tmk.usage.name}")
    if not 1 <= batch <= 999_999:
        raise ValueError("batch: 1 to 999999")
    if uow.find(Phone, "terminal_id", terminal_id) is not None:
        raise ValueError(f"terminal {terminal_id} is installed already")
    if uow.find(StorageKey, "purpose", SEAL) is None:
        uow.insert(StorageKey(SEAL, module.generate(KeyUsage.DATA_ENCRYPTION, Algorithm.AES_256, "device sales")))
    phone = Phone(terminal_id, merchant_id, tmk.block, None, None, None, batch, 0, INSTALLED)
    uow.insert(phone)
    return phone
