"""A kernel whose taps end as a script says, for what the device makes of their outcomes.

Every tap asks the card one question and takes any answer for it, so that what is tested is the device's part alone.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from device_bed import PAN, TRACK2, Bed

from merchant_device.kernel import ApprovedOffline, Cvm, OnlineRequest, Outcome, Torn, TransactionData, TryAgain
from network.emv import tlv

AID = bytes.fromhex("A000000333010106")
Script = Callable[[TransactionData, Torn | None], Outcome]


def online(transaction: TransactionData, cvm: Cvm = Cvm.NO_CVM) -> OnlineRequest:
    """The card wants the issuer asked."""
    return OnlineRequest(chip(transaction), PAN, TRACK2, "3012", "001", cvm, AID, False)


def offline(transaction: TransactionData, pan: str = PAN) -> ApprovedOffline:
    """The card approves; its cryptogram is made of what it was told."""
    return ApprovedOffline(chip(transaction, "40"), pan, "3012", "001", Cvm.NO_CVM, AID, 500)


def chip(transaction: TransactionData, information: str = "80") -> bytes:
    """Chip data with the transaction's own number for a cryptogram."""
    number = transaction.unpredictable_number
    return tlv.encode_all(
        {
            "9F26": number * 2,
            "9F27": bytes.fromhex(information),
            "9F10": bytes.fromhex("07010103A0000001"),
            "9F37": number,
            "9F36": b"\x00\x05",
            "95": bytes(5),
            "9F02": bytes.fromhex(f"{transaction.amount:012}"),
            "9F1E": b"00000001",
        }
    )


class ScriptedTap:
    """A tap of one command."""

    command = b"\x00\xa4\x04\x00\x0e2PAY.SYS.DDF01\x00"

    def __init__(self, outcome: Callable[[], Outcome]) -> None:
        self._outcome = outcome

    def step(self, response: bytes) -> Outcome:
        return self._outcome()

    def card_gone(self) -> Outcome:
        return TryAgain("the card left the field", None)


class ScriptedKernel:
    """Ends its taps by `script`; keeps what it was started with."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.started: list[tuple[TransactionData, Torn | None]] = []

    def start(self, transaction: TransactionData, torn: Torn | None = None) -> ScriptedTap:
        self.started.append((transaction, torn))
        return ScriptedTap(lambda: self.script(transaction, torn))

    @classmethod
    def install(cls, monkeypatch: pytest.MonkeyPatch, bed: Bed, script: Script) -> ScriptedKernel:
        """Put it in place of the kernel of `bed`."""
        kernel = cls(script)
        monkeypatch.setattr("merchant_device.kernels.Kernel", lambda *_, **__: kernel)
        bed.device._kernels.changed()
        return kernel
