"""An authorisation list of a KeyDescription: what software, or the secure hardware, states of a key and of its phone.

Source: source.android.com, "Key and ID attestation". A list keeps every element as it came, known or not, in its
order, so that what is built again is what was parsed; known tags are decoded when they are asked for, and all of them
once when a list is parsed, so that later nothing fails.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, NamedTuple, TypeAlias

from network.attestation.der import (
    BOOLEAN,
    ENUMERATED,
    INTEGER,
    NULL,
    OCTET_STRING,
    SEQUENCE,
    SET,
    DerError,
    content_of,
    members,
    only,
    to_integer,
    write,
    write_explicit,
    write_integer,
    write_set,
)

_BINARY, _FLAG, _NUMBER, _NUMBERS, _ROOT, _APPLICATION = "binary", "flag", "number", "numbers", "root", "application"

KEYMINT_TAGS: Final[Mapping[int, tuple[str, str]]] = {
    1: ("purpose", _NUMBERS),
    2: ("algorithm", _NUMBER),
    3: ("keySize", _NUMBER),
    4: ("blockMode", _NUMBERS),
    5: ("digest", _NUMBERS),
    6: ("padding", _NUMBERS),
    7: ("callerNonce", _FLAG),
    8: ("minMacLength", _NUMBER),
    10: ("ecCurve", _NUMBER),
    200: ("rsaPublicExponent", _NUMBER),
    203: ("mgfDigest", _NUMBERS),
    303: ("rollbackResistance", _FLAG),
    305: ("earlyBootOnly", _FLAG),
    400: ("activeDateTime", _NUMBER),
    401: ("originationExpireDateTime", _NUMBER),
    402: ("usageExpireDateTime", _NUMBER),
    405: ("usageCountLimit", _NUMBER),
    502: ("userSecureId", _NUMBER),
    503: ("noAuthRequired", _FLAG),
    504: ("userAuthType", _NUMBER),
    505: ("authTimeout", _NUMBER),
    506: ("allowWhileOnBody", _FLAG),
    507: ("trustedUserPresenceRequired", _FLAG),
    508: ("trustedConfirmationRequired", _FLAG),
    509: ("unlockedDeviceRequired", _FLAG),
    600: ("allApplications", _FLAG),
    601: ("applicationId", _BINARY),
    701: ("creationDateTime", _NUMBER),
    702: ("origin", _NUMBER),
    703: ("rollbackResistant", _FLAG),
    704: ("rootOfTrust", _ROOT),
    705: ("osVersion", _NUMBER),
    706: ("osPatchLevel", _NUMBER),
    709: ("attestationApplicationId", _APPLICATION),
    710: ("attestationIdBrand", _BINARY),
    711: ("attestationIdDevice", _BINARY),
    712: ("attestationIdProduct", _BINARY),
    713: ("attestationIdSerial", _BINARY),
    714: ("attestationIdImei", _BINARY),
    715: ("attestationIdMeid", _BINARY),
    716: ("attestationIdManufacturer", _BINARY),
    717: ("attestationIdModel", _BINARY),
    718: ("vendorPatchLevel", _NUMBER),
    719: ("bootPatchLevel", _NUMBER),
    720: ("deviceUniqueAttestation", _FLAG),
    723: ("attestationIdSecondImei", _BINARY),
    724: ("moduleHash", _BINARY),
}
"""Tag number to name and kind of what an authorisation list holds; others are kept but mean nothing here."""

_NUMBER_OF: Final = {name: number for number, (name, _) in KEYMINT_TAGS.items()}


class VerifiedBootState(IntEnum):
    """How the phone started: with the maker's software (verified), the owner's (self-signed), or unchecked."""

    VERIFIED = 0
    SELF_SIGNED = 1
    UNVERIFIED = 2
    FAILED = 3


@dataclass(frozen=True, slots=True)
class RootOfTrust:
    """Tag 704.

    Attributes
    ----------
    verified_boot_key : bytes
        Digest of the key that the phone's software is signed with.
    device_locked : bool
        Whether the boot loader is locked.
    verified_boot_state : VerifiedBootState
    verified_boot_hash : bytes or None
        Digest of all that was started; since version 3.
    """

    verified_boot_key: bytes
    device_locked: bool
    verified_boot_state: VerifiedBootState
    verified_boot_hash: bytes | None = None


class PackageInfo(NamedTuple):
    """An App: its package name and version code."""

    name: str
    version: int


@dataclass(frozen=True, slots=True)
class ApplicationId:
    """Tag 709: the Apps that share the user id that asked for the key, and SHA-256 of their signing certificates."""

    packages: tuple[PackageInfo, ...]
    signature_digests: tuple[bytes, ...]


Value: TypeAlias = int | bytes | bool | Sequence[int] | RootOfTrust | ApplicationId


@dataclass(frozen=True, slots=True)
class AuthorizationList:
    """What software, or the secure hardware, enforces or states.

    Attributes
    ----------
    elements : tuple of (int, bytes)
        Tag number and the encoding inside the explicit tag, in the order they came.

    Examples
    --------
    >>> stated = AuthorizationList.of({"osVersion": 140000, "purpose": (2, 3)})
    >>> stated.number("osVersion"), stated.numbers("purpose"), stated.number("osPatchLevel")
    (140000, (2, 3), None)
    """

    elements: tuple[tuple[int, bytes], ...] = ()
    _known: Mapping[int, bytes] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_known", dict(self.elements))

    @classmethod
    def of(cls, values: Mapping[str, Value]) -> AuthorizationList:
        """A list of named values (see `KEYMINT_TAGS`), in the order of their tags.

        Raises
        ------
        ValueError
            A name that is none, or a value that does not fit its tag.
        """
        elements = []
        for name, value in values.items():
            number = _NUMBER_OF.get(name)
            if number is None:
                raise ValueError(f"an authorisation list holds no {name}")
            if value is not False:
                elements.append((number, _encode(name, KEYMINT_TAGS[number][1], value)))
        return cls(tuple(sorted(elements)))

    def __contains__(self, name: str) -> bool:
        return _NUMBER_OF[name] in self._known

    def number(self, name: str) -> int | None:
        """The number of this name; None where it is not stated."""
        inner = self._inner(name, _NUMBER)
        return None if inner is None else to_integer(only(inner, INTEGER, name), name)

    def numbers(self, name: str) -> tuple[int, ...]:
        """The set of numbers of this name, ascending; empty where it is not stated."""
        inner = self._inner(name, _NUMBERS)
        if inner is None:
            return ()
        return tuple(
            sorted(to_integer(content_of(one, INTEGER, name), name) for one in members(only(inner, SET, name)))
        )

    def binary(self, name: str) -> bytes | None:
        """The octets of this name; None where it is not stated."""
        inner = self._inner(name, _BINARY)
        return None if inner is None else only(inner, OCTET_STRING, name)

    def text(self, name: str) -> str | None:
        """The octets of this name as text; what is no UTF-8 is replaced."""
        octets = self.binary(name)
        return None if octets is None else octets.decode("utf-8", "replace")

    def flag(self, name: str) -> bool:
        """Whether this name is stated."""
        inner = self._inner(name, _FLAG)
        if inner is not None and only(inner, NULL, name):
            raise DerError(f"{name}: a NULL with content")
        return inner is not None

    @property
    def root_of_trust(self) -> RootOfTrust | None:
        """How the phone started, tag 704."""
        inner = self._inner("rootOfTrust", _ROOT)
        return None if inner is None else _root_of_trust(inner)

    @property
    def application_id(self) -> ApplicationId | None:
        """Which App asked for the key, tag 709."""
        inner = self._inner("attestationApplicationId", _APPLICATION)
        return None if inner is None else _application_id(only(inner, OCTET_STRING, "attestationApplicationId"))

    def values(self) -> dict[str, Value]:
        """Everything known that is stated, by name.

        Raises
        ------
        DerError
            Something of it is malformed; a list of a parsed description has been looked at and holds nothing such.
        """
        found: dict[str, Value] = {}
        for number, _ in self.elements:
            name, kind = KEYMINT_TAGS.get(number, ("", ""))
            value = self._value(name, kind)
            if value is not None:
                found[name] = value
        return found

    def _value(self, name: str, kind: str) -> Value | None:
        if kind == _NUMBER:
            return self.number(name)
        if kind == _NUMBERS:
            return self.numbers(name)
        if kind == _BINARY:
            return self.binary(name)
        if kind == _FLAG:
            return self.flag(name)
        if kind == _ROOT:
            return self.root_of_trust
        return self.application_id if kind == _APPLICATION else None

    def _inner(self, name: str, kind: str) -> bytes | None:
        number = _NUMBER_OF.get(name)
        if number is None or KEYMINT_TAGS[number][1] != kind:
            raise KeyError(f"an authorisation list holds no {kind} {name}")
        return self._known.get(number)

    def build(self) -> bytes:
        """The list as a SEQUENCE."""
        return write(SEQUENCE, b"".join(write_explicit(number, inner) for number, inner in self.elements))

    @classmethod
    def parse(cls, content: bytes) -> AuthorizationList:
        """Read the content of a list's SEQUENCE.

        Raises
        ------
        DerError
            It is malformed, or a tag stands in it twice.
        """
        elements: list[tuple[int, bytes]] = []
        for element in members(content):
            if not element.is_explicit:
                raise DerError("an authorisation list has an element without a tag")
            elements.append((element.number, element.content))
        parsed = cls(tuple(elements))
        if len(parsed._known) != len(elements):
            raise DerError("an authorisation list has a tag twice")
        parsed.values()
        return parsed


def _root_of_trust(inner: bytes) -> RootOfTrust:
    parts = list(members(only(inner, SEQUENCE, "rootOfTrust")))
    if len(parts) not in (3, 4):
        raise DerError(f"rootOfTrust has {len(parts)} members, not 3 or 4")
    state = to_integer(content_of(parts[2], ENUMERATED, "verifiedBootState"), "verifiedBootState")
    if state not in VerifiedBootState.__members__.values():
        raise DerError(f"verifiedBootState: there is no state {state}")
    locked = content_of(parts[1], BOOLEAN, "deviceLocked")
    if len(locked) != 1:
        raise DerError("deviceLocked: a BOOLEAN has one byte")
    return RootOfTrust(
        content_of(parts[0], OCTET_STRING, "verifiedBootKey"),
        locked != b"\0",
        VerifiedBootState(state),
        content_of(parts[3], OCTET_STRING, "verifiedBootHash") if len(parts) == 4 else None,
    )


def _application_id(octets: bytes) -> ApplicationId:
    parts = list(members(only(octets, SEQUENCE, "attestationApplicationId")))
    if len(parts) != 2:
        raise DerError(f"attestationApplicationId has {len(parts)} members, not 2")
    packages = []
    for one in members(content_of(parts[0], SET, "packageInfos")):
        described = list(members(content_of(one, SEQUENCE, "packageInfo")))
        if len(described) != 2:
            raise DerError(f"packageInfo has {len(described)} members, not 2")
        name = content_of(described[0], OCTET_STRING, "packageName").decode("utf-8", "replace")
        packages.append(PackageInfo(name, to_integer(content_of(described[1], INTEGER, "version"), "version")))
    digests = (
        content_of(one, OCTET_STRING, "signatureDigest") for one in members(content_of(parts[1], SET, "digests"))
    )
    return ApplicationId(tuple(packages), tuple(digests))


def _encode(name: str, kind: str, value: Value) -> bytes:
    if kind == _NUMBER and type(value) is int:
        return write_integer(value)
    if kind == _NUMBERS and isinstance(value, Sequence) and not isinstance(value, bytes):
        return write_set(map(write_integer, value))
    if kind == _BINARY and isinstance(value, bytes):
        return write(OCTET_STRING, value)
    if kind == _FLAG and value is True:
        return write(NULL, b"")
    if kind == _ROOT and isinstance(value, RootOfTrust):
        boot_hash = b"" if value.verified_boot_hash is None else write(OCTET_STRING, value.verified_boot_hash)
        return write(
            SEQUENCE,
            write(OCTET_STRING, value.verified_boot_key)
            + write(BOOLEAN, b"\xff" if value.device_locked else b"\0")
            + write_integer(value.verified_boot_state, ENUMERATED)
            + boot_hash,
        )
    if kind == _APPLICATION and isinstance(value, ApplicationId):
        packages = write_set(
            write(SEQUENCE, write(OCTET_STRING, one.name.encode()) + write_integer(one.version))
            for one in value.packages
        )
        digests = write_set(write(OCTET_STRING, digest) for digest in value.signature_digests)
        return write(OCTET_STRING, write(SEQUENCE, packages + digests))
    raise ValueError(f"{name} cannot be a {type(value).__name__}")
