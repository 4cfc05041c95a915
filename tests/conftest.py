"""The suite as a whole: the same examples in every run, fast tests before slow ones, live ones last."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import HealthCheck, settings
from postgres import NoPostgres, PostgresServer

# thousands of tests are in memory and stay there: at its default pace the collector takes a quarter of the suite's time
gc.set_threshold(100_000, 50, 50)

settings.register_profile("suite", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))


@pytest.fixture(scope="session", autouse=True)
def _loggers_forget() -> Iterator[None]:
    """A logger that keeps the configuration of its first use would keep one test's for all that follow it."""
    configure = structlog.configure
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(structlog, "configure", lambda **how: configure(**{**how, "cache_logger_on_first_use": False}))
        yield


@pytest.fixture(autouse=True)
def _logging_as_it_was(_loggers_forget: None) -> Iterator[None]:
    """What a command configures in one test is not the next one's."""
    yield
    if structlog.is_configured():
        structlog.reset_defaults()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """A server for the whole run. In CI it must be there; elsewhere its absence skips what needs it."""
    try:
        server = PostgresServer()
    except NoPostgres as error:
        if os.environ.get("CI", "").lower() in ("true", "1"):
            pytest.fail(f"{error}: CI must test on PostgreSQL")
        pytest.skip(str(error))
    yield server
    server.stop()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "end_to_end" in item.path.parts and item.get_closest_marker("live") is None:
            item.add_marker("slow")
    items.sort(key=lambda item: [item.get_closest_marker(marker) is not None for marker in ("live", "slow")])


def pytest_collection_finish() -> None:
    """What has been collected is not garbage until the end."""
    gc.collect()
    gc.freeze()
