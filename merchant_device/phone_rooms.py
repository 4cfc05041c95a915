"""What a phone of this network can do besides taking cards: the rooms that every full phone has."""

from __future__ import annotations

from collections.abc import Sequence

from merchant_device.context import MakeRoom
from merchant_device.downloads import Downloads
from merchant_device.monitoring import Monitoring
from merchant_device.orders import Orders
from merchant_device.payer_code import PayerCodes
from merchant_device.secure_element import SecureElements
from merchant_device.static_code import StaticCodes


def all_rooms() -> Sequence[MakeRoom]:
    """The rooms of a full phone, to be given to `merchant_device.party.MerchantDevice`."""
    return (SecureElements, Monitoring, Downloads, Orders, StaticCodes, PayerCodes)
