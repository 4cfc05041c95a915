"""The phone as an App sees it: take payments, look at what was paid, become a merchant's terminal."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, TypeVar

from pydantic import ValidationError

from merchant_device.sdk.acquirer_client import AcquirerClient
from merchant_device.sdk.channel_client import ChannelClient
from merchant_device.sdk.errors import PhoneError
from merchant_device.sdk.onboarding import Application, JsonObject, Onboarded, Progress, TrustedCall, drive, onboarding
from merchant_device.sdk.results import (
    Cancelled,
    History,
    Managed,
    PastSale,
    Receipt,
    Result,
    State,
    TerminalState,
    Wiped,
)

Way = Literal["tap", "merchant_code", "payer_code"]

Signal = Literal["debugger", "root", "integrity", "clock"]
"""What an App may see of tampering: a debugger, a rooted system, a changed App, a clock that was put back."""

PAYMENT_SECONDS: Final = 310.0
"""Longer than the trusted side's own limit, whose answer says more than that none came."""

MANAGEMENT_SECONDS: Final = 70.0

R = TypeVar("R", bound=Result)


class Phone:
    """A phone whose trusted side runs; made by `Phone.start`.

    Every method blocks until it is done. `cancel` and the others may be called from another thread meanwhile.

    Examples
    --------
    ::

        with Phone.start(Path("/run/phone/channel")) as phone:
            receipt = phone.collect(888)
            print("thank you" if receipt.is_approved else receipt.reason)
    """

    def __init__(self, channel: ChannelClient, terminal: str | None) -> None:
        self._channel = channel
        self._terminal = terminal

    @classmethod
    def start(cls, channel: Path, terminal: str | None = None) -> Phone:
        """Connect to the trusted side.

        Parameters
        ----------
        channel : Path
            Socket of the trusted side's command channel.
        terminal : str or None
            Which terminal of this phone to use; not needed where it has one.

        Raises
        ------
        PhoneError
            ``not_running``.
        """
        return cls(ChannelClient(channel), terminal)

    def collect(self, amount: int, ways: Sequence[Way] = ("tap",)) -> Receipt:
        """Take a payment.

        Parameters
        ----------
        amount : int
            Fen.
        ways : sequence of str
            How the customer may pay: ``tap`` a card or phone, scan this phone's ``merchant_code``, or show a
            ``payer_code`` to its camera.

        Returns
        -------
        Receipt
            Approved or not.

        Raises
        ------
        PhoneError
            See `merchant_device.sdk.errors.ERRORS`.
        """
        arguments = {"terminal": self.terminal, "amount": amount, "ways": list(ways)}
        return self._ask(Receipt, "sale", arguments, PAYMENT_SECONDS)

    def balance(self) -> Receipt:
        """Ask for the balance of a card; its PIN is needed."""
        return self._ask(Receipt, "balance", {"terminal": self.terminal}, PAYMENT_SECONDS)

    def onboard(
        self,
        application: Application,
        acquirer: str,
        device: str,
        *,
        terminal: str | None = None,
        place: str | None = None,
        review_seconds: float = 60.0,
        review_pause: float = 2.0,
        told: Callable[[Progress], None] = lambda _: None,
        tls: ssl.SSLContext | None = None,
    ) -> Onboarded:
        """Make this phone a terminal of a merchant; see `merchant_device.sdk.onboarding.onboarding`.

        Parameters
        ----------
        acquirer : str
            Address of the acquirer's service, such as ``https://acquirer.example``.
        tls : ssl.SSLContext or None
            Whom to trust, of an acquirer whose certificate is of an authority of its own.

        Raises
        ------
        PhoneError
            ``application_refused``, ``review_pending``, ``acquirer_unreachable``, ``acquirer_refused``, or what the
            trusted side refuses.
        """
        steps = onboarding(
            application,
            device,
            terminal=terminal,
            place=place,
            review_seconds=review_seconds,
            review_pause=review_pause,
            told=told,
        )
        with AcquirerClient(acquirer, tls) as client:
            result = drive(steps, client.ask, self._carry, time.sleep)
        self._terminal = result.terminal
        return result

    def cancel(self) -> Cancelled:
        """Stop what is in progress; a payment that has left the phone is reversed."""
        return self._ask(Cancelled, "cancel", {"terminal": self.terminal})

    def history(self, limit: int = 20) -> list[PastSale]:
        """The latest payments, the last one first; `limit` is 1 to 100."""
        return self._ask(History, "history", {"terminal": self.terminal, "limit": limit}).sales

    def show_static_code(self, show: bool = True) -> Managed:
        """Show the code to which customers pay any amount, or take it off the screen.

        What is paid to it appears in `history`.
        """
        return self._ask(Managed, "static_code", {"terminal": self.terminal, "show": show})

    def status(self) -> list[TerminalState]:
        """What the terminals of this phone are doing; empty before it is one."""
        return self._ask(State, "status", {}).terminals

    def sign_on(self) -> Managed:
        """Get new session keys from the acquirer."""
        return self._ask(Managed, "sign_on", {"terminal": self.terminal})

    def sign_off(self) -> Managed:
        """Sign off at the acquirer; the next payment signs on again."""
        return self._ask(Managed, "sign_off", {"terminal": self.terminal})

    def echo(self) -> Managed:
        """Ask whether the acquirer is there."""
        return self._ask(Managed, "echo", {"terminal": self.terminal})

    def download(self) -> Managed:
        """Fetch the acquirer's CA keys and parameters."""
        return self._ask(Managed, "download", {"terminal": self.terminal}, PAYMENT_SECONDS)

    def report(self, device: str, signals: Sequence[Signal]) -> bool:
        """Tell the trusted side what the App has seen of tampering; whether the phone's keys are wiped now.

        Payments that are under way are taken back. The phone takes none before it is on-boarded again as the terminal
        that it was.
        """
        return self._ask(Wiped, "signal", {"device": device, "signals": list(signals)}).wiped

    @property
    def terminal(self) -> str:
        """The terminal in use, DE41.

        Raises
        ------
        PhoneError
            ``no_terminal``: it was not named and this phone has none or several.
        """
        if self._terminal is None:
            found = self.status()
            if len(found) != 1:
                raise PhoneError("no_terminal")
            self._terminal = found[0].terminal
        return self._terminal

    def close(self) -> None:
        """Disconnect; a payment under way goes on."""
        self._channel.close()

    def __enter__(self) -> Phone:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _carry(self, call: TrustedCall) -> JsonObject:
        seconds = PAYMENT_SECONDS if call.command == "download" else MANAGEMENT_SECONDS
        return self._channel.ask(call.command, call.arguments, seconds)

    def _ask(
        self, result: type[R], command: str, arguments: Mapping[str, object], seconds: float = MANAGEMENT_SECONDS
    ) -> R:
        answer = self._channel.ask(command, arguments, seconds)
        try:
            return result.model_validate(answer)
        except ValidationError:
            raise PhoneError("failed", f"{command}: the trusted side's answer is not understood") from None
