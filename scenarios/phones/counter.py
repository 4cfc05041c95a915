"""The shop's counter: a demo card held to a phone of the network's device service, one payment at a time.

``fourparty pay`` asks the device service of a running network for a payment and then shows every message that it
made, hop by hop. The service hosts the virtual cards that are held to its phones; as no party may know another, that
is told to it here, on top of the parties.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Final

import fastapi
from pydantic import BaseModel, ConfigDict, Field
from rich.console import Console

from merchant_device.__main__ import DeviceSettings, serve_phones
from network.iso8583 import RESPONSE_CODES
from network.ledger import Money
from network.live import LiveRuntime, real_now
from network.party import CommandError, Json
from network.rest import Routes, Service
from network.service import ConfigurationError, load_settings
from scenarios import console as screen
from scenarios.demo_network import demo_cards
from scenarios.demo_network.processes import RunningNetwork
from scenarios.phones.wallet import read_wallet
from scenarios.stage import pin_pad_answer

CARD: Final = 0
"""Which card of the wallet ``fourparty pay`` holds to the phone."""

SETTLE_SECONDS: Final = 0.3
"""How long after the payment its last messages may take to show."""


class Payment(BaseModel):
    """A payment asked of the counter.

    `amount` in fen; `pin` is what is typed, the right one when it is missing; `card` is the card's place in the wallet
    and `atc` how often its chip has been used; without `terminal` the first phone takes it.
    """

    model_config = ConfigDict(extra="forbid")

    amount: Annotated[int, Field(gt=0, lt=10**12)]
    pin: Annotated[str | None, Field(pattern=r"^\d{4,12}$", repr=False)] = None
    terminal: str | None = None
    card: Annotated[int, Field(ge=0)] = CARD
    atc: Annotated[int, Field(ge=0, le=65_535)] = 0


def routes_for(wallet: Path) -> Routes:
    """The counter's routes for the cards in the file `wallet`."""

    @cache
    def cards() -> tuple[list[demo_cards.DemoCard], demo_cards.Chips]:
        held = read_wallet(wallet)
        return held, demo_cards.chips_for(held)

    def routes(service: Service) -> fastapi.APIRouter:
        router = fastapi.APIRouter(dependencies=[fastapi.Depends(service.operator)])
        busy: dict[str, asyncio.Lock] = {}

        @router.post("/payments")
        async def payment(wanted: Payment) -> Json:
            """Hold a demo card to a phone and take a payment; answers with the receipt."""
            held, chips = cards()
            terminal = _phone(service, wanted.terminal)
            if wanted.card >= len(held):
                raise CommandError(f"the wallet has {len(held)} cards")
            card = demo_cards.hold(demo_cards.at_counter(held[wanted.card], wanted.atc), chips)
            async with busy.setdefault(terminal, asyncio.Lock()):
                return await _take(service, terminal, card, wanted)

        return router

    return routes


def _phone(service: Service, wanted: str | None) -> str:
    linked = [link.partition(":")[2] for link in service.runtime.links if link.startswith("acquirer:")]
    if wanted is not None and wanted not in linked:
        raise CommandError("that phone has no link to the acquirer")
    if not linked:
        raise CommandError("no phone has a link to the acquirer")
    return wanted or linked[0]


async def _take(service: Service, terminal: str, card: Any, wanted: Payment) -> Json:
    pin = wanted.pin or card.pin
    runtime: LiveRuntime = service.runtime

    def reader(apdu: bytes, reply: Callable[[bytes], None]) -> None:
        reply(card.chip.transmit(apdu))

    def pin_pad(request: bytes, reply: Callable[[bytes], None]) -> None:
        answer = pin_pad_answer(request, pin)
        if answer is not None:
            reply(answer)

    runtime.attach(f"reader:{terminal}", reader)
    runtime.attach(f"pinpad:{terminal}", pin_pad)
    try:
        return await service.command("sale", {"terminal": terminal, "amount": wanted.amount})
    finally:
        runtime.detach(f"reader:{terminal}")
        runtime.detach(f"pinpad:{terminal}")


def pay_once(folder: Path, amount: Money, pin: str | None, *, as_json: bool) -> int:
    """``fourparty pay``: 0 when the payment is approved, 1 when not."""
    from scenarios.cli import print_json

    if pin is not None and not (pin.isascii() and pin.isdigit() and 4 <= len(pin) <= 12):
        raise ConfigurationError("--pin: a PIN has 4 to 12 digits")
    network = RunningNetwork(folder)
    card = read_wallet(folder / "wallet.json")[CARD]
    # the counter's chip goes on counting where the issuer has seen it last
    atc = network.get(card.issuer, f"/cards/{card.pan}")["highest_atc"] or 0
    since = real_now()
    payment: dict[str, Json] = {"amount": amount.fen, "atc": atc}
    if pin is not None:
        payment["pin"] = pin
    receipt = network.post("device", "/payments", payment)
    time.sleep(SETTLE_SECONDS)
    hops = messages_of(network, since, str(receipt["terminal"]))
    if as_json:
        print_json({"receipt": receipt, "messages": hops})
    else:
        show_payment(hops, receipt, amount)
    return 0 if receipt["outcome"] == "approved" else 1


def messages_of(network: RunningNetwork, since: int, terminal: str) -> list[dict[str, Json]]:
    """A payment's messages in the order of time, each told by the party that sent or took it nearest the centre."""
    hops = []
    for party in ("acquirer", "switch"):
        for message in network.get(party, "/messages", since=since, terminal=terminal):
            if party == "acquirer" and message["link"] == "switch":
                continue
            near, far = _ends(party, message["link"])
            message["hop"] = f"{far} -> {near}" if message["incoming"] else f"{near} -> {far}"
            hops.append(message)
    return sorted(hops, key=lambda message: message["at"])


def _ends(party: str, link: str) -> tuple[str, str]:
    if party == "acquirer":
        return "acquirer", "phone"
    return "switch", "issuer" if link.startswith("issuer:") else "acquirer"


def show_payment(hops: list[dict[str, Json]], receipt: dict[str, Json], amount: Money) -> None:
    """Print a payment's messages and how it ended."""
    console = Console(highlight=False)
    screen.message_trace(hops, console)
    if receipt["outcome"] == "approved" and receipt.get("offline"):
        console.print(f"approved: {amount} yuan, offline by the card", style="bold green")
    elif receipt["outcome"] == "approved":
        console.print(
            f"approved: {amount} yuan, authorisation {receipt['authorisation_code']}, reference {receipt['rrn']}",
            style="bold green",
        )
    else:
        code = f" {receipt['response_code']}" if receipt["response_code"] else ""
        reason = receipt["reason"] or RESPONSE_CODES.get(str(receipt["response_code"]), "no reason given")
        console.print(f"{receipt['outcome']}{code}: {reason}", style="bold red", markup=False)


class CounterSettings(DeviceSettings):
    """Settings of the device service of a demo network: `wallet` is the file of cards held to its phones."""

    wallet: Path | None = None


def serve_device(path: Path) -> int:
    """Serve the phones configured in the file `path`, and the counter where a wallet is configured."""
    settings = load_settings(CounterSettings, path)
    return serve_phones(settings, [routes_for(settings.wallet)] if settings.wallet else [])
