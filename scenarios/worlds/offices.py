"""The parties' offices: what Apps and operators ask of them, by command in virtual time and over REST in a live run.

Every operation is a command of the party; the parties' own tables say by which method and path REST takes it.
"""

from __future__ import annotations

import asyncio
import typing
from collections.abc import Mapping
from typing import Final

from issuer.wallet import OPERATIONS as ISSUER_OPERATIONS
from merchant_device.sdk.acquirer_client import AcquirerClient
from merchant_device.sdk.errors import PhoneError
from merchant_device.sdk.onboarding import ACQUIRER_OPERATIONS, AcquirerCall
from network.live import LiveRuntime
from network.party import CommandError, Endpoint, Json
from network.virtual import Node
from scenarios.demo_network.members import issuers_among
from scenarios.demo_network.processes import NetworkError, RunningNetwork
from scenarios.stage import Answered, Unreachable

BROKEN: Final = "the connection broke"

ANSWER_SECONDS: Final = 60.0
"""How long an office may take over REST."""


class VirtualOffice:
    """The office of a party in virtual time, and as a host its local links.

    Whoever asks a dead party, or one that crashes before it answers, gets an error, as a caller does whose connection
    breaks; what became of the question nobody knows.
    """

    def __init__(self, node: Node) -> None:
        self._node = node
        self._waiting: dict[int, Answered] = {}
        self._asked = 0

    def ask(self, operation: str, arguments: Mapping[str, Json], answered: Answered) -> None:
        """See `scenarios.stage.Office`."""
        if not self._node.is_running:
            answered(Unreachable(BROKEN))
            return
        self._asked += 1
        number = self._asked
        self._waiting[number] = answered
        self._node.command(operation, dict(arguments), lambda result: self._answered(number, result))

    def command(self, name: str, arguments: dict[str, Json], answered: Answered) -> None:
        """See `scenarios.stage.Host`."""
        self.ask(name, arguments, answered)

    def attach(self, link: str, endpoint: Endpoint) -> None:
        """See `scenarios.stage.Host`."""
        self._node.attach(link, endpoint)

    def detach(self, link: str) -> None:
        """See `scenarios.stage.Host`."""
        self._node.detach(link)

    def crash(self) -> None:
        """Crash the party; who waits for an answer is told that none will come."""
        self._node.crash()
        waiting, self._waiting = self._waiting, {}
        for answered in waiting.values():
            answered(Unreachable(BROKEN))

    def restart(self) -> None:
        """Start the party again."""
        self._node.restart()

    def _answered(self, number: int, result: Json | CommandError) -> None:
        self._waiting.pop(number)(result)


class TrustedOffice:
    """The trusted side of phones that live in this process."""

    def __init__(self, runtime: LiveRuntime) -> None:
        self._runtime = runtime

    def ask(self, operation: str, arguments: Mapping[str, Json], answered: Answered) -> None:
        """See `scenarios.stage.Office`."""
        self._runtime.command(operation, dict(arguments), answered)


ROUTES: Final[Mapping[str, Mapping[str, tuple[str, str]]]] = {
    "issuer": ISSUER_OPERATIONS,
    "acquirer": {
        "onboarding_review": ("POST", "/applications/{application_id}/{decision}"),
        "device_suspend": ("POST", "/devices/{device_id}/suspend"),
        "device_reactivate": ("POST", "/devices/{device_id}/reactivate"),
        "device_kill": ("POST", "/devices/{device_id}/kill"),
    },
}
"""Operators' and wallets' operations: method and path of their routes; parts of the path in braces are arguments."""


class LiveOffice:
    """The office of a live party, asked over REST on threads of its own. To be made on the event loop.

    What an applicant's App asks of the acquirer goes the way that the App itself goes, with the applicant's own token.
    """

    def __init__(self, network: RunningNetwork, party: str) -> None:
        self._network = network
        self._party = party
        self._loop = asyncio.get_running_loop()
        self._asking: set[asyncio.Task[None]] = set()
        self._client = AcquirerClient(
            network.description["acquirer"]["api"], None if network.tls is None else network.tls.client
        )

    def ask(self, operation: str, arguments: Mapping[str, Json], answered: Answered) -> None:
        """See `scenarios.stage.Office`."""
        task = self._loop.create_task(self._ask(operation, arguments, answered))
        # the loop itself keeps no task alive
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)

    async def _ask(self, operation: str, arguments: Mapping[str, Json], answered: Answered) -> None:
        try:
            if self._party == "acquirer" and operation in ACQUIRER_OPERATIONS:
                call = AcquirerCall(operation, arguments)
                answer: Json = typing.cast(Json, await asyncio.to_thread(self._client.ask, call))
            else:
                answer = await asyncio.to_thread(self._ask_operator, operation, dict(arguments))
        except PhoneError as error:
            kind = Unreachable if error.code == "acquirer_unreachable" else CommandError
            answered(kind(str(error)))
        except NetworkError as error:
            answered(CommandError(str(error)))
        else:
            answered(answer)

    def _ask_operator(self, operation: str, content: dict[str, Json]) -> Json:
        kind = "issuer" if issuers_among([self._party]) else self._party
        method, path = ROUTES[kind][operation]
        if operation == "onboarding_review":
            content["decision"] = "approve" if content.pop("approve") else "refuse"
        for name in [name for name in content if f"{{{name}}}" in path]:
            path = path.replace(f"{{{name}}}", str(content.pop(name)))
        answer: Json = self._network.request(self._party, method, path, content, timeout=ANSWER_SECONDS)
        return answer
