"""The phone's camera as the trusted side controls it: a picture is what lies in a file when it is asked for.

A simulated phone has no lens. Whoever plays the payer puts a picture (PNG or JPEG) at the place named in the settings,
under another name first and then renamed, so that it is never seen half written.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Final

MAX_PICTURE: Final = 16 << 20
"""Largest picture taken, bytes."""

SLICE_SECONDS: Final = 0.1


class PictureFile:
    """The end of a ``camera:T`` link: answers each request with the next picture that is put before the camera.

    Made on the runtime's loop.

    Parameters
    ----------
    path : Path or None
        Where pictures are put; None: the phone has no camera, every request is answered that nothing was seen.
    seconds : float
        How long a request waits for a picture that was not seen before.
    """

    def __init__(self, path: Path | None, seconds: float) -> None:
        self._path = path
        self._seconds = seconds
        self._loop = asyncio.get_running_loop()
        self._seen: tuple[int, int] | None = None
        self._looking: asyncio.Task[None] | None = None

    def __call__(self, request: bytes, reply: Callable[[bytes], None]) -> None:
        """Take a request; the newest counts, an empty answer says that nothing was seen."""
        self.close()
        try:
            content = json.loads(request)
        except (ValueError, RecursionError):
            content = None
        if isinstance(content, dict) and content.get("request") == "picture":
            self._looking = self._loop.create_task(self._look(reply))

    def close(self) -> None:
        """Look no more."""
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None

    async def _look(self, reply: Callable[[bytes], None]) -> None:
        deadline = self._loop.time() + self._seconds
        while (picture := self._picture()) is None and self._loop.time() < deadline:
            await asyncio.sleep(SLICE_SECONDS)
        reply(picture or b"")

    def _picture(self) -> bytes | None:
        """A picture that was not seen before."""
        if self._path is None:
            return None
        try:
            about = self._path.stat()
            if (about.st_mtime_ns, about.st_ino) == self._seen or not 0 < about.st_size <= MAX_PICTURE:
                return None
            picture = self._path.read_bytes()
        except OSError:
            return None
        self._seen = (about.st_mtime_ns, about.st_ino)
        return picture
