"""Which reader a name stands for."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from merchant_device.readers.exchanges import ApduLogError, read_log
from merchant_device.readers.interface import Reader, ReaderError
from merchant_device.readers.pcsc import PcscReader
from merchant_device.readers.recording import ReplayReader
from merchant_device.readers.remote import RemoteReader

REMOTE: Final = "remote:"
REPLAY: Final = "replay:"


def open_reader(name: str) -> Reader:
    """Open the reader that `name` stands for.

    Parameters
    ----------
    name : str
        ``remote:HOST:PORT``, a card server; ``replay:FILE``, an APDU log written in clear; anything else is the name
        of a PC/SC reader, or a part of it that only one has.

    Raises
    ------
    ReaderError
        There is no such reader, or the name is none.
    """
    if name.startswith(REMOTE):
        host, colon, port = name.removeprefix(REMOTE).rpartition(":")
        if not colon or not host or not port.isascii() or not port.isdigit() or not 1 <= int(port) <= 65_535:
            raise ReaderError(f"{name!r} is not a card server's address such as remote:127.0.0.1:35970")
        return RemoteReader(host, int(port))
    if name.startswith(REPLAY):
        path = Path(name.removeprefix(REPLAY))
        try:
            return ReplayReader(read_log(path))
        except OSError as error:
            raise ReaderError(f"cannot read {path}: {error.strerror}") from error
        except ApduLogError as error:
            raise ReaderError(str(error)) from error
    return PcscReader(name)
