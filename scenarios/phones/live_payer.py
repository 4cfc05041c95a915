"""``fourparty payer``: a payer's phone on a running network, which taps, shows a code, or reads the merchant's.

The phone has a token for a card of the network's wallet. What it knows stays in ``payers/CARD.json`` of the network's
folder, as in a real phone's memory.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import threading
from pathlib import Path
from random import SystemRandom
from typing import Final

import httpx
from rich.console import Console

from issuer.payer_phone import PayerPhone, PayerPhoneError
from issuer.wallet import OPERATIONS
from network.iso8583 import RESPONSE_CODES
from network.keys import SecurityModule
from network.live import real_now
from network.party import Json
from network.service import ConfigurationError
from scenarios.demo_network.processes import NetworkError, RunningNetwork
from scenarios.phones.card_server import End, Pull, connections_at, hold
from scenarios.phones.wallet import read_wallet
from scenarios.stories.payers import SEE_PHONE
from scenarios.stories.pictures import draw, read

FEW_PAYMENTS: Final = 3
"""Payments left at which the phone fetches more keys."""

SCREEN_SECONDS: Final = 5.0


class LivePayer:
    """A payer's phone with a token for a card of the wallet; made and enrolled when it is used for the first time.

    As a chip before a reader it lets its holder confirm when the reader asks for that.

    Parameters
    ----------
    network : RunningNetwork
    number : int
        Place of the card in the wallet.

    Raises
    ------
    ConfigurationError
        There is no such card, or the file with the phone's memory is damaged.
    NetworkError
        The issuer does not answer, or gives no token.
    """

    def __init__(self, network: RunningNetwork, number: int) -> None:
        held = read_wallet(network.folder / "wallet.json")
        if not 0 <= number < len(held):
            raise ConfigurationError(f"--card: the wallet has {len(held)} cards, 0 to {len(held) - 1}")
        self.name = held[number].name
        self._issuer = held[number].issuer
        self._network = network
        self._file = network.folder / "payers" / f"{self.name}.json"
        self._storage_key, self.phone = self._remembered() or self._new()
        if not self.phone.token:
            self._enrol(held[number].pan)
        if self.phone.payments_left < FEW_PAYMENTS:
            self.phone.replenished(self._ask("replenish", self.phone.signed("replenish")))
        self._keep()

    # before a reader

    def transmit(self, apdu: bytes) -> bytes:
        """Answer a command; what has changed is kept before the answer leaves."""
        before = self.phone.atc
        response = self.phone.transmit(apdu)
        if response == SEE_PHONE:
            self.phone.confirm()
        if self.phone.atc != before:
            self._keep()
        return response

    def reset(self) -> None:
        """Be out of the field."""
        self.phone.reset()

    # codes

    def code(self, *, with_cryptogram: bool) -> str:
        """A code to show: made by the phone with a cryptogram, or digits fetched from the issuer."""
        self.phone.confirm()
        if with_cryptogram:
            text = self.phone.show_code()
            self._keep()
            return text
        return str(self._ask("request_code", self._signed("request_code"))["code"])

    def pay(self, text: str, amount: int | None = None) -> str:
        """Pay what a merchant's code says; gives the switch's answer code."""
        self.phone.confirm()
        arguments: dict[str, Json] = {"text": text} if amount is None else {"text": text, "amount": amount}
        return str(self._ask("pay_order", self._signed("pay_order", **arguments))["response_code"])

    # what it remembers

    def _signed(self, command: str, **arguments: Json) -> dict[str, Json]:
        signed = self.phone.signed(command, **arguments)
        self._keep()
        return signed

    def _ask(self, operation: str, content: dict[str, Json]) -> dict[str, Json]:
        method, path = OPERATIONS[operation]
        answer: dict[str, Json] = self._network.request(self._issuer, method, path, content)
        return answer

    def _enrol(self, pan: str) -> None:
        wanted: dict[str, Json] = {
            "pan": pan,
            "domains": ["contactless", "code"],
            "wallet_public_key": self.phone.public_key,
        }
        self.phone.install(self._ask("provision_token", wanted))

    def _new(self) -> tuple[bytes, PayerPhone]:
        key = secrets.token_bytes(32)
        return key, PayerPhone(SecurityModule(key, SystemRandom()), real_now)

    def _remembered(self) -> tuple[bytes, PayerPhone] | None:
        try:
            content = json.loads(self._file.read_text())
            key = bytes.fromhex(content["storage_key"])
            return key, PayerPhone.restored(SecurityModule(key, SystemRandom()), real_now, content["phone"])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError, PayerPhoneError) as error:
            raise ConfigurationError(f"{self._file} does not hold a payer's phone") from error

    def _keep(self) -> None:
        self._file.parent.mkdir(mode=0o700, exist_ok=True)
        draft = self._file.with_name(self._file.name + ".new")
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as written:
            json.dump({"storage_key": self._storage_key.hex(), "phone": self.phone.saved()}, written)
        draft.replace(self._file)


def put_before_camera(camera: Path, picture: bytes) -> None:
    """Put a picture before a phone's camera: it appears whole."""
    draft = camera.with_name(f".{camera.name}.new")
    try:
        draft.write_bytes(picture)
        draft.replace(camera)
    except OSError as error:
        raise ConfigurationError(f"cannot write {camera}: {error.strerror}") from error


def code_on_screen(page: str) -> str:
    """Read the code that a phone's screen shows.

    Raises
    ------
    NetworkError
        The screen does not answer, or shows no code.
    """
    try:
        answer = httpx.get(f"{page.rstrip('/')}/code.png", timeout=SCREEN_SECONDS, trust_env=False)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise NetworkError(f"the screen does not answer ({type(error).__name__})") from error
    seen = read(answer.content) if answer.status_code == 200 else []
    if len(seen) != 1:
        raise NetworkError("the screen shows no code")
    return seen[0]


# the commands


def tap_phone(folder: Path, number: int, *, host: str, port: int) -> int:
    """``fourparty payer tap``: hold the phone to remote readers until stopped; 0."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    payer = LivePayer(RunningNetwork(folder), number)
    stop = threading.Event()
    for wanted in (signal.SIGTERM, signal.SIGINT):
        signal.signal(wanted, lambda *_: stop.set())

    def ended(end: End) -> None:
        console.print(f"  {end.value}")

    def told(_: int, command: bytes, response: bytes) -> None:
        if response == SEE_PHONE:
            console.print(f"  the holder of {payer.name} confirms on the phone")

    console.print(f"the phone of {payer.name} waits for readers at remote:{host}:{port}", markup=False)
    hold(payer, connections_at(host, port, stop), Pull(), stop, told, ended)
    return 0


def show_code(folder: Path, number: int, camera: Path, *, digits: bool) -> int:
    """``fourparty payer show``: show a code to a merchant's camera; 0."""
    payer = LivePayer(RunningNetwork(folder), number)
    put_before_camera(camera, draw(payer.code(with_cryptogram=not digits)))
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(f"the phone of {payer.name} shows a code to {camera}; it is good for a minute", markup=False)
    return 0


def pay_screen(folder: Path, number: int, page: str, amount: int | None) -> int:
    """``fourparty payer scan``: pay the code on a merchant's screen; 0 when it is paid, 1 when not."""
    payer = LivePayer(RunningNetwork(folder), number)
    code = payer.pay(code_on_screen(page), amount)
    Console(highlight=False).print(f"{code}: {RESPONSE_CODES.get(code, 'unknown')}", markup=False)
    return 0 if code == "00" else 1
