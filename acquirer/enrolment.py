"""Enrolment: merchants, their terminals, and the acquirer's own place in the network.

Functions of a unit of work; the caller commits.
"""

from __future__ import annotations

from typing import Final

from acquirer.tables import ACTIVE, SUSPENDED, Merchant, Terminal
from network.keys import Algorithm, KeyHandle, KeyUsage, MacAlgorithm, SecurityModule
from network.ledger import CNY, LedgerAccount
from network.member import ZoneKeys
from network.party import Instant
from network.store import UnitOfWork

RECEIVABLE: Final = "receivable:network"
"""The account that holds what the network owes the acquirer."""

MAC_ALGORITHMS: Final = {str(one): one for one in (MacAlgorithm.CUP_ECB, MacAlgorithm.X9_9, MacAlgorithm.X9_19)}
"""What a terminal's DE64 may be made with, by its name in the `Terminal` row."""

_NAME, _CITY, _COUNTRY = 25, 12, 3
"""Bytes of the parts of DE43 [G]."""


class EnrolmentError(ValueError):
    """What cannot be enrolled; the message says what is wrong with it."""


def account_of(merchant_id: str) -> str:
    """The account of the books that holds what the acquirer owes a merchant."""
    return f"merchant:{merchant_id}"


def join_network(
    store: UnitOfWork, module: SecurityModule, *, switch_id: str, master_key: KeyHandle, now: Instant
) -> ZoneKeys:
    """Set down the zone master key that the acquirer shares with the switch.

    Parameters
    ----------
    switch_id
        8 digits, as in message headers.
    master_key
        A key encryption key (usage K0).

    Raises
    ------
    EnrolmentError
        The id is malformed, the zone is there already, or the key is of another usage.
    """
    if len(switch_id) != 8 or not _digits(switch_id):
        raise EnrolmentError("a switch's id has 8 digits")
    _require_key_encryption("zone", master_key)
    if store.find(ZoneKeys, "zone", switch_id) is not None:
        raise EnrolmentError(f"the zone of switch {switch_id} exists already")
    zone = ZoneKeys(switch_id, module.block(master_key), None, None, None, None, now)
    store.insert(zone)
    return zone


def add_merchant(
    store: UnitOfWork,
    *,
    merchant_id: str,
    name: str,
    city: str,
    category: str,
    now: Instant,
    country: str = "CHN",
    currency: str = CNY,
) -> Merchant:
    """Enrol a merchant, active at once, and open its account.

    Parameters
    ----------
    merchant_id
        DE42, 15 letters and digits.
    name, city
        For people and for DE43, where as much of them as fits in 25 and 12 bytes of GBK is shown.
    category
        Merchant category code (DE18), 4 digits.
    country
        3 capital letters.

    Raises
    ------
    EnrolmentError
        Something of it is malformed, or the merchant exists already.
    """
    if len(merchant_id) != 15 or not _alphanumeric(merchant_id):
        raise EnrolmentError("a merchant id has 15 letters and digits")
    if len(category) != 4 or not _digits(category):
        raise EnrolmentError("a merchant category code has 4 digits")
    if len(country) != 3 or not (country.isascii() and country.isalpha() and country.isupper()):
        raise EnrolmentError("a country is written with 3 capital letters")
    if store.find(Merchant, "merchant_id", merchant_id) is not None:
        raise EnrolmentError(f"merchant {merchant_id} exists already")
    acceptor = _fitted("a merchant's name", name, _NAME) + _fitted("a merchant's city", city, _CITY) + country
    merchant = Merchant(merchant_id, name, city, country, category, acceptor, ACTIVE, now)
    store.insert(merchant)
    store.insert(LedgerAccount(account_of(merchant_id), "credit", currency, 0, 0))
    open_receivable(store, currency)
    return merchant


def add_terminal(
    store: UnitOfWork,
    module: SecurityModule,
    *,
    terminal_id: str,
    merchant_id: str,
    master_key: KeyHandle,
    now: Instant,
    mac_algorithm: MacAlgorithm = MacAlgorithm.CUP_ECB,
    device_id: str | None = None,
) -> Terminal:
    """Enrol a terminal of a merchant, active at once; it gets its working keys when it signs on.

    Parameters
    ----------
    terminal_id
        DE41, 8 letters and digits.
    master_key
        The terminal master key: a key encryption key (usage K0), DES or double-length TDES.
    mac_algorithm
        What its DE64 is made with: CUP ECB or X9.9 with a single-length MAC key, X9.19 with a double-length one.
    device_id
        The device that is bound to it; None for a conventional terminal.

    Raises
    ------
    EnrolmentError
        Something of it is malformed, the terminal exists already, or there is no such merchant.
    """
    if len(terminal_id) != 8 or not _alphanumeric(terminal_id):
        raise EnrolmentError("a terminal id has 8 letters and digits")
    if str(mac_algorithm) not in MAC_ALGORITHMS:
        raise EnrolmentError(f"a terminal's MAC is one of {', '.join(MAC_ALGORITHMS)}")
    _require_key_encryption("terminal", master_key)
    if master_key.algorithm not in (Algorithm.DES, Algorithm.TDES_DOUBLE):
        raise EnrolmentError("a terminal master key is a single- or double-length DES key")
    if store.find(Merchant, "merchant_id", merchant_id) is None:
        raise EnrolmentError(f"there is no merchant {merchant_id}")
    if store.find(Terminal, "terminal_id", terminal_id) is not None:
        raise EnrolmentError(f"terminal {terminal_id} exists already")
    terminal = Terminal(
        terminal_id,
        merchant_id,
        ACTIVE,
        module.block(master_key),
        str(mac_algorithm),
        None,
        None,
        None,
        0,
        None,
        now,
        device_id,
    )
    store.insert(terminal)
    return terminal


def open_receivable(store: UnitOfWork, currency: str) -> LedgerAccount:
    """The account `RECEIVABLE`, opened when it is not there yet."""
    account = store.find(LedgerAccount, "account_id", RECEIVABLE)
    if account is None:
        account = LedgerAccount(RECEIVABLE, "debit", currency, 0, 0)
        store.insert(account)
    return account


def set_merchant_status(store: UnitOfWork, merchant_id: str, *, active: bool) -> Merchant:
    """Suspend a merchant (its terminals are answered 03) or activate it again.

    Raises
    ------
    EnrolmentError
        There is no such merchant.
    """
    merchant = store.find(Merchant, "merchant_id", merchant_id)
    if merchant is None:
        raise EnrolmentError(f"there is no merchant {merchant_id}")
    store.change(merchant)
    merchant.status = ACTIVE if active else SUSPENDED
    return merchant


def set_terminal_status(store: UnitOfWork, terminal_id: str, *, active: bool) -> Terminal:
    """Suspend a terminal (it is answered 58) or activate it again.

    Raises
    ------
    EnrolmentError
        There is no such terminal.
    """
    terminal = store.find(Terminal, "terminal_id", terminal_id)
    if terminal is None:
        raise EnrolmentError(f"there is no terminal {terminal_id}")
    store.change(terminal)
    terminal.status = ACTIVE if active else SUSPENDED
    return terminal


def _require_key_encryption(whose: str, key: KeyHandle) -> None:
    if key.usage is not KeyUsage.KEY_ENCRYPTION:
        raise EnrolmentError(f"a {whose} master key is a key encryption key, not one of usage {key.usage.name}")


def _fitted(what: str, text: str, width: int) -> str:
    """As many whole characters of `text` as fit in `width` bytes of GBK, filled up with spaces."""
    if not 1 <= len(text) <= 60 or not text.isprintable():
        raise EnrolmentError(f"{what} has 1 to 60 printable characters")
    try:
        sizes = [len(character.encode("gbk")) for character in text]
    except UnicodeEncodeError:
        raise EnrolmentError(f"{what} has characters that GBK lacks") from None
    used = count = 0
    while count < len(sizes) and used + sizes[count] <= width:
        used += sizes[count]
        count += 1
    return text[:count] + " " * (width - used)


def _digits(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _alphanumeric(text: str) -> bool:
    return text.isascii() and text.isalnum()
