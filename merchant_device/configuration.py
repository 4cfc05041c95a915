"""The merchant device's parameters and their defaults."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Configuration(BaseModel):
    """How the trusted side of the phones behaves.

    Attributes
    ----------
    name : str
        The party's name in its process or in the virtual network.
    tpdu, head : str
        What stands before every message: 10 and 12 hexadecimal digits (docs/protocol.md, the terminal link).
    key_download : str
        DE60.3 of the sign-on: 001 single-length keys, 003 double-length keys, 004 with a track data key.
    operator : str
        DE63.1 of the sign-on, three characters.
    currency : str
        ISO 4217 numeric code of every transaction.
    sign_on_at_start : bool
        Sign on when a phone's link comes up for the first time, and whenever it comes up and the phone is not
        signed on; otherwise the first sale does it.
    acquirer_timeout : float
        Seconds a sale waits for its 0210 before it is reversed. 60 s is general practice, not confirmed by a public
        text.
    management_timeout : float
        Seconds a sign-on, sign-off or echo waits for its answer.
    reversal_retry : float
        Seconds a reversal waits for its 0410 and then until it is sent again.
    sign_on_retry : float
        Seconds between tries of the automatic sign-on.
    tap_timeout : float
        Seconds in which a card must have been held to the phone and read.
    card_timeout : float
        Seconds a card has to answer EXTERNAL AUTHENTICATE; then it counts as gone.
    pin_timeout : float
        Seconds the cardholder has to type the PIN.
    pin_minimum, pin_maximum : int
        Digits of a PIN; the maximum is DE26.
    pin_free_limit : int
        Largest sale, in fen, for which the terminal does not demand that the cardholder be verified.
    pin_always : bool
        Ask for the PIN at every amount.
    stan_block : int
        Trace numbers reserved in one write; at most so many are skipped when the process ends.
    serial : str
        The interface device's serial number, tag 9F1E, eight characters.
    offline : bool
        Take what a card approves by itself (e-cash), also while the link to the acquirer is down. Needs `fdda`.
    revoked_certificates : tuple of str
        Issuers' certificates that cards may not prove themselves by any more (EMV 4.4 Book 2, 5.1.2): registered
        application provider, index of the authority's key and serial number, 18 hexadecimal digits each.
    fdda : bool
        Ask cards to prove offline that they are genuine (fDDA version 01).
    contactless_limit : int or None
        Fen; sales of that much and more are not taken over the contactless interface. None: all are.
    floor_limit : int
        Fen; the largest sale that a card may approve offline. Limits that were downloaded go before these.
    offline_limit : int
        Offline sales of a phone that may wait for the acquirer to be told; past that no card approves by itself.
    upload_retry : float
        Seconds an offline sale waits for its 0230 and then until its 0220 is sent again.
    longest_pause : float
        Seconds: the pause after which a reversal or an offline sale that was refused is sent again doubles with each
        refusal up to this.
    tap_tries : int
        How often in a sale a card may be held to the phone until it has been read; only taps that decided nothing
        are repeated.
    see_phone_pause : float
        Seconds for which the field is off after the payer was asked to look at their phone. 1.3 s is general
        practice, not confirmed by a public text.
    torn_lifetime : float
        Seconds for which a card that was taken away too early may be recovered by another sale of the same amount.
    attestation_timeout : float
        Seconds a payment waits for the device to be attested.
    attestation_margin : float
        Seconds for which a verdict must still be good where a payment or PIN entry goes on by it; a payer who takes
        longer than that may find the payment refused by the acquirer.
    farewell_retry : float
        Seconds until a phone that has wiped its keys tells the acquirer again.
    order_timeout : float
        Seconds for which a merchant's code is shown, if the acquirer's order does not end sooner.
    order_poll : float
        Seconds between questions whether the code that is shown has been paid.
    static_poll : float
        The same of a static code.
    download_retry : float
        Seconds until a download that the phone began of its own accord is tried again.
    camera_timeout : float
        Seconds in which a payer's code must have been read.
    camera_pause : float
        Seconds between two pictures.
    camera_wait : float
        Seconds the camera has for a picture before it is asked again.
    camera_tries : int
        Pictures that are looked at in one sale.
    app_version : str
        Version of the App, DE59 A2 05 of phones that are bound to a device.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(default="device", min_length=1, max_length=40)
    tpdu: str = Field(default="6000030000", pattern=r"^60[0-9]{8}$")
    head: str = Field(default="610100000000", pattern=r"^[0-9A-Fa-f]{12}$")
    key_download: str = Field(default="003", pattern=r"^00[134]$")
    operator: str = Field(default="01 ", pattern=r"^[0-9A-Za-z ]{3}$")
    currency: str = Field(default="156", pattern=r"^[0-9]{3}$")
    sign_on_at_start: bool = True
    acquirer_timeout: float = Field(default=60.0, gt=0, le=600)
    management_timeout: float = Field(default=20.0, gt=0, le=600)
    reversal_retry: float = Field(default=10.0, gt=0, le=600)
    sign_on_retry: float = Field(default=5.0, gt=0, le=600)
    tap_timeout: float = Field(default=60.0, gt=0, le=600)
    card_timeout: float = Field(default=2.0, gt=0, le=60)
    pin_timeout: float = Field(default=60.0, gt=0, le=600)
    pin_minimum: int = Field(default=4, ge=4, le=12)
    pin_maximum: int = Field(default=12, ge=4, le=12)
    pin_free_limit: int = Field(default=100_000, ge=0)
    pin_always: bool = False
    stan_block: int = Field(default=100, ge=1, le=10_000)
    serial: str = Field(default="00000001", pattern=r"^[ -~]{8}$")
    offline: bool = False
    fdda: bool = False
    revoked_certificates: tuple[Annotated[str, Field(pattern=r"^[0-9A-Fa-f]{18}$")], ...] = Field(
        default=(), max_length=10_000
    )
    contactless_limit: int | None = Field(default=None, ge=0)
    floor_limit: int = Field(default=0, ge=0)
    offline_limit: int = Field(default=100, ge=1, le=10_000)
    upload_retry: float = Field(default=10.0, gt=0, le=600)
    longest_pause: float = Field(default=600.0, gt=0, le=86_400)
    tap_tries: int = Field(default=5, ge=1, le=50)
    see_phone_pause: float = Field(default=1.3, gt=0, le=60)
    torn_lifetime: float = Field(default=300.0, ge=0, le=3600)
    attestation_timeout: float = Field(default=60.0, gt=0, le=600)
    attestation_margin: float = Field(default=10.0, ge=0, le=600)
    farewell_retry: float = Field(default=10.0, gt=0, le=600)
    order_timeout: float = Field(default=120.0, gt=0, le=3600)
    order_poll: float = Field(default=3.0, gt=0, le=600)
    static_poll: float = Field(default=30.0, gt=0, le=3600)
    download_retry: float = Field(default=60.0, gt=0, le=3600)
    camera_timeout: float = Field(default=60.0, gt=0, le=600)
    camera_pause: float = Field(default=0.2, gt=0, le=60)
    camera_wait: float = Field(default=3.0, gt=0, le=60)
    camera_tries: int = Field(default=100, ge=1, le=1000)
    app_version: str = Field(default="1.0.0", pattern=r"^[0-9A-Za-z.+-]{1,20}$")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.offline and not self.fdda:
            raise ValueError("offline: needs fdda, since nothing else proves that a card which approves is genuine")
        if self.pin_minimum > self.pin_maximum:
            raise ValueError("pin_minimum: not above pin_maximum")
        return self
