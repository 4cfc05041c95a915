"""Key attestation in Android's real format: what a phone's secure part says of a key and of itself.

A chain of X.509 certificates whose leaf bears the extension `EXTENSION_OID`, a `KeyDescription` (source.android.com,
"Key and ID attestation"). `verify_chain` proves a chain up to a pinned root; what the description must say is a policy
of whoever asks. `monitoring_link` holds what both ends of the monitoring link must agree on.
"""

from network.attestation.authorization_list import (
    KEYMINT_TAGS,
    ApplicationId,
    AuthorizationList,
    PackageInfo,
    RootOfTrust,
    VerifiedBootState,
)
from network.attestation.certificate_chain import (
    CHAIN_LIMIT,
    parse_revocation_status,
    public_key_of,
    verify_chain,
)
from network.attestation.errors import AttestationError, ChainFault
from network.attestation.key_description import EXTENSION_OID, KeyDescription, SecurityLevel

__all__ = [
    "CHAIN_LIMIT",
    "EXTENSION_OID",
    "KEYMINT_TAGS",
    "ApplicationId",
    "AttestationError",
    "AuthorizationList",
    "ChainFault",
    "KeyDescription",
    "PackageInfo",
    "RootOfTrust",
    "SecurityLevel",
    "VerifiedBootState",
    "parse_revocation_status",
    "public_key_of",
    "verify_chain",
]
