"""What can go wrong when an App uses the phone, and what the App is to do then.

A payment that is declined or refused is no error: it is a `merchant_device.sdk.results.Receipt` that says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple


class ErrorDescription(NamedTuple):
    """One line of the error list: the code, what it means and what to do."""

    code: str
    meaning: str
    advice: str


ERRORS: Final[Mapping[str, ErrorDescription]] = {
    line.code: line
    for line in (
        ErrorDescription(
            "not_running", "The trusted side of this phone does not answer.", "Start it, then start the Phone again."
        ),
        ErrorDescription(
            "connection_lost",
            "The channel to the trusted side broke; what was asked may have been done.",
            "Start the Phone again and look at history() before asking for a payment again.",
        ),
        ErrorDescription(
            "no_answer",
            "The trusted side did not answer in time; what was asked may have been done.",
            "Look at status() and history() before asking again.",
        ),
        ErrorDescription(
            "bad_request", "The trusted side could not read the request.", "Update the SDK: it is not of one version."
        ),
        ErrorDescription(
            "unknown_command", "The trusted side knows no such command.", "Update the trusted side or the SDK."
        ),
        ErrorDescription(
            "bad_arguments", "An argument is not as it must be; the message names it.", "Correct the argument."
        ),
        ErrorDescription("busy", "Too many commands are under way.", "Wait for one of them to end, then ask again."),
        ErrorDescription(
            "refused", "The phone refuses the command; the message says why.", "Do what the message asks for."
        ),
        ErrorDescription(
            "failed", "The trusted side could not give its answer.", "Look at history(); report it with the message."
        ),
        ErrorDescription(
            "no_terminal", "This phone is not a terminal yet, or it has several.", "Onboard it, or name the terminal."
        ),
        ErrorDescription(
            "acquirer_unreachable", "The acquirer's service does not answer.", "Check the network, then try again."
        ),
        ErrorDescription(
            "acquirer_refused", "The acquirer refuses; the message says why.", "Show the reason to the merchant."
        ),
        ErrorDescription(
            "application_refused",
            "The acquirer has reviewed the application and refuses it; the message has its reason.",
            "Show the reason to the merchant; a corrected application is a new one.",
        ),
        ErrorDescription(
            "review_pending",
            "The acquirer has not decided on the application yet.",
            "Call onboard() again later with the same application number: it goes on where it was.",
        ),
    )
}
"""Every error that the SDK raises, by its code."""


class PhoneError(Exception):
    """Something of `ERRORS` has happened.

    Attributes
    ----------
    code : str
        Key of `ERRORS`.
    """

    def __init__(self, code: str, message: str = "") -> None:
        # its arguments make it again: whoever carries it on to another thread or process may copy it
        super().__init__(code, message or ERRORS[code].meaning)
        self.code = code

    def __str__(self) -> str:
        return str(self.args[1])

    @property
    def description(self) -> ErrorDescription:
        """What it means and what to do."""
        return ERRORS[self.code]
