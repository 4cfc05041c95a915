"""Readers: how command APDUs reach a card, in this process, over TCP or through the system's smart-card service."""

from merchant_device.readers.choice import open_reader
from merchant_device.readers.endpoint import ReaderEndpoint
from merchant_device.readers.exchanges import ApduLog, ApduLogError, CardMoved, Exchange, read_log
from merchant_device.readers.interface import Card, CardGone, Reader, ReaderError
from merchant_device.readers.pcsc import PcscReader, ReaderState, list_readers
from merchant_device.readers.recording import RecordingReader, ReplayMismatch, ReplayReader
from merchant_device.readers.remote import RemoteReader
from merchant_device.readers.virtual import VirtualReader

__all__ = [
    "ApduLog",
    "ApduLogError",
    "Card",
    "CardGone",
    "CardMoved",
    "Exchange",
    "PcscReader",
    "Reader",
    "ReaderEndpoint",
    "ReaderError",
    "ReaderState",
    "RecordingReader",
    "RemoteReader",
    "ReplayMismatch",
    "ReplayReader",
    "VirtualReader",
    "list_readers",
    "open_reader",
    "read_log",
]
