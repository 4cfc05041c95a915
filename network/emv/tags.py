"""The tag dictionary: name, format and source of the data objects of EMV and of UnionPay's chip cards.

EMV objects are those of EMV 4.4 Book 3 Annex A; the objects of UnionPay (9F50 to 9F7F, DF..) carry the names they have
in JR/T 0025. A few tags of that range mean something else in other networks: the name given is UnionPay's.
"""

from __future__ import annotations

from enum import Enum
from typing import Final, NamedTuple


class Format(Enum):
    """How a value is written (EMV 4.4 Book 3, 4.3)."""

    NUMERIC = "n"
    COMPRESSED_NUMERIC = "cn"
    ALPHABETIC = "a"
    ALPHANUMERIC = "an"
    ALPHANUMERIC_SPECIAL = "ans"
    BINARY = "b"
    TEMPLATE = "template"


class Source(Enum):
    """Who gives an object its value."""

    CARD = "card"
    TERMINAL = "terminal"
    ISSUER = "issuer"


class TagInfo(NamedTuple):
    """What is known of a tag.

    Attributes
    ----------
    name : str
        The object's name.
    format : Format
        How its value is written.
    source : Source
        Who gives it: the card, the terminal, or the issuer in its answer.
    sensitive : bool
        Whether the value may not be shown in clear: account numbers, track data, cardholder names, PINs.

    """

    name: str
    format: Format
    source: Source
    sensitive: bool = False


_FORMATS: Final = {form.value: form for form in Format} | {"t": Format.TEMPLATE}
_SOURCES: Final = {"C": Source.CARD, "T": Source.TERMINAL, "I": Source.ISSUER}
SENSITIVE_MARK: Final = "!"

# tag, format, source (Card, Terminal, Issuer), then "!" where the value is sensitive, name
_TABLE: Final = """
06    b   C   Object identifier
41    ans T   Country code and national data
42    n   C   Issuer identification number
4F    b   C   Application identifier (ADF name)
50    ans C   Application label
51    b   C   File reference
52    b   C   Command to perform
56    ans C ! Track 1 data
57    b   C ! Track 2 equivalent data
5A    cn  C ! Application primary account number
5D    b   C   Directory definition file name
5F20  ans C ! Cardholder name
5F24  n   C   Application expiration date
5F25  n   C   Application effective date
5F28  n   C   Issuer country code
5F2A  n   T   Transaction currency code
5F2D  an  C   Language preference
5F30  n   C   Service code
5F34  n   C   Application primary account number sequence number
5F36  n   T   Transaction currency exponent
5F50  ans C   Issuer URL
5F53  b   C ! International bank account number
5F54  an  C   Bank identifier code
5F55  a   C   Issuer country code, two letters
5F56  a   C   Issuer country code, three letters
5F57  n   T   Account type
61    t   C   Application template
62    t   C   Application specific transparent template
63    t   C   Application-dependent data template
64    t   C   Common data transparent template
6F    t   C   File control information template
70    t   C   Record template
71    t   I   Issuer script template 1
72    t   I   Issuer script template 2
73    t   C   Directory discretionary template
77    t   C   Response message template format 2
80    b   C   Response message template format 1
81    b   T   Amount, authorised (binary)
82    b   C   Application interchange profile
83    b   T   Command template
84    b   C   Dedicated file name
85    b   C   Payload format indicator
86    b   I   Issuer script command
87    b   C   Application priority indicator
88    b   C   Short file identifier
89    b   I   Authorisation code
8A    an  I   Authorisation response code
8C    b   C   Card risk management data object list 1
8D    b   C   Card risk management data object list 2
8E    b   C   Cardholder verification method list
8F    b   C   Certification authority public key index
90    b   C   Issuer public key certificate
91    b   I   Issuer authentication data
92    b   C   Issuer public key remainder
93    b   C   Signed static application data
94    b   C   Application file locator
95    b   T   Terminal verification results
97    b   C   Transaction certificate data object list
98    b   T   Transaction certificate hash value
99    b   T ! Transaction personal identification number data
9A    n   T   Transaction date
9B    b   T   Transaction status information
9C    n   T   Transaction type
9D    b   C   Directory definition file name
9F01  n   T   Acquirer identifier
9F02  n   T   Amount, authorised
9F03  n   T   Amount, other
9F04  b   T   Amount, other (binary)
9F05  b   C   Application discretionary data
9F06  b   T   Application identifier, terminal
9F07  b   C   Application usage control
9F08  b   C   Application version number, card
9F09  b   T   Application version number, terminal
9F0B  ans C ! Cardholder name, extended
9F0C  b   C   Issuer identification number, extended
9F0D  b   C   Issuer action code, default
9F0E  b   C   Issuer action code, denial
9F0F  b   C   Issuer action code, online
9F10  b   C   Issuer application data
9F11  n   C   Issuer code table index
9F12  ans C   Application preferred name
9F13  b   C   Last online application transaction counter register
9F14  b   C   Lower consecutive offline limit
9F15  n   T   Merchant category code
9F16  ans T   Merchant identifier
9F17  b   C   Personal identification number try counter
9F18  b   I   Issuer script identifier
9F19  b   C   Token requestor identifier
9F1A  n   T   Terminal country code
9F1B  b   T   Terminal floor limit
9F1C  an  T   Terminal identification
9F1D  b   T   Terminal risk management data
9F1E  an  T   Interface device serial number
9F1F  ans C ! Track 1 discretionary data
9F20  cn  C ! Track 2 discretionary data
9F21  n   T   Transaction time
9F22  b   T   Certification authority public key index, terminal
9F23  b   C   Upper consecutive offline limit
9F24  an  C   Payment account reference
9F25  n   C   Last four digits of the account number
9F26  b   C   Application cryptogram
9F27  b   C   Cryptogram information data
9F2A  b   C   Kernel identifier
9F2D  b   C   PIN encipherment public key certificate
9F2E  b   C   PIN encipherment public key exponent
9F2F  b   C   PIN encipherment public key remainder
9F32  b   C   Issuer public key exponent
9F33  b   T   Terminal capabilities
9F34  b   T   Cardholder verification method results
9F35  n   T   Terminal type
9F36  b   C   Application transaction counter
9F37  b   T   Unpredictable number
9F38  b   C   Processing options data object list
9F39  n   T   Point-of-service entry mode
9F3A  b   T   Amount, reference currency
9F3B  n   C   Application reference currency
9F3C  n   T   Transaction reference currency code
9F3D  n   T   Transaction reference currency exponent
9F40  b   T   Additional terminal capabilities
9F41  n   T   Transaction sequence counter
9F42  n   C   Application currency code
9F43  n   C   Application reference currency exponent
9F44  n   C   Application currency exponent
9F45  b   C   Data authentication code
9F46  b   C   Card public key certificate
9F47  b   C   Card public key exponent
9F48  b   C   Card public key remainder
9F49  b   C   Dynamic data authentication data object list
9F4A  b   C   Static data authentication tag list
9F4B  b   C   Signed dynamic application data
9F4C  b   C   Card dynamic number
9F4D  b   C   Log entry
9F4E  ans T   Merchant name and location
9F4F  b   C   Log format
9F50  b   C   Offline accumulator balance
9F51  n   C   Application currency code, card risk management
9F52  b   C   Application default action
9F53  b   C   Consecutive transaction limit, international currency
9F54  n   C   Cumulative total transaction amount limit
9F55  b   C   Geographic indicator
9F56  b   C   Issuer authentication indicator
9F57  n   C   Issuer country code, card risk management
9F58  b   C   Lower consecutive offline limit, card
9F59  b   C   Upper consecutive offline limit, card
9F5A  b   C   Application programme identifier
9F5B  b   T   Issuer script results
9F5C  n   C   Cumulative total transaction amount upper limit
9F5D  n   C   Available offline spending amount
9F63  b   C   Card product identification
9F66  b   T   Terminal transaction qualifiers
9F68  b   C   Card additional processes
9F69  b   C   Card authentication related data
9F6A  b   T   Unpredictable number (numeric)
9F6B  b   C ! Card verification limit (Track 2 data in other networks)
9F6C  b   C   Card transaction qualifiers
9F6D  n   C   Electronic cash reset threshold
9F6E  b   C   Form factor indicator
9F72  b   C   Consecutive transaction limit, international country
9F73  n   C   Currency conversion factor
9F74  an  T   Electronic cash issuer authorisation code
9F75  n   C   Cumulative total transaction amount limit, dual currency
9F76  n   C   Secondary application currency code
9F77  n   C   Electronic cash balance limit
9F78  n   C   Electronic cash single transaction limit
9F79  n   C   Electronic cash balance
9F7A  b   T   Electronic cash terminal support indicator
9F7B  n   T   Electronic cash terminal transaction limit
9F7C  b   T   Customer exclusive data
9F7D  b   C   Segmented application summary
A5    t   C   File control information proprietary template
BF0C  t   C   File control information issuer discretionary data
DF11  b   C   Issuer script results, national
DF31  b   T   Issuer script results
DF32  b   T   Chip serial number
DF33  b   T   Process key
DF34  b   T   Card reading time
DF69  b   T   National algorithm support indicator
"""


def _read_table() -> dict[str, TagInfo]:
    tags: dict[str, TagInfo] = {}
    for line in _TABLE.split("\n"):
        if not line:
            continue
        tag, form, source, name = line.split(maxsplit=3)
        sensitive = name.startswith(SENSITIVE_MARK)
        tags[tag] = TagInfo(name.removeprefix(SENSITIVE_MARK).strip(), _FORMATS[form], _SOURCES[source], sensitive)
    return tags


TAGS: Final[dict[str, TagInfo]] = _read_table()
"""What is known of each tag; a tag that is not here is still read, kept and written by `network.emv.tlv`."""
