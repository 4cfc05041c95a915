"""What a wallet gets of its token: the number, and limited-use keys in envelopes that only the wallet can open."""

from __future__ import annotations

import base64

from issuer.installation import SEAL_KEY, storage_key
from issuer.tables import Card, KeySet
from issuer.token_tables import Token, Wallet
from network.keys import SecurityModule, SecurityModuleError
from network.keys.limited_use import limited_use_key_number
from network.party import CommandError, Json, Turn


def token_number(turn: Turn, module: SecurityModule, token: Token) -> str:
    """The token's number, unsealed."""
    seal_key = storage_key(turn.store, module, SEAL_KEY)
    return module.unseal(seal_key, token.sealed_token, token.token_index.encode("ascii")).decode("ascii")


def current_key(token: Token) -> int:
    """The limited-use key that the next transaction counter belongs to."""
    return limited_use_key_number(token.highest_atc + 1, token.uses_per_key)


def keys_for_wallet(
    turn: Turn, module: SecurityModule, token: Token, wallet: Wallet, first: int, end: int
) -> dict[str, Json]:
    """The limited-use keys from `first` to before `end`, each enveloped for the wallet's public key (base64).

    ``valid_from`` is the first key that is still good: what the wallet has before it was used up or revoked.

    Raises
    ------
    CommandError
        The wallet's key takes no envelope.
    """
    card = turn.store.find(Card, "pan_index", token.pan_index)
    keys = None if card is None else turn.store.find(KeySet, "key_set_id", card.key_set_id)
    if keys is None:
        raise LookupError("a token's card or key set is not there")
    master, number = module.load(keys.imk_ac), token_number(turn, module, token)
    envelopes: list[str] = []
    try:
        for key_number in range(first, end):
            key = module.derive_limited_use_key(master, number, token.sequence, key_number)
            envelopes.append(base64.b64encode(module.wrap_for(wallet.public_key, key)).decode("ascii"))
    except SecurityModuleError as error:
        raise CommandError(f"no keys for this wallet: {error}") from None
    return {
        "token_id": token.token_index,
        "uses_per_key": token.uses_per_key,
        "valid_from": token.first_key,
        "first_key": first,
        "keys": envelopes,
    }


def provisioned(turn: Turn, module: SecurityModule, token: Token, wallet: Wallet) -> Json:
    """All that a wallet needs to begin, or to begin again where no answer reached it."""
    first = max(token.first_key, current_key(token))
    return {
        "token": token_number(turn, module, token),
        "expiry": token.expiry,
        "sequence": token.sequence,
        "domains": token.domains.split(","),
        "atc": token.highest_atc,
        "command_counter": token.command_counter,
        **keys_for_wallet(turn, module, token, wallet, first, token.end_key),
    }
