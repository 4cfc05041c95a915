"""What a phone must prove before this acquirer trusts it, and the words of each refusal (docs/protocol.md; MPoC [P]).

A pure function of the evidence, of what is expected, and of the acquirer's configuration. Order: form, chain,
challenge, the phone's state, the App, the device's own key, place, tamper signals; the first fault is the one that is
named.
"""

from __future__ import annotations

import base64
import hmac
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Final

from acquirer.configuration import AllowedApp, Configuration
from network.attestation import (
    CHAIN_LIMIT,
    ApplicationId,
    AttestationError,
    AuthorizationList,
    ChainFault,
    KeyDescription,
    SecurityLevel,
    VerifiedBootState,
    public_key_of,
    verify_chain,
)
from network.keys.elliptic_operations import verify_ec
from network.party import Instant, Json, local_time


class Refusal(StrEnum):
    """Why an attestation is refused though its chain is good; the value is the reason that is recorded."""

    MALFORMED = "malformed evidence"
    NO_CHALLENGE = "no challenge is out"
    CHALLENGE_EXPIRED = "challenge expired"
    CHALLENGE_USED = "challenge used before"
    OTHER_CHALLENGE = "attestation of another challenge"
    SECURITY_LEVEL = "key not in secure hardware"
    KEY_ORIGIN = "key not made in secure hardware"
    NO_ROOT_OF_TRUST = "boot state not attested"
    UNLOCKED = "boot loader unlocked"
    BOOT_STATE = "boot not verified"
    PATCH_LEVEL = "patch level too old"
    MODEL = "model not allowed"
    MODEL_EXPIRED = "model no longer allowed"
    APP = "App not allowed"
    APP_EXPIRED = "App version no longer allowed"
    APP_SIGNATURE = "App signed by another"
    APP_VERSION = "App version too old"
    OTHER_DEVICE = "attestation of another device"
    SIGNATURE = "wrong signature of the device key"
    NO_PLACE = "place not told"
    PLACE = "outside the merchant's area"
    SIGNALS = "tamper signals"
    SUSPENDED = "device suspended"


UNPROVED: Final = frozenset(
    {
        Refusal.MALFORMED.value,
        Refusal.NO_CHALLENGE.value,
        Refusal.CHALLENGE_EXPIRED.value,
        Refusal.CHALLENGE_USED.value,
        Refusal.OTHER_CHALLENGE.value,
    }
)
"""Refusals that say nothing of the phone, as late and doubled messages bring them: a good verdict before stands."""

PASSING: Final = UNPROVED | frozenset(
    {
        Refusal.PATCH_LEVEL.value,
        Refusal.MODEL_EXPIRED.value,
        Refusal.APP_EXPIRED.value,
        Refusal.APP_VERSION.value,
        Refusal.NO_PLACE.value,
        Refusal.PLACE.value,
        Refusal.SUSPENDED.value,
        ChainFault.EXPIRED.value,
        ChainFault.NOT_YET_VALID.value,
    }
)
"""Refusals that a phone in good hands can meet and get over: they refuse, but do not suspend it."""

SIGNALS_LIMIT: Final = 16
"""Most tamper signals of one message."""

_SIGNAL: Final = re.compile(r"[a-z0-9_ -]{1,40}", re.ASCII)
_PLACE: Final = re.compile(r"([+-]\d{1,2}(?:\.\d{1,6})?),([+-]\d{1,3}(?:\.\d{1,6})?)", re.ASCII)
_EARTH: Final = 6_371_000.0
_CERTIFICATE_TEXT: Final = 12_000
_GENERATED: Final = 0
_MONTHS: Final = 12


@dataclass(frozen=True, slots=True)
class Place:
    """A point, in millionths of a degree."""

    latitude: int
    longitude: int

    @classmethod
    def parse(cls, text: str) -> Place | None:
        """Read ``+31.2304,+121.4737``; None where it is no such text or no place on earth."""
        match = _PLACE.fullmatch(text)
        if match is None:
            return None
        latitude, longitude = round(float(match[1]) * 1e6), round(float(match[2]) * 1e6)
        if abs(latitude) > 90_000_000 or abs(longitude) > 180_000_000:
            return None
        return cls(latitude, longitude)

    def metres_to(self, other: Place) -> float:
        """Distance along a great circle (haversine)."""
        one, two = math.radians(self.latitude / 1e6), math.radians(other.latitude / 1e6)
        across = math.radians((other.longitude - self.longitude) / 1e6)
        half = math.sin((two - one) / 2) ** 2 + math.cos(one) * math.cos(two) * math.sin(across / 2) ** 2
        return 2 * _EARTH * math.asin(min(1.0, math.sqrt(half)))


@dataclass(frozen=True, slots=True)
class Area:
    """Where a merchant takes payments: a circle, its radius in metres."""

    centre: Place
    radius: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a phone shows.

    Attributes
    ----------
    chain : tuple of bytes
        DER, leaf first.
    signature : bytes
        The device key's, over challenge and leaf.
    place : Place or None
    signals : tuple of str
        Tamper signals that the phone has seen.
    """

    chain: tuple[bytes, ...]
    signature: bytes
    place: Place | None
    signals: tuple[str, ...]

    @classmethod
    def parse(cls, content: Mapping[str, Json]) -> Evidence | None:
        """Read the members `chain`, `signature`, `place`, `signals` of an object; None where they are malformed."""
        chain, signature = content.get("chain"), content.get("signature")
        place, signals = content.get("place"), content.get("signals", [])
        names = signals_of(signals)
        if not isinstance(chain, list) or not 1 <= len(chain) <= CHAIN_LIMIT or names is None:
            return None
        decoded = [_base64(one) for one in (signature, *chain)]
        certificates = [one for one in decoded if one is not None]
        if len(certificates) != len(decoded):
            return None
        told = Place.parse(place) if isinstance(place, str) else None
        return cls(tuple(certificates[1:]), certificates[0], told, names)


@dataclass(frozen=True, slots=True)
class Expected:
    """What must be so.

    Attributes
    ----------
    challenge : bytes
        The one that is out.
    device_key : bytes or None
        DER SubjectPublicKeyInfo of the key that signs; None where it is the attested key itself (binding).
    device_id : str or None
        The attested serial number; None where any may come (binding).
    area : Area
    """

    challenge: bytes
    device_key: bytes | None
    device_id: str | None
    area: Area


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the evidence came to.

    Attributes
    ----------
    reason : str or None
        None: accepted.
    detail : str or None
        More about the reason, for the operator.
    description : KeyDescription or None
        What the chain says, as far as it is believed.
    device_id : str or None
        The attested serial number.
    """

    reason: str | None
    detail: str | None = None
    description: KeyDescription | None = None
    device_id: str | None = None

    @property
    def is_accepted(self) -> bool:
        """Whether the phone is trusted."""
        return self.reason is None

    @property
    def ends_trust(self) -> bool:
        """Whether what a good verdict before allowed ends with it."""
        return self.reason is not None and self.reason not in UNPROVED

    @property
    def suspends(self) -> bool:
        """Whether the device is suspended for it."""
        return self.reason is not None and self.reason not in PASSING


def judge(evidence: Evidence, expected: Expected, configuration: Configuration, now: Instant) -> Verdict:
    """Decide whether a phone is trusted at `now` (microseconds since 1970)."""
    try:
        description = verify_chain(evidence.chain, configuration.root_keys, configuration.revoked_serials, now)
    except AttestationError as error:
        return Verdict(error.reason, str(error) if str(error) != error.reason else None)
    device_id = description.hardware.text("attestationIdSerial")

    def refused(reason: Refusal, detail: str | None = None) -> Verdict:
        return Verdict(reason.value, detail, description, device_id)

    if not hmac.compare_digest(description.challenge, expected.challenge):
        return refused(Refusal.OTHER_CHALLENGE)
    hardware = description.hardware
    level = min(description.attestation_security_level, description.keymint_security_level)
    if level < SecurityLevel[configuration.security_level]:
        return refused(Refusal.SECURITY_LEVEL, SecurityLevel(level).name)
    if hardware.number("origin") != _GENERATED:
        return refused(Refusal.KEY_ORIGIN)
    root = hardware.root_of_trust
    if root is None:
        return refused(Refusal.NO_ROOT_OF_TRUST)
    if not root.device_locked:
        return refused(Refusal.UNLOCKED)
    if root.verified_boot_state is not VerifiedBootState.VERIFIED:
        return refused(Refusal.BOOT_STATE, root.verified_boot_state.name)
    today = local_time(now).date()
    months = _patch_age(hardware, today)
    if months is None or months > configuration.patch_age_months:
        return refused(Refusal.PATCH_LEVEL, "not attested" if months is None else f"{months} months")
    model = hardware.text("attestationIdModel") or ""
    if (reason := refusal_of_model(model, configuration, today)) is not None:
        return refused(reason, model[:40] or None)
    reason_of_app = _refusal_of_app(description.software.application_id, configuration.allowed_apps, today)
    if reason_of_app is not None:
        return refused(reason_of_app)
    if device_id is None or (expected.device_id is not None and device_id != expected.device_id):
        return refused(Refusal.OTHER_DEVICE)
    leaf = evidence.chain[0]
    if not verify_ec(expected.device_key or public_key_of(leaf), expected.challenge + leaf, evidence.signature):
        return refused(Refusal.SIGNATURE)
    if evidence.place is None:
        return refused(Refusal.NO_PLACE)
    if (metres := evidence.place.metres_to(expected.area.centre)) > expected.area.radius:
        return refused(Refusal.PLACE, f"{metres:.0f} m from its centre")
    if evidence.signals:
        return refused(Refusal.SIGNALS, ",".join(evidence.signals))
    return Verdict(None, None, description, device_id)


def refusal_of_model(model: str, configuration: Configuration, today: date) -> Refusal | None:
    """Whether phones of this model may be terminals today."""
    allowed = next((one for one in configuration.allowed_models if one.model == model), None)
    if allowed is None:
        return Refusal.MODEL
    return Refusal.MODEL_EXPIRED if today > allowed.until else None


def signals_of(value: Json) -> tuple[str, ...] | None:
    """Names of tamper signals; None where it is no list of such names."""
    if not isinstance(value, list) or len(value) > SIGNALS_LIMIT:
        return None
    names = tuple(one for one in value if isinstance(one, str) and _SIGNAL.fullmatch(one))
    return names if len(names) == len(value) else None


def _refusal_of_app(application: ApplicationId | None, allowed: Sequence[AllowedApp], today: date) -> Refusal | None:
    """Every App that shares the user id must be allowed: any of them could have asked for the key."""
    if application is None or not application.packages:
        return Refusal.APP
    for package in application.packages:
        known = [one for one in allowed if one.package == package.name]
        if not known:
            return Refusal.APP
        digests = {bytes.fromhex(one.signature_digest) for one in known}
        if not application.signature_digests or not digests.issuperset(application.signature_digests):
            return Refusal.APP_SIGNATURE
        fitting = [one for one in known if package.version >= one.minimum_version]
        if not fitting:
            return Refusal.APP_VERSION
        if all(today > one.until for one in fitting):
            return Refusal.APP_EXPIRED
    return None


def _patch_age(hardware: AuthorizationList, today: date) -> int | None:
    """Age in whole months of the oldest patch level (YYYYMM or YYYYMMDD); None where that of the OS is missing."""
    if hardware.number("osPatchLevel") is None:
        return None
    ages = []
    for name in ("osPatchLevel", "vendorPatchLevel", "bootPatchLevel"):
        level = hardware.number(name)
        if level is None:
            continue
        month = level // 100 if level > 999_999 else level
        ages.append((today.year - month // 100) * _MONTHS + today.month - month % 100)
    return max(ages)


def _base64(value: Json) -> bytes | None:
    if not isinstance(value, str) or len(value) > _CERTIFICATE_TEXT:
        return None
    try:
        return base64.b64decode(value, validate=True)
    except ValueError:
        return None
