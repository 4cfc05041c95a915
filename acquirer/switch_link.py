"""The acquirer's end of the link to the switch: requests go out under DE128, answers are checked by it."""

from __future__ import annotations

from typing import Final

from acquirer.configuration import Configuration
from network.iso8583 import InterbankHeader, Message
from network.keys import SecurityModule
from network.member import MemberSession, ZoneKeys, mac_is_valid, pack_with_mac
from network.party import SECOND, Instant, LinkName, Turn
from network.store import UnitOfWork

_REFUSED_KEYS: Final = frozenset(("77", "A0"))
_NOT_REJECTED: Final = "00000"


class SwitchLink:
    """The member session and the zone's keys, as those who send and receive over it need them.

    Attributes
    ----------
    draining : bool
        The process is about to end: no sale is begun any more.
    """

    def __init__(self, configuration: Configuration, module: SecurityModule) -> None:
        retry = int(configuration.sign_on_retry * SECOND)
        self.name: LinkName = configuration.switch_link
        self.session = MemberSession(configuration.acquirer_id, configuration.switch_id, module, retry)
        self._switch_id = configuration.switch_id
        self._overlap = int(configuration.key_overlap * SECOND)
        self._retry = retry
        self.draining = False
        self._signed_on_again: Instant | None = None
        self._module = module

    @property
    def ready(self) -> bool:
        """Whether requests can be sent: signed on, both keys in force."""
        return self.session.ready

    @property
    def header(self) -> InterbankHeader:
        """The header of what the acquirer sends."""
        return self.session.header

    def zone(self, store: UnitOfWork) -> ZoneKeys | None:
        """The zone's keys; None where the acquirer has not joined the network."""
        return store.find(ZoneKeys, "zone", self._switch_id)

    def send(self, turn: Turn, message: Message) -> None:
        """Send a message with its DE128. The session must be `ready`."""
        zone = self.zone(turn.store)
        if zone is not None and zone.mac_key is not None:
            turn.send(self.name, pack_with_mac(message, self._module, self._module.load(zone.mac_key)))

    def fault_of(self, turn: Turn, message: Message) -> str | None:
        """Why an answer over the link is not to be believed, in one word for the counts; None where it is."""
        header = message.header
        if not isinstance(header, InterbankHeader) or header.source != self._switch_id:
            return "stranger"
        if header.reject_code != _NOT_REJECTED:
            return "rejected"
        zone = self.zone(turn.store)
        if zone is None or not mac_is_valid(message, self._module, zone, turn.now, self._overlap):
            return "mac"
        return None

    def keys_refused(self, turn: Turn, message: Message) -> None:
        """Sign on again where the switch answered 77 or A0: the two ends no longer share their keys.

        The answer itself need not be believed: a needless sign-on does no harm, and there is at most one in every
        `sign_on_retry`.
        """
        if message.fields.get(39) not in _REFUSED_KEYS or not self.ready:
            return
        if self._signed_on_again is None or turn.now >= self._signed_on_again + self._retry:
            self._signed_on_again = turn.now
            self.session.sign_on(turn, self.name)
