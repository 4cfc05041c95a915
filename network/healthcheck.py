"""Ask a service whether it is ready, as a container's health check does: ``python -m network.healthcheck URL [CA]``.

Exit code 0 says that it answered 200; otherwise 1, and one line says why. The standard library does: this runs every
few seconds beside the service. CA is the file with the authority's certificate, of a service with TLS.
"""

from __future__ import annotations

import json
import ssl
import sys
import urllib.error
import urllib.request
from typing import Final

SECONDS: Final = 4.0


def fault_of(url: str, ca: str | None = None) -> str | None:
    """Why a service is not ready; None when it is."""
    try:
        trusted = urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=ca))
        # a proxy of the environment is for the outside world
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), trusted)
        with opener.open(url, timeout=SECONDS):
            return None
    except urllib.error.HTTPError as error:
        try:
            return str(json.load(error)["reason"])
        except (ValueError, KeyError, TypeError, OSError):
            return f"it answers {error.code}"
    except (OSError, ValueError) as error:
        return f"no answer from {url}: {getattr(error, 'reason', error)}"


def main(arguments: list[str]) -> int:
    """Check the URL in `arguments`; gives the exit code."""
    if len(arguments) not in (1, 2):
        print("usage: python -m network.healthcheck URL [CA]", file=sys.stderr)  # noqa: T201
        return 2
    fault = fault_of(*arguments)
    if fault is not None:
        print(fault)  # noqa: T201
    return 0 if fault is None else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
