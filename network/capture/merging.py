"""Several captures of one network as one file, in the order of time."""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from network.capture import pcapng
from network.capture.pcapng import Block, NotPcapng
from network.capture.recording import own_file
from network.capture.segments import Seen


class CaptureError(Exception):
    """Captures that cannot be merged; the message says which and why."""


def merge(sources: Sequence[Path], target: Path) -> int:
    """Write `target` from captures of this package, one interface each.

    A connection that both of its ends have captured is taken from the end that accepted it. What a killed process has
    left of its capture is taken up to its last whole block.

    Returns
    -------
    int
        Packets in `target`.

    Raises
    ------
    CaptureError
        A file cannot be read or written, or is no such capture.
    """
    try:
        return _merge(sources, target)
    except (OSError, NotPcapng) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise CaptureError(f"cannot write the capture {target}: {reason}") from error


def _merge(sources: Sequence[Path], target: Path) -> int:
    others = [list(_blocks(path, packets=False)) for path in sources]
    # one section for all: what tells a section and its interfaces apart is in the interfaces' blocks
    sections = [block for blocks in others for block in blocks if block.kind == pcapng.SECTION]
    count = 0
    with open(own_file(target), "wb") as file:
        _write(file, sections[:1])
        for kind in (pcapng.INTERFACE, pcapng.SECRETS):
            _write(file, [block for blocks in others for block in blocks if block.kind == kind])
        twice = _captured_twice(sources)
        rows = (_packets(path, number, twice[number]) for number, path in enumerate(sources))
        for _, number, block in heapq.merge(*rows):
            file.write(pcapng.renumbered(block, number))
            count += 1
        for number, blocks in enumerate(others):
            for block in blocks:
                if block.kind == pcapng.STATISTICS:
                    file.write(pcapng.renumbered(block, number))
        file.flush()
        os.fsync(file.fileno())
    return count


def _write(file: BinaryIO, blocks: Sequence[Block]) -> None:
    file.writelines(pcapng.block(*one) for one in blocks)


def _captured_twice(sources: Sequence[Path]) -> list[set[frozenset[bytes]]]:
    """By source, the connections that it dialled and whose other end another source has captured."""
    dialled: list[set[frozenset[bytes]]] = []
    accepted: set[frozenset[bytes]] = set()
    for path in sources:
        own: set[frozenset[bytes]] = set()
        for block in _blocks(path, packets=True):
            seen = Seen.of(pcapng.content_of(block.body))
            if seen.opens:
                (own if pcapng.is_outgoing(block.body) else accepted).add(seen.ends)
        dialled.append(own)
    return [own & accepted for own in dialled]


def _packets(path: Path, number: int, without: set[frozenset[bytes]]) -> Iterator[tuple[int, int, Block]]:
    for block in _blocks(path, packets=True):
        if not without or Seen.of(pcapng.content_of(block.body)).ends not in without:
            yield pcapng.time_of(block.body), number, block


def _blocks(path: Path, *, packets: bool) -> Iterator[Block]:
    with path.open("rb") as file:
        for block in pcapng.read_blocks(file):
            if (block.kind == pcapng.PACKET) == packets:
                yield block
