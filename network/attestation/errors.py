"""Why an attestation is not believed."""

from __future__ import annotations

from enum import StrEnum


class ChainFault(StrEnum):
    """What can be wrong with a certificate chain; the value is the reason that is recorded."""

    LENGTH = "chain too short or too long"
    MALFORMED = "malformed certificate"
    WEAK = "key or signature algorithm not accepted"
    SIGNATURE = "wrong signature in the chain"
    ROOT = "root not trusted"
    NOT_YET_VALID = "certificate not yet valid"
    EXPIRED = "certificate expired"
    AUTHORITY = "issuer is no certificate authority"
    REVOKED = "certificate revoked"
    NO_ATTESTATION = "leaf without attestation"
    ATTESTATION_ABOVE = "attestation above the leaf"
    DESCRIPTION = "malformed key description"


class AttestationError(ValueError):
    """An attestation that is not believed.

    Attributes
    ----------
    fault : ChainFault
    reason : str
        The fault's words, the same for all cases of one kind: for records and answers.
    """

    def __init__(self, fault: ChainFault, detail: str = "") -> None:
        super().__init__(f"{fault.value}: {detail}" if detail else fault.value)
        self.fault = fault
        self.reason = fault.value
