"""The way to a Dask cluster, for all that can run on one: a client of its scheduler, or one line that says why not."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from network.service import ConfigurationError

if TYPE_CHECKING:
    from distributed import Client

CONNECT_SECONDS: Final = 10.0
"""How long a scheduler may take to answer."""


def connect(scheduler: str) -> Client:
    """A client of the scheduler at an address such as ``tcp://host:8786``; the caller closes it.

    Raises
    ------
    ConfigurationError
        Dask Distributed is not installed, or no scheduler answers there in `CONNECT_SECONDS`.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise ConfigurationError("--scheduler needs Dask Distributed: pip install 'fourparty[dask]'") from error
    try:
        # asked first, since a client that fails to connect tells of it at length when it is collected
        kind = asyncio.run(_kind(scheduler))
        if kind != "Scheduler":
            raise ConfigurationError(f"--scheduler: at {scheduler} is a Dask {kind}, no scheduler")
        client = Client(scheduler, timeout=CONNECT_SECONDS, set_as_default=False)  # type: ignore[no-untyped-call]
    except (OSError, ValueError, TypeError, MemoryError) as error:
        # the last where somebody answers who speaks another protocol: its first bytes are no length
        raise ConfigurationError(f"--scheduler: no Dask scheduler answers at {scheduler}") from error
    # what happens to tasks is told by who submitted them
    logging.getLogger("distributed.client").setLevel(logging.CRITICAL)
    return client


async def _kind(address: str) -> str:
    """What answers there: ``Scheduler``, or another server of Dask's."""
    from distributed.core import rpc

    async with asyncio.timeout(CONNECT_SECONDS):
        async with rpc(address, timeout=CONNECT_SECONDS) as server:  # type: ignore[no-untyped-call]
            return str((await server.identity())["type"])
