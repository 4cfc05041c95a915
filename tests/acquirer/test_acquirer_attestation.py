"""Show 4: a phone is accepted, or refused with a reason of its own for each thing that can be wrong with it."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from random import Random

import pytest
from acquirer_bed import START, Bed
from phone_bed import MAKER, PLACE, Phone, TrustingBed, device_row, records

from acquirer.attestation_policy import PASSING, Place, Refusal
from merchant_device.maker import Maker
from network.attestation import ChainFault, SecurityLevel, VerifiedBootState, public_key_of
from network.attestation.certificate import parse_certificate
from network.attestation.monitoring_link import PIN, TRANSACTION
from network.keys import MacAlgorithm, SecurityModule
from network.party import Command, Json, LinkChange, Work
from network.store import Store


@pytest.fixture
def trusting(empty: Store) -> Iterator[Bed]:
    """An acquirer that trusts a maker's phones."""
    bed = TrustingBed(empty)
    bed.connect()
    yield bed
    bed.unit.rollback()
    assert not bed.failures


@pytest.fixture
def phone(trusting: Bed) -> Phone:
    """A phone that is bound and signed on, not attested yet."""
    made = Phone(trusting)
    made.onboard()
    return made


def sale_code(phone: Phone, *, pin: bool = False) -> str:
    """DE39 of a sale, answered by the acquirer itself or approved by the switch."""
    terminal = phone.terminal
    assert terminal is not None
    body = terminal.sale(1250) if pin else terminal.sale(1250, pin=None)
    replies = phone.bed.ask(terminal, body)
    if replies:
        return replies[0].text(39)
    ((_, reply),) = phone.bed.answer(phone.bed.switch.answer(phone.bed.switch.received[-1]))
    return phone.bed.read(terminal, reply).text(39)


def test_a_phone_is_accepted_and_may_pay(phone: Phone) -> None:
    assert sale_code(phone) == "58"
    verdict = phone.attest()
    assert verdict == {
        "type": "verdict",
        "terminal": verdict["terminal"],
        "purpose": TRANSACTION,
        "accepted": True,
        "reason": None,
        "valid_seconds": 60,
    }
    assert sale_code(phone) == "00"
    assert sale_code(phone, pin=True) == "58"
    assert phone.attest(PIN)["accepted"] is True
    assert sale_code(phone, pin=True) == "00"
    phone.bed.wait(61)
    assert sale_code(phone) == "58"
    bound, first, second = phone.records()
    assert [(one.purpose, one.accepted, one.reason) for one in (bound, first, second)] == [
        ("bind", 1, None),
        (TRANSACTION, 1, None),
        (PIN, 1, None),
    ]
    assert (first.model, first.security_level, first.boot_state, first.app_version) == ("FP-1", 2, 0, 7)


def _other_root(phone: Phone) -> None:
    maker = Maker(SecurityModule(bytes(32), Random(77)), Random(78), START)
    phone.device = maker.manufacture(phone.device.device_id, "FP-1", START, phone.module)


def _other_device(phone: Phone) -> None:
    phone.device = MAKER.manufacture("SN-9999", "FP-1", START, phone.module)


def _other_key(phone: Phone) -> None:
    phone.key = phone.module.generate_ec("another")


def _place(text: str | None) -> Callable[[Phone], None]:
    def move(phone: Phone) -> None:
        phone.place = text

    return move


def _signals(*names: str) -> Callable[[Phone], None]:
    def see(phone: Phone) -> None:
        phone.signals = list(names)

    return see


def _state(**changes: object) -> Callable[[Phone], None]:
    return lambda phone: phone.changed(**changes)


FAULTS: dict[str, tuple[Callable[[Phone], None], str, bool]] = {
    "another maker": (_other_root, ChainFault.ROOT, True),
    "software key": (_state(security_level=SecurityLevel.SOFTWARE), Refusal.SECURITY_LEVEL, True),
    "unlocked": (_state(is_locked=False), Refusal.UNLOCKED, True),
    "self-signed": (_state(verified_boot_state=VerifiedBootState.SELF_SIGNED), Refusal.BOOT_STATE, True),
    "unverified": (_state(verified_boot_state=VerifiedBootState.UNVERIFIED), Refusal.BOOT_STATE, True),
    "failed boot": (_state(verified_boot_state=VerifiedBootState.FAILED), Refusal.BOOT_STATE, True),
    "old OS patches": (_state(os_patch_level=202410), Refusal.PATCH_LEVEL, False),
    "old vendor patches": (_state(vendor_patch_level=20241001), Refusal.PATCH_LEVEL, False),
    "old boot patches": (_state(boot_patch_level=20241001), Refusal.PATCH_LEVEL, False),
    "model": (_state(model="Toy"), Refusal.MODEL, True),
    "model of yesterday": (_state(model="FP-0"), Refusal.MODEL_EXPIRED, False),
    "App": (_state(package="cn.other"), Refusal.APP, True),
    "App of yesterday": (_state(package="cn.fourparty.old"), Refusal.APP_EXPIRED, False),
    "App signed by another": (_state(signature_digest=bytes(32)), Refusal.APP_SIGNATURE, True),
    "App too old": (_state(package_version=4), Refusal.APP_VERSION, False),
    "another phone": (_other_device, Refusal.OTHER_DEVICE, True),
    "another device key": (_other_key, Refusal.SIGNATURE, True),
    "no place": (_place(None), Refusal.NO_PLACE, False),
    "no such place": (_place("+91.0,+0.0"), Refusal.NO_PLACE, False),
    "another town": (_place("+31.300000,+121.473700"), Refusal.PLACE, False),
    "debugger": (_signals("debugger", "root"), Refusal.SIGNALS, True),
}


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_refused_with_its_reason_in_the_record(phone: Phone, name: str) -> None:
    spoil, reason, suspends = FAULTS[name]
    phone.attest_all()
    serial, key = phone.device.device_id, phone.key
    spoil(phone)
    verdict = phone.attest()
    assert (verdict["accepted"], verdict["reason"], verdict["valid_seconds"]) == (False, reason, 0)
    record = [one for one in records(phone.bed.store, serial) if one.purpose == TRANSACTION][-1]
    assert (record.accepted, record.reason) == (0, reason)
    device = device_row(phone.bed.store, serial)
    assert device.status == ("suspended" if suspends else "active")
    assert sale_code(phone) == "58", "what was proved before is over"
    # the phone is put right: a suspended one stays so
    phone.state, phone.place, phone.signals, phone.key = Phone(phone.bed, "SN-X", 5).state, PLACE, [], key
    phone.device = MAKER.manufacture(serial, "FP-1", START, phone.module)
    after = phone.attest()
    assert after["accepted"] is not suspends
    assert sale_code(phone) == ("58" if suspends else "00")
    if suspends:
        assert after["reason"] == Refusal.SUSPENDED


def test_there_are_more_than_ten_faults_and_no_two_reasons_are_alike() -> None:
    assert len({reason for _, reason, _ in FAULTS.values()}) >= 16
    words = [one.value for one in Refusal] + [one.value for one in ChainFault]
    assert len(set(words)) == len(words)
    assert set(words) >= PASSING
    assert {reason for _, reason, suspends in FAULTS.values() if not suspends} <= PASSING


# challenges


def test_a_challenge_is_good_once(phone: Phone) -> None:
    challenge = phone.ask_challenge()
    assert phone.show(challenge)["accepted"] is True
    second = phone.show(challenge)
    assert (second["accepted"], second["reason"]) == (False, Refusal.CHALLENGE_USED)
    assert phone.ask_challenge() != challenge


def test_a_challenge_expires(phone: Phone) -> None:
    challenge = phone.ask_challenge()
    phone.bed.wait(31)
    assert phone.show(challenge)["reason"] == Refusal.CHALLENGE_EXPIRED
    assert phone.row().status == "active"


def test_a_wrong_signature_ends_trust_at_once(phone: Phone) -> None:
    phone.attest_all()
    challenge = phone.ask_challenge()
    assert phone.show(challenge, signature="AA==")["reason"] == Refusal.SIGNATURE
    assert sale_code(phone) == "58"


def test_a_late_copy_ends_no_trust(phone: Phone) -> None:
    challenge = phone.ask_challenge()
    assert phone.show(challenge)["accepted"] is True
    assert phone.show(challenge)["reason"] == Refusal.CHALLENGE_USED
    assert phone.show(challenge, chain=[])["reason"] == Refusal.MALFORMED
    assert sale_code(phone) == "00"


def test_evidence_without_a_challenge_or_for_another(phone: Phone) -> None:
    assert phone.show(bytes(32))["reason"] == Refusal.NO_CHALLENGE
    challenge = phone.ask_challenge()
    assert phone.show(bytes(32))["reason"] == Refusal.OTHER_CHALLENGE
    # and that used it up
    assert phone.show(challenge)["reason"] == Refusal.CHALLENGE_USED


def test_a_challenge_for_one_purpose_or_phone_is_none_for_another(phone: Phone, trusting: Bed) -> None:
    challenge = phone.ask_challenge(TRANSACTION)
    assert phone.show(challenge, PIN)["reason"] == Refusal.NO_CHALLENGE
    other = Phone(trusting, "SN-0002", 200)
    other.application = phone.application
    assert isinstance(other.bind(), dict)
    assert other.terminal is not None
    trusting.sign_on(other.terminal)
    assert other.show(challenge)["reason"] == Refusal.NO_CHALLENGE


def test_doubled_messages_change_nothing(phone: Phone) -> None:
    challenge = phone.ask_challenge()
    assert phone.ask_challenge() == challenge
    evidence = phone.evidence(challenge, phone.module.generate_ec("fresh"), phone.key)
    body = phone.pack({"type": "evidence", "purpose": TRANSACTION, **evidence})
    (first,) = phone.send(body)
    phone.bed.wait(5)
    (second,) = phone.send(body)
    assert first["accepted"] is second["accepted"] is True
    assert (first["valid_seconds"], second["valid_seconds"]) == (60, 54)
    assert len(phone.records()) == 2
    phone.bed.wait(60)
    (late,) = phone.send(body)
    assert (late["accepted"], late["reason"]) == (False, Refusal.CHALLENGE_EXPIRED)


def test_both_in_one_turn(phone: Phone) -> None:
    challenge = phone.ask_challenge()
    evidence = phone.evidence(challenge, phone.module.generate_ec("fresh"), phone.key)
    body = phone.pack({"type": "evidence", "purpose": TRANSACTION, **evidence})
    sent = phone.bed.messages((phone.link, body), (phone.link, body))
    assert [phone.read(one)["accepted"] for _, one in sent] == [True, True]
    assert len(phone.records()) == 2


def test_a_crash_between_commit_and_answer(phone: Phone) -> None:
    challenge = phone.ask_challenge()
    phone.bed.restart()
    evidence = phone.evidence(challenge, phone.module.generate_ec("fresh"), phone.key)
    body = phone.pack({"type": "evidence", "purpose": TRANSACTION, **evidence})
    phone.bed.messages((phone.link, body))
    phone.bed.restart()
    (verdict,) = phone.send(body)
    assert verdict["accepted"] is True
    phone.bed.connect()
    assert sale_code(phone) == "00"


# what is no evidence


@pytest.mark.parametrize(
    "change",
    [
        {"chain": []},
        {"chain": ["AA=="] * 9},
        {"chain": "AA=="},
        {"chain": ["no base64"]},
        {"chain": [7]},
        {"signature": None},
        {"signals": ["x" * 41]},
        {"signals": "debugger"},
        {"signals": ["a"] * 17},
    ],
    ids=str,
)
def test_malformed_evidence(phone: Phone, change: dict[str, Json]) -> None:
    verdict = phone.attest(**change)
    assert (verdict["accepted"], verdict["reason"]) == (False, Refusal.MALFORMED)
    assert phone.row().status == "active"


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ({"model": "FP\x00\x1b[31m" + "x" * 100}, Refusal.MODEL),
        ({"os_patch_level": 1 << 100}, None),
        ({"package_version": 1 << 100}, None),
        ({"os_patch_level": -(1 << 100)}, Refusal.PATCH_LEVEL),
    ],
)
def test_what_no_column_can_hold_is_recorded_all_the_same(
    phone: Phone, state: dict[str, object], reason: Refusal | None
) -> None:
    phone.changed(**state)
    verdict = phone.attest()
    assert verdict["reason"] == reason
    record = phone.records()[-1]
    assert record.reason == reason
    assert record.model is not None
    assert record.model.isprintable()


def test_a_chain_with_its_last_byte_changed(phone: Phone) -> None:
    challenge = phone.ask_challenge()
    evidence = phone.evidence(challenge, phone.module.generate_ec("fresh"), phone.key)
    chain = evidence["chain"]
    assert isinstance(chain, list)
    leaf = bytearray(base64.b64decode(str(chain[0])))
    leaf[-1] ^= 1
    (verdict,) = phone.say(
        {
            "type": "evidence",
            "purpose": TRANSACTION,
            **evidence,
            "chain": [base64.b64encode(leaf).decode(), *chain[1:]],
        }
    )
    assert verdict["reason"] == ChainFault.SIGNATURE


@pytest.mark.parametrize(
    "content",
    [
        {"type": "challenge_request"},
        {"type": "challenge_request", "purpose": "fun"},
        {"type": "challenge_request", "purpose": ["pin"]},
        {"type": "verdict", "purpose": "pin"},
        {"type": 7, "purpose": "pin"},
    ],
    ids=str,
)
def test_what_is_not_expected_is_dropped(phone: Phone, content: dict[str, Json]) -> None:
    assert phone.say(content) == []
    assert phone.bed.party.dropped["monitoring: unexpected"] == 1


def test_junk_and_wrong_macs_are_dropped(phone: Phone) -> None:
    body = phone.pack({"type": "challenge_request", "purpose": PIN})
    for wrong, reason in (
        (b"", "undecodable"),
        (b"\xff" * 30, "undecodable"),
        (b"00000000" + body[8:], "mac"),
        (body[:8] + body[8:].replace(b"pin", b"nip"), "mac"),
        (body.replace(b'"terminal":"0', b'"terminal":"9'), "unknown terminal"),
        (b"00000000{}", "unknown terminal"),
        (b'00000000{"terminal":"\\ud800"}', "undecodable"),
    ):
        before = phone.bed.party.dropped[f"monitoring: {reason}"]
        assert phone.send(wrong) == []
        assert phone.bed.party.dropped[f"monitoring: {reason}"] == before + 1
    rng = Random(3)
    for _ in range(300):
        changed = bytearray(body)
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
        assert phone.send(bytes(changed)) == []


JUNK: list[Json] = [
    None,
    True,
    0,
    -1,
    1.5,
    "",
    "pin",
    "+0,+0",
    [],
    {},
    ["AA=="],
    [None],
    ["x" * 50],
    {"a": []},
    "é" * 60,
]


def test_objects_of_junk_with_a_right_mac_raise_nothing(phone: Phone) -> None:
    """The turn that cannot decide would be counted by the bed as a failure."""
    rng = Random(11)
    good = phone.evidence(phone.ask_challenge(), phone.module.generate_ec("fresh"), phone.key)
    for _ in range(300):
        content: dict[str, Json] = {
            "type": rng.choice(["evidence", "evidence", "evidence", "alarm", "challenge_request", "killed", "x"]),
            "purpose": rng.choice([TRANSACTION, PIN, "x"]),
            **good,
        }
        for name in rng.sample(list(content), rng.randrange(1, 3)):
            if name != "type":
                content[name] = rng.choice(JUNK)
        if "\ud800" in map(str, content.values()):
            text = json.dumps({"type": content["type"], "terminal": phone.terminal.terminal_id, **content}).encode()  # type: ignore[union-attr]
            mac = phone.module.mac(phone.terminal.keys.mak, MacAlgorithm.CUP_ECB, text)  # type: ignore[union-attr]
            phone.send(mac + text)
        else:
            phone.send(phone.pack(content))
    assert not phone.bed.failures


def test_a_conventional_terminal_has_no_business_here(phone: Phone) -> None:
    terminal = phone.bed.terminals[0]
    phone.bed.sign_on(terminal)
    assert phone.bed.pay(terminal, terminal.sale()).fields[39] == "00"
    assert phone.send(b"00000000" + b'{"terminal":"T0000001"}') == []
    assert phone.bed.party.dropped["monitoring: unknown terminal"] == 1


# suspension, alarms, kills


def test_an_alarm_suspends_and_reversals_stay_possible(phone: Phone) -> None:
    phone.attest_all()
    terminal = phone.terminal
    assert terminal is not None
    assert phone.bed.ask(terminal, terminal.sale(1250, pin=None)) == []
    assert phone.say({"type": "alarm", "signals": ["debugger"]}) == []
    assert phone.say({"type": "alarm", "signals": ["debugger"]}) == []
    assert (phone.row().status, phone.row().reason) == ("suspended", "tamper signals: debugger")
    assert [one.purpose for one in phone.records()].count("alarm") == 1
    (reply,) = phone.bed.ask(terminal, terminal.reversal(f"{terminal.stan:06d}"))
    assert reply.fields[39] == "00"
    assert sale_code(phone) == "58"
    assert phone.attest()["reason"] == Refusal.SUSPENDED


def test_the_operator_blocks_and_reactivates(phone: Phone) -> None:
    phone.attest_all()
    bed = phone.bed
    assert bed.command("device_suspend", device_id="SN-0001", reason="a complaint")["status"] == "blocked"  # type: ignore[index, call-overload]
    assert sale_code(phone) == "58"
    assert phone.attest()["reason"] == Refusal.SUSPENDED
    # what an alarm would make of it does not undo what the operator has done
    phone.say({"type": "alarm", "signals": ["root"]})
    assert phone.row().status == "blocked"
    assert bed.command("device_reactivate", device_id="SN-0001")["status"] == "active"  # type: ignore[index, call-overload]
    assert sale_code(phone) == "58"
    assert phone.attest()["accepted"] is True
    assert sale_code(phone) == "00"


def test_a_kill_is_sent_until_it_is_answered(phone: Phone) -> None:
    phone.attest_all()
    bed = phone.bed
    sent = bed.take(_command(bed, "device_kill", device_id="SN-0001", reason="stolen"))
    ((link, body),) = sent
    assert link == phone.link
    said = phone.read(body)
    assert (said["type"], said["reason"]) == ("kill", "stolen")
    assert sale_code(phone) == "58"
    assert [phone.read(one)["type"] for _, one in bed.wait(25)] == ["kill", "kill"]
    # whatever it asks on a new link, it is told again there
    (again,) = phone.say({"type": "challenge_request", "purpose": PIN}, link="monitor:new")
    assert again["type"] == "kill"
    bed.restart()
    told = bed.wait(1)
    assert [(name, phone.read(one)["type"]) for name, one in told] == [("monitor:new", "kill")]
    assert phone.say({"type": "killed"}) == []
    assert phone.row().status == "killed"
    assert bed.wait(60) == []
    bed.restart()
    assert bed.wait(60) == []
    assert bed.command("device_reactivate", device_id="SN-0001")["status"] == "suspended"  # type: ignore[index, call-overload]


def test_a_kill_has_an_end_until_the_phone_is_heard(empty: Store) -> None:
    bed = TrustingBed(empty, kill_tries=3)
    bed.connect()
    phone = Phone(bed)
    phone.onboard()
    phone.attest_all()
    assert len(bed.take(_command(bed, "device_kill", device_id="SN-0001", reason="lost"))) == 1
    assert len(bed.wait(600)) == 2
    (again,) = phone.say({"type": "challenge_request", "purpose": PIN})
    assert again["type"] == "kill"
    bed.unit.rollback()


def _command(bed: Bed, name: str, **arguments: Json) -> Work:
    bed.tickets += 1
    return Work([], [], [Command(name, arguments, bed.tickets)], [])


def test_a_link_that_goes_changes_nothing(phone: Phone) -> None:
    phone.attest_all()
    phone.bed.take(Work([LinkChange(phone.link, False)], [], [], []))
    assert sale_code(phone) == "00"
    assert phone.say({"type": "challenge_request", "purpose": PIN}, link="monitor:2")[0]["type"] == "challenge"


def test_a_shorter_window_holds_at_once(phone: Phone) -> None:
    phone.attest_all()
    phone.bed.configuration = phone.bed.configuration.model_copy(update={"attestation_window": 5.0})
    phone.bed.restart()
    phone.bed.connect()
    assert sale_code(phone) == "00"
    phone.bed.wait(6)
    assert sale_code(phone) == "58"


def test_a_revoked_certificate_suspends(empty: Store) -> None:
    bed = TrustingBed(empty)
    bed.connect()
    phone = Phone(bed)
    phone.onboard()
    serial = parse_certificate(phone.device.chain[0]).serial_number
    changed = bed.configuration.model_dump() | {"revoked_certificates": {f"00{serial:X}": "KEY_COMPROMISE"}}
    bed.configuration = type(bed.configuration)(**changed)
    bed.restart()
    verdict = phone.attest()
    assert verdict["reason"] == ChainFault.REVOKED
    record = phone.records()[-1]
    assert record.detail == "certificate revoked: KEY_COMPROMISE"
    assert phone.row().status == "suspended"
    bed.unit.rollback()


def test_nobody_is_trusted_by_default(empty: Store) -> None:
    bed = TrustingBed(empty, attestation_roots=[])
    phone = Phone(bed)
    phone.apply()
    phone.approve()
    assert str(phone.bind()) == f"not attested: {ChainFault.ROOT}"
    bed.unit.rollback()


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("+31.2304,+121.4737", Place(31_230_400, 121_473_700)),
        ("-0.5,-180", Place(-500_000, -180_000_000)),
        ("+90,+0", Place(90_000_000, 0)),
        ("31.2,121.4", None),
        ("+90.1,+0", None),
        ("+31.2304", None),
        ("+31.23041234,+1.0", None),
        ("+nan,+1.0", None),
        ("+31.2304,+121.4737\n", None),
    ],
)
def test_places(text: str, place: Place | None) -> None:
    assert Place.parse(text) == place


def test_distances() -> None:
    """A degree of latitude is 111.2 km; Shanghai to Beijing is 1067 km."""
    origin = Place(0, 0)
    assert origin.metres_to(Place(1_000_000, 0)) == pytest.approx(111_195, rel=1e-3)
    assert origin.metres_to(origin) == 0
    shanghai, beijing = Place(31_230_400, 121_473_700), Place(39_904_200, 116_407_400)
    assert shanghai.metres_to(beijing) == pytest.approx(1_067_000, rel=5e-3)
    assert Place(0, 179_999_000).metres_to(Place(0, -179_999_000)) == pytest.approx(222, rel=1e-2)


def test_the_attested_key_is_the_one_that_was_bound(phone: Phone) -> None:
    assert phone.row().public_key == phone.key.public_key
    chain = phone.evidence(bytes(32))["chain"]
    assert isinstance(chain, list)
    assert public_key_of(base64.b64decode(str(chain[0]))) == phone.key.public_key
