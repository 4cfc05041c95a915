"""What a test host keeps: one row for each request that it decided."""

from __future__ import annotations

from typing import Final

from network.member import ZoneKeys
from network.store import Row, table

APPROVED: Final = "approved"
DECLINED: Final = "declined"
REVERSED: Final = "reversed"
BARRED: Final = "barred"
"""Its reversal came first."""


@table("host_authorisation", key="reference", mutable=("status",))
class HostAuthorisation(Row):
    """A request and how it was decided; enough to answer a copy of it.

    `card` is masked. `amount` is in fen, 0 of a balance enquiry. `answer_to_card` is tag 91 in hexadecimal.
    """

    reference: str
    decided_at: int
    mti: str
    processing_code: str
    amount: int
    card: str
    terminal: str
    rule: str
    code: str
    auth_id: str
    balance: str
    answer_to_card: str
    status: str


TABLES: Final = (ZoneKeys, HostAuthorisation)
