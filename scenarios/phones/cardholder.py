"""A person before the phone's screen: looks at the page that the trusted side serves, and presses its keys."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final

import httpx

POLL_SECONDS: Final = 15.0
"""Longer than the page's own wait for a change."""

RETRY_SECONDS: Final = 0.2


class Cardholder:
    """Watches the screen on a thread of its own until closed.

    Parameters
    ----------
    page : str
        Address of the screen's page.
    pin : str or None
        Typed whenever a PIN is asked for; None: nothing is typed.
    seen : callable
        Told of every new view, the JSON that the page draws.
    """

    def __init__(self, page: str, pin: str | None, seen: Callable[[dict[str, Any]], None] = lambda _: None) -> None:
        self._pin = pin
        self._seen = seen
        self._client = httpx.Client(base_url=page, timeout=POLL_SECONDS, trust_env=False)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="cardholder", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Look away."""
        self._stop.set()
        self._client.close()

    def _watch(self) -> None:
        version, entry = -1, ""
        while not self._stop.is_set():
            try:
                state = self._client.get("state", params={"after": version}).json()
                if self._stop.is_set() or state["version"] == version:
                    continue
                version = state["version"]
                if state["kind"] != "pin" or state["entry"] != entry:
                    self._seen(state)
                if state["kind"] == "pin" and state["entry"] != entry:
                    entry = state["entry"]
                    self._type(state)
            except (httpx.HTTPError, ValueError, RuntimeError):
                # the page is gone for a moment, or for good; a closed client says so with RuntimeError
                self._stop.wait(RETRY_SECONDS)

    def _type(self, state: dict[str, Any]) -> None:
        if self._pin is None:
            return
        for digit in self._pin:
            self._press(state["entry"], {"position": state["layout"].index(digit)})
        self._press(state["entry"], {"key": "ok"})

    def _press(self, entry: str, key: dict[str, Any]) -> None:
        self._client.post("press", json={"entry": entry, **key})
