"""What the acquirer's rooms share: parameters, the security module, the two links, numbers and counts."""

from __future__ import annotations

from collections import Counter

from acquirer.configuration import Configuration
from acquirer.mapping import NO_CARD, CardData
from acquirer.numbering import Moment, OrderNumbers, TraceNumbers
from acquirer.switch_link import SwitchLink
from acquirer.tables import OwnKey, Transaction
from acquirer.terminal_link import TerminalLink
from network.keys import Algorithm, KeyHandle, KeyUsage, SecurityModule
from network.party import SECOND
from network.store import UnitOfWork

_DATA_KEY = "card data"
_INDEX_KEY = "code index"


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
        self.order_numbers = OrderNumbers(configuration.acquirer_id)
        self.terminals = TerminalLink(configuration.acquirer_id, module)
        self.switch = SwitchLink(configuration, module)
        self.switch_timeout = int(configuration.switch_timeout * SECOND)
        self.advice_retry = int(configuration.advice_retry * SECOND)
        self.advice_interval = int(configuration.advice_interval * SECOND)
        self.order_life = int(configuration.order_seconds * SECOND)
        self.dropped: Counter[str] = Counter()
        self._data_key: KeyHandle | None = None
        self._index_key: KeyHandle | None = None

    def begin(self) -> None:
        """A turn begins."""
        self.numbers.begin()
        self.order_numbers.begin()

    def rolled_back(self) -> None:
        """The turn was not committed."""
        self.numbers.rolled_back()
        self.order_numbers.rolled_back()

    def open_own_keys(self, store: UnitOfWork) -> None:
        """Load the keys that seal card numbers and index them and payers' codes; made at the party's first start."""
        self._data_key = self._own_key(store, _DATA_KEY, KeyUsage.DATA_ENCRYPTION, Algorithm.AES_256)
        self._index_key = self._own_key(store, _INDEX_KEY, KeyUsage.MAC_HMAC, Algorithm.HMAC_SHA256)

    def _own_key(self, store: UnitOfWork, name: str, usage: KeyUsage, algorithm: Algorithm) -> KeyHandle:
        row = store.find(OwnKey, "name", name)
        if row is None:
            row = OwnKey(name, self.module.generate(usage, algorithm))
            store.insert(row)
        return self.module.load(row.block)

    def new_reference(self, store: UnitOfWork, moment: Moment) -> str:
        """The identity of a new message of the acquirer's own."""
        return moment.reference(moment.transmission, self.numbers.take(store), self.acquirer_id)

    def new_retrieval_reference(self, store: UnitOfWork, moment: Moment) -> str:
        """DE37 for an answer about which nothing is recorded."""
        return moment.retrieval_reference(self.numbers.take(store))

    def seal(self, reference: str, card: CardData) -> bytes:
        """Card number and expiry for the record `reference`, to which they are bound; empty where there is no card."""
        return self.seal_text(reference, f"{card.pan}={card.expiry or ''}".encode()) if card.pan else b""

    def card_of(self, row: Transaction) -> CardData:
        """What `seal` put into the record."""
        if not row.card:
            return NO_CARD
        pan, _, expiry = self.unseal_text(row.reference, row.card).decode().partition("=")
        return CardData(pan, expiry or None, None)

    def seal_text(self, reference: str, text: bytes) -> bytes:
        """Seal `text`, bound to the record `reference`."""
        return self.module.seal(_opened(self._data_key), text, reference.encode())

    def unseal_text(self, reference: str, sealed: bytes) -> bytes:
        """What `seal_text` sealed for the record `reference`."""
        return self.module.unseal(_opened(self._data_key), sealed, reference.encode())

    def code_index(self, order: str, code: str) -> bytes:
        """A keyed hash of an order's number and a payer's code, to find the claim by."""
        return self.module.index(_opened(self._index_key), f"{order}|{code}".encode())

    def card_index(self, pan: str) -> bytes:
        """A keyed hash of a card number, to find what is recorded of the card by."""
        # no order has such a number, so that this is no code's index
        return self.module.index(_opened(self._index_key), f"card|{pan}".encode())


def _opened(key: KeyHandle | None) -> KeyHandle:
    if key is None:
        raise RuntimeError("the party has not been started")
    return key
