"""Chip data: BER-TLV, data object lists, the tag dictionary, issuer application data, cryptogram data, authentication.

Nothing here knows a key: cryptograms are computed in `network.keys`, over the data `assemble` puts together.
Offline data authentication needs public keys only.
"""

from network.emv import dol, tlv
from network.emv.ca_keys import CaKeyError, CaPublicKey, load_ca_keys, parse_ca_key, read_ca_keys
from network.emv.cryptogram_data import CRYPTOGRAM_DATA, CryptogramDataError, assemble
from network.emv.description import describe_tlv, mask_tag
from network.emv.iad import CardOutcome, CardVerificationResults, IadError, IssuerApplicationData
from network.emv.offline_data_authentication import (
    DynamicData,
    MissingRemainder,
    RecoveredKey,
    recover_card_key,
    recover_issuer_key,
    static_data_to_authenticate,
    verify_dynamic_data,
)
from network.emv.signature_scheme import OdaError
from network.emv.tags import TAGS, Format, Source, TagInfo
from network.emv.tlv import Node, TlvError

__all__ = [
    "CRYPTOGRAM_DATA",
    "TAGS",
    "CaKeyError",
    "CaPublicKey",
    "CardOutcome",
    "CardVerificationResults",
    "CryptogramDataError",
    "DynamicData",
    "Format",
    "IadError",
    "IssuerApplicationData",
    "MissingRemainder",
    "Node",
    "OdaError",
    "RecoveredKey",
    "Source",
    "TagInfo",
    "TlvError",
    "assemble",
    "describe_tlv",
    "dol",
    "load_ca_keys",
    "mask_tag",
    "parse_ca_key",
    "read_ca_keys",
    "recover_card_key",
    "recover_issuer_key",
    "static_data_to_authenticate",
    "tlv",
    "verify_dynamic_data",
]
