"""``fourparty phone``: a merchant's phone that stays on, for an App to use."""

from __future__ import annotations

import contextlib
import signal
import threading
from pathlib import Path
from typing import Final

from rich.console import Console

from scenarios.demo_network.processes import NetworkError, RunningNetwork
from scenarios.phones.trusted_side import made_phone, trusted_side

WATCH_SECONDS: Final = 0.3


def stay_on(folder: Path, device: str | None, reader: str | None, camera: Path | None) -> int:
    """Keep a phone's trusted side running until SIGTERM or SIGINT; 0.

    Parameters
    ----------
    folder : Path
        The network's.
    device : str or None
        Id of a phone as its maker makes it; None: a phone that is a free terminal of the network already.
    reader, camera
        See `scenarios.phones.trusted_side.trusted_side`.

    Raises
    ------
    ConfigurationError
        The phone cannot be prepared.
    NetworkError
        Its process ended by itself, or the acquirer's certificate is not of the network's authority.
    """
    network = RunningNetwork(folder)
    network.check_certificate("acquirer")
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with contextlib.ExitStack() as stack:
        if device is None:
            side = stack.enter_context(trusted_side(network, reader, camera=camera))
            console.print(f"the phone is on, and is terminal {side.terminal_id}", markup=False)
        else:
            side = stack.enter_context(made_phone(network, device, reader, camera=camera))
            console.print(f"the phone {device} is on", markup=False)
        shown = {
            "channel": side.channel,
            "screen": side.page,
            "reader": reader or "none",
            "camera": camera or "none",
            "acquirer": network.description["acquirer"]["api"],
        }
        for name, value in shown.items():
            console.print(f"  {name:<9} {value}", markup=False)
        console.print("stop with Ctrl-C")
        while not stop.wait(WATCH_SECONDS):
            if side.process.poll() is not None:
                raise NetworkError(f"the phone's trusted side ended; see {side.channel.parent / 'tee.log'}")
    console.print("the phone is off")
    return 0
