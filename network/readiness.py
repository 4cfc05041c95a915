"""Whether a process can serve now: what ``/ready`` tells those who send it work.

``/health`` says that the process lives. ``/ready`` says that its store answers with the schema that this version needs,
that the links it cannot do without are up and signed on, and that it is not about to end.
"""

from __future__ import annotations

import asyncio
from typing import Final, NamedTuple

from network.live import LiveRuntime
from network.party import Json, Stationed
from network.store import Store, StoreError

CHECK_SECONDS: Final = 3.0
"""How long the store may take to answer the question."""


class Report(NamedTuple):
    """Whether a process can serve, the first reason why not, and what the answer rests on."""

    reason: str | None
    store: str
    links: dict[str, bool]
    members: dict[str, bool]

    @property
    def ready(self) -> bool:
        """Whether it can serve."""
        return self.reason is None


class Readiness:
    """Finds out whether a process can serve.

    Parameters
    ----------
    store : Store
    runtime : LiveRuntime
        Runs the party; where that is `Stationed` it is asked about its members, otherwise every dialled link is needed.
    """

    def __init__(self, store: Store, runtime: LiveRuntime) -> None:
        self._store = store
        self._runtime = runtime
        self._asking: asyncio.Future[Report] | None = None

    async def report(self) -> Report:
        """The state of things now. Those who ask at the same time share one question to the store."""
        if self._asking is None:
            self._asking = asyncio.get_running_loop().run_in_executor(None, self._ask)
            self._asking.add_done_callback(self._asked)
        try:
            report = await asyncio.wait_for(asyncio.shield(self._asking), CHECK_SECONDS)
        except TimeoutError:
            reason = f"the store did not answer in {CHECK_SECONDS:.0f} s"
            report = Report(reason, "does not answer", self._runtime.dialled, {})
        return report._replace(reason="the process is about to end") if self._runtime.draining else report

    def _asked(self, _: object) -> None:
        self._asking = None

    def _ask(self) -> Report:
        links = self._runtime.dialled
        try:
            problem = self._store.problem()
        except StoreError as error:
            return Report(str(error), "does not answer", links, {})
        if problem is not None:
            return Report(problem, "has another schema", links, {})
        party = self._runtime.party
        if isinstance(party, Stationed):
            standing = party.standing(self._store)
            return Report(standing.reason, "answers", links, dict(standing.members))
        down = [link for link, is_up in links.items() if not is_up]
        return Report(f"the link {down[0]} is not up" if down else None, "answers", links, {})


def as_json(party: str, report: Report) -> dict[str, Json]:
    """The report as ``/ready`` shows it."""
    return {
        "party": party,
        "ready": report.ready,
        "reason": report.reason,
        "store": report.store,
        "links": report.links,
        "members": report.members,
    }
