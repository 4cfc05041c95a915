"""What leaves for the acquirer, and the row that records it before it does."""

from __future__ import annotations

from merchant_device.configuration import Configuration
from merchant_device.endings import CVM_NAMES, way_of
from merchant_device.kernel import ApprovedOffline, OnlineRequest
from merchant_device.keystore import Keystore
from merchant_device.sale import (
    CODE_WITH_PIN,
    CODE_WITHOUT_PIN,
    ENTRY_WITH_PIN,
    ENTRY_WITHOUT_PIN,
    code_request_message,
    device_element,
    device_objects,
    request_message,
)
from merchant_device.tables import OFFLINE, PAYER_CODE, PENDING, Phone, Sale, sale_reference
from merchant_device.terminal import CodeRequest, Kind, Terminal
from network.iso8583 import Message, TerminalHeader, mask_pan
from network.party import Turn
from network.tracing import ADDITIONAL, with_context


class Requests:
    """Makes the 0200s and the rows of sales.

    Parameters
    ----------
    configuration : Configuration
    keystore : Keystore
        Seals cards.
    header : TerminalHeader
        Of every message.
    """

    def __init__(self, configuration: Configuration, keystore: Keystore, header: TerminalHeader) -> None:
        self._configuration = configuration
        self._keystore = keystore
        self._header = header

    def by_card(
        self, turn: Turn, terminal: Terminal, phone: Phone, card: OnlineRequest, pin_block: bytes | None
    ) -> tuple[Message, Sale | None]:
        """The 0200 of a sale by card and its row, or of a balance enquiry, which has none."""
        settings = self._configuration
        is_sale = terminal.kind is Kind.SALE
        device = phone.device_id
        message = request_message(
            self._header,
            phone.terminal_id,
            phone.merchant_id,
            terminal.stan,
            terminal.batch,
            terminal.amount if is_sale else None,
            card,
            pin_block,
            settings.currency,
            settings.pin_maximum,
            None if device is None else device_element(device, phone.place, settings.app_version),
        )
        _put_trace(message, terminal)
        if not is_sale:
            return message, None
        mode = ENTRY_WITHOUT_PIN if pin_block is None else ENTRY_WITH_PIN
        return message, self._row(turn, terminal, phone, card, mode, PENDING)

    def by_code(
        self, turn: Turn, terminal: Terminal, phone: Phone, code: CodeRequest, pin_block: bytes | None
    ) -> tuple[Message, Sale]:
        """The 0200 of a sale by the payer's code, and its row."""
        settings = self._configuration
        message = code_request_message(
            self._header,
            phone.terminal_id,
            phone.merchant_id,
            terminal.stan,
            terminal.batch,
            terminal.amount,
            code,
            pin_block,
            settings.currency,
            settings.pin_maximum,
            device_objects(phone, settings.app_version),
        )
        _put_trace(message, terminal)
        row = Sale(
            reference=sale_reference(turn.now, phone.terminal_id, terminal.batch, terminal.stan),
            terminal_id=phone.terminal_id,
            merchant_id=phone.merchant_id,
            batch=terminal.batch,
            stan=terminal.stan,
            amount=terminal.amount,
            pan_masked=None,
            card=None,
            entry_mode=CODE_WITHOUT_PIN if pin_block is None else CODE_WITH_PIN,
            card_sequence=None,
            chip=None,
            cvm=None,
            started_at=turn.now,
            status=PENDING,
            way=PAYER_CODE,
        )
        return message, row

    def offline(self, turn: Turn, terminal: Terminal, phone: Phone, card: ApprovedOffline) -> Sale:
        """The row of a sale that the card approved."""
        sale = self._row(turn, terminal, phone, card, ENTRY_WITHOUT_PIN, OFFLINE)
        sale.is_offline = 1
        if phone.device_id is not None:
            sale.additional = device_element(phone.device_id, phone.place, self._configuration.app_version)
        return sale

    def _row(
        self,
        turn: Turn,
        terminal: Terminal,
        phone: Phone,
        card: OnlineRequest | ApprovedOffline,
        entry_mode: str,
        status: str,
    ) -> Sale:
        reference = sale_reference(turn.now, phone.terminal_id, terminal.batch, terminal.stan)
        return Sale(
            reference=reference,
            terminal_id=phone.terminal_id,
            merchant_id=phone.merchant_id,
            batch=terminal.batch,
            stan=terminal.stan,
            amount=terminal.amount,
            pan_masked=mask_pan(card.pan),
            card=self._keystore.seal_card(turn.store, reference, card.pan, card.expiry),
            entry_mode=entry_mode,
            card_sequence=card.sequence,
            chip=card.field55,
            cvm=CVM_NAMES[card.cvm],
            started_at=turn.now,
            status=status,
            way=way_of(terminal, card),
        )


def _put_trace(message: Message, terminal: Terminal) -> None:
    """Let the request say which trace it belongs to, where the payment is followed."""
    if terminal.trace is None:
        return
    additional = with_context(message.fields.get(ADDITIONAL), terminal.trace)
    if additional is not None:
        message.fields[ADDITIONAL] = additional
