"""The switch's parameters; the defaults are those of docs/protocol.md."""

from __future__ import annotations

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict, Field

from network.ledger import CNY
from switch.risk_rules import RiskRules, default_rules


class Configuration(BaseModel):
    """How a switch behaves. Times are in seconds.

    Attributes
    ----------
    name : str
        The party's name in its runtime.
    switch_id : str
        The switch's institution id, in headers and in DE33 of its own messages.
    currency : str
        ISO 4217 numeric code of the currency that is switched; requests in another are answered 12.
    issuer_timeout : float
        How long an issuer may take to answer before the acquirer is answered 98 and the original is reversed.
    advice_retry : float
        Between two sendings of an advice.
    advice_window : int
        Most advices on their way to one member at a time, and so most that one turn sends it.
    key_overlap : float
        How long a working key that was replaced is still good for messages on their way.
    key_reset_retry : float
        Between two sendings of a key reset that is not answered.
    echo_retry : float
        Between two echoes over a dialled link on which the member has not signed on.
    token_prefix : str
        First digits of tokens, which are numbers of the switch's own; no route may begin with them.
    tokens_per_card : int
        Most tokens of a card that are not deleted.
    code_seconds : int
        How long a payer's code is good.
    code_lead : int
        How far the clock of a phone that made a code may be ahead, in seconds.
    administrative_tries : int
        How often the switch asks an acquirer about an order before it gives up, every `advice_retry`.
    risk : RiskRules
        The rules of risk sensing while the operator has set none.
    dialled_prefix : str
        Links named ``prefix:member id`` are dialled by the switch, which speaks first on them.
    dialled : mapping of str to str
        Member ids by the names of further dialled links.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = "switch"
    switch_id: str = Field(default="00010000", pattern=r"^\d{8}$")
    currency: str = Field(default=CNY, pattern=r"^\d{3}$")
    issuer_timeout: float = Field(default=20.0, gt=0, le=600)
    advice_retry: float = Field(default=10.0, gt=0, le=3600)
    advice_window: int = Field(default=64, ge=1, le=4096)
    key_overlap: float = Field(default=60.0, ge=0, le=3600)
    key_reset_retry: float = Field(default=3.0, gt=0, le=600)
    echo_retry: float = Field(default=5.0, gt=0, le=600)
    token_prefix: str = Field(default="629900", pattern=r"^\d{4,9}$")
    tokens_per_card: int = Field(default=20, ge=1, le=1000)
    code_seconds: int = Field(default=60, ge=1, le=3600)
    code_lead: int = Field(default=10, ge=0, le=600)
    administrative_tries: int = Field(default=3, ge=1, le=100)
    risk: RiskRules = Field(default_factory=default_rules)
    dialled_prefix: str = "issuer"
    dialled: Mapping[str, str] = Field(default_factory=dict)
