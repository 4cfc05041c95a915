"""Personalisation: key sets, accounts, and cards with all that is written on their stripe and into their chip.

Functions of a unit of work; the caller commits. What is handed out (`IssuedCard`) holds the PAN and the track: it is
for the embosser, here the virtual card, and is not stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Final

from issuer.applet import CREDIT_AID, DEBIT_AID, ChipCard, CvmRule, Personalisation
from issuer.installation import INDEX_KEY, SEAL_KEY, install, pan_index, storage_key
from issuer.tables import ACTIVE, CASH_ACCOUNT, Account, Card, KeySet
from network.keys import ICVV_SERVICE_CODE, Algorithm, KeyHandle, KeyUsage, PinBlockError, Scheme, SecurityModule
from network.ledger import CNY, LedgerAccount, Money, post
from network.party import Instant, local_time
from network.store import UnitOfWork

SAVINGS: Final = "10"
CHEQUE: Final = "20"
CREDIT: Final = "30"
ACCOUNT_TYPES: Final = (SAVINGS, CHEQUE, CREDIT)
"""Account types as DE54 writes them."""

DISCRETIONARY_START: Final = "00000"
"""Where other issuers put what verifies the PIN; here that is kept in the store alone, so that a PIN can change."""

_PAN_LENGTHS: Final = range(13, 20)
_NUMBERING_TRIES: Final = 100


class PersonalisationError(ValueError):
    """An account or card that cannot be; the message says what is wrong with it, never with a card number."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a card may pay, in fen and in sales: at once, in a local day, and without a PIN."""

    sale: int = 5_000_000
    daily_amount: int = 20_000_000
    daily_count: int = 1_000
    pin_free: int = 100_000


@dataclass(frozen=True, slots=True, repr=False)
class IssuedCard:
    """A card as the embosser gets it.

    Attributes
    ----------
    pan : str
        13 to 19 digits, the last one the Luhn check digit.
    sequence : str
        Three digits.
    expiry : str
        YYMM.
    service_code : str
        Three digits.
    track2 : str
        Of the stripe, separator ``=``, with the CVV.
    chip_track2 : str
        Track 2 equivalent data of the chip, with the iCVV, so that a copy of it on a stripe is found out.
    account_id, key_set_id : str
        What the card stands on.
    pan_index : str
        The key of its `Card` row.
    """

    pan: str
    sequence: str
    expiry: str
    service_code: str
    track2: str
    chip_track2: str
    account_id: str
    key_set_id: str
    pan_index: str

    def __repr__(self) -> str:
        return f"IssuedCard(pan={self.pan[:6]}...{self.pan[-4:]}, sequence={self.sequence})"


def luhn_check_digit(digits: str) -> str:
    """The check digit (ISO/IEC 7812-1, annex B) that follows `digits`.

    Examples
    --------
    >>> luhn_check_digit("625188000005168")
    '8'
    """
    doubled = [int(digit) * (2 if place % 2 == 0 else 1) for place, digit in enumerate(reversed(digits))]
    return str(-sum(value // 10 + value % 10 for value in doubled) % 10)


def add_key_set(
    store: UnitOfWork,
    module: SecurityModule,
    key_set_id: str,
    *,
    imk_ac: KeyHandle | None = None,
    sm4: bool = False,
) -> KeySet:
    """Make the keys of a range of cards.

    Parameters
    ----------
    imk_ac
        The triple DES issuer master key for application cryptograms, where it is given (the demo's is published);
        else one is made.
    sm4
        Whether an SM4 master key is made too.

    Raises
    ------
    PersonalisationError
        The key set exists.
    """
    if store.find(KeySet, "key_set_id", key_set_id) is not None:
        raise PersonalisationError(f"key set {key_set_id} exists already")
    master = KeyUsage.ISSUER_MASTER_APPLICATION_CRYPTOGRAM
    keys = KeySet(
        key_set_id,
        module.generate(master, Algorithm.TDES_DOUBLE) if imk_ac is None else module.block(imk_ac),
        module.generate(master, Algorithm.SM4) if sm4 else None,
        module.generate(KeyUsage.CARD_VERIFICATION, Algorithm.TDES_DOUBLE),
        module.generate(KeyUsage.PIN_VERIFICATION_IBM_3624, Algorithm.TDES_DOUBLE),
    )
    store.insert(keys)
    return keys


def open_account(
    store: UnitOfWork,
    *,
    account_id: str,
    now: Instant,
    balance: int = 0,
    credit_limit: int = 0,
    account_type: str = SAVINGS,
    currency: str = CNY,
) -> Account:
    """Open a cardholder's account; its opening balance is paid in, in cash.

    Parameters
    ----------
    account_id
        1 to 40 letters, digits or ``-``.
    balance, credit_limit
        Fen, not negative.
    account_type
        One of `ACCOUNT_TYPES`.

    Raises
    ------
    PersonalisationError
        The account exists, or something of it is malformed.
    """
    if not 1 <= len(account_id) <= 40 or not account_id.isascii() or not account_id.replace("-", "0").isalnum():
        raise PersonalisationError("an account id has 1 to 40 letters, digits or '-'")
    if account_type not in ACCOUNT_TYPES:
        raise PersonalisationError(f"an account type is one of {', '.join(ACCOUNT_TYPES)}")
    if balance < 0 or credit_limit < 0:
        raise PersonalisationError("an opening balance and a credit limit are not negative")
    if store.find(Account, "account_id", account_id) or store.find(LedgerAccount, "account_id", account_id):
        raise PersonalisationError(f"account {account_id} exists already")
    account = Account(account_id, account_type, credit_limit, now)
    store.insert(account)
    store.insert(LedgerAccount(account_id, "credit", currency, 0, 0))
    if balance:
        pay_in(
            store, account_id=account_id, amount=Money(balance, currency), reference=f"{account_id}/opening", now=now
        )
    return account


def pay_in(store: UnitOfWork, *, account_id: str, amount: Money, reference: str, now: Instant) -> LedgerAccount:
    """Credit an account with cash. `reference` is the payment's own: the same one is not posted twice.

    Raises
    ------
    PersonalisationError
        There is no such account, the amount is not positive or of another currency.
    """
    ledger = store.find(LedgerAccount, "account_id", account_id)
    cash = store.find(LedgerAccount, "account_id", CASH_ACCOUNT)
    if ledger is None or cash is None or store.find(Account, "account_id", account_id) is None:
        raise PersonalisationError(f"there is no account {account_id}")
    if amount.fen <= 0 or amount.currency != ledger.currency:
        raise PersonalisationError("what is paid in is a positive amount in the account's currency")
    post(
        store,
        transfer_id=f"{reference}/paid-in",
        reference=reference,
        debit=cash,
        credit=ledger,
        amount=amount,
        settlement_date=local_time(now).strftime("%m%d"),
        posted_at=now,
    )
    return ledger


def issue_card(
    store: UnitOfWork,
    module: SecurityModule,
    random: Random,
    *,
    bin_prefix: str,
    account_id: str,
    key_set_id: str,
    expiry: str,
    pin: str,
    pan_length: int = 16,
    sequence: str = "001",
    service_code: str = "220",
    is_chip: bool = True,
    manual_entry: bool = False,
    pin_tries: int = 3,
    limits: Limits | None = None,
    pan: str | None = None,
) -> IssuedCard:
    """Issue a card: number it, make its PIN offset and its tracks, and set it down, active.

    Parameters
    ----------
    bin_prefix
        The first digits of the PAN, 6 to 10.
    expiry
        YYMM.
    pin
        4 to 12 digits. Only its offset is kept.
    pan_length
        13 to 19 digits; the digits between prefix and check digit are drawn from `random`.
    sequence
        Three digits beginning 0.
    service_code
        Three digits; a chip card's begins 2 or 6.
    manual_entry
        Whether the number may be keyed in (DE22 01).
    pin_tries
        Wrong PINs that are allowed.
    pan
        The number itself, for cards whose numbers are published; it begins with `bin_prefix`.

    Raises
    ------
    PersonalisationError
        Something is malformed, the account or key set is not there, or the number is taken.
    """
    _check_card(bin_prefix, expiry, pan_length, sequence, service_code, is_chip, pin_tries)
    if store.find(Account, "account_id", account_id) is None:
        raise PersonalisationError(f"there is no account {account_id}")
    keys = store.find(KeySet, "key_set_id", key_set_id)
    if keys is None:
        raise PersonalisationError(f"there is no key set {key_set_id}")
    install(store, module)
    index_key = storage_key(store, module, INDEX_KEY)
    if pan is None:
        pan = _new_pan(store, module, random, index_key, bin_prefix, pan_length)
    elif not _is_pan(pan) or not pan.startswith(bin_prefix):
        raise PersonalisationError("a given PAN has 13 to 19 digits, its prefix and a right check digit")
    index = pan_index(module, index_key, pan)
    if store.find(Card, "pan_index", index) is not None:
        raise PersonalisationError("there is a card of this number already")
    try:
        pin_offset = module.make_pin_offset(module.load(keys.pvk), pan, pin)
    except PinBlockError as error:
        raise PersonalisationError(str(error)) from None
    cvk = module.load(keys.cvk)
    start = f"{pan}={expiry}{service_code}{DISCRETIONARY_START}"
    allowed = limits or Limits()
    store.insert(
        Card(
            pan_index=index,
            sealed_pan=module.seal(storage_key(store, module, SEAL_KEY), pan.encode("ascii"), index.encode("ascii")),
            sequence=sequence,
            expiry=expiry,
            service_code=service_code,
            is_chip=int(is_chip),
            manual_entry=int(manual_entry),
            account_id=account_id,
            key_set_id=key_set_id,
            status=ACTIVE,
            pin_offset=pin_offset,
            pin_tries_left=pin_tries,
            highest_atc=-1,
            pin_free_limit=allowed.pin_free,
            sale_limit=allowed.sale,
            daily_amount_limit=allowed.daily_amount,
            daily_count_limit=allowed.daily_count,
            used_on=0,
            used_amount=0,
            used_count=0,
        )
    )
    return IssuedCard(
        pan=pan,
        sequence=sequence,
        expiry=expiry,
        service_code=service_code,
        track2=start + module.make_cvv(cvk, pan, expiry, service_code),
        chip_track2=start + module.make_cvv(cvk, pan, expiry, ICVV_SERVICE_CODE),
        account_id=account_id,
        key_set_id=key_set_id,
        pan_index=index,
    )


def chip_personalisation(
    card: IssuedCard,
    *,
    scheme: Scheme = Scheme.PBOC_3DES,
    cryptogram_version: int = 0x01,
    cvm_rule: CvmRule = CvmRule.ABOVE_LIMIT,
    cvm_limit: int = 100_000,
    credit: bool = False,
) -> Personalisation:
    """What is written into the chip of an issued card, but for its key; see `issuer.applet.Personalisation`."""
    return Personalisation(
        pan=card.pan,
        expiry=card.expiry,
        sequence=card.sequence,
        service_code=card.service_code,
        track2=card.chip_track2,
        aid=CREDIT_AID if credit else DEBIT_AID,
        label="UnionPay Credit" if credit else "UnionPay Debit",
        scheme=scheme,
        cryptogram_version=cryptogram_version,
        cvm_rule=cvm_rule,
        cvm_limit=cvm_limit,
    )


def make_chip(personalisation: Personalisation, module: SecurityModule, imk_ac: KeyHandle, atc: int = 0) -> ChipCard:
    """A working chip, its key derived in `module` from the issuer's master key for its scheme."""
    key = module.derive_card_key(imk_ac, personalisation.pan, personalisation.sequence)
    return ChipCard(personalisation, module, key, atc)


def _check_card(
    bin_prefix: str, expiry: str, pan_length: int, sequence: str, service_code: str, is_chip: bool, pin_tries: int
) -> None:
    for name, digits, lengths in (
        ("a BIN prefix", bin_prefix, range(6, 11)),
        ("an expiry", expiry, range(4, 5)),
        ("a card sequence number", sequence, range(3, 4)),
        ("a service code", service_code, range(3, 4)),
    ):
        if len(digits) not in lengths or not (digits.isascii() and digits.isdigit()):
            wanted = f"{lengths[0]} to {lengths[-1]}" if len(lengths) > 1 else str(lengths[0])
            raise PersonalisationError(f"{name} has {wanted} digits")
    if not 1 <= int(expiry[2:]) <= 12:
        raise PersonalisationError("an expiry is YYMM with a month of 01 to 12")
    if pan_length not in _PAN_LENGTHS:
        raise PersonalisationError("a PAN has 13 to 19 digits")
    if sequence[0] != "0":
        raise PersonalisationError("a card sequence number begins with 0: the chip holds two digits")
    if is_chip != (service_code[0] in "26"):
        raise PersonalisationError("the service code of a chip card begins with 2 or 6, that of others does not")
    if not 1 <= pin_tries <= 15:
        raise PersonalisationError("1 to 15 wrong PINs may be allowed")


def _is_pan(pan: str) -> bool:
    return len(pan) in _PAN_LENGTHS and pan.isascii() and pan.isdigit() and luhn_check_digit(pan[:-1]) == pan[-1]


def _new_pan(
    store: UnitOfWork, module: SecurityModule, random: Random, index_key: KeyHandle, bin_prefix: str, length: int
) -> str:
    free = length - len(bin_prefix) - 1
    for _ in range(_NUMBERING_TRIES):
        digits = f"{bin_prefix}{random.randrange(10**free):0{free}d}"
        pan = digits + luhn_check_digit(digits)
        if store.find(Card, "pan_index", pan_index(module, index_key, pan)) is None:
            return pan
    raise PersonalisationError(f"no free number was found under the prefix {bin_prefix}")
