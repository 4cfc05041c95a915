"""The interbank dialect: ASCII, between acquirer, switch and issuer."""

from __future__ import annotations

from network.iso8583.dialect import Dialect
from network.iso8583.field import table
from network.iso8583.header import InterbankHeader
from network.iso8583.standard import with_own

_OWN = (
    (44, "", "ans..25 LL"),
    (45, "", "ans..79 LL"),
    (48, "additional data, private", "ans..512 LLL"),
    (54, "additional amounts", "an..40 LLL"),
    (56, "", "ans..512 LLL"),
    (57, "", "ans..100 LLL"),
    (59, "detailed information", "ans..600 LLL"),
    (60, "reserved, message reason and terminal data", "ans..100 LLL"),
    (61, "cardholder authentication", "ans..200 LLL"),
    (62, "switching data", "ans..200 LLL"),
    (63, "financial network data", "ans..512 LLL"),
    (104, "", "ans..512 LLL"),
    *((number, "", "ans..512 LLL") for number in (113, 116, 117)),
    (121, "national switch, reserved", "ans..100 LLL"),
    (122, "acquirer, reserved", "ans..100 LLL"),
    # Recorded messages of the network's own simulator carry 226 bytes here, beyond the 100 of the published table.
    (123, "issuer, reserved", "ans..512 LLL"),
    (125, "", "ans..256 LLL"),
    (126, "", "ans..256 LLL"),
)

INTERBANK = Dialect(
    "interbank",
    table(with_own(_OWN), "ascii", "ascii"),
    header=InterbankHeader,
    default_header=InterbankHeader(),
)
