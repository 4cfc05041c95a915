"""What the acquirer's rooms share: parameters, the security module, the two links, numbers and counts."""

from __future__ import annotations

from collections import Counter

from acquirer.configuration import Configuration
from acquirer.mapping import CardData
from acquirer.numbering import Moment, TraceNumbers
from acquirer.switch_link import SwitchLink
from acquirer.tables import OwnKey, Transaction
from acquirer.terminal_link import TerminalLink
from network.keys import Algorithm, KeyHandle, KeyUsage, SecurityModule
from network.party import SECOND
from network.store import UnitOfWork

_DATA_KEY = "card data"


class Context:
    """See the module's text.

    Attributes
    ----------
    dropped : Counter of str
        Messages that were dropped, and answers that came to nothing, by reason.
    """

    def __init__(self, configuration: Configuration, module: SecurityModule) -> None:
        self.configuration = configuration
        self.acquirer_id = configuration.acquirer_id
        self.module = module
        self.numbers = TraceNumbers()
        self.terminals = TerminalLink(configuration.acquirer_id, module)
        self.switch = SwitchLink(configuration, module)
        self.switch_timeout = int(configuration.switch_timeout * SECOND)
        self.advice_retry = int(configuration.advice_retry * SECOND)
        self.advice_interval = int(configuration.advice_interval * SECOND)
        self.dropped: Counter[str] = Counter()
        self._data_key: KeyHandle | None = None

    def open_data_key(self, store: UnitOfWork) -> None:
        """Load the key that seals card numbers; made at the party's first start."""
        row = store.find(OwnKey, "name", _DATA_KEY)
        if row is None:
            row = OwnKey(_DATA_KEY, self.module.generate(KeyUsage.DATA_ENCRYPTION, Algorithm.AES_256))
            store.insert(row)
        self._data_key = self.module.load(row.block)

    def new_reference(self, store: UnitOfWork, moment: Moment) -> str:
        """The identity of a new message of the acquirer's own."""
        return moment.reference(moment.transmission, self.numbers.take(store), self.acquirer_id)

    def new_retrieval_reference(self, store: UnitOfWork, moment: Moment) -> str:
        """DE37 for an answer about which nothing is recorded."""
        return moment.retrieval_reference(self.numbers.take(store))

    def seal(self, reference: str, card: CardData) -> bytes:
        """Card number and expiry for the record `reference`, to which they are bound."""
        return self.module.seal(self._key(), f"{card.pan}={card.expiry or ''}".encode(), reference.encode())

    def card_of(self, row: Transaction) -> CardData:
        """What `seal` put into the record."""
        text = self.module.unseal(self._key(), row.card, row.reference.encode()).decode()
        pan, _, expiry = text.partition("=")
        return CardData(pan, expiry or None, None)

    def _key(self) -> KeyHandle:
        if self._data_key is None:
            raise RuntimeError("the party has not been started")
        return self._data_key
