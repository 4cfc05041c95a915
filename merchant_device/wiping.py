"""How a phone wipes its keys, and what it still does about the money that is under way.

What the phone owes the acquirer it says before: in the turn that wipes the keys it packs, with the keys it still has,
the 0400s and 0220s that are owed and a farewell on the monitoring link, which lists the reversals once more so that the
acquirer makes them itself. All of that leaves after the commit that wipes. The farewell's row keeps its bytes, so that
it is repeated until the acquirer has noted it, also by a process that begins later; since nobody has the key any more,
the bytes of the acquirer's answer were made beforehand and are compared.

The sales stay in the journal as they are. A phone that is installed anew goes on with them.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Mapping, Sequence
from typing import Final

from merchant_device.context import Context
from merchant_device.device_tables import BOUND, LEAVING, WIPED, SecureElement
from merchant_device.installation import forget_keys
from merchant_device.line import PAYMENTS
from merchant_device.receipts import REFUSED, UNKNOWN, ManagementResult
from merchant_device.tables import MERCHANT_CODE, Phone, Sale
from merchant_device.tables import WIPED as PHONE_WIPED
from merchant_device.terminal import Phase, Terminal
from network.attestation.monitoring_link import monitoring_text, pack_monitoring
from network.party import SECOND, Json, Turn

FAREWELL_TIMER: Final = "farewell"

KILLED: Final[Mapping[str, Json]] = {"type": "killed"}
"""The farewell of a phone that was told to wipe its keys."""

OWED_LIMIT: Final = 100
"""Reversals and offline sales, of each, that are handed over; a phone sells nothing before what it owes is answered,
so that there are few. What is more stays in the journal."""

TRIES: Final = 360
"""How often a farewell is sent of its own accord, which is an hour; afterwards when the link comes up."""


def alarm(signals: Sequence[str]) -> Mapping[str, Json]:
    """The farewell of a phone that has seen tampering."""
    return {"type": "alarm", "signals": list(signals)}


class Wiping:
    """Wipes phones.

    Parameters
    ----------
    context : Context
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._module = context.keystore.module
        self._retry = round(context.configuration.farewell_retry * SECOND)

    def start(self, turn: Turn, limit: int) -> None:
        """A process begins: farewells that were not noted are sent again."""
        for element in turn.store.scan(SecureElement, "status", LEAVING, limit):
            turn.timer((FAREWELL_TIMER, element.terminal_id or ""), turn.now)

    def wipe(
        self,
        turn: Turn,
        element: SecureElement,
        terminal: Terminal | None,
        phone: Phone | None,
        said: Mapping[str, Json],
        reason: str,
    ) -> None:
        """Wipe the keys of a device, and of the terminal where it is one.

        Parameters
        ----------
        said : mapping
            `alarm` or `KILLED`: how the farewell begins.
        reason : str
            For the receipt of a payment that ends by it.
        """
        turn.store.change(element)
        if element.status != BOUND or terminal is None or phone is None or phone.device_id != element.device_id:
            if element.status != LEAVING:
                element.status = WIPED
        else:
            self._stop(turn, terminal, phone, reason)
            element.status = WIPED
            if phone.mak is not None and element.device_key is not None:
                owed = self._hand_over(turn, terminal, phone)
                self._write_farewell(turn, element, phone.terminal_id, phone.mak, element.device_key, said, owed)
            forget_keys(turn.store, self._module, phone)
            phone.status = PHONE_WIPED
            terminal.sign_on_at = terminal.torn = None
        if element.device_key is not None:
            self._module.forget(element.device_key)
            element.device_key = None

    def _stop(self, turn: Turn, terminal: Terminal, phone: Phone, reason: str) -> None:
        """End what is in progress. A sale that has left becomes one to be reversed."""
        context = self._context
        if _is_busy(terminal) and terminal.kind in PAYMENTS:
            context.payments.cancel(turn, terminal, phone, reason)
            if _is_busy(terminal):
                # a way of paying that would ask the acquirer first: from now on it cannot
                order = terminal.order
                way, number = (None, None) if order is None else (MERCHANT_CODE, order.number)
                context.endings.finish(turn, terminal, phone, UNKNOWN, None, reason, way=way, order=number)
        elif _is_busy(terminal):
            result = ManagementResult(REFUSED, None, reason, terminal.terminal_id, context.clock.receipt)
            turn.answer(terminal.ticket, result.as_json())
            terminal.end()
        terminal.close()

    def _hand_over(self, turn: Turn, terminal: Terminal, phone: Phone) -> list[dict[str, Json]]:
        """Send what is owed once more, without waiting for answers; gives the reversals."""
        context = self._context
        store = turn.store
        reversals, uploads = terminal.reversals[:OWED_LIMIT], terminal.uploads[:OWED_LIMIT]
        sales = store.load(Sale, "reference", (*reversals, *uploads))
        owed: list[dict[str, Json]] = []
        for reference in reversals:
            sale = sales[reference]
            if sale is not None:
                turn.send(terminal.acquirer_link, context.reversals.packed(turn, phone, sale))
                owed.append({"batch": sale.batch, "stan": sale.stan, "amount": sale.amount})
        for reference in uploads:
            sale = sales[reference]
            if sale is not None:
                turn.send(terminal.acquirer_link, context.uploads.packed(turn, phone, sale))
        return owed

    def _write_farewell(
        self,
        turn: Turn,
        element: SecureElement,
        terminal_id: str,
        mak: str,
        device_key: str,
        said: Mapping[str, Json],
        owed: list[dict[str, Json]],
    ) -> None:
        key = self._module.load(mak)
        number = turn.random.randbytes(8).hex()
        farewell = {"type": said["type"], "terminal": terminal_id, **said, "reversals": owed, "number": number}
        # a sign-on whose answer was lost has changed the acquirer's MAC key: it knows the device key all the same
        signature = self._module.sign_ec(self._module.load_ec(device_key), monitoring_text(farewell))
        farewell["signature"] = base64.b64encode(signature).decode("ascii")
        answer = {"type": "noted", "terminal": terminal_id, "number": number}
        element.farewell = pack_monitoring(self._module, key, farewell)
        element.noted = pack_monitoring(self._module, key, answer)
        element.status = LEAVING
        element.tries = 0
        self._send(turn, element)

    # afterwards

    def repeat(self, turn: Turn, element: SecureElement | None, *, asked: bool) -> None:
        """Send the farewell again: `asked` by the link or the acquirer, or of its own accord while that is worth it."""
        if element is None or element.farewell is None:
            return
        if asked or (element.status == LEAVING and element.tries < TRIES):
            turn.store.change(element)
            self._send(turn, element)

    def noted(self, turn: Turn, element: SecureElement, body: bytes) -> bool:
        """Whether a body is the acquirer's answer to the farewell, which ends it."""
        if element.noted is None or not hmac.compare_digest(element.noted, body):
            return False
        turn.store.change(element)
        element.status = WIPED
        element.noted = None
        turn.timer((FAREWELL_TIMER, element.terminal_id or ""), None)
        return True

    def _send(self, turn: Turn, element: SecureElement) -> None:
        if element.farewell is None or element.terminal_id is None:
            return
        element.tries += 1
        turn.send(f"monitor:{element.terminal_id}", element.farewell)
        if element.status == LEAVING:
            turn.timer((FAREWELL_TIMER, element.terminal_id), turn.now + self._retry)


def _is_busy(terminal: Terminal) -> bool:
    return terminal.phase is not Phase.IDLE
