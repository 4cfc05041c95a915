"""What an acquirer's developer builds into an App: the merchant's own phone takes payments.

The App holds no card data, no PIN and no key: they stay on the phone's trusted side, another process, which is reached
over a narrow channel only. This package imports nothing of it.
"""

from merchant_device.sdk.errors import ERRORS, ErrorDescription, PhoneError
from merchant_device.sdk.onboarding import Application, Onboarded, Progress
from merchant_device.sdk.phone import Phone, Signal, Way
from merchant_device.sdk.results import Cancelled, Managed, PastSale, Receipt, TerminalState

__all__ = [
    "ERRORS",
    "Application",
    "Cancelled",
    "ErrorDescription",
    "Managed",
    "Onboarded",
    "PastSale",
    "Phone",
    "PhoneError",
    "Progress",
    "Receipt",
    "Signal",
    "TerminalState",
    "Way",
]
