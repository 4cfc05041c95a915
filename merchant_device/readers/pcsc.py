"""A reader of the operating system's smart-card service (PC/SC), through pyscard's functions of the PC/SC API.

pyscard is an optional part of the installation (``pip install fourparty[pcsc]``); nothing of it is imported before a
PC/SC reader is asked for.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Sequence
from types import ModuleType
from typing import Final, NamedTuple, TypeAlias

from merchant_device.readers.interface import CardGone, ReaderError

GET_RESPONSE_LIMIT: Final = 16
"""Rounds of GET RESPONSE for one command; one round brings 256 bytes."""

SLICE_SECONDS: Final = 0.25
"""How long one question to the service about a reader's state waits."""

# Status bytes (ISO/IEC 7816-4, 5.6): more data are there; the length expected was wrong, this is the right one.
_MORE_DATA: Final = 0x61
_WRONG_LENGTH: Final = 0x6C
_GET_RESPONSE: Final = b"\x00\xc0\x00\x00"

_Handle: TypeAlias = object


class ReaderState(NamedTuple):
    """A reader that the service knows, and whether a card is in its field."""

    name: str
    card: bool


def list_readers() -> list[ReaderState]:
    """The readers that the PC/SC service knows now.

    Raises
    ------
    ReaderError
        pyscard is not installed, or the service does not run.
    """
    scard = _scard()
    context = _establish(scard)
    try:
        return [ReaderState(name, _is_present(scard, context, name)) for name in _names(scard, context)]
    finally:
        scard.SCardReleaseContext(context)


class PcscReader:
    """A reader known to the PC/SC service.

    Parameters
    ----------
    name : str
        Its name as `list_readers` tells it, or a part that only one has.

    Raises
    ------
    ReaderError
        There is no such reader, several match, pyscard is not installed, or the service does not run.
    """

    def __init__(self, name: str) -> None:
        self._scard = _scard()
        self._context: _Handle | None = _establish(self._scard)
        self._card: _Handle | None = None
        self._protocol = 0
        try:
            self.name = _match(name, _names(self._scard, self._context))
        except ReaderError:
            self.close()
            raise

    @property
    def present(self) -> bool:
        """Whether a card is in the field."""
        return _is_present(self._scard, self._service(), self.name)

    def wait_for_card(self, seconds: float) -> bool:
        """See `Reader`: connect to the card for this program alone, after a reset."""
        self._let_go()
        return self._wait(seconds, present=True) and self._connect()

    def wait_until_gone(self, seconds: float) -> bool:
        """See `Reader`."""
        self._let_go()
        return self._wait(seconds, present=False)

    def transmit(self, apdu: bytes) -> bytes:
        """Carry one command to the card; see `Reader`.

        Data that the card keeps ready (61xx) are fetched, a wrong expected length (6Cxx) is put right once (EMV 4.4
        Book 1, 9.3.1; for cards that speak T=0).

        Raises
        ------
        CardGone
            The service brought no answer, whatever the reason.
        """
        if self._protocol == self._scard.SCARD_PROTOCOL_T0 and len(apdu) > 5 and len(apdu) == apdu[4] + 6:
            # in T=0 a command that brings data has no expected length: the card announces what it has
            apdu = apdu[:-1]
        response = self._exchange(apdu)
        if len(response) == 2 and response[0] == _WRONG_LENGTH:
            apdu = apdu[:4] + response[1:] if len(apdu) <= 5 else apdu + response[1:]
            response = self._exchange(apdu)
        data = b""
        for _ in range(GET_RESPONSE_LIMIT):
            if len(response) < 2 or response[-2] != _MORE_DATA:
                break
            data += response[:-2]
            following = self._exchange(_GET_RESPONSE + response[-1:])
            if len(following) == 2 and following[0] == _WRONG_LENGTH:
                following = self._exchange(_GET_RESPONSE + following[1:])
            response = following
        return data + response

    def release(self) -> None:
        """See `Reader`."""
        self._let_go()

    def close(self) -> None:
        """See `Reader`."""
        self._let_go()
        context, self._context = self._context, None
        if context is not None:
            self._scard.SCardReleaseContext(context)

    def _exchange(self, apdu: bytes) -> bytes:
        if self._card is None:
            raise CardGone("no card in the field")
        scard = self._scard
        pci = scard.SCARD_PCI_T0 if self._protocol == scard.SCARD_PROTOCOL_T0 else scard.SCARD_PCI_T1
        result, response = scard.SCardTransmit(self._card, pci, list(apdu))
        if result != scard.SCARD_S_SUCCESS:
            self._let_go(was_answering=False)
            raise CardGone(f"no answer from the card: {_said(scard, result)}")
        return bytes(byte & 0xFF for byte in response)

    def _connect(self) -> bool:
        scard = self._scard
        protocols = scard.SCARD_PROTOCOL_T0 | scard.SCARD_PROTOCOL_T1
        result, card, protocol = scard.SCardConnect(self._service(), self.name, scard.SCARD_SHARE_EXCLUSIVE, protocols)
        if result == scard.SCARD_S_SUCCESS:
            self._card, self._protocol = card, protocol
            return True
        if result == scard.SCARD_E_SHARING_VIOLATION:
            raise ReaderError(f"{self.name}: another program uses the card")
        # gone again, or a card that does not answer to reset: as if none had come
        return False

    def _wait(self, seconds: float, *, present: bool) -> bool:
        scard = self._scard
        deadline = time.monotonic() + seconds
        known = scard.SCARD_STATE_UNAWARE
        while True:
            remaining = max(0.0, deadline - time.monotonic())
            slice_ms = int(min(SLICE_SECONDS, remaining) * 1000)
            result, states = scard.SCardGetStatusChange(self._service(), slice_ms, [(self.name, known)])
            if result not in (scard.SCARD_S_SUCCESS, scard.SCARD_E_TIMEOUT):
                # the service was restarted, perhaps: the next call asks for another context
                self._forget()
                raise ReaderError(f"{self.name}: {_said(scard, result)}")
            known = states[0][1] & ~scard.SCARD_STATE_CHANGED
            if known & (scard.SCARD_STATE_UNKNOWN | scard.SCARD_STATE_UNAVAILABLE):
                raise ReaderError(f"{self.name} was taken away")
            if bool(known & scard.SCARD_STATE_PRESENT) is present and not known & scard.SCARD_STATE_MUTE:
                return True
            if remaining <= 0:
                return False

    def _service(self) -> _Handle:
        if self._context is None:
            self._context = _establish(self._scard)
        return self._context

    def _let_go(self, *, was_answering: bool = True) -> None:
        """End the session, with a reset where the card is still there.

        A card that is gone must not be reset: pcscd then takes the next one for absent too, if that comes soon.
        """
        scard = self._scard
        card, self._card = self._card, None
        if card is not None:
            is_there = was_answering and _is_present(scard, self._context, self.name)
            scard.SCardDisconnect(card, scard.SCARD_RESET_CARD if is_there else scard.SCARD_LEAVE_CARD)

    def _forget(self) -> None:
        self._card = None
        context, self._context = self._context, None
        if context is not None:
            self._scard.SCardReleaseContext(context)


def _scard() -> ModuleType:
    try:
        return importlib.import_module("smartcard.scard")
    except ImportError:
        raise ReaderError("PC/SC readers need pyscard: pip install 'fourparty[pcsc]'") from None


def _establish(scard: ModuleType) -> _Handle:
    result, context = scard.SCardEstablishContext(scard.SCARD_SCOPE_USER)
    if result != scard.SCARD_S_SUCCESS:
        raise ReaderError(f"the PC/SC service (pcscd) does not answer: {_said(scard, result)}")
    handle: _Handle = context
    return handle


def _names(scard: ModuleType, context: _Handle) -> list[str]:
    result, names = scard.SCardListReaders(context, [])
    if result == scard.SCARD_E_NO_READERS_AVAILABLE:
        return []
    if result != scard.SCARD_S_SUCCESS:
        raise ReaderError(f"the PC/SC service does not tell its readers: {_said(scard, result)}")
    return list(names)


def _match(wanted: str, names: Sequence[str]) -> str:
    if wanted in names:
        return wanted
    found = [name for name in names if wanted.casefold() in name.casefold()]
    if len(found) == 1:
        return found[0]
    there = ", ".join(found or names) or "none"
    raise ReaderError(f"{'several readers' if found else 'no reader'} named {wanted!r}; there are: {there}")


def _is_present(scard: ModuleType, context: _Handle | None, name: str) -> bool:
    result, states = scard.SCardGetStatusChange(context, 0, [(name, scard.SCARD_STATE_UNAWARE)])
    return result == scard.SCARD_S_SUCCESS and bool(states[0][1] & scard.SCARD_STATE_PRESENT)


def _said(scard: ModuleType, result: int) -> str:
    return str(scard.SCardGetErrorMessage(result)).strip().rstrip(".")
