import random

import pytest

from network.keys import SecurityModule

STORAGE_KEY = bytes.fromhex("000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F")


@pytest.fixture(scope="session")
def module() -> SecurityModule:
    """One module for all tests: that messages do not disturb one another is part of what is tested."""
    return SecurityModule(STORAGE_KEY, random.Random(2))
