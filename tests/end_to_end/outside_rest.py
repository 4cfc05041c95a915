"""The REST interfaces as an outside client sees them, by urllib."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from typing import Any, Final

ANSWER_SECONDS: Final = 15.0


@dataclass(frozen=True)
class Rest:
    """The REST interface of a service, by urllib."""

    base: str
    token: str | None = field(repr=False)
    trust: ssl.SSLContext | None = field(repr=False, default=None)

    def __post_init__(self) -> None:
        if "://" not in self.base:
            object.__setattr__(self, "base", f"http://{self.base}")

    def request(self, path: str, content: object = None, *, method: str = "GET") -> tuple[int, Any]:
        """Status and JSON."""
        data = None if content is None else json.dumps(content).encode()
        request = urllib.request.Request(self.base.rstrip("/") + path, data=data, method=method)
        request.add_header("Content-Type", "application/json")
        if self.token is not None:
            request.add_header("Authorization", f"Bearer {self.token}")
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=self.trust)
        )
        try:
            with opener.open(request, timeout=ANSWER_SECONDS) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read() or b"null")

    def get(self, path: str) -> Any:
        status, content = self.request(path)
        assert status == 200, f"{path.split('/')[1]}: HTTP {status}"
        return content
