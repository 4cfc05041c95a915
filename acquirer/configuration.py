"""The acquirer's parameters; the defaults are those of docs/protocol.md."""

from __future__ import annotations

import base64
from datetime import date
from functools import cached_property
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from network.hot_cards import MOST_CARDS
from network.ledger import CNY

MOST_FEN: Final = 999_999_999_999
"""What an amount element of 12 digits can say."""


class AllowedModel(BaseModel):
    """A model of phone that may be a terminal, until the end of a day in China Standard Time."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(min_length=1, max_length=40)
    until: date


class AllowedApp(BaseModel):
    """An App that may take payments: its package, the SHA-256 of its signing certificate in hex, and its versions.

    Versions from `minimum_version` on are good until the end of the day `until`. A package may stand in the list more
    than once, so that old versions end before new ones.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    package: str = Field(min_length=1, max_length=120)
    signature_digest: str = Field(pattern=r"^[0-9A-Fa-f]{64}$")
    minimum_version: int = Field(default=0, ge=0)
    until: date


class Configuration(BaseModel):
    """How an acquirer behaves. Times are in seconds.

    Attributes
    ----------
    name : str
        The party's name in its runtime.
    acquirer_id, switch_id : str
        Institution ids, as they stand in the member link's headers, in DE32 and in DE33.
    switch_link : str
        The dialled link to the switch; every other link is a terminal's.
    currency : str
        ISO 4217 numeric code of what is acquired; a request in another currency is answered 30.
    switch_timeout : float
        How long the switch may take to answer before the terminal is answered 98 and the original is reversed.
    advice_retry : float
        Between two sendings of an advice.
    advices_per_turn : int
        Most advices that one turn sends.
    advice_interval : float
        Between two advices of a backlog that is sent when the switch can be reached again.
    backlog : int
        Most rows that are taken up again at once after a start or a sign-on; the rest follow later.
    key_overlap : float
        How long a zone key that was replaced is still good for messages on their way.
    sign_on_retry : float
        Between two tries to sign on at the switch.
    order_seconds : float
        How long an order with an amount may be paid.
    country, country_number : str
        Where the merchants are: ISO 3166 letters for merchant-presented codes, number for terminals' parameters (9F1A).
    floor_limit, contactless_limit, cvm_limit : int
        Terminals' parameters, in fen, for applications that have none of their own: above which amount a payment goes
        online, the most of one contactless payment, and above which amount the holder must be verified.
    attestation_roots : tuple of str
        Public keys of the makers' roots that are believed: base64 of DER SubjectPublicKeyInfo. None: no phone is.
    revoked_certificates : dict
        Serial number in hex to why, as `network.attestation.parse_revocation_status` reads it from a maker's list.
    security_level : str
        Where an attested key must live at least.
    patch_age_months : int
        How old the patches of a phone's software may be.
    allowed_models, allowed_apps : tuple
        Which phones and Apps may take payments, and until when.
    attestation_window, pin_attestation_window : float
        How long a good verdict lets a phone send sales, and PINs.
    challenge_seconds, binding_challenge_seconds : float
        How long a challenge is good on the monitoring link, and in on-boarding.
    kill_tries : int
        How often a phone is told to wipe its keys, `advice_retry` apart, before it is left until it is heard again.
    open_applications, person_applications : int
        Most applications that wait for review, in all and of one person.
    merchant_devices : int
        Most devices of a merchant, where the reviewer sets no other number.
    area_radius : int
        Largest area that an applicant may ask for, in metres.
    hot_cards : int
        Most cards on the list of stopped cards; a phone fetches 122 of them at a time.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = "acquirer"
    acquirer_id: str = Field(default="48020000", pattern=r"^\d{8}$")
    switch_id: str = Field(default="00010000", pattern=r"^\d{8}$")
    switch_link: str = "switch"
    currency: str = Field(default=CNY, pattern=r"^\d{3}$")
    switch_timeout: float = Field(default=30.0, gt=0, le=600)
    advice_retry: float = Field(default=10.0, gt=0, le=3600)
    advices_per_turn: int = Field(default=100, ge=1, le=1024)
    advice_interval: float = Field(default=0.005, ge=0, le=10)
    backlog: int = Field(default=20_000, ge=1, le=1_000_000)
    key_overlap: float = Field(default=60.0, ge=0, le=3600)
    sign_on_retry: float = Field(default=5.0, gt=0, le=600)
    order_seconds: float = Field(default=120.0, gt=0, le=86_400)
    country: str = Field(default="CN", pattern=r"^[A-Z]{2}$")
    country_number: str = Field(default="156", pattern=r"^\d{3}$")
    floor_limit: int = Field(default=100_000, ge=0, le=MOST_FEN)
    contactless_limit: int = Field(default=MOST_FEN, ge=0, le=MOST_FEN)
    cvm_limit: int = Field(default=100_000, ge=0, le=MOST_FEN)
    attestation_roots: tuple[str, ...] = ()
    revoked_certificates: dict[str, str] = Field(default={})
    security_level: Literal["TRUSTED_ENVIRONMENT", "STRONG_BOX"] = "TRUSTED_ENVIRONMENT"
    patch_age_months: int = Field(default=12, ge=0, le=120)
    allowed_models: tuple[AllowedModel, ...] = ()
    allowed_apps: tuple[AllowedApp, ...] = ()
    attestation_window: float = Field(default=60.0, gt=0, le=86_400)
    pin_attestation_window: float = Field(default=60.0, gt=0, le=86_400)
    challenge_seconds: float = Field(default=30.0, gt=0, le=600)
    binding_challenge_seconds: float = Field(default=300.0, gt=0, le=3600)
    kill_tries: int = Field(default=30, ge=1, le=10_000)
    open_applications: int = Field(default=500, ge=1, le=5000)
    person_applications: int = Field(default=3, ge=1, le=100)
    merchant_devices: int = Field(default=20, ge=1, le=10_000)
    area_radius: int = Field(default=20_000, ge=10, le=2_000_000)
    hot_cards: int = Field(default=2_000, ge=1, le=MOST_CARDS)

    @field_validator("attestation_roots")
    @classmethod
    def _are_keys(cls, roots: tuple[str, ...]) -> tuple[str, ...]:
        for root in roots:
            try:
                base64.b64decode(root, validate=True)
            except ValueError as error:
                raise ValueError("a root is base64 of a DER SubjectPublicKeyInfo") from error
        return roots

    @cached_property
    def root_keys(self) -> frozenset[bytes]:
        """`attestation_roots`, decoded."""
        return frozenset(map(base64.b64decode, self.attestation_roots))

    @cached_property
    def revoked_serials(self) -> dict[str, str]:
        """`revoked_certificates`, serial numbers in lower case without leading zeros."""
        return {serial.lower().lstrip("0") or "0": why for serial, why in self.revoked_certificates.items()}
