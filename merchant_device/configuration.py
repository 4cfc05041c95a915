"""The merchant device's parameters and their defaults."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


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
