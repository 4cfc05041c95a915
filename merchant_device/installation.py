"""Making a phone a terminal: what must be known of it before its first sign-on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from merchant_device.device_tables import IDLE, Attestation, attestation_subject
from merchant_device.tables import IN_FORCE, INSTALLED, SEAL, CaKey, Phone, StorageKey
from network.attestation.monitoring_link import PIN, TRANSACTION
from network.emv import CaPublicKey
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
    _check_master_key(tmk)
    if not 1 <= batch <= 999_999:
        raise ValueError("batch: 1 to 999999")
    if uow.find(Phone, "terminal_id", terminal_id) is not None:
        raise ValueError(f"terminal {terminal_id} is installed already")
    if uow.find(StorageKey, "purpose", SEAL) is None:
        uow.insert(StorageKey(SEAL, module.generate(KeyUsage.DATA_ENCRYPTION, Algorithm.AES_256, "device sales")))
    phone = Phone(terminal_id, merchant_id, tmk.block, None, None, None, batch, 0, INSTALLED)
    uow.insert(phone)
    return phone


def reinstall_terminal(uow: UnitOfWork, module: SecurityModule, phone: Phone, merchant_id: str, tmk: KeyHandle) -> None:
    """Give a terminal another master key, as it gets one when the acquirer has bound it anew; the caller commits.

    What it has sold stays in its journal, and its trace numbers go on: what it still owes is told under the new keys.

    Parameters
    ----------
    uow : UnitOfWork
        Of the device's store.
    module : SecurityModule
        The device's own: it closes the keys of before.
    phone : Phone
    merchant_id : str
        Must be the terminal's: sales of one merchant are not another's.
    tmk : KeyHandle
        The terminal master key in `module`.

    Raises
    ------
    ValueError
        Another merchant, or a key that is no terminal master key.
    """
    if merchant_id != phone.merchant_id:
        raise ValueError(f"merchant_id: terminal {phone.terminal_id} is another merchant's")
    _check_master_key(tmk)
    forget_keys(uow, module, phone)
    phone.tmk = tmk.block
    phone.status = INSTALLED


def install_ca_keys(uow: UnitOfWork, keys: Iterable[CaPublicKey]) -> int:
    """Put certification authorities' keys into the device's store, for every phone of it; the caller commits.

    A download from the acquirer goes before them: what it does not offer is withdrawn.

    Parameters
    ----------
    keys : iterable of CaPublicKey
        Checked by their hash, as `network.emv.load_ca_keys` reads them from a file.

    Returns
    -------
    int
        How many were not there, or were there otherwise.
    """
    changed = 0
    for key in keys:
        identifier, data = f"{key.rid.hex().upper()}{key.index:02X}", key.build()
        row = uow.find(CaKey, "identifier", identifier)
        if row is None:
            uow.insert(CaKey(identifier, data, IN_FORCE))
        elif (row.data, row.status) != (data, IN_FORCE):
            uow.change(row)
            row.data, row.status = data, IN_FORCE
        else:
            continue
        changed += 1
    return changed


def forget_keys(uow: UnitOfWork, module: SecurityModule, phone: Phone) -> None:
    """Wipe the terminal's keys out of its row and out of the module, and the verdicts that came under them.

    The caller sets its status.
    """
    uow.change(phone)
    for block in (phone.tmk, phone.pik, phone.mak, phone.tdk):
        if block:
            module.forget(block)
    phone.tmk = ""
    phone.pik = phone.mak = phone.tdk = None
    for purpose in (TRANSACTION, PIN):
        verdict = uow.find(Attestation, "subject", attestation_subject(phone.terminal_id, purpose))
        if verdict is not None:
            uow.change(verdict)
            verdict.step = IDLE
            verdict.until = 0


def _check_master_key(tmk: KeyHandle) -> None:
    if tmk.usage is not KeyUsage.KEY_ENCRYPTION or tmk.algorithm not in _TMK_ALGORITHMS:
        raise ValueError(f"tmk: a DES or TDES key of usage K0 is needed, not {tmk.algorithm.name} {tmk.usage.name}")
