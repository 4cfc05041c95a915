"""What an issuer has before its first card: keys for its rows, its own accounts, the zone shared with the switch."""

from __future__ import annotations

from typing import Final

from issuer.tables import CASH_ACCOUNT, SETTLEMENT_ACCOUNT, StorageKey
from network.keys import Algorithm, KeyHandle, KeyUsage, SecurityModule
from network.ledger import CNY, LedgerAccount
from network.member import ZoneKeys
from network.party import Instant
from network.store import UnitOfWork

SEAL_KEY: Final = "seal"
INDEX_KEY: Final = "index"


class InstallationError(ValueError):
    """What cannot be set down; the message says what is wrong with it."""


def install(store: UnitOfWork, module: SecurityModule, currency: str = CNY) -> None:
    """Make what is not there yet: the storage keys and the issuer's own accounts. The caller commits."""
    if store.find(StorageKey, "purpose", SEAL_KEY) is None:
        store.insert(StorageKey(SEAL_KEY, module.generate(KeyUsage.DATA_ENCRYPTION, Algorithm.AES_128, "issuer rows")))
    if store.find(StorageKey, "purpose", INDEX_KEY) is None:
        store.insert(StorageKey(INDEX_KEY, module.generate(KeyUsage.MAC_HMAC, Algorithm.HMAC_SHA256, "issuer index")))
    for account_id, normal in ((SETTLEMENT_ACCOUNT, "credit"), (CASH_ACCOUNT, "debit")):
        if store.find(LedgerAccount, "account_id", account_id) is None:
            store.insert(LedgerAccount(account_id, normal, currency, 0, 0))


def join_network(
    store: UnitOfWork, module: SecurityModule, *, switch_id: str, master_key: KeyHandle, now: Instant
) -> ZoneKeys:
    """Set down the zone master key that the issuer shares with the switch; working keys come after the sign-on.

    Parameters
    ----------
    switch_id
        8 digits, as in message headers.
    master_key
        A key encryption key (usage K0).

    Raises
    ------
    InstallationError
        The id is malformed, the zone is there already, or the key is of another usage.
    """
    if len(switch_id) != 8 or not (switch_id.isascii() and switch_id.isdigit()):
        raise InstallationError("a switch's id has 8 digits")
    if master_key.usage is not KeyUsage.KEY_ENCRYPTION:
        raise InstallationError(f"a zone master key is a key encryption key, not one of usage {master_key.usage.name}")
    if store.find(ZoneKeys, "zone", switch_id) is not None:
        raise InstallationError(f"the zone of switch {switch_id} exists already")
    zone = ZoneKeys(switch_id, module.block(master_key), None, None, None, None, now)
    store.insert(zone)
    return zone


def storage_key(store: UnitOfWork, module: SecurityModule, purpose: str) -> KeyHandle:
    """One of the keys that protect rows.

    Raises
    ------
    LookupError
        `install` has not been run on this store.
    """
    row = store.find(StorageKey, "purpose", purpose)
    if row is None:
        raise LookupError(f"the issuer's store has no {purpose} key: it was never installed")
    return module.load(row.block)


def pan_index(module: SecurityModule, key: KeyHandle, pan: str) -> str:
    """What a card's row is looked up by: the PAN's keyed index in hexadecimal."""
    return module.index(key, pan.encode("ascii", "replace")).hex()
