"""The acquirer's on-boarding interface, as an App calls it over HTTP."""

from __future__ import annotations

import ssl
from types import TracebackType
from typing import Final

import httpx

from merchant_device.sdk.errors import PhoneError
from merchant_device.sdk.onboarding import ACQUIRER_OPERATIONS, AcquirerCall, JsonObject

ANSWER_SECONDS: Final = 30.0
MAX_ANSWER: Final = 262_144
"""Longest answer that is read, bytes."""


class AcquirerClient:
    """Carries `AcquirerCall` to an acquirer.

    Parameters
    ----------
    address : str
        Such as ``https://acquirer.example``.
    tls : ssl.SSLContext or None
        Whom to trust, of an acquirer whose certificate is of an authority of its own; None: those that are public.
    """

    def __init__(self, address: str, tls: ssl.SSLContext | None = None) -> None:
        verify = True if tls is None else tls
        self._client = httpx.Client(base_url=address, timeout=ANSWER_SECONDS, trust_env=False, verify=verify)

    def ask(self, call: AcquirerCall) -> JsonObject:
        """Ask, and give the answer.

        Raises
        ------
        PhoneError
            ``acquirer_unreachable`` or ``acquirer_refused``.
        """
        route = ACQUIRER_OPERATIONS[call.operation]
        content = dict(call.arguments)
        headers = {}
        if "{application_id}" in route.path:
            headers["Authorization"] = f"Bearer {content.pop('token')}"
        path = route.path.format(application_id=content.pop("application_id", ""))
        try:
            with self._client.stream(
                route.method, path, headers=headers, json=None if route.method == "GET" else content
            ) as response:
                text = bytearray()
                for chunk in response.iter_bytes():
                    text += chunk
                    if len(text) > MAX_ANSWER:
                        raise PhoneError("acquirer_refused", "the acquirer's answer is too long")
                answer = httpx.Response(response.status_code, content=bytes(text))
        except httpx.HTTPError as error:
            raise PhoneError("acquirer_unreachable", f"the acquirer does not answer ({type(error).__name__})") from None
        if answer.status_code >= 500:
            raise PhoneError("acquirer_unreachable", f"the acquirer cannot answer now ({answer.status_code})")
        try:
            found = answer.json()
        except ValueError:
            found = None
        if answer.status_code >= 400:
            detail = found.get("detail") if isinstance(found, dict) else None
            raise PhoneError("acquirer_refused", detail if isinstance(detail, str) else f"code {answer.status_code}")
        if not isinstance(found, dict):
            raise PhoneError("acquirer_refused", "the acquirer's answer is not understood")
        return found

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def __enter__(self) -> AcquirerClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
