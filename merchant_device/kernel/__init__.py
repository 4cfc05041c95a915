"""The QuickPass kernel: reads a contactless chip card and says what the terminal must do next.

It does no I/O: the caller carries commands to the card and answers back, over whatever reader there is.

>>> from merchant_device.kernel import Kernel, KernelConfiguration, TransactionData
>>> kernel = Kernel(KernelConfiguration())
>>> tap = kernel.start(TransactionData(amount=1250, date="260102", unpredictable_number=bytes(4)))
>>> tap.command.hex().upper()
'00A404000E325041592E5359532E444446303100'
>>> tap.step(bytes.fromhex("6A82"))
EndApplication(reason='no directory of applications', status_word='6A82')
"""

from merchant_device.kernel.commands import check_external_authenticate, external_authenticate
from merchant_device.kernel.configuration import ApplicationParameters, KernelConfiguration
from merchant_device.kernel.outcomes import (
    ApprovedOffline,
    Cvm,
    Declined,
    EndApplication,
    OnlineRequest,
    Outcome,
    SeePhone,
    TryAgain,
    TryAnotherInterface,
)
from merchant_device.kernel.payment import Torn
from merchant_device.kernel.quickpass import Kernel, Tap, TapEnded
from merchant_device.kernel.transaction import TransactionData

__all__ = [
    "ApplicationParameters",
    "ApprovedOffline",
    "Cvm",
    "Declined",
    "EndApplication",
    "Kernel",
    "KernelConfiguration",
    "OnlineRequest",
    "Outcome",
    "SeePhone",
    "Tap",
    "TapEnded",
    "Torn",
    "TransactionData",
    "TryAgain",
    "TryAnotherInterface",
    "check_external_authenticate",
    "external_authenticate",
]
