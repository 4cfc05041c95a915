"""The acquirer's rows of on-boarding and of phones: applications, devices, challenges, what attestations came to.

What an applicant says of himself is sealed; of his bearer token only a hash is kept.
"""

from __future__ import annotations

from typing import Final

from network.store import Row, table

SUBMITTED: Final = "submitted"
APPROVED: Final = "approved"
REFUSED: Final = "refused"
"""States of an application."""

BOUND: Final = "active"
SUSPENDED: Final = "suspended"
BLOCKED: Final = "blocked"
KILLING: Final = "killing"
KILLED: Final = "killed"
REPLACED: Final = "replaced"
"""States of a device. Suspended: by what it showed, until it is bound anew; blocked: by the operator, until he
reactivates it; killing: told to wipe its keys, killed: it has; replaced: its terminal is another device's now."""


@table(
    "application",
    key="application_id",
    indexed=("status=submitted", "person"),
    mutable=("status", "reason", "merchant_id", "reviewed_at", "devices_limit"),
)
class Application(Row):
    """A merchant who applies, and later the access of his App.

    `details` is a sealed JSON object: name, id number, phone number, settlement card. `person` is a keyed index of the
    id number, `token_hash` SHA-256 of the bearer token. `latitude` and `longitude` are in millionths of a degree,
    `radius` in metres: the area in which the merchant takes payments. `devices_limit` is how many devices may be
    bound.
    """

    application_id: str
    status: str
    reason: str | None
    person: bytes
    details: bytes
    token_hash: bytes
    shop_name: str
    city: str
    category: str
    model: str
    latitude: int
    longitude: int
    radius: int
    merchant_id: str | None
    devices_limit: int
    created_at: int
    reviewed_at: int | None


@table(
    "device",
    key="device_id",
    indexed=("merchant_id", "status=killing"),
    mutable=(
        "application_id",
        "merchant_id",
        "terminal_id",
        "model",
        "public_key",
        "status",
        "reason",
        "latitude",
        "longitude",
        "radius",
        "link",
        "attested_at",
        "attested_until",
        "pin_attested_until",
        "bound_at",
        "kills_sent",
    ),
    cached=True,
)
class Device(Row):
    """A phone that is bound to a terminal.

    `public_key` is that of its attested key (DER SubjectPublicKeyInfo), `latitude`, `longitude` and `radius` its
    merchant's area. `link` is where it was heard last on the monitoring link; a name is never used again, so that one
    of a link that is down harms nothing. `attested_at` and `attested_until` are of its last good verdict for
    transactions, `pin_attested_until` of that for PIN entry.
    """

    device_id: str
    application_id: str
    merchant_id: str
    terminal_id: str
    model: str
    public_key: bytes
    status: str
    reason: str | None
    latitude: int
    longitude: int
    radius: int
    link: str | None
    attested_at: int
    attested_until: int
    pin_attested_until: int
    bound_at: int
    kills_sent: int


@table(
    "challenge",
    key="subject",
    mutable=("challenge", "expires_at", "used_at", "evidence", "outcome"),
    cached=True,
)
class Challenge(Row):
    """The challenge that is out for a subject: ``terminal|purpose`` or ``application|id``. There is one at a time.

    `evidence` is the digest of what used it and `outcome` what that came to, so that a copy gets the same answer.
    """

    subject: str
    challenge: bytes
    expires_at: int
    used_at: int | None
    evidence: bytes | None
    outcome: str | None


@table("attestation_record", key="record_id", indexed=("device_id",))
class AttestationRecord(Row):
    """What an attestation came to.

    `record_id` begins with the time, so that keys grow. `purpose` is ``transaction``, ``pin``, ``bind`` or ``alarm``.
    `accepted` is 1 or 0, `reason` says why not, in the words of `acquirer.attestation_policy.Refusal` or of the chain's
    fault. What follows is what the phone attested, as far as its chain was believed; place as it was told.
    """

    record_id: str
    device_id: str
    terminal_id: str | None
    application_id: str | None
    purpose: str
    accepted: int
    reason: str | None
    detail: str | None
    model: str | None
    security_level: int | None
    boot_state: int | None
    os_patch_level: int | None
    app_version: int | None
    place: str | None
    recorded_at: int


DEVICE_TABLES: Final[tuple[type[Row], ...]] = (Application, Device, Challenge, AttestationRecord)
