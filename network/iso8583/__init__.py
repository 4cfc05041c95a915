"""ISO 8583 messages: the terminal and interbank dialects, packed and unpacked by compiled code."""

from network.iso8583.codes import RESPONSE_CODES
from network.iso8583.description import describe
from network.iso8583.detection import detect
from network.iso8583.dialect import Dialect
from network.iso8583.errors import DecodeError, EncodeError
from network.iso8583.field import Field
from network.iso8583.header import InterbankHeader, OpaqueHeader, TerminalHeader
from network.iso8583.interbank import INTERBANK
from network.iso8583.jpos import PackagerError
from network.iso8583.mac_input import interbank_mac_input
from network.iso8583.masking import mask_pan
from network.iso8583.message import Message
from network.iso8583.terminal import TERMINAL

__all__ = [
    "INTERBANK",
    "RESPONSE_CODES",
    "TERMINAL",
    "DecodeError",
    "Dialect",
    "EncodeError",
    "Field",
    "InterbankHeader",
    "Message",
    "OpaqueHeader",
    "PackagerError",
    "TerminalHeader",
    "describe",
    "detect",
    "interbank_mac_input",
    "mask_pan",
]
