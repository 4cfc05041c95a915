"""Looks for secrets in all that another process has in its memory."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path

UNREADABLE = ("[vvar]", "[vvar_vclock]", "[vsyscall]", "[vdso]")


def encodings(secret: bytes) -> dict[str, bytes]:
    """How a secret may stand in memory."""
    upper = secret.hex().upper()
    found = {
        "as it is": secret,
        "hexadecimal": upper.encode(),
        "hexadecimal, small": upper.lower().encode(),
        "base64": base64.b64encode(secret).rstrip(b"="),
    }
    if secret.isascii() and secret.decode("ascii").isprintable():
        found["UTF-16"] = secret.decode().encode("utf-16-le")
        found["UTF-32"] = secret.decode().encode("utf-32-le")
        digits = secret.decode().replace("=", "D")
        if all(digit in "0123456789D" for digit in digits):
            found["BCD"] = bytes.fromhex(digits + "F" * (len(digits) % 2))
            found["a byte a digit"] = bytes(int(digit, 16) for digit in digits)
    return found


def find_in_memory(pid: int, secrets: Mapping[str, bytes]) -> set[str]:
    """The names of the secrets, with the encoding, that the process has in any memory that can be read."""
    wanted = {
        f"{name}, {encoding}": pattern
        for name, secret in secrets.items()
        for encoding, pattern in encodings(secret).items()
    }
    hits: set[str] = set()
    seen = 0
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            fields = line.split(maxsplit=5)
            if not fields[1].startswith("r") or (len(fields) > 5 and fields[5] in UNREADABLE):
                continue
            start, end = (int(number, 16) for number in fields[0].split("-"))
            try:
                memory.seek(start)
                content = _read(memory, end - start)
            except OSError:
                continue
            seen += len(content)
            hits |= {name for name, pattern in wanted.items() if pattern in content}
    assert seen > 5_000_000, f"only {seen} bytes of process {pid} could be read"
    return hits


def _read(memory: object, length: int) -> bytes:
    parts = []
    while length:
        part = memory.read(min(length, 1 << 30))  # type: ignore[attr-defined]
        if not part:
            break
        parts.append(part)
        length -= len(part)
    return b"".join(parts)
