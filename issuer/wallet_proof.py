"""How a wallet proves that a command is its own: ECDSA over the command's name, its arguments and a counter (*own*).

What is signed is the JSON of ``{"arguments": {...}, "command": NAME}`` without spaces, keys in order, in ASCII; the
arguments are all of them but the signature, and hold the token and a counter that grows with each command, so that no
command is obeyed twice. Both ends make the text with `signed_text`.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key

from network.keys.elliptic_operations import verify_ec
from network.party import Json

MAX_KEY: Final = 200
"""Longest public key, bytes of DER: one of P-256 has 91."""

MAX_TEXT: Final = 4096
"""Longest text that is signed, bytes."""

_MAX_SIGNATURE: Final = 120


class ProofError(ValueError):
    """A key or signature that proves nothing; says why."""


def signed_text(command: str, arguments: Mapping[str, Json]) -> bytes:
    """What a wallet signs.

    Parameters
    ----------
    command : str
        The operation's name.
    arguments : mapping
        All arguments; a ``signature`` among them is left out.

    Raises
    ------
    ProofError
        It is longer than `MAX_TEXT`, or holds a number that JSON does not know.

    Examples
    --------
    >>> signed_text("payments", {"token": "x", "counter": 1, "signature": "..."})
    b'{"arguments":{"counter":1,"token":"x"},"command":"payments"}'
    """
    content = {name: value for name, value in arguments.items() if name != "signature"}
    try:
        text = json.dumps(
            {"arguments": content, "command": command}, sort_keys=True, separators=(",", ":"), allow_nan=False
        )
    except (ValueError, TypeError, RecursionError):
        raise ProofError("the arguments are no JSON") from None
    if len(text) > MAX_TEXT:
        raise ProofError(f"a command has at most {MAX_TEXT} characters")
    return text.encode("ascii")


def wallet_key(text: str) -> bytes:
    """A wallet's public key from base64 of its DER SubjectPublicKeyInfo.

    Raises
    ------
    ProofError
        It is no such thing, or no key of the curve P-256.
    """
    try:
        der = base64.b64decode(text.encode("ascii"), validate=True)
        if len(der) > MAX_KEY:
            raise ProofError(f"a public key has at most {MAX_KEY} bytes")
        key = load_der_public_key(der)
    except (UnicodeEncodeError, binascii.Error):
        raise ProofError("the public key is not base64") from None
    except (ValueError, UnsupportedAlgorithm):
        raise ProofError("the public key is no DER SubjectPublicKeyInfo") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ProofError("the public key is not of the curve P-256")
    return der


def check_signature(public_key: bytes, command: str, arguments: Mapping[str, Json]) -> None:
    """See that a command was signed by a wallet.

    Raises
    ------
    ProofError
        The signature is missing, malformed or wrong.
    """
    shown = arguments.get("signature")
    if not isinstance(shown, str) or len(shown) > 2 * _MAX_SIGNATURE:
        raise ProofError("the command is not signed")
    try:
        signature = base64.b64decode(shown.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raise ProofError("the signature is not base64") from None
    if not verify_ec(public_key, signed_text(command, arguments), signature):
        raise ProofError("the command's signature is wrong")
