"""The issuer's parameters; the defaults are those of docs/protocol.md."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from network.ledger import CNY


class Configuration(BaseModel):
    """How an issuer behaves. Times are in seconds.

    Attributes
    ----------
    name : str
        The party's name in its runtime.
    issuer_id, switch_id : str
        Institution ids, as they stand in the headers and in DE33 and DE100.
    currency : str
        ISO 4217 numeric code of every account and transaction.
    dials : bool
        Whether this issuer dials the switch. It then signs on when its link is up; otherwise the switch dials, and
        the issuer signs on after the switch's first echo.
    key_overlap : float
        How long a working key that was replaced is still good for messages on their way.
    sign_on_retry : float
        Between two tries to sign on.
    pin_tries : int
        Wrong PINs until a card's PIN is refused.
    advice_retry : float
        Between two sendings of a question to the switch that is not answered.
    administrative_tries : int
        Sendings of a question that somebody waits for. That a token changed its status is said until it is answered.
    uses_per_key : int
        Transaction counters that a limited-use key is good for.
    keys_at_once : int
        Limited-use keys that a wallet gets at a time.
    keys_outstanding : int
        Limited-use keys a wallet may have that are not used up.
    code_daily_limit : int
        Fen that a token may pay by code in a local day.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = "issuer"
    issuer_id: str = Field(default="01990000", pattern=r"^\d{8}$")
    switch_id: str = Field(default="00010000", pattern=r"^\d{8}$")
    currency: str = Field(default=CNY, pattern=r"^\d{3}$")
    dials: bool = False
    key_overlap: float = Field(default=60.0, ge=0, le=3600)
    sign_on_retry: float = Field(default=5.0, gt=0, le=600)
    pin_tries: int = Field(default=3, ge=1, le=15)
    advice_retry: float = Field(default=10.0, gt=0, le=600)
    administrative_tries: int = Field(default=3, ge=1, le=10)
    uses_per_key: int = Field(default=10, ge=1, le=1000)
    keys_at_once: int = Field(default=3, ge=1, le=20)
    keys_outstanding: int = Field(default=6, ge=1, le=40)
    code_daily_limit: int = Field(default=500_000, ge=0, le=10**12)
