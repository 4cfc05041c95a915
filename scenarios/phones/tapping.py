"""``fourparty tap`` and ``fourparty reader list``: a card, real or virtual, held to a real reader."""

from __future__ import annotations

import contextlib
import math
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from merchant_device.readers import ReaderError, list_readers
from merchant_device.sdk import Phone, PhoneError
from network.ledger import Money
from network.live import real_now
from network.service import CAPTURE_HOLDS, PCAP_VARIABLE, ConfigurationError
from scenarios.demo_network.processes import NetworkError, RunningNetwork
from scenarios.phones.attested_phone import WIPED, attested_phone
from scenarios.phones.cardholder import Cardholder
from scenarios.phones.counter import SETTLE_SECONDS, messages_of, show_payment
from scenarios.phones.trusted_side import TrustedSide, trusted_side

OWED_SECONDS: Final = 3.0
"""How long a phone may stay on after a payment for what it owes the acquirer."""

QUIET_SECONDS: Final = 2.0
"""How long it waits without saying so."""

WATCH_SECONDS: Final = 0.25

LINK_SECONDS: Final = 15.0
"""How long a phone's first sign-on may take."""


def show_readers(*, as_json: bool) -> int:
    """``fourparty reader list``: 0, or 1 where the system has no reader."""
    from scenarios.cli import print_json

    try:
        readers = list_readers()
    except ReaderError as error:
        raise ConfigurationError(str(error)) from error
    if as_json:
        print_json([reader._asdict() for reader in readers])
    elif readers:
        table = Table("reader", "card", box=None)
        for reader in readers:
            table.add_row(reader.name, "present" if reader.card else "-")
        Console(highlight=False).print(table)
    else:
        Console(highlight=False).print("no reader is connected")
    return 0 if readers else 1


def tap_once(
    folder: Path,
    reader: str,
    amount: Money,
    pin: str | None,
    *,
    terminal: str | None,
    log: Path | None,
    clear_log: bool,
    pcap: Path | None = None,
    as_json: bool,
) -> int:
    """``fourparty tap``: take one payment with a phone; 0 when it is approved, 1 when not.

    Parameters
    ----------
    terminal : str or None
        A free conventional terminal of the network that takes it; None: the network's attested phone.
    """
    from scenarios.cli import print_json

    network = RunningNetwork(folder)
    network.check_certificate("acquirer")
    console = Console(stderr=True, highlight=False, soft_wrap=True)

    def told(line: str) -> None:
        console.print(line, markup=False)

    if pcap is not None:
        os.environ[PCAP_VARIABLE] = str(pcap.resolve())  # a setting of the phone's trusted side
        told(f"capturing to {pcap}, which holds {CAPTURE_HOLDS}")
    if terminal is None:
        starting = attested_phone(network, reader, told=told, apdu_log=log, clear_log=clear_log)
    else:
        starting = trusted_side(network, reader, terminal=terminal, apdu_log=log, clear_log=clear_log)
    told("starting the phone ...")
    with starting as phone:
        since = real_now()
        told(f"phone {phone.terminal_id}: {amount} yuan, card to the reader {reader}")
        holder = Cardholder(phone.page, pin, lambda view: _tell(console, view, phone, asked=pin is None))
        try:
            receipt = _collect(phone, amount, told)
        except PhoneError as error:
            raise NetworkError(f"{error} ({error.code}: {error.description.advice})") from error
        finally:
            holder.close()
        _settle(phone, told)
        try:
            hops = messages_of(network, since, phone.terminal_id)
        except NetworkError as error:
            # the payment has ended, and how it did is told whatever has become of the network
            told(f"no messages to show: {error}")
            hops = []
    if as_json:
        print_json({"receipt": receipt, "messages": hops})
    else:
        show_payment(hops, receipt, amount)
    return 0 if receipt["outcome"] == "approved" else 1


def _collect(side: TrustedSide, amount: Money, told: Callable[[str], None]) -> dict[str, Any]:
    with Phone.start(side.channel, side.terminal_id) as phone:
        began, has_told = time.monotonic(), False
        # the phone signs on when its link comes up; a payment before that would be refused
        while not any(state.link for state in phone.status()) and time.monotonic() < began + LINK_SECONDS:
            time.sleep(0.05)
            if not has_told and time.monotonic() > began + QUIET_SECONDS:
                told("waiting for the acquirer ...")
                has_told = True
        ended = threading.Event()
        watch = threading.Thread(target=_watch, args=(side, told, ended), daemon=True)
        watch.start()
        try:
            return phone.collect(amount.fen).model_dump()
        finally:
            ended.set()
            watch.join()


def _watch(side: TrustedSide, told: Callable[[str], None], ended: threading.Event) -> None:
    """Tell what the phone is doing whenever it does it for longer than a moment."""
    known, since = "", time.monotonic()
    with contextlib.suppress(PhoneError), Phone.start(side.channel, side.terminal_id) as phone:
        while not ended.wait(WATCH_SECONDS):
            doing = next((one.doing for one in phone.status() if one.terminal == side.terminal_id), "")
            if doing != known:
                known, since = doing, time.monotonic()
            elif known and time.monotonic() > since + QUIET_SECONDS:
                told(f"  {known} ...")
                since = math.inf


def _settle(side: TrustedSide, told: Callable[[str], None]) -> None:
    """Let the phone tell the acquirer what it still has to, as far as that is quick."""
    deadline = time.monotonic() + OWED_SECONDS
    with Phone.start(side.channel, side.terminal_id) as phone:
        time.sleep(SETTLE_SECONDS)
        while True:
            (state,) = (one for one in phone.status() if one.terminal == side.terminal_id)
            if state.status == WIPED:
                told("the phone's keys are wiped; it can be bound again: fourparty device --rebind")
                return
            if not state.reversals and not state.uploads:
                return
            if time.monotonic() > deadline:
                told(f"{state.reversals} reversals and {state.uploads} offline payments wait until it is on again")
                return
            time.sleep(0.05)


def _tell(console: Console, view: dict[str, Any], phone: TrustedSide, *, asked: bool) -> None:
    """Tell what the phone's screen shows."""
    if view["kind"] == "message":
        console.print(f"  screen: {view['text']}", markup=False)
    elif view["kind"] == "pin":
        console.print("  screen: enter your PIN" + (f" at {phone.page}" if asked else ""), markup=False)
