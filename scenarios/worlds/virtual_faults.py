"""Faults in virtual time: nodes that crash or stand still, wires that are slow or cut."""

from __future__ import annotations

from typing import Final

from network.virtual import Node, VirtualNetwork, Wire
from scenarios.demo_network.members import ISSUER_ID

_ENDS: Final = {
    "acquirer-switch": ("acquirer", "switch"),
    "switch-issuer": ("switch", f"issuer:{ISSUER_ID}"),
}
"""Of a link: a party at its end, and what that party calls it."""


class VirtualBreakage:
    """Breaks nodes and wires of a virtual network; see `scenarios.faults.Breakage`."""

    def __init__(self, network: VirtualNetwork, nodes: dict[str, Node], usual: Wire) -> None:
        self._network = network
        self._nodes = nodes
        self._usual = usual

    def crash(self, party: str) -> None:
        """Kill a node."""
        self._nodes[party].crash()

    def restart(self, party: str) -> None:
        """Start it again on its store."""
        self._nodes[party].restart()

    def freeze(self, party: str) -> None:
        """Let a node stand still."""
        self._nodes[party].freeze()

    def thaw(self, party: str) -> None:
        """Let it go on."""
        self._nodes[party].thaw()

    def slow(self, link: str, seconds: float, jitter: float) -> None:
        """Delay a wire."""
        party, name = _ENDS[link]
        latency = self._usual.latency + round((seconds - jitter) * 1_000_000)
        spread = self._usual.jitter + round(2 * jitter * 1_000_000)
        self._network.set_wire(self._nodes[party], name, latency=latency, jitter=spread)

    def cut(self, link: str) -> None:
        """Cut a wire."""
        party, name = _ENDS[link]
        self._network.set_link(self._nodes[party], name, up=False)

    def mend(self, link: str) -> None:
        """Make a wire as it usually is."""
        party, name = _ENDS[link]
        self._network.set_wire(self._nodes[party], name, latency=self._usual.latency, jitter=self._usual.jitter)
        self._network.set_link(self._nodes[party], name, up=True)
