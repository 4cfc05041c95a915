"""The rooms of a full phone fit beside one another."""

from random import Random

from merchant_device.configuration import Configuration
from merchant_device.context import Context
from merchant_device.party import MerchantDevice
from merchant_device.phone_rooms import all_rooms
from merchant_device.rooms import Room
from network.keys import SecurityModule


def test_no_two_rooms_claim_the_same() -> None:
    """What arrives is brought to one room: a second that names the same would never hear of it."""
    made: list[Room] = []

    def keep(make):
        def build(context: Context) -> Room:
            made.append(make(context))
            return made[-1]

        return build

    MerchantDevice(Configuration(), SecurityModule(bytes(32), Random(1)), [keep(make) for make in all_rooms()])
    for what in ("links", "timers", "commands", "device_commands", "kinds"):
        claimed = [name for room in made for name in getattr(room, what)]
        assert len(claimed) == len(set(claimed)), what
    commands = {name for room in made for name in (*room.commands, *room.device_commands)}
    assert {"attest", "install", "signal", "kill"} <= commands
