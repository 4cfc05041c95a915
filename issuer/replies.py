"""The issuer's replies on the member link: 0210 and 0430, sealed with DE128."""

from __future__ import annotations

from typing import Final

from issuer.tables import APPROVED, DECLINED, Authorisation
from network.emv import tlv
from network.iso8583 import InterbankHeader, Message
from network.keys import KeyHandle, SecurityModule
from network.member import pack_with_mac

_ECHOED: Final = {
    "0210": (2, 3, 4, 7, 11, 12, 13, 14, 18, 23, 25, 32, 37, 41, 42, 49),
    "0430": (2, 3, 4, 7, 11, 15, 25, 32, 37, 41, 42, 49),
}
"""Elements that a reply repeats from its request."""

_AMOUNT_DIGITS: Final = 12


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
        self, fields: dict[int, str | bytes], mti: str, row: Authorisation, mac_key: KeyHandle
    ) -> bytes:
        """The answer to a request whose decision is on record, whether it was made now or earlier.

        A request that was reversed since, or before it came, is declined with 25.
        """
        if row.status not in (APPROVED, DECLINED):
            return self.of_code(fields, mti, "25", mac_key)
        reply = self._begin(fields, mti, row.response_code)
        reply[15] = row.settlement_date
        if row.auth_code is not None:
            reply[38] = row.auth_code
        if row.ledger_balance is not None and row.available_balance is not None:
            reply[54] = balances(row.account_type or "00", row.currency, row.ledger_balance, row.available_balance)
        if row.issuer_authentication is not None:
            reply[55] = tlv.encode("91", row.issuer_authentication)
        return self._seal(mti, reply, mac_key)

    def of_code(self, fields: dict[int, str | bytes], mti: str, code: str, mac_key: KeyHandle) -> bytes:
        """An answer that says no more than its response code."""
        return self._seal(mti, self._begin(fields, mti, code), mac_key)

    def _begin(self, fields: dict[int, str | bytes], mti: str, code: str) -> dict[int, str | bytes]:
        echoed = _ECHOED["0430" if mti == "0420" else "0210"]
        reply = {number: fields[number] for number in echoed if number in fields}
        reply[33] = reply[100] = self._issuer_id
        reply[39] = code
        return reply

    def _seal(self, mti: str, reply: dict[int, str | bytes], mac_key: KeyHandle) -> bytes:
        answer = Message(f"{mti[:2]}{int(mti[2]) + 1}0", reply, self._header)
        return pack_with_mac(answer, self._module, mac_key)


def balances(account_type: str, currency: str, ledger: int, available: int) -> str:
    """DE54: ledger balance (01) and available balance (02), 20 characters each.

    Parameters
    ----------
    account_type : str
        Two digits: 10 savings, 20 cheque, 30 credit.
    currency : str
        Three digits.
    ledger, available : int
        Fen; below zero the sign is D.
    """
    return _balance(account_type, "01", currency, ledger) + _balance(account_type, "02", currency, available)


def _balance(account_type: str, amount_type: str, currency: str, fen: int) -> str:
    return f"{account_type}{amount_type}{currency}{'D' if fen < 0 else 'C'}{abs(fen):0{_AMOUNT_DIGITS}d}"
