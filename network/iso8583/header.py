"""What stands before the MTI on each link: TPDU and head at the terminal, the 46-byte header between members."""

from __future__ import annotations

from typing import Protocol, Self

from network.iso8583.errors import EncodeError, Fault

_TERMINAL_LENGTH = 11
_INTERBANK_LENGTH = 46
_LONGEST_INTERBANK = 9999  # the total length has four digits
_HEX = frozenset("0123456789ABCDEF")


class Header(Protocol):
    """Anything that can stand before the MTI: it knows its bytes and how to put itself before a body."""

    @property
    def raw(self) -> bytes:
        """The header's own bytes."""

    def frame(self, body: bytes) -> bytes:
        """The header, then the body, lengths brought up to date."""


class TerminalHeader:
    """TPDU (5 bytes) and head (6 bytes, 12 digits) of a message on the terminal link.

    Parameters
    ----------
    tpdu : bytes
        5 bytes: 0x60, destination and source address of 2 bytes each.
    head : str
        12 hex digits: application class (2), software version (2), terminal status (1), processing
        requirement (1), reserved (6). Digits by rule, but hex nibbles occur in the wild and are kept.
    """

    __slots__ = ("_raw",)

    def __init__(self, tpdu: bytes = b"\x60\x00\x00\x00\x00", head: str = "600000000000") -> None:
        head = head.upper()
        if len(tpdu) != 5:
            raise EncodeError(None, f"a TPDU has 5 bytes, not {len(tpdu)}")
        if len(head) != 12 or not _HEX.issuperset(head):
            raise EncodeError(None, "a head has 12 hex digits")
        self._raw = bytes(tpdu) + bytes.fromhex(head)

    @classmethod
    def from_bytes(cls, raw: bytes) -> Self:
        """Read the header from its 11 bytes."""
        if len(raw) != _TERMINAL_LENGTH:
            raise Fault(len(raw), f"TPDU and head have {_TERMINAL_LENGTH} bytes, {len(raw)} are here")
        header = cls.__new__(cls)
        header._raw = raw
        return header

    @classmethod
    def split(cls, data: bytes) -> tuple[Self, bytes]:
        """Header and body of `data`."""
        return cls.from_bytes(data[:_TERMINAL_LENGTH]), data[_TERMINAL_LENGTH:]

    def frame(self, body: bytes) -> bytes:
        """The header, then the body."""
        return self._raw + body

    @property
    def raw(self) -> bytes:
        """The 11 bytes."""
        return self._raw

    @property
    def tpdu(self) -> bytes:
        """Transport protocol data unit, 5 bytes."""
        return self._raw[:5]

    @property
    def head(self) -> str:
        """The head, 12 hex digits in upper case."""
        return self._raw[5:].hex().upper()

    @property
    def destination(self) -> str:
        """Destination address, 4 digits."""
        return self._raw[1:3].hex().upper()

    @property
    def source(self) -> str:
        """Source address, 4 digits."""
        return self._raw[3:5].hex().upper()

    @property
    def application_class(self) -> str:
        """60 a conventional POS application, 61 one for chip cards."""
        return self.head[0:2]

    @property
    def software_version(self) -> str:
        """Two digits of the terminal's software version."""
        return self.head[2:4]

    @property
    def terminal_status(self) -> str:
        """One digit set by the terminal."""
        return self.head[4]

    @property
    def processing_requirement(self) -> str:
        """One digit set by the acquirer: 0 none, 1 parameters, 3 sign on again, 4 CA keys, 5 IC parameters."""
        return self.head[5]

    @property
    def reserved(self) -> str:
        """Six digits."""
        return self.head[6:12]

    def reply(self, processing_requirement: str | None = None) -> TerminalHeader:
        """The header of an answer: addresses swapped, the head repeated.

        Parameters
        ----------
        processing_requirement : str or None
            The digit by which the acquirer asks the terminal for something; None repeats the request's.
        """
        tpdu, head = self.tpdu, self.head
        if processing_requirement is not None:
            head = head[:5] + processing_requirement + head[6:]
        return TerminalHeader(tpdu[:1] + tpdu[3:5] + tpdu[1:3], head)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TerminalHeader) and self._raw == other._raw

    def __hash__(self) -> int:
        return hash(self._raw)

    def __repr__(self) -> str:
        return f"TerminalHeader(tpdu=bytes.fromhex({self.tpdu.hex()!r}), head={self.head!r})"


class InterbankHeader:
    """The 46-byte header of a message between members and the switch.

    Parameters
    ----------
    destination, source : str
        Institution identifications, at most 11 characters, padded on the right with spaces.
    version : int
        0x02, or 0x82 for test traffic.
    reserved : str
        3 characters.
    batch : int
        One byte.
    transaction_information : str
        8 characters.
    user_information : int
        One byte.
    reject_code : str
        5 digits; 00000 unless the receiver rejects the message.
    """

    __slots__ = ("_raw",)

    def __init__(
        self,
        destination: str = "",
        source: str = "",
        version: int = 0x02,
        reserved: str = "000",
        batch: int = 0,
        transaction_information: str = "00000000",
        user_information: int = 0,
        reject_code: str = "00000",
    ) -> None:
        if version not in (0x02, 0x82):
            raise EncodeError(None, f"header version is 0x02 or 0x82, not {version:#04x}")
        if not (0 <= batch <= 255 and 0 <= user_information <= 255):
            raise EncodeError(None, "batch number and user information of the header are one byte each")
        self._raw = b"".join(
            (
                bytes((_INTERBANK_LENGTH, version)),
                b"0046",
                _characters("destination", destination.ljust(11), 11),
                _characters("source", source.ljust(11), 11),
                _characters("reserved", reserved, 3),
                bytes((batch,)),
                _characters("transaction information", transaction_information, 8),
                bytes((user_information,)),
                _characters("reject code", reject_code, 5),
            )
        )

    @classmethod
    def from_bytes(cls, raw: bytes) -> Self:
        """Read the header from its 46 bytes."""
        if len(raw) != _INTERBANK_LENGTH:
            raise Fault(len(raw), f"the header has {_INTERBANK_LENGTH} bytes, {len(raw)} are here")
        if raw[0] != _INTERBANK_LENGTH:
            raise Fault(0, f"header length is {raw[0]}, not {_INTERBANK_LENGTH}")
        if raw[1] not in (0x02, 0x82):
            raise Fault(1, f"header version {raw[1]:#04x} is unknown")
        if not raw[2:6].isdigit():
            raise Fault(2, "total length in the header is not four digits")
        header = cls.__new__(cls)
        header._raw = raw
        return header

    @classmethod
    def split(cls, data: bytes) -> tuple[Self, bytes]:
        """Header and body of `data`, whose total length must be what the header says."""
        size = len(data)
        if size >= _INTERBANK_LENGTH and data[:6] == b"\x2e\x02%04d" % size:
            # The usual case: all that is checked below, in one comparison.
            header = cls.__new__(cls)
            header._raw = data[:_INTERBANK_LENGTH]
            return header, data[_INTERBANK_LENGTH:]
        header = cls.from_bytes(data[:_INTERBANK_LENGTH])
        if data[2:6] != b"%04d" % len(data):
            raise Fault(2, f"the header says {header.total_length} bytes in all, {len(data)} are here")
        return header, data[_INTERBANK_LENGTH:]

    def frame(self, body: bytes) -> bytes:
        """The header with the total length brought up to date, then the body."""
        total = _INTERBANK_LENGTH + len(body)
        if total > _LONGEST_INTERBANK:
            raise EncodeError(None, f"{total} bytes in all, at most {_LONGEST_INTERBANK} can be sent")
        raw = self._raw
        return b"%b%04d%b%b" % (raw[:2], total, raw[6:], body)

    @property
    def raw(self) -> bytes:
        """The 46 bytes, total length as it was read."""
        return self._raw

    @property
    def version(self) -> int:
        """0x02, or 0x82 for test traffic."""
        return self._raw[1]

    @property
    def total_length(self) -> int:
        """Length of the whole message, header included, as it was read."""
        return int(self._raw[2:6])

    @property
    def destination(self) -> str:
        """Identification of the receiving institution, without its padding."""
        return self._raw[6:17].decode("latin-1").rstrip(" ")

    @property
    def source(self) -> str:
        """Identification of the sending institution, without its padding."""
        return self._raw[17:28].decode("latin-1").rstrip(" ")

    @property
    def reserved(self) -> str:
        """Three characters."""
        return self._raw[28:31].decode("latin-1")

    @property
    def batch(self) -> int:
        """Batch number, one byte."""
        return self._raw[31]

    @property
    def transaction_information(self) -> str:
        """Eight characters."""
        return self._raw[32:40].decode("latin-1")

    @property
    def user_information(self) -> int:
        """One byte."""
        return self._raw[40]

    @property
    def reject_code(self) -> str:
        """Five digits; 00000 when the message is not a rejected one sent back."""
        return self._raw[41:46].decode("latin-1")

    def reply(self, reject_code: str = "00000") -> InterbankHeader:
        """The header of an answer, or of a message sent back rejected: the institutions swapped."""
        raw = self._raw
        header = InterbankHeader.__new__(InterbankHeader)
        header._raw = b"".join((raw[:6], raw[17:28], raw[6:17], raw[28:41], _characters("reject code", reject_code, 5)))
        return header

    def __eq__(self, other: object) -> bool:
        # The total length belongs to the message it was read from, not to the header's identity.
        return (
            isinstance(other, InterbankHeader) and self._raw[:2] == other._raw[:2] and self._raw[6:] == other._raw[6:]
        )

    def __hash__(self) -> int:
        return hash(self._raw[6:])

    def __repr__(self) -> str:
        return (
            f"InterbankHeader(destination={self.destination!r}, source={self.source!r}, "
            f"version={self.version:#04x}, reserved={self.reserved!r}, batch={self.batch}, "
            f"transaction_information={self.transaction_information!r}, "
            f"user_information={self.user_information}, reject_code={self.reject_code!r})"
        )


class OpaqueHeader:
    """A header of fixed length of which only the bytes are known.

    Parameters
    ----------
    raw : bytes
        The header.
    """

    __slots__ = ("_raw",)

    def __init__(self, raw: bytes) -> None:
        self._raw = bytes(raw)

    @property
    def raw(self) -> bytes:
        """The header's bytes."""
        return self._raw

    def frame(self, body: bytes) -> bytes:
        """The header, then the body."""
        return self._raw + body

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OpaqueHeader) and self._raw == other._raw

    def __hash__(self) -> int:
        return hash(self._raw)

    def __repr__(self) -> str:
        return f"OpaqueHeader(bytes.fromhex({self._raw.hex()!r}))"


class OpaqueHeaderReader:
    """Takes a header of fixed length off what was received.

    Parameters
    ----------
    length : int
        Its length in bytes.
    """

    def __init__(self, length: int) -> None:
        self._length = length

    def split(self, data: bytes) -> tuple[OpaqueHeader, bytes]:
        """Header and body of `data`."""
        if len(data) < self._length:
            raise Fault(len(data), f"the header has {self._length} bytes, {len(data)} are here")
        return OpaqueHeader(data[: self._length]), data[self._length :]


def _characters(name: str, value: str, length: int) -> bytes:
    if len(value) != length or not value.isascii():
        raise EncodeError(None, f"{name} of the header has {length} ASCII characters")
    return value.encode("ascii")
