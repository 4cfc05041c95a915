"""Applications as rows: who may speak for one, and what is shown of it."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from typing import Final

from acquirer.device_tables import APPROVED, Application
from acquirer.tables import Merchant, Sequence, Terminal
from network.party import Command, CommandError, Json, Turn
from network.store import UnitOfWork

_TRIES: Final = 1000
"""Numbers that are looked at for one that is free: an operator may have given some by hand."""


def application_of(turn: Turn, command: Command) -> Application:
    """The application that the caller has the token of.

    Raises
    ------
    CommandError
        There is none such, or the token is another's; the caller does not learn which.
    """
    token, application_id = text_of(command, "token"), text_of(command, "application_id")
    application = turn.store.find(Application, "application_id", application_id)
    if application is None or not is_token_of(application.token_hash, token):
        raise CommandError("no such application, or another token")
    return application


def is_token_of(token_hash: bytes, token: str) -> bool:
    """Whether `token` is the one whose hash an application keeps."""
    return hmac.compare_digest(token_hash, hashlib.sha256(token.encode()).digest())


def application_view(row: Application) -> dict[str, Json]:
    """What the applicant and the operator see of an application: nothing of the person."""
    return {
        "application_id": row.application_id,
        "status": row.status,
        "reason": row.reason,
        "shop_name": row.shop_name,
        "city": row.city,
        "category": row.category,
        "model": row.model,
        "place": f"{row.latitude / 1e6:+.6f},{row.longitude / 1e6:+.6f}",
        "radius": row.radius,
        "merchant_id": row.merchant_id,
        "created_at": row.created_at,
        "reviewed_at": row.reviewed_at,
    }


def find_application(store: UnitOfWork, application_id: str) -> Application:
    """The application of this id; CommandError where there is none."""
    application = store.find(Application, "application_id", application_id)
    if application is None:
        raise CommandError(f"there is no application {application_id[:16]}")
    return application


def require_approved(application: Application) -> str:
    """The merchant of an application that has been approved; CommandError where it has not."""
    if application.status != APPROVED or application.merchant_id is None:
        raise CommandError(f"application {application.application_id} is {application.status}")
    return application.merchant_id


def challenge_subject(application: Application) -> str:
    """The `Challenge.subject` of an application."""
    return f"application|{application.application_id}"


def text_of(command: Command, name: str, *, most: int = 128) -> str:
    """An argument that must be a text of 1 to `most` printable characters; CommandError where it is not."""
    value = command.arguments.get(name)
    if not isinstance(value, str) or not 1 <= len(value) <= most or not value.isprintable():
        raise CommandError(f"{name} is missing, or no text of 1 to {most} printable characters")
    return value


def free_number(store: UnitOfWork, kind: type[Merchant | Terminal], write: Callable[[int], str]) -> str:
    """The next running number, as `write` puts it, that no merchant or terminal has."""
    name = f"onboarding {kind.spec.name}"
    row = store.find(Sequence, "name", name)
    if row is None:
        row = Sequence(name, 0)
        store.insert(row)
    store.change(row)
    for _ in range(_TRIES):
        row.reserved += 1
        number = write(row.reserved)
        if store.find(kind, kind.spec.key, number) is None:
            return number
    raise CommandError(f"no free number for a {kind.spec.name} was found")
