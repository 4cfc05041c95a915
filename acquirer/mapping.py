"""The two dialects side by side: what goes across between terminal and switch, and how it is changed.

=====  ==========================================  ==========================================
DE     terminal to switch (0200)                   switch to terminal (0210)
=====  ==========================================  ==========================================
2      DE2, else the PAN of DE35; none of a code   as it is; none of a code
3      310000 becomes 300000                       the terminal's own
4      as it is; a balance inquiry has none        the terminal's own
7      the acquirer's transmission time            -
11     the acquirer's STAN                         the terminal's own
12 13  the acquirer's local time                   the same
14     DE14, else the expiry of DE35               as it is
15     -                                           as it is
18 43  the merchant's                              -
22     as it is                                    -
23     as it is                                    the terminal's own
25     as it is, 00 where it is missing            the terminal's own
26     with a PIN: as it is, 12 where it is missing  -
32 33  the acquirer's id                           32: the acquirer's id
35     as it is, unless DE53 says it is encrypted  -
37     the acquirer's retrieval reference          the same
38     -                                           as it is
39     -                                           as it is; A0 and 77 become 96
41 42  as they are                                 as they are
44     -                                           issuer (DE100) and acquirer
49     as it is, the acquirer's where it is missing  the terminal's own
52     under the zone's PIN key, format 0          -
53     with a PIN: what the zone has               -
54     -                                           as it is
55     as it is                                    as it is
59     what `acquirer.terminal_data` makes of it   -
60     -                                           the terminal's own
63     -                                           the card brand
=====  ==========================================  ==========================================

The terminal's reversal (0400) does not go across: it becomes an advice (0420) that is made of the record of its
original, with the DE39 that the terminal gave.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from acquirer.tables import BALANCE, OFFLINE, SALE, Merchant, Transaction
from network.iso8583 import InterbankHeader, Message
from network.iso8583.message import Value
from network.keys import PinFormat
from network.member import OriginalData

PROCESSING_CODES: Final = {
    SALE: ("000000", "000000"),
    BALANCE: ("310000", "300000"),
    OFFLINE: ("000000", "000000"),
}
"""DE3 of each kind of transaction: the terminal's and the switch's."""

TRANSACTION_TYPES: Final[dict[object, tuple[str, str, str]]] = {
    "000000": ("00", "22", SALE),
    "310000": ("00", "01", BALANCE),
}
"""What is offered under 0200: DE25, DE60.1 and the kind by DE3."""

OFFLINE_SALE: Final = ("000000", "00", "36")
"""DE3, DE25 and DE60.1 of what is offered under 0220 [G]."""

CODE_ENTRY: Final = "03"
"""How DE22 begins where the payer showed a code."""

OTHER_REQUESTS: Final = frozenset(("0100", "0220", "0320", "0500", "0620", "0800", "0820", "0920"))
"""Message types of terminals that exist but are not offered here: 40. All others are invalid: 12."""

OTHER_PROCESSING_CODES: Final = frozenset(("000000", "030000", "200000", "310000"))
"""DE3 of the terminals' transactions, likewise."""

ZONE_PIN_FORMAT: Final = PinFormat.ISO_0
ZONE_SECURITY: Final = "2600000000000000"
ZONE_SECURITY_OF_CODE: Final = "1600000000000000"
"""DE53 on the member link: PIN block with PAN, 3DES; without PAN, since a code's card is not known here."""

LONGEST_PIN: Final = "12"
"""DE26 where the terminal does not say: ISO 9564-1, 8.1."""

CARD_BRAND: Final = "CUP"

_ACROSS: Final = (22, 23, 55)
"""What goes to the switch as it is, where it is there."""

LINK_CODES: Final = frozenset(("A0", "77"))
"""What speaks of the link over which it comes, and of nothing else: a wrong MAC, and a member that must sign on."""

_SYSTEM_MALFUNCTION: Final = "96"


class CardData(NamedTuple):
    """What identifies the card; `track2` is None where it was not sent or is encrypted."""

    pan: str
    expiry: str | None
    track2: str | None


NO_CARD: Final = CardData("", None, None)
"""Of a payment by the payer's code: the acquirer never learns the card."""


def card_data(fields: dict[int, Value]) -> CardData | None:
    """The card of a request from its DE2, DE14 and DE35; None where they hold none, or contradict one another.

    A PAN has 13 to 19 digits. Elements of the n and z kinds are digit strings whenever they were decoded.
    """
    pan, expiry, track2 = fields.get(2), fields.get(14), fields.get(35)
    if isinstance(track2, str):
        security = fields.get(53)
        if isinstance(security, str) and security[2:3] == "1":
            track2 = None
        else:
            number, separator, rest = track2.partition("=")
            if not separator or not number.isdigit() or not rest.isdigit() or (pan is not None and number != pan):
                return None
            pan = number
            if expiry is None and len(rest) >= 4:
                expiry = rest[:4]
    if not isinstance(pan, str) or not 13 <= len(pan) <= 19:
        return None
    return CardData(pan, expiry if isinstance(expiry, str) else None, track2 if isinstance(track2, str) else None)


def kind_of(fields: dict[int, Value]) -> str | None:
    """The kind of an 0200 (of `TRANSACTION_TYPES`), None where it is not offered. DE25 and DE60.1 may be missing."""
    offered = TRANSACTION_TYPES.get(fields.get(3))
    if offered is None:
        return None
    condition, transaction_type, kind = offered
    private = fields.get(60)
    typed = not isinstance(private, str) or len(private) < 2 or private.startswith(transaction_type)
    return kind if typed and fields.get(25, condition) == condition else None


def is_offline_sale(fields: dict[int, Value]) -> bool:
    """Whether an 0220 is an offline sale; DE25 may be missing."""
    processing_code, condition, transaction_type = OFFLINE_SALE
    private = fields.get(60)
    typed = isinstance(private, str) and private.startswith(transaction_type)
    return typed and fields.get(3) == processing_code and fields.get(25, condition) == condition


def refusal_of_kind(mti: str, fields: dict[int, Value]) -> str:
    """DE39 for what is not offered: 40 where terminals know it, 12 where they do not."""
    if mti == "0200":
        return "40" if fields.get(3) in OTHER_PROCESSING_CODES else "12"
    return "40" if mti in OTHER_REQUESTS else "12"


def pin_format(fields: dict[int, Value]) -> PinFormat | None:
    """The format of DE52 by the first digit of DE53 (without DE53: with PAN); None where there is no such format."""
    security = fields.get(53)
    if security is None:
        return PinFormat.ISO_0
    first = security[:1]
    if first == "2":
        return PinFormat.ISO_0
    return PinFormat.WITHOUT_PAN if first == "1" else None


def batch_of(fields: dict[int, Value]) -> str:
    """DE60.2; 000000 where DE60 is missing or too short."""
    private = fields.get(60)
    return private[2:8] if isinstance(private, str) and len(private) >= 8 else "000000"


def interbank_request(
    row: Transaction,
    fields: dict[int, Value],
    card: CardData,
    merchant: Merchant,
    acquirer_id: str,
    pin_block: bytes | None,
    header: InterbankHeader,
    additional: str | None = None,
) -> Message:
    """The 0200 to the switch of a terminal's request that was recorded as `row`.

    `pin_block` is the PIN under the zone's key, `additional` DE59. DE128 is still to be set.
    """
    reference = row.reference
    pan, expiry, track2 = card
    out: dict[int, Value] = {
        3: PROCESSING_CODES[row.kind][1],
        7: reference[4:14],
        11: reference[14:20],
        12: reference[8:14],
        13: reference[4:8],
        18: merchant.category,
        25: row.condition,
        32: acquirer_id,
        33: acquirer_id,
        37: row.rrn,
        41: row.terminal_id,
        42: row.merchant_id,
        43: merchant.acceptor,
        49: row.currency,
    }
    if pan:
        out[2] = pan
    if row.kind != BALANCE:
        out[4] = f"{row.amount:012d}"
    if expiry is not None:
        out[14] = expiry
    for element in _ACROSS:
        if element in fields:
            out[element] = fields[element]
    if track2 is not None:
        out[35] = track2
    if pin_block is not None:
        out[26] = fields.get(26, LONGEST_PIN)
        out[52] = pin_block
        out[53] = ZONE_SECURITY if pan else ZONE_SECURITY_OF_CODE
    if additional is not None:
        out[59] = additional
    return Message("0200", out, header)


def take_answer(row: Transaction, fields: dict[int, Value], code: str, now: int) -> None:
    """Note in the record what the switch's 0210 says, and `code` of it; the status is the caller's."""
    row.response_code = code
    row.authorisation_code = _text(fields, 38)
    row.settlement_date = _text(fields, 15)
    row.issuer_id = _text(fields, 100)
    row.balances = _text(fields, 54)
    chip = fields.get(55)
    row.chip_response = chip if isinstance(chip, bytes) else None
    row.answered_at = now


def response_code(fields: dict[int, Value]) -> str | None:
    """DE39 for the terminal; None where there is none.

    A0 and 77 speak of the link over which they came; to the terminal they would say that its own keys are wrong.
    """
    code = _text(fields, 39)
    return _SYSTEM_MALFUNCTION if code in LINK_CODES else code


def terminal_answer(row: Transaction, card: CardData, code: str) -> dict[int, Value]:
    """The elements of the 0210 to the terminal, from the record; DE32 is still to be set.

    What only an approval has (38, 54, 55) is left out where `code` differs from the recorded answer.
    """
    reference = row.reference
    out: dict[int, Value] = {
        3: PROCESSING_CODES[row.kind][0],
        11: row.stan,
        12: reference[8:14],
        13: reference[4:8],
        25: row.condition,
        37: row.rrn,
        39: code,
        41: row.terminal_id,
        42: row.merchant_id,
        49: row.currency,
        63: CARD_BRAND,
    }
    if card.pan:
        out[2] = card.pan
    if row.kind == SALE:
        out[4] = f"{row.amount:012d}"
    if card.expiry is not None:
        out[14] = card.expiry
    if row.settlement_date is not None:
        out[15] = row.settlement_date
    if row.card_sequence is not None:
        out[23] = row.card_sequence
    if row.issuer_id is not None:
        out[44] = f"{row.issuer_id:<11}{reference[21:]:<11}"
    if code == row.response_code:
        if row.authorisation_code is not None:
            out[38] = row.authorisation_code
        if row.balances is not None:
            out[54] = row.balances
        if row.chip_response is not None and row.card:
            out[55] = row.chip_response
    if row.private_data is not None:
        out[60] = row.private_data
    return out


def reversal_advice(
    row: Transaction, pan: str, advice: str, reason: str, merchant: Merchant, acquirer_id: str, header: InterbankHeader
) -> Message:
    """The 0420 about the sale `row`.

    Parameters
    ----------
    pan
        Empty where the payer showed a code: the switch knows the original's card.
    advice
        Reference of the advice itself.
    reason
        DE39.
    """
    reference = row.reference
    original = OriginalData("0200", reference[14:20], reference[4:14], acquirer_id, acquirer_id)
    out: dict[int, Value] = {
        3: PROCESSING_CODES[row.kind][1],
        4: f"{row.amount:012d}",
        7: advice[4:14],
        11: advice[14:20],
        12: reference[8:14],
        13: reference[4:8],
        18: merchant.category,
        22: row.entry_mode,
        25: row.condition,
        32: acquirer_id,
        33: acquirer_id,
        37: row.rrn,
        39: reason,
        41: row.terminal_id,
        42: row.merchant_id,
        49: row.currency,
        90: original.pack(),
    }
    if pan:
        out[2] = pan
    if row.settlement_date is not None:
        out[15] = row.settlement_date
    if row.card_sequence is not None:
        out[23] = row.card_sequence
    if row.authorisation_code is not None:
        out[38] = row.authorisation_code
    return Message("0420", out, header)


def _text(fields: dict[int, Value], element: int) -> str | None:
    value = fields.get(element)
    return value if isinstance(value, str) else None
