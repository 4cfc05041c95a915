"""What the terminal is: everything the kernel is told once, before any payment."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

MAX_AMOUNT: Final = 999_999_999_999
SMALL_AMOUNT_LIMIT: Final = 100_000
"""1000 CNY in fen: at or below it a contactless payment needs neither PIN nor signature."""

_APPLICATIONS: Final = (
    bytes.fromhex("A000000333010101"),  # debit
    bytes.fromhex("A000000333010102"),  # credit
    bytes.fromhex("A000000333010103"),  # quasi-credit
    bytes.fromhex("A000000333010106"),  # electronic cash
)


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits that hold for an application, in fen.

    Attributes
    ----------
    contactless : int or None
        From this amount on the application may not be used over this interface; None: there is no such amount.
    cvm : int
        Above it the cardholder must be verified.
    floor : int
        Above it the issuer must be asked.

    """

    contactless: int | None
    cvm: int
    floor: int

    def __post_init__(self) -> None:
        for name, limit in (
            ("contactless_limit", self.contactless),
            ("cvm_limit", self.cvm),
            ("floor_limit", self.floor),
        ):
            if limit is not None and not 0 <= limit <= MAX_AMOUNT:
                raise ValueError(f"{name}: 0 to 12 digits of fen")


@dataclass(frozen=True, slots=True)
class ApplicationParameters:
    """What is different for one application, as the acquirer sends it (terminal link, 380).

    Attributes
    ----------
    aid : bytes
        Identifier of 5 to 16 bytes; holds for every application of a card that begins with it. The longest one that
        fits counts.
    contactless_limit, cvm_limit, floor_limit : int or None
        Fen, as of `KernelConfiguration`; None where that holds.

    """

    aid: bytes
    contactless_limit: int | None = None
    cvm_limit: int | None = None
    floor_limit: int | None = None


@dataclass(frozen=True, slots=True)
class KernelConfiguration:
    """The terminal's side of a contactless payment.

    Attributes
    ----------
    applications : tuple of bytes
        Application identifiers taken, 5 to 16 bytes each; a card's longer identifier matches by its beginning.
    contactless_limit : int or None
        Fen. From it on no contactless payment is taken (EMV Contactless Book B, 3.1.1.5); None: none.
    cvm_limit : int
        Fen. Above it the reader demands that the cardholder be verified.
    floor_limit : int
        Fen. Above it the reader demands that the issuer be asked (Book B, 3.1.1.6); a terminal that is never online
        declines. Nothing is approved offline above it.
    parameters : tuple of ApplicationParameters
        Applications with limits of their own.
    online_pin_always : bool
        Ask for the PIN at every amount, unless the cardholder was verified on a device of their own.
    online_pin, signature, cdcvm : bool
        Ways of verification the terminal offers; cdcvm is verification on the cardholder's own device.
    online : bool
        Whether the terminal can ask issuers at all.
    offline : bool
        Whether a card may approve without its issuer; needs `fdda`, since only that proves the card genuine.
    fdda : bool
        Whether the terminal authenticates cards (fast dynamic data authentication, version 01): always those that
        approve offline, and those that go online where the card offers it.
    terminal_type : str
        Tag 9F35, two digits (EMV 4.4 Book 4, Annex A1). When empty it is that of an attended terminal of a merchant:
        21 online only, 22 both, 23 offline only.
    terminal_capabilities : str
        Tag 9F33, six hexadecimal characters (EMV 4.4 Book 4, Annex A2). When empty it is made of the ways of
        verification, none included, and of `fdda`.
    application_version : str
        Tag 9F09, four hexadecimal characters.
    application_versions : tuple of str
        Versions of cards' applications (9F08) that may approve offline; empty: all, since a version that differs is no
        reason to decline by itself (EMV 4.4 Book 3, 10.4.1).
    interface_device_serial : str
        Tag 9F1E, eight characters.

    """

    applications: tuple[bytes, ...] = _APPLICATIONS
    contactless_limit: int | None = None
    cvm_limit: int = SMALL_AMOUNT_LIMIT
    floor_limit: int = 0
    parameters: tuple[ApplicationParameters, ...] = ()
    online_pin_always: bool = False
    online_pin: bool = True
    signature: bool = True
    cdcvm: bool = True
    online: bool = True
    offline: bool = False
    fdda: bool = False
    terminal_type: str = ""
    terminal_capabilities: str = ""
    application_version: str = "0030"
    application_versions: tuple[str, ...] = ()
    interface_device_serial: str = "00000000"
    terminal_tags: dict[str, bytes] = field(init=False, repr=False, compare=False)
    qualifiers: tuple[tuple[bytes, bytes], tuple[bytes, bytes]] = field(init=False, repr=False, compare=False)
    _limits: Limits = field(init=False, repr=False, compare=False)
    _own_limits: tuple[tuple[bytes, Limits], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.applications or any(not 5 <= len(name) <= 16 for name in self.applications):
            raise ValueError("applications: at least one identifier, each of 5 to 16 bytes")
        if self.online_pin_always and not self.online_pin:
            raise ValueError("online_pin_always: the terminal has no online_pin")
        if not self.online and self.online_pin:
            raise ValueError("online_pin: the terminal is not online")
        if not (self.online or self.offline):
            raise ValueError("online: a terminal is online, offline or both")
        if self.offline and not self.fdda:
            raise ValueError("offline: needs fdda, since nothing else proves the card genuine")
        for version in self.application_versions:
            _hexadecimal("application_versions", version, 2)
        object.__setattr__(self, "terminal_tags", self._terminal_tags())
        object.__setattr__(self, "qualifiers", self._qualifiers())
        limits = Limits(self.contactless_limit, self.cvm_limit, self.floor_limit)
        object.__setattr__(self, "_limits", limits)
        object.__setattr__(self, "_own_limits", _own_limits(self.parameters, limits))

    def limits(self, name: bytes) -> Limits:
        """Give the limits that hold for the application of that name."""
        for beginning, limits in self._own_limits:
            if name.startswith(beginning):
                return limits
        return self._limits

    def _terminal_tags(self) -> dict[str, bytes]:
        serial = self.interface_device_serial
        if len(serial) != 8 or not serial.isascii():
            raise ValueError("interface_device_serial: eight ASCII characters")
        kind = self.terminal_type or ("23" if not self.online else "22" if self.offline else "21")
        ways = 0x08 | (0x40 if self.online_pin else 0) | (0x20 if self.signature else 0)
        capabilities = self.terminal_capabilities or bytes((0, ways, 0x40 if self.fdda else 0)).hex()
        return {
            "9F33": _hexadecimal("terminal_capabilities", capabilities, 3),
            "9F35": _hexadecimal("terminal_type", kind, 1),
            "9F1E": serial.encode("ascii"),
            "9F09": _hexadecimal("application_version", self.application_version, 2),
        }

    def _qualifiers(self) -> tuple[tuple[bytes, bytes], tuple[bytes, bytes]]:
        """Write the terminal transaction qualifiers 9F66, by whether online and verification are demanded.

        DOMAIN.md 4.1: byte 1 20 qPBOC, 08 offline-only, 04 online PIN, 02 signature; byte 2 80 online cryptogram
        required, 40 verification required; byte 3 40 cardholder's own device; byte 4 80 fDDA version 01.
        """
        first = 0x20 | (0 if self.online else 0x08) | (0x04 if self.online_pin else 0) | (0x02 if self.signature else 0)
        third, fourth = 0x40 if self.cdcvm else 0, 0x80 if self.fdda else 0

        def written(second: int) -> bytes:
            return bytes((first, second, third, fourth))

        return (written(0x00), written(0x40)), (written(0x80), written(0xC0))


def _own_limits(parameters: tuple[ApplicationParameters, ...], general: Limits) -> tuple[tuple[bytes, Limits], ...]:
    """Give identifier and limits of each, the longest identifier first."""
    found: dict[bytes, Limits] = {}
    for own in parameters:
        if not 5 <= len(own.aid) <= 16:
            raise ValueError("parameters: an identifier is 5 to 16 bytes")
        if own.aid in found:
            raise ValueError(f"parameters: {own.aid.hex().upper()} is there twice")
        found[own.aid] = Limits(
            general.contactless if own.contactless_limit is None else own.contactless_limit,
            general.cvm if own.cvm_limit is None else own.cvm_limit,
            general.floor if own.floor_limit is None else own.floor_limit,
        )
    return tuple(sorted(found.items(), key=lambda item: -len(item[0])))


def _hexadecimal(name: str, text: str, size: int) -> bytes:
    try:
        value = bytes.fromhex(text)
    except ValueError:
        value = b""
    if len(value) != size or len(text) != 2 * size:
        raise ValueError(f"{name}: {2 * size} hexadecimal characters")
    return value
