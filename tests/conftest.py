"""The suite as a whole: the same examples in every run, fast tests before slow ones, live ones last."""

from __future__ import annotations

import os

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("suite", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "end_to_end" in item.path.parts and item.get_closest_marker("live") is None:
            item.add_marker("slow")
    items.sort(key=lambda item: [item.get_closest_marker(marker) is not None for marker in ("live", "slow")])
