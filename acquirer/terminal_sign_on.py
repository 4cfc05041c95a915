"""Terminals' sessions: sign-on with key download, sign-off, echo (docs/protocol.md)."""

from __future__ import annotations

from typing import Final

from acquirer.context import Context
from acquirer.numbering import Moment
from acquirer.tables import Terminal
from acquirer.terminal_link import TerminalRequest, management_code, response_mti
from network.iso8583 import TerminalHeader
from network.iso8583.message import Value
from network.keys import Algorithm, KeyUsage, KeyUsageError, MacAlgorithm
from network.party import Turn

SINGLE_LENGTH_KEYS: Final = "001"
DOUBLE_LENGTH_KEYS: Final = "003"
KEYS_WITH_TRACK_KEY: Final = "004"
"""DE60.3 of a sign-on: which key download (DE62) is wanted."""

SIGN_OFF: Final = "002"
ECHO: Final = "301"

_REPEATED: Final = (11, 41, 42, 60)


class SignOns:
    """A terminal's sessions: each sign-on gives it new working keys and ends the session before."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def request(self, turn: Turn, moment: Moment, request: TerminalRequest) -> None:
        """Decide an 0800 or 0820 of a terminal that may send."""
        message = request.message
        code = management_code(message.fields)
        if 11 not in message.fields or not code:
            self._answer(turn, moment, request, "30", None)
        elif message.mti == "0800" and code in (SINGLE_LENGTH_KEYS, DOUBLE_LENGTH_KEYS, KEYS_WITH_TRACK_KEY):
            self._sign_on(turn, moment, request, code)
        elif message.mti == "0820" and code == SIGN_OFF:
            self._sign_off(turn, request.terminal)
            self._answer(turn, moment, request, "00", None)
        elif message.mti == "0820" and code == ECHO:
            self._answer(turn, moment, request, "00", None)
        else:
            self._answer(turn, moment, request, "40", None)

    def _sign_on(self, turn: Turn, moment: Moment, request: TerminalRequest, layout: str) -> None:
        terminal = request.terminal
        try:
            download = self._new_keys(turn, terminal, layout)
        except KeyUsageError:
            # the layout does not fit this terminal: its master key is too short, or its MAC needs a longer key
            self._answer(turn, moment, request, "40", None)
            return
        self._answer(turn, moment, request, "00", download)

    def _new_keys(self, turn: Turn, terminal: Terminal, layout: str) -> bytes:
        """Give the terminal new working keys; they are in force at the commit, and the ones before are not."""
        module = self._context.module
        double = layout != SINGLE_LENGTH_KEYS
        retail = terminal.mac_algorithm == MacAlgorithm.X9_19
        pin_key = module.load(
            module.generate(KeyUsage.PIN_ENCRYPTION, Algorithm.TDES_DOUBLE if double else Algorithm.DES)
        )
        mac_key = module.load(
            module.generate(KeyUsage.MAC_ALGORITHM_3, Algorithm.TDES_DOUBLE)
            if retail
            else module.generate(KeyUsage.MAC_ALGORITHM_1, Algorithm.DES)
        )
        track_key = None
        if layout == KEYS_WITH_TRACK_KEY:
            track_key = module.load(module.generate(KeyUsage.DATA_ENCRYPTION, Algorithm.TDES_DOUBLE))
        download = module.make_de62(module.load(terminal.master_key), pin_key, mac_key, track_key)
        turn.store.change(terminal)
        terminal.pin_key = module.block(pin_key)
        terminal.mac_key = module.block(mac_key)
        terminal.track_key = None if track_key is None else module.block(track_key)
        terminal.session += 1
        terminal.signed_on_at = turn.now
        return download

    @staticmethod
    def _sign_off(turn: Turn, terminal: Terminal) -> None:
        turn.store.change(terminal)
        terminal.pin_key = terminal.mac_key = terminal.track_key = None
        terminal.signed_on_at = None

    def _answer(self, turn: Turn, moment: Moment, request: TerminalRequest, code: str, download: bytes | None) -> None:
        context = self._context
        message = request.message
        mti = response_mti(message.mti)
        if mti is None:
            return
        fields: dict[int, Value] = {n: message.fields[n] for n in _REPEATED if n in message.fields}
        fields[12] = moment.time
        fields[13] = moment.date
        fields[37] = context.new_retrieval_reference(turn.store, moment)
        fields[39] = code
        if download is not None:
            fields[62] = download
        header = message.header.raw if isinstance(message.header, TerminalHeader) else TerminalHeader().raw
        context.terminals.answer(turn, request.link, header, request.terminal, mti, fields, sealed=False)
