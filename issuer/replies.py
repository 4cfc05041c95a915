"""The issuer's replies on the member link: 0210 and 0430, sealed with DE128."""

from __future__ import annotations

from typing import Final

from issuer.tables import APPROVED, DECLINED, Authorisation
from network.emv import tlv
from network.iso8583 import InterbankHeader, Message
from network.keys import KeyHandle, SecurityModule
from network.member import pack_with_mac
from network.party import Turn

_ECHOED: Final = (2, 3, 4, 7, 11, 12, 13, 14, 18, 23, 25, 32, 37, 41, 42, 49)
_ECHOED_OF_REVERSAL: Final = (2, 3, 4, 7, 11, 15, 25, 32, 37, 41, 42, 49)

REPLIES: Final = {
    "0100": ("0110", _ECHOED),
    "0200": ("0210", _ECHOED),
    "0220": ("0230", _ECHOED),
    "0420": ("0430", _ECHOED_OF_REVERSAL),
}
"""What the issuer answers: by the request's message type, that of the reply and the elements it repeats.

Also requests that it does not offer are here: they are answered 40.
"""


class Replies:
    """Makes the replies of one issuer.

    Parameters
    ----------
    issuer_id : str
        Its id: DE33 as the sender, DE100 as the institution that received the request.
    header : InterbankHeader
        From the issuer to the switch.
    module : SecurityModule
    """

    def __init__(self, issuer_id: str, header: InterbankHeader, module: SecurityModule) -> None:
        self._issuer_id = issuer_id
        self._header = header
        self._module = module

    def of_authorisation(
        self, turn: Turn, fields: dict[int, str | bytes], mti: str, row: Authorisation, mac_key: KeyHandle
    ) -> bytes:
        """The answer to a request whose decision is on record, whether it was made now or earlier.

        A request that was reversed since, or before it came, is declined with 25.
        """
        if row.status not in (APPROVED, DECLINED):
            return self.of_code(turn, fields, mti, "25", mac_key)
        reply_mti, reply = self._begin(turn, fields, mti, row.response_code)
        reply[15] = row.settlement_date
        if row.auth_code is not None:
            reply[38] = row.auth_code
        if row.ledger_balance is not None and row.available_balance is not None:
            reply[54] = balances(row.account_type or "00", row.currency, row.ledger_balance, row.available_balance)
        if row.issuer_authentication is not None:
            reply[55] = tlv.encode("91", row.issuer_authentication)
        return pack_with_mac(Message(reply_mti, reply, self._header), self._module, mac_key)

    def of_code(self, turn: Turn, fields: dict[int, str | bytes], mti: str, code: str, mac_key: KeyHandle) -> bytes:
        """An answer that says no more than its response code."""
        reply_mti, reply = self._begin(turn, fields, mti, code)
        return pack_with_mac(Message(reply_mti, reply, self._header), self._module, mac_key)

    def _begin(
        self, turn: Turn, fields: dict[int, str | bytes], mti: str, code: str
    ) -> tuple[str, dict[int, str | bytes]]:
        reply_mti, echoed = REPLIES[mti]
        turn.count_answer(reply_mti, code)
        reply = {number: fields[number] for number in echoed if number in fields}
        reply[33] = reply[100] = self._issuer_id
        reply[39] = code
        return reply_mti, reply


MAX_DE54: Final = 999_999_999_999
"""The largest amount that an entry of DE54 holds, in fen."""


def balances(account_type: str, currency: str, ledger: int, available: int) -> str:
    """DE54: ledger balance (01) and available balance (02), 20 characters each.

    Parameters
    ----------
    account_type : str
        Two digits: 10 savings, 20 cheque, 30 credit.
    currency : str
        Three digits.
    ledger, available : int
        Fen; below zero the sign is D. More than twelve digits hold is told as twelve nines.
    """
    if max(abs(ledger), abs(available)) > MAX_DE54:
        ledger, available = (max(-MAX_DE54, min(MAX_DE54, amount)) for amount in (ledger, available))
    return (
        f"{account_type}01{currency}{'D' if ledger < 0 else 'C'}{abs(ledger):012d}"
        f"{account_type}02{currency}{'D' if available < 0 else 'C'}{abs(available):012d}"
    )
