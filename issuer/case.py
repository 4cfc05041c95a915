"""A request under decision: what its checks look at and find out."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from issuer.chip import ChipData, issuer_authentication
from issuer.configuration import Configuration
from issuer.requests import Calendar, Request
from issuer.tables import Account, Card, KeySet
from network.keys import SecurityModule
from network.ledger import LedgerAccount
from network.member import ZoneKeys
from network.party import Turn


class Case:
    """A request with the rows it touches, and what the checks find out about it.

    `card`, `account`, `ledger` and `keys` are set by the check that finds the card; the checks after it rely on them.
    `certificate` is set where the card has approved by itself: its e-cash pays.
    """

    __slots__ = (
        "account",
        "calendar",
        "card",
        "certificate",
        "chip",
        "configuration",
        "keys",
        "ledger",
        "module",
        "request",
        "response_cryptogram",
        "turn",
        "zone",
    )

    card: Card
    account: Account
    ledger: LedgerAccount
    keys: KeySet

    def __init__(
        self,
        request: Request,
        turn: Turn,
        calendar: Calendar,
        zone: ZoneKeys,
        configuration: Configuration,
        module: SecurityModule,
    ) -> None:
        self.request = request
        self.turn = turn
        self.calendar = calendar
        self.zone = zone
        self.configuration = configuration
        self.module = module
        self.chip: ChipData | None = None
        self.certificate = False
        self.response_cryptogram: bytes | None = None

    @property
    def available(self) -> int:
        """What the account can still pay, fen."""
        return self.ledger.balance + self.account.credit_limit

    def decline_authentication(self, code: str) -> bytes | None:
        """Tag 91 for a decline, once the cryptogram was found right."""
        if self.chip is None:
            return None
        return issuer_authentication(self.chip, self.card, self.request.pan, self.keys, self.module, code)


Check: TypeAlias = Callable[[Case], str | None]
"""Names the response code (DE39) that a request is declined with, or None to let it pass."""
