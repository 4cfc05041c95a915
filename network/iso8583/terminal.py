"""The terminal dialect: digits packed two to a byte, between a merchant's terminal and its acquirer."""

from __future__ import annotations

from network.iso8583.dialect import Dialect
from network.iso8583.field import table
from network.iso8583.header import TerminalHeader
from network.iso8583.standard import with_own

# Odd numbers of digits are filled up on the right in every variable element and in DE22, on the left in the other
# fixed ones. Maxima that the terminal specifications leave open are those of three digits.
_OWN = (
    (44, "issuer and acquirer identification", "ans..25 LL"),
    (45, "", "ans..79 LL"),
    (48, "additional data, private", "n..322 LLL"),
    (54, "balances", "an..999 LLL"),
    (59, "terminal and QR information", "ans..999 LLL"),
    (60, "transaction type, batch, network management", "n..999 LLL"),
    (61, "original transaction", "n..999 LLL"),
    (62, "private: keys, parameters, transaction data", "b..999 LLL"),
    (63, "operator, card brand, reply text", "ans..999 LLL"),
)

TERMINAL = Dialect(
    "terminal",
    table(with_own(_OWN), "bcd", "bcd", right_padded=frozenset((22,))),
    mti="bcd",
    header=TerminalHeader,
    default_header=TerminalHeader(),
)
