"""On-boarding: a merchant applies from the App, is reviewed, and binds phones to terminals (DOMAIN.md S3).

What an applicant may ask for after the application he proves with a bearer token, of which a hash is kept. A model
that is not supported is refused at once. Every step may be repeated when its answer was lost: an application is known
by its token, which the App may draw itself, a review by what it came to.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from typing import Final

from acquirer.applicant import Applicant, ApplicantError
from acquirer.applications import application_of, application_view, find_application, free_number, text_of
from acquirer.attestation_policy import Place, refusal_of_model
from acquirer.binding import Binding
from acquirer.context import Context
from acquirer.device_control import DeviceControl
from acquirer.device_tables import APPROVED, REFUSED, SUBMITTED, Application, Device
from acquirer.enrolment import EnrolmentError, add_merchant
from acquirer.tables import Merchant, OwnKey
from network.keys import Algorithm, KeyHandle, KeyUsage
from network.party import Command, CommandError, Json, Turn
from network.store import UnitOfWork

_SEAL: Final = "applicants"
_INDEX: Final = "applicant index"
_TOKEN: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_CATEGORY: Final = re.compile(r"\d{4}", re.ASCII)
_OWN: Final = 1000
"""Most applications of one person, and devices of one merchant, that are looked at."""

_REASON: Final = 200


class Onboarding:
    """Decides the commands of applicants and of those who review them, and the operator's about devices.

    Attributes
    ----------
    commands : dict
        Name to what decides it. A refusal is a CommandError; what was recorded before it stands.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        control = DeviceControl(context)
        binding = Binding(context)
        self.commands: dict[str, Callable[[Turn, Command], Json]] = {
            "onboarding_apply": self._apply,
            "onboarding_status": self._status,
            "onboarding_challenge": binding.challenge,
            "onboarding_bind": binding.bind,
            "onboarding_review": self._review,
            "onboarding_details": self._details,
            "device_suspend": lambda turn, command: control.suspend(
                turn, text_of(command, "device_id"), text_of(command, "reason", most=_REASON)
            ),
            "device_reactivate": lambda turn, command: control.reactivate(turn, text_of(command, "device_id")),
            "device_kill": lambda turn, command: control.kill(
                turn, text_of(command, "device_id"), text_of(command, "reason", most=_REASON)
            ),
        }

    def _apply(self, turn: Turn, command: Command) -> Json:
        """A new application; the same again (same token) is answered from the row."""
        token = command.arguments.get("token")
        if token is None:
            token = turn.random.randbytes(32).hex()
        elif not isinstance(token, str) or _TOKEN.fullmatch(token) is None:
            raise CommandError("token is 64 hex digits in lower case, drawn at random")
        application_id = "A" + hashlib.sha256(b"application" + token.encode()).hexdigest()[:15].upper()
        known = turn.store.find(Application, "application_id", application_id)
        if known is not None:
            return {**application_view(known), "token": token}
        row = self._new_application(turn, command, application_id, token)
        if row.status == SUBMITTED:
            # of who is refused at once nothing is kept: anybody may ask, as often as he likes
            turn.store.insert(row)
        return {**application_view(row), "token": token}

    def _new_application(self, turn: Turn, command: Command, application_id: str, token: str) -> Application:
        configuration = self._context.configuration
        try:
            applicant = Applicant.parse(command.arguments, turn.local.date())
        except ApplicantError as error:
            raise CommandError(str(error)) from error
        shop, city = text_of(command, "shop_name", most=60), text_of(command, "city", most=60)
        category, model = text_of(command, "category"), text_of(command, "model", most=40)
        if _CATEGORY.fullmatch(category) is None:
            raise CommandError("category is a merchant category code of 4 digits")
        for name, value in (("shop_name", shop), ("city", city)):
            if value.encode("gbk", "ignore").decode("gbk") != value:
                raise CommandError(f"{name} has characters that GBK lacks")
        place = Place.parse(text_of(command, "place"))
        radius = command.arguments.get("radius")
        if place is None:
            raise CommandError("place is latitude and longitude in degrees, such as +31.2304,+121.4737")
        if type(radius) is not int or not 10 <= radius <= configuration.area_radius:
            raise CommandError(f"radius is 10 to {configuration.area_radius} metres")
        person = self._context.module.index(
            self._own_key(turn.store, _INDEX, KeyUsage.MAC_HMAC, Algorithm.HMAC_SHA256), applicant.id_number.encode()
        )
        reason = refusal_of_model(model, configuration, turn.local.date())
        if reason is None:
            self._check_room(turn.store, person)
        details = self._context.module.seal(self._sealing(turn.store), applicant.text(), application_id.encode())
        return Application(
            application_id=application_id,
            status=SUBMITTED if reason is None else REFUSED,
            reason=None if reason is None else f"{reason.value}: {model}",
            person=person,
            details=details,
            token_hash=hashlib.sha256(token.encode()).digest(),
            shop_name=shop,
            city=city,
            category=category,
            model=model,
            latitude=place.latitude,
            longitude=place.longitude,
            radius=radius,
            merchant_id=None,
            devices_limit=configuration.merchant_devices,
            created_at=turn.now,
            reviewed_at=None if reason is None else turn.now,
        )

    def _check_room(self, store: UnitOfWork, person: bytes) -> None:
        configuration = self._context.configuration
        most = configuration.open_applications
        if len(store.scan(Application, "status", SUBMITTED, most)) >= most:
            raise CommandError("too many applications wait for review; apply again later")
        own = store.scan(Application, "person", person, _OWN)
        if sum(one.status == SUBMITTED for one in own) >= configuration.person_applications:
            raise CommandError("this person has applications that wait for review")

    def _status(self, turn: Turn, command: Command) -> Json:
        application = application_of(turn, command)
        devices: list[Device] = []
        if application.merchant_id is not None:
            devices = turn.store.scan(Device, "merchant_id", application.merchant_id, _OWN)
        return {
            **application_view(application),
            "devices": [
                {"device_id": one.device_id, "terminal_id": one.terminal_id, "status": one.status, "reason": one.reason}
                for one in devices
            ],
        }

    def _review(self, turn: Turn, command: Command) -> Json:
        """The operator approves, which makes the merchant, or refuses with a reason. The same again changes nothing."""
        application = find_application(turn.store, text_of(command, "application_id"))
        approve = command.arguments.get("approve")
        if not isinstance(approve, bool):
            raise CommandError("approve is true or false")
        wanted = APPROVED if approve else REFUSED
        if application.status != SUBMITTED:
            if application.status == wanted:
                return application_view(application)
            raise CommandError(f"application {application.application_id} is {application.status} already")
        limit = command.arguments.get("devices", application.devices_limit)
        if type(limit) is not int or not 1 <= limit <= 10_000:
            raise CommandError("devices is 1 to 10000")
        reason = None if approve else text_of(command, "reason", most=_REASON)
        merchant_id = self._new_merchant(turn, application) if approve else None
        turn.store.change(application)
        application.status, application.reason, application.reviewed_at = wanted, reason, turn.now
        application.merchant_id, application.devices_limit = merchant_id, limit
        return application_view(application)

    def _details(self, turn: Turn, command: Command) -> Json:
        """What the reviewer sees of an application: the applicant too, masked."""
        application = find_application(turn.store, text_of(command, "application_id"))
        text = self._context.module.unseal(
            self._sealing(turn.store), application.details, application.application_id.encode()
        )
        return {**application_view(application), "applicant": Applicant.from_text(text).view()}

    def _new_merchant(self, turn: Turn, application: Application) -> str:
        """Enrol the merchant. Its id: institution (4), category (4), running number (7) [G]."""
        prefix = self._context.acquirer_id[:4] + application.category
        merchant_id = free_number(turn.store, Merchant, lambda n: f"{prefix}{n:07d}")
        try:
            add_merchant(
                turn.store,
                merchant_id=merchant_id,
                name=application.shop_name,
                city=application.city,
                category=application.category,
                now=turn.now,
                currency=self._context.configuration.currency,
            )
        except EnrolmentError as error:
            raise CommandError(str(error)) from error
        return merchant_id

    def _sealing(self, store: UnitOfWork) -> KeyHandle:
        return self._own_key(store, _SEAL, KeyUsage.DATA_ENCRYPTION, Algorithm.AES_256)

    def _own_key(self, store: UnitOfWork, name: str, usage: KeyUsage, algorithm: Algorithm) -> KeyHandle:
        module = self._context.module
        row = store.find(OwnKey, "name", name)
        if row is None:
            row = OwnKey(name, module.generate(usage, algorithm))
            store.insert(row)
        return module.load(row.block)
