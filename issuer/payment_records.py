"""What a card makes anew in each payment and gives in records: its signature, fDDA version 01 (DOMAIN.md 4.5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from issuer.card_application import OfflineAuthentication
from issuer.card_file import DYNAMIC_FILE, FIRST_DYNAMIC_RECORD, SIGNATURE_IN_OPTIONS, dynamic_records, file_locator
from issuer.signed_data import sign_dynamic_data
from network.emv import tlv
from network.keys import SecurityModule

FDDA_VERSION: Final = 0x01
CHALLENGE_LENGTH: Final = 4
"""Bytes of the card's own unpredictable number in 9F69."""


class PaymentRecords:
    """The records of the card's last payment, kept until the next.

    Parameters
    ----------
    module : SecurityModule
        The chip's.
    authentication : OfflineAuthentication
        Its key and certificates.

    Attributes
    ----------
    authentication : OfflineAuthentication
        As given.
    records : dict
        Templates 70 by short file identifier and number; empty when the last payment was not signed.
    last : tuple of int
        The place of the last record that the file locator names.

    """

    __slots__ = ("_module", "authentication", "last", "records")

    def __init__(self, module: SecurityModule, authentication: OfflineAuthentication) -> None:
        if not authentication.certificate:
            raise ValueError("offline_authentication: the card has not been certified")
        self._module = module
        self.authentication = authentication
        self.records: dict[tuple[int, int], bytes] = {}
        self.last = (0, 0)

    def sign(self, values: Mapping[str, bytes], atc: bytes, card_qualifiers: bytes) -> bytes:
        """Sign a payment and set its records down.

        Parameters
        ----------
        values : mapping of str to bytes
            What the reader said, tag to value.
        atc : bytes
            The transaction counter, which is the dynamic number.
        card_qualifiers : bytes
            9F6C as the card answers it, so that it cannot be changed on the way.

        Returns
        -------
        bytes
            What the answer to GET PROCESSING OPTIONS gets: the file locator 94, and the signature 9F4B where it fits.

        """
        challenge = self._module.generate_challenge(CHALLENGE_LENGTH)
        related = bytes((FDDA_VERSION,)) + challenge + card_qualifiers
        terminal_data = values["9F37"] + values["9F02"] + values["5F2A"] + related
        signature = sign_dynamic_data(self._module, self.authentication.key, atc, terminal_data)
        in_options = len(signature) <= SIGNATURE_IN_OPTIONS
        made = dynamic_records(related, None if in_options else signature)
        for number, record in enumerate(made, FIRST_DYNAMIC_RECORD):
            self.last = (DYNAMIC_FILE, number)
            self.records[self.last] = record
        locator = tlv.encode("94", file_locator(len(made)))
        return locator + tlv.encode("9F4B", signature) if in_options else locator
