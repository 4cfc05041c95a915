"""Chip data: BER-TLV, data object lists, the tag dictionary, issuer application data, cryptogram data.

Nothing here knows a key: cryptograms are computed in `network.keys`, over the data `assemble` puts together.
"""

from network.emv import dol, tlv
from network.emv.cryptogram_data import CRYPTOGRAM_DATA, CryptogramDataError, assemble
from network.emv.description import describe_tlv, mask_tag
from network.emv.iad import CardOutcome, CardVerificationResults, IadError, IssuerApplicationData
from network.emv.tags import TAGS, Format, Source, TagInfo
from network.emv.tlv import Node, TlvError

__all__ = [
    "CRYPTOGRAM_DATA",
    "TAGS",
    "CardOutcome",
    "CardVerificationResults",
    "CryptogramDataError",
    "Format",
    "IadError",
    "IssuerApplicationData",
    "Node",
    "Source",
    "TagInfo",
    "TlvError",
    "assemble",
    "describe_tlv",
    "dol",
    "mask_tag",
    "tlv",
]
