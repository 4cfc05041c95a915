"""The acquirer's parameters; the defaults are those of docs/protocol.md."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from network.ledger import CNY


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
