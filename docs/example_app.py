"""A till: an App for a merchant's phone, as an acquirer's developer would write one.

    python example_app.py CHANNEL DEVICE ACQUIRER

CHANNEL is the socket of the phone's trusted side, DEVICE the phone's id, ACQUIRER the address of the acquirer's
service. The App sees amounts, receipts and masked card numbers; cards, PINs and keys stay on the trusted side.
"""

from __future__ import annotations

import os
import sys
import threading
from decimal import Decimal, InvalidOperation
from pathlib import Path

from merchant_device.sdk import Application, PastSale, Phone, PhoneError, Receipt, Way

MENU = """\
  1 AMOUNT  the customer holds a card or a phone to this one
  2 AMOUNT  the customer's phone reads the code on this one
  3 AMOUNT  this phone reads the code on the customer's
  c         cancel the payment in progress
  h         the latest payments
  q         quit"""
WAYS: dict[str, Way] = {"1": "tap", "2": "merchant_code", "3": "payer_code"}
QUESTIONS = {
    "name": "your name",
    "id_number": "your id number",
    "phone_number": "your phone number",
    "settlement_card": "the card that is paid out to",
    "shop_name": "the shop's name",
    "city": "its city",
    "category": "its merchant category code",
    "place": "where it is, as +31.2304,+121.4737",
}


def main() -> None:
    """Serve the merchant until told to quit."""
    channel, device, acquirer = sys.argv[1:]
    with Phone.start(Path(channel)) as phone:
        if not phone.status():
            onboard(phone, device, acquirer)
        tell(f"terminal {phone.terminal} is ready\n{MENU}")
        till = Till(phone)
        for line in sys.stdin:
            if line.strip() == "q":
                break
            till.obey(line.split())


def onboard(phone: Phone, device: str, acquirer: str) -> None:
    """Apply, wait for the acquirer's decision, and become a terminal; begun once, it is gone on with."""
    kept = Path(f"{device}.application.json")
    if kept.exists():
        application = Application.model_validate_json(kept.read_text())
    else:
        answers = {name: input(f"{question}: ") for name, question in QUESTIONS.items()}
        application = Application.model_validate({"model": "FP-1", **answers})
        # it holds personal data, and the token by which the acquirer knows this applicant again
        with open(os.open(kept, os.O_WRONLY | os.O_CREAT, 0o600), "w", encoding="utf-8") as file:
            file.write(application.model_dump_json())
    try:
        phone.onboard(application, acquirer, device, told=lambda step: tell(f"  {step.step}: {step.number}"))
    except PhoneError as error:
        if error.code == "application_refused":
            kept.unlink()
        sys.exit(f"{error} ({error.description.advice})")
    kept.unlink()


class Till:
    """Obeys the merchant; a payment runs on a thread of its own, so that it can be cancelled."""

    def __init__(self, phone: Phone) -> None:
        self.phone = phone
        self.payment = threading.Thread()

    def obey(self, words: list[str]) -> None:
        """Do what a line of the merchant's says."""
        try:
            match words:
                case [("1" | "2" | "3") as key, text] if not self.payment.is_alive():
                    self.payment = threading.Thread(target=self.collect, args=(fen(text), WAYS[key]), daemon=True)
                    self.payment.start()
                case ["1" | "2" | "3", _]:
                    tell("a payment is in progress")
                case ["c"]:
                    tell(f"cancelled while {self.phone.cancel().cancelled}")
                case ["h"]:
                    tell("\n".join(map(line_of, self.phone.history(10))) or "no payments yet")
                case _:
                    tell(MENU)
        except (PhoneError, ValueError) as error:
            tell(str(error))

    def collect(self, amount: int, way: Way) -> None:
        """Take a payment and tell how it ended."""
        tell(f"{amount / 100:.2f} yuan ...")
        try:
            tell(receipt_text(self.phone.collect(amount, [way])))
        except PhoneError as error:
            # whether money has moved is in the history, never in a guess
            tell(f"{error} ({error.description.advice})")


def fen(text: str) -> int:
    """An amount in yuan, such as 8.88, in fen."""
    try:
        amount = Decimal(text) * 100
    except InvalidOperation:
        raise ValueError(f"{text} is no amount") from None
    if not amount.is_finite() or amount != int(amount) or amount <= 0:
        raise ValueError(f"{text} is no amount")
    return int(amount)


def receipt_text(receipt: Receipt) -> str:
    """What the merchant has to know of a payment."""
    if receipt.is_approved:
        by = f"{receipt.way} {receipt.pan or ''}".strip() + (", offline" if receipt.offline else "")
        return f"approved: {(receipt.amount or 0) / 100:.2f} yuan by {by}, reference {receipt.rrn or 'none yet'}"
    if receipt.outcome == "unknown":
        return f"unknown: {receipt.reason}; the payment is being reversed"
    return f"{receipt.outcome}: {receipt.reason}"


def line_of(sale: PastSale) -> str:
    """A payment in the history."""
    return f"{sale.started_at}  {sale.amount / 100:>10.2f}  {sale.way or '':<13}  {sale.status}"


def tell(text: str) -> None:
    """Say something to the merchant."""
    print(text, flush=True)  # noqa: T201 - the menu is this App's screen


if __name__ == "__main__":
    main()
