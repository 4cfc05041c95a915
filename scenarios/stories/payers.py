"""Payers with a phone: they tap it, scan the merchant's code with it, or show a code of their own."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Final, TypeAlias

from issuer.payer_phone import PayerPhone, PayerPhoneError
from network.keys import SecurityModule
from network.party import SECOND, CommandError, Endpoint, Instant, Json
from scenarios.stage import Card, Process, Stage
from scenarios.stories.pictures import View, draw, photograph, read

SEE_PHONE: Final = b"\x69\x86"
CONFIRM_SECONDS: Final = 1.5
"""Time a payer takes to confirm on the phone."""

AIM_SECONDS: Final = 0.4
"""Time between two pictures of somebody who aims a camera."""

PICTURES: Final = 20
"""Pictures a payer takes of a code before giving up."""

_Reply: TypeAlias = Callable[[bytes], None]


class Refused(Exception):
    """What a payer's issuer did not do, with its reason."""


class Wallet:
    """A payer's phone with the issuer's App, and a card behind its token.

    Attributes
    ----------
    phone : PayerPhone
    card : Card
        The card that the token stands for.
    """

    def __init__(self, stage: Stage, card: Card) -> None:
        self._stage = stage
        self.card = card
        self.phone = PayerPhone(SecurityModule(stage.secrets.randbytes(32), stage.secrets), stage.now)

    def enrol(self) -> Process:
        """Get a token for the card onto the phone."""
        arguments: dict[str, Json] = {
            "pan": self.card.pan,
            "domains": ["contactless", "code"],
            "wallet_public_key": self.phone.public_key,
        }
        self.phone.install((yield from self._ask("provision_token", arguments)))

    def replenish(self) -> Process:
        """Get more keys for payments, where few are left."""
        if self.phone.payments_left < 3:
            self.phone.replenished((yield from self._ask("replenish", self.phone.signed("replenish"))))

    def code(self, *, with_cryptogram: bool) -> Process:
        """A code to show: made by the phone, with a cryptogram, or digits fetched from the issuer."""
        yield self._stage.env.timeout(CONFIRM_SECONDS)
        self.phone.confirm()
        if with_cryptogram:
            return self.phone.show_code()
        answer = yield from self._ask("request_code", self.phone.signed("request_code"))
        return str(answer["code"])

    def pay_order(self, text: str, amount: int | None = None) -> Process:
        """Pay what a merchant's code says; the value is the switch's answer code."""
        yield self._stage.env.timeout(CONFIRM_SECONDS)
        self.phone.confirm()
        arguments: dict[str, Json] = {"text": text}
        if amount is not None:
            arguments["amount"] = amount
        answer = yield from self._ask("pay_order", self.phone.signed("pay_order", **arguments))
        return str(answer["response_code"])

    def orders_paid(self) -> Process:
        """Numbers of the merchants' orders among the latest payments, as often as each is paid."""
        answer = yield from self._ask("payments", self.phone.signed("payments", limit=20))
        return [one["order"] for one in answer["payments"] if one["order"] and one["status"] == "approved"]

    def last_payment(self) -> Process:
        """The token's latest payment, as the issuer knows it; None where there is none."""
        answer = yield from self._ask("payments", self.phone.signed("payments", limit=1))
        return answer["payments"][0] if answer["payments"] else None

    def report_lost(self) -> Process:
        """Tell the bank that the phone is lost: its token is suspended, the card goes on."""
        yield from self._ask("suspend_token", {"token": self.phone.token})

    def found(self) -> Process:
        """Tell the bank that the phone is found."""
        yield from self._ask("resume_token", {"token": self.phone.token})

    def remove(self) -> Process:
        """Take the App off the phone: its token is deleted."""
        yield from self._ask("delete_token", {"token": self.phone.token})

    def _ask(self, operation: str, arguments: dict[str, Json]) -> Process:
        answer = yield self._stage.ask(self.card.issuer, operation, arguments)
        if isinstance(answer, CommandError):
            raise Refused(str(answer))
        return answer


class Tap:
    """Holds the payer's phone to the merchant's; confirms on it when asked, and holds it there again."""

    way = "phone"

    def __init__(self, stage: Stage, wallet: Wallet) -> None:
        self.human_seconds = 0.0
        self._stage = stage
        self._phone = wallet.phone
        self._away_since: Instant | None = None

    def endpoints(self) -> dict[str, Endpoint]:
        """See `scenarios.stage.Payer`."""
        return {"reader": self._reader}

    def _reader(self, apdu: bytes, reply: _Reply) -> None:
        stage = self._stage
        if self._away_since is not None:
            # the merchant's phone waits a moment of itself before it asks again, while the holder confirms
            seconds = (stage.now() - self._away_since) / SECOND
            remaining = max(0.0, CONFIRM_SECONDS - seconds)
            self._away_since = None
            self._phone.reset()
            self._phone.confirm()
            self.human_seconds += seconds + remaining
            stage.timing.after(remaining, lambda: self._reader(apdu, reply))
            return
        try:
            response = self._phone.transmit(apdu)
        except PayerPhoneError:
            response = b""
        if response == SEE_PHONE:
            self._away_since = stage.now()
        stage.timing.after(stage.tap_seconds, lambda: reply(response))


class Scan:
    """Reads the code on the merchant's phone with the payer's, and pays it.

    Attributes
    ----------
    answers : list of str
        What the issuer said to each try: the switch's code, or why it refused.
    """

    way = "merchant_code"

    def __init__(
        self, stage: Stage, wallet: Wallet, *, alter: Callable[[str], str] | None = None, times: int = 1
    ) -> None:
        self.human_seconds = 0.0
        self.answers: list[str] = []
        self._stage = stage
        self._wallet = wallet
        self._alter = alter
        self._times = times

    def endpoints(self) -> dict[str, Endpoint]:
        """See `scenarios.stage.Payer`."""
        return {"display": self._display}

    def _display(self, request: bytes, _: _Reply) -> None:
        shown = json.loads(request)
        if shown["request"] == "code":
            self._stage.timing.spawn(self._scan(draw(shown["text"])))

    def _scan(self, screen: bytes) -> Process:
        began = self._stage.env.now
        text = yield from aim(self._stage, screen)
        self.human_seconds = self._stage.env.now - began + CONFIRM_SECONDS
        if text is None:
            self.answers.append("the code could not be read")
            return
        for _ in range(self._times):
            try:
                code = yield from self._wallet.pay_order(text if self._alter is None else self._alter(text))
            except (Refused, PayerPhoneError) as error:
                code = str(error)
            self.answers.append(code)


def aim(stage: Stage, screen: bytes) -> Process:
    """Take pictures of a screen until the code on it can be read; None when it cannot."""
    for _ in range(PICTURES):
        yield stage.env.timeout(AIM_SECONDS)
        seen = read(photograph(screen, view=View.unsteady(stage.random), random=stage.random))
        if len(seen) == 1:
            return seen[0]
    return None


class Show:
    """Shows a code to the merchant's camera.

    Parameters
    ----------
    code : str
    neighbour : str or None
        Another code that is in view on the first pictures: somebody else's phone lies there.
    """

    way = "payer_code"

    def __init__(self, stage: Stage, code: str, *, neighbour: str | None = None) -> None:
        self.human_seconds = 0.0
        self._stage = stage
        self._screen = draw(code)
        self._neighbour = None if neighbour is None else draw(neighbour)
        self._pictures = 0

    def endpoints(self) -> dict[str, Endpoint]:
        """See `scenarios.stage.Payer`."""
        return {"camera": self._camera, "display": lambda request, reply: None}

    def _camera(self, request: bytes, reply: _Reply) -> None:
        if json.loads(request)["request"] != "picture":
            return
        self._pictures += 1
        random = self._stage.random
        screens = [self._screen]
        if self._neighbour is not None and self._pictures <= 2:
            screens.append(self._neighbour)
        picture = photograph(*screens, view=View.unsteady(random), random=random)
        self.human_seconds += AIM_SECONDS
        self._stage.timing.after(AIM_SECONDS, lambda: reply(picture))


def altered_amount(text: str, crc: Callable[[str], str]) -> str:
    """A merchant's code as a fraud would paste it over: another amount, and a checksum that is right for it."""
    objects: list[str] = []
    rest = text[:-8]
    while rest:
        length = 4 + int(rest[2:4])
        objects.append(rest[:length])
        rest = rest[length:]
    changed = "".join("54040.01" if one.startswith("54") else one for one in objects) + "6304"
    return changed + crc(changed)
