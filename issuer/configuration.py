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
