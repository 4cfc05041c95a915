"""On-boarding: application, review, binding; what is refused, what is repeated, what a crash leaves."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from acquirer_bed import PAN
from phone_bed import APPLICANT, Phone, TrustingBed, applications, records, terminal_row

from acquirer.applicant import Applicant, ApplicantError, check_id_number
from acquirer.attestation_policy import Refusal
from acquirer.enrolment import account_of
from acquirer.tables import TABLES
from network.keys import KeyUsage
from network.keys.elliptic_operations import EnvelopeError
from network.party import Command, CommandError, Json, Work
from network.store import Store, sqlite_url


@pytest.fixture
def trusting(empty: Store) -> Iterator[TrustingBed]:
    bed = TrustingBed(empty)
    bed.connect()
    yield bed
    bed.unit.rollback()
    assert not bed.failures


@pytest.fixture
def phone(trusting: TrustingBed) -> Phone:
    """A phone whose owner has not applied yet."""
    return Phone(trusting)


def given(answer: Json | CommandError | None) -> dict[str, Json]:
    assert isinstance(answer, dict), answer
    return answer


def refused(answer: Json | CommandError | None) -> str:
    assert isinstance(answer, CommandError), answer
    return str(answer)


def test_from_application_to_the_first_sale(phone: Phone) -> None:
    applied = given(phone.apply())
    assert (applied["status"], applied["merchant_id"]) == ("submitted", None)
    assert refused(phone.bed.command("onboarding_challenge", **phone.application)).endswith("is submitted")
    approved = given(phone.approve())
    merchant = str(approved["merchant_id"])
    assert (approved["status"], len(merchant), merchant[:8]) == ("approved", 15, "48025411")
    bound = given(phone.bind())
    assert (bound["merchant_id"], bound["device_id"], bound["merchant_name"]) == (merchant, "SN-0001", "王记水果摊")
    terminal = phone.terminal
    assert terminal is not None
    assert terminal.opened is not None
    assert terminal.opened.usage is KeyUsage.KEY_ENCRYPTION
    assert phone.bed.sign_on(terminal).fields[39] == "00"
    phone.attest_all()
    assert phone.bed.pay(terminal, terminal.sale()).fields[39] == "00"
    assert phone.bed.balances()[account_of(merchant)] == 1250
    status = given(phone.bed.command("onboarding_status", **phone.application))
    assert status["devices"] == [
        {"device_id": "SN-0001", "terminal_id": terminal.terminal_id, "status": "active", "reason": None}
    ]


def test_the_same_application_again_is_the_same(phone: Phone) -> None:
    token = "ab" * 32
    first = given(phone.apply(token=token))
    assert given(phone.apply(token=token)) == first
    phone.bed.restart()
    phone.bed.connect()
    given(phone.approve())
    again = given(phone.apply(token=token))
    assert (again["application_id"], again["status"]) == (first["application_id"], "approved")
    assert len(applications(phone.bed.store)) == 1
    # without a token of the App's own each is another
    assert given(phone.apply())["application_id"] != given(phone.apply())["application_id"]


def test_a_model_that_is_not_supported_is_refused_with_the_reason(phone: Phone) -> None:
    answer = given(phone.apply(model="Toy Phone"))
    assert (answer["status"], answer["reason"]) == ("refused", "model not allowed: Toy Phone")
    assert refused(phone.approve()).startswith("there is no application")
    assert given(phone.apply(model="FP-0"))["reason"] == "model no longer allowed: FP-0"
    assert refused(phone.bed.command("onboarding_challenge", **phone.application)).startswith("no such application")
    # anybody may ask this, as often as he likes: nothing of it is kept
    assert applications(phone.bed.store) == []


def test_the_reviewer_refuses_with_a_reason(phone: Phone) -> None:
    phone.apply()
    application_id = phone.application["application_id"]
    for arguments, wrong in (
        ({"approve": False}, "reason is missing"),
        ({"approve": "yes"}, "approve is true or false"),
        ({"approve": True, "devices": 0}, "devices is 1"),
    ):
        assert wrong in refused(phone.bed.command("onboarding_review", application_id=application_id, **arguments))  # type: ignore[arg-type]
    refuse: dict[str, Json] = {"application_id": application_id, "approve": False, "reason": "no licence"}
    assert given(phone.bed.command("onboarding_review", **refuse))["status"] == "refused"
    assert given(phone.bed.command("onboarding_review", **refuse))["reason"] == "no licence"
    assert refused(phone.approve()).endswith("is refused already")
    status = given(phone.bed.command("onboarding_status", **phone.application))
    assert (status["status"], status["reason"], status["devices"]) == ("refused", "no licence", [])
    assert "no application" in refused(phone.bed.command("onboarding_review", application_id="A0", approve=True))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": ""}, "name"),
        ({"name": None}, "name"),
        ({"id_number": "110105194912310021"}, "check character"),
        ({"id_number": "11010519491331002X"}, "id_number"),
        ({"id_number": "11010519491231002"}, "17 digits"),
        ({"phone_number": "23800138000"}, "phone_number"),
        ({"settlement_card": PAN[:-1] + str((int(PAN[-1]) + 1) % 10)}, "settlement_card"),
        ({"settlement_card": 7}, "settlement_card"),
        ({"shop_name": "\n"}, "shop_name"),
        ({"shop_name": "🍎"}, "shop_name"),
        ({"city": "x" * 61}, "city"),
        ({"category": "54x1"}, "category"),
        ({"model": ""}, "model"),
        ({"model": "\ud800"}, "model"),
        ({"place": "somewhere"}, "place"),
        ({"radius": 9}, "radius"),
        ({"radius": 20_001}, "radius"),
        ({"radius": 500.5}, "radius"),
        ({"radius": True}, "radius"),
        ({"token": "short"}, "token"),
    ],
    ids=str,
)
def test_applications_that_cannot_be_true(phone: Phone, change: dict[str, Json], said: str) -> None:
    answer = refused(phone.apply(**change))
    assert said in answer
    value = str(next(iter(change.values())))
    assert len(value) < 10 or value not in answer, "what was said stays out of errors"
    assert applications(phone.bed.store) == []


def test_applications_are_bounded(empty: Store) -> None:
    bed = TrustingBed(empty, open_applications=3, person_applications=2)
    phone = Phone(bed)
    given(phone.apply())
    given(phone.apply())
    assert "this person" in refused(phone.apply())
    other: dict[str, Json] = {"id_number": "440524188001010014"}
    given(phone.apply(**other))
    third: dict[str, Json] = {"id_number": "11010120000101001" + _check("11010120000101001")}
    assert "too many" in refused(phone.apply(**third))
    # what was decided makes room
    given(phone.approve())
    given(phone.apply(**third))
    bed.unit.rollback()


def _check(first: str) -> str:
    """The check character of GB 11643 by its other definition: the whole number's sum is 1 modulo 11."""
    for last in "0123456789X":
        values = [int(one) for one in first] + [10 if last == "X" else int(last)]
        if sum(value * 2**power for value, power in zip(values, range(17, -1, -1), strict=True)) % 11 == 1:
            return last
    raise AssertionError


@pytest.mark.parametrize("number", ["11010519491231002X", "440524188001010014"])
def test_the_standards_own_id_numbers(number: str) -> None:
    check_id_number(number, date(2025, 11, 23))
    for position in range(17):
        changed = number[:position] + str((int(number[position]) + 1) % 10) + number[position + 1 :]
        with pytest.raises(ApplicantError):
            check_id_number(changed, date(2025, 11, 23))


def test_who_is_not_of_age() -> None:
    first = "11010520071124001"
    number = first + _check(first)
    check_id_number(number, date(2025, 11, 24))
    with pytest.raises(ApplicantError, match="of age"):
        check_id_number(number, date(2025, 11, 23))


def test_an_applicant_shows_nothing_of_himself() -> None:
    applicant = Applicant.parse(APPLICANT, date(2025, 11, 23))
    assert Applicant.from_text(applicant.text()) == applicant
    shown = repr(applicant) + str(applicant.view())
    for secret in ("11010519491231002X", "13800138000", PAN):
        assert secret not in shown


def test_nothing_of_the_applicant_stands_in_the_database_in_clear(tmp_path: Path) -> None:
    path = tmp_path / "acquirer.db"
    store = Store(sqlite_url(path), TABLES)
    bed = TrustingBed(store)
    bed.connect()
    phone = Phone(bed)
    phone.onboard()
    details = given(bed.command("onboarding_details", application_id=phone.application["application_id"]))
    assert details["applicant"] == {
        "name": "王小二",
        "id_number": "110105********002X",
        "phone_number": "138****8000",
        "settlement_card": f"{PAN[:6]}******{PAN[-4:]}",
    }
    store.close()
    content = b"".join(one.read_bytes() for one in tmp_path.iterdir())
    for secret in ("11010519491231002X", "13800138000", PAN, "王小二", str(phone.application["token"])):
        assert secret.encode() not in content
    assert "王记水果摊".encode() in content


# who may call


def test_only_the_tokens_holder_speaks_for_an_application(phone: Phone, trusting: TrustingBed) -> None:
    phone.apply()
    phone.approve()
    other = Phone(trusting, "SN-0002")
    other.apply(token="cd" * 32)
    own, foreign = phone.application["application_id"], other.application["token"]
    for name in ("onboarding_status", "onboarding_challenge", "onboarding_bind"):
        for arguments in (
            {"application_id": own, "token": foreign},
            {"application_id": "A000000000000000", "token": foreign},
        ):
            assert "another token" in refused(trusting.command(name, **arguments))
        assert "token is missing" in refused(trusting.command(name, application_id=own))


# binding


def test_a_lost_answer_is_given_again(phone: Phone) -> None:
    phone.apply()
    phone.approve()
    challenge = phone.challenge()
    assert phone.challenge() == challenge
    evidence = phone.evidence(challenge)
    first = given(phone.bind(evidence))
    again = given(phone.bind(evidence))
    assert {**first, "wrapped_tmk": 0} == {**again, "wrapped_tmk": 0}
    assert first["wrapped_tmk"] != again["wrapped_tmk"]
    keys = [phone.module.open_envelope(phone.key, bytes.fromhex(str(one["wrapped_tmk"]))) for one in (first, again)]
    assert keys[0].check_value == keys[1].check_value
    assert len(records(phone.bed.store, "SN-0001")) == 1


def test_a_crash_before_and_after_the_commit_of_a_binding(phone: Phone) -> None:
    phone.apply()
    phone.approve()
    evidence = phone.evidence(phone.challenge())
    bed = phone.bed
    arguments = {**phone.application, **evidence}
    # the process dies before the commit
    commit, bed.unit.commit = bed.unit.commit, _die  # type: ignore[method-assign]
    bed.take(Work([], [], [Command("onboarding_bind", arguments, 900)], []))
    bed.unit.commit = commit  # type: ignore[method-assign]
    bed.failures.clear()
    bed.restart()
    assert records(bed.store, "SN-0001") == []
    # and after it, before the answer is out
    bed.take(Work([], [], [Command("onboarding_bind", arguments, 901)], []))
    first = bed.answers.pop(901)
    bed.restart()
    bed.connect()
    second = given(phone.bind(evidence))
    assert second["terminal_id"] == given(first)["terminal_id"]
    assert phone.terminal is not None
    assert bed.sign_on(phone.terminal).fields[39] == "00"


def _die() -> None:
    raise RuntimeError("killed")


def test_two_copies_of_a_binding_in_one_turn(phone: Phone) -> None:
    phone.apply()
    phone.approve()
    arguments = {**phone.application, **phone.evidence(phone.challenge())}
    phone.bed.take(Work([], [], [Command("onboarding_bind", arguments, ticket) for ticket in (901, 902)], []))
    first, second = given(phone.bed.answers[901]), given(phone.bed.answers[902])
    assert first["terminal_id"] == second["terminal_id"]


def test_a_binding_challenge_is_good_once_and_for_its_time(phone: Phone) -> None:
    phone.apply()
    phone.approve()
    assert refused(phone.bind(phone.evidence(bytes(32)))) == f"not attested: {Refusal.NO_CHALLENGE}"
    challenge = phone.challenge()
    phone.bed.wait(301)
    assert refused(phone.bind(phone.evidence(challenge))) == f"not attested: {Refusal.CHALLENGE_EXPIRED}"
    challenge = phone.challenge()
    phone.changed(is_locked=False)
    assert refused(phone.bind(phone.evidence(challenge))) == f"not attested: {Refusal.UNLOCKED}"
    phone.changed(is_locked=True)
    assert refused(phone.bind(phone.evidence(challenge))) == f"not attested: {Refusal.CHALLENGE_USED}"
    given(phone.bind())
    reasons = [(one.purpose, one.accepted, one.reason) for one in records(phone.bed.store, "SN-0001")]
    assert sorted(reasons) == [("bind", 0, Refusal.UNLOCKED.value), ("bind", 1, None)]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"place": "+39.9,+116.4"}, Refusal.PLACE),
        ({"place": None}, Refusal.NO_PLACE),
        ({"signals": ["root"]}, Refusal.SIGNALS),
        ({"signature": "AA=="}, Refusal.SIGNATURE),
        ({"chain": []}, Refusal.MALFORMED),
    ],
    ids=str,
)
def test_bindings_that_are_refused(phone: Phone, change: dict[str, Json], reason: Refusal) -> None:
    phone.apply()
    phone.approve()
    assert refused(phone.bind(**change)) == f"not attested: {reason}"
    assert given(phone.bed.command("onboarding_status", **phone.application))["devices"] == []


def test_a_key_attested_by_one_phone_is_no_key_of_another(phone: Phone, trusting: TrustingBed) -> None:
    """Whoever relays another phone's chain cannot sign for it, and could not open the envelope."""
    phone.apply()
    phone.approve()
    thief = Phone(trusting, "SN-0666", 300)
    stolen = phone.evidence(phone.challenge())
    chain = stolen["chain"]
    assert isinstance(chain, list)
    forged = thief.evidence(bytes(32))
    assert refused(phone.bind({**stolen, "signature": forged["signature"]})).endswith(Refusal.SIGNATURE)
    bound = given(phone.bind())
    with pytest.raises(EnvelopeError):
        thief.module.open_envelope(thief.key, bytes.fromhex(str(bound["wrapped_tmk"])))


@pytest.mark.parametrize("serial", ["SN 1", "SN/1", "SN'1"])
def test_a_serial_number_that_messages_cannot_carry(trusting: TrustingBed, serial: str) -> None:
    phone = Phone(trusting, serial)
    phone.apply()
    phone.approve()
    assert refused(phone.bind()) == f"not attested: {Refusal.OTHER_DEVICE}"


def test_further_terminals_of_a_merchant_up_to_its_limit(phone: Phone, trusting: TrustingBed) -> None:
    phone.apply()
    phone.approve(devices=2)
    given(phone.bind())
    second, third = Phone(trusting, "SN-0002", 200), Phone(trusting, "SN-0003", 300)
    second.application = third.application = phone.application
    assert given(second.bind())["merchant_id"] == phone.terminal.merchant_id  # type: ignore[union-attr]
    assert second.terminal is not None
    assert second.terminal.terminal_id != phone.terminal.terminal_id  # type: ignore[union-attr]
    assert refused(third.bind()) == "the merchant may have 2 devices"
    assert records(trusting.store, "SN-0003")[0].reason == "the merchant may have 2 devices"
    assert refused(second.bind()) == "device SN-0002 is bound to a terminal"
    # a conventional terminal is none that another device may take over
    assert "had a device" in refused(third.bind(terminal_id="T0000001"))
    assert "had a device" in refused(third.bind(terminal_id="99999999"))
    assert "8 letters" in refused(third.bind(terminal_id="x"))


def test_a_failed_phone_is_bound_anew_with_a_new_key(phone: Phone) -> None:
    terminal = phone.onboard()
    phone.attest_all()
    phone.say({"type": "alarm", "signals": ["root"]})
    before = phone.row()
    old_tmk = terminal_row(phone.bed.store, terminal.terminal_id).master_key
    assert "bind it to its terminal" in refused(phone.bind())
    phone.key = phone.module.generate_ec("device, second")
    again = given(phone.bind(terminal_id=terminal.terminal_id))
    assert again["terminal_id"] == terminal.terminal_id
    row = terminal_row(phone.bed.store, terminal.terminal_id)
    assert row.master_key != old_tmk
    assert (row.mac_key, row.pin_key, row.device_id) == (None, None, "SN-0001")
    after = phone.row()
    assert (before.status, after.status, after.reason) == ("suspended", "active", None)
    assert before.public_key != after.public_key
    # the keys of before open nothing
    (reply,) = phone.bed.ask(terminal, terminal.sale())
    assert reply.fields[39] == "77"
    assert phone.terminal is not None
    phone.bed.sign_on(phone.terminal)
    phone.attest_all()
    assert phone.bed.pay(phone.terminal, phone.terminal.sale()).fields[39] == "00"


def test_a_phone_that_the_binding_never_reached_asks_again_until_it_has_proved_itself(phone: Phone) -> None:
    phone.apply()
    phone.approve()
    first = given(phone.bind())
    assert refused(phone.bind()) == "device SN-0001 is bound to a terminal"
    phone.key = phone.module.generate_ec("device, after the crash")
    again = given(phone.bind(terminal_id=str(first["terminal_id"])))
    assert again["terminal_id"] == first["terminal_id"]
    assert again["wrapped_tmk"] != first["wrapped_tmk"]
    assert phone.terminal is not None
    phone.bed.sign_on(phone.terminal)
    phone.attest_all()
    assert phone.bed.pay(phone.terminal, phone.terminal.sale()).fields[39] == "00"
    said = refused(phone.bind(terminal_id=str(first["terminal_id"])))
    assert said == "device SN-0001 is bound to a terminal"


def test_another_phone_takes_over_the_terminal_of_a_failed_one(phone: Phone, trusting: TrustingBed) -> None:
    terminal = phone.onboard()
    other = Phone(trusting, "SN-0002", 200)
    other.application = phone.application
    taken = terminal.terminal_id
    assert refused(other.bind(terminal_id=taken)) == f"terminal {taken} has a device that is active"
    phone.say({"type": "alarm", "signals": ["root"]})
    given(other.bind(terminal_id=taken))
    assert (phone.row().status, phone.row().reason) == ("replaced", "by SN-0002")
    assert other.terminal is not None
    trusting.sign_on(other.terminal)
    other.attest_all()
    assert trusting.pay(other.terminal, other.terminal.sale()).fields[39] == "00"
    assert phone.say({"type": "challenge_request", "purpose": "pin"}) == []
    # the phone that was replaced may come back as another terminal
    assert given(phone.bind())["terminal_id"] != taken


def test_what_the_operator_has_blocked_or_killed_is_not_bound_by_the_applicant(phone: Phone) -> None:
    terminal = phone.onboard()
    phone.bed.command("device_suspend", device_id="SN-0001", reason="fraud")
    assert refused(phone.bind(terminal_id=terminal.terminal_id)) == "device SN-0001 is blocked"
    other = Phone(phone.bed, "SN-0002", 200)
    other.application = phone.application
    assert refused(other.bind(terminal_id=terminal.terminal_id)).endswith("has a device that is blocked")
    phone.bed.command("device_kill", device_id="SN-0001", reason="fraud")
    assert refused(phone.bind(terminal_id=terminal.terminal_id)) == "device SN-0001 is killing"


def test_a_killed_phone_stays_killed_when_another_takes_its_terminal(phone: Phone, trusting: TrustingBed) -> None:
    terminal = phone.onboard()
    phone.bed.command("device_kill", device_id="SN-0001", reason="stolen")
    phone.say({"type": "killed"})
    other = Phone(trusting, "SN-0002", 200)
    other.application = phone.application
    given(other.bind(terminal_id=terminal.terminal_id))
    assert phone.row().status == "killed"
    # whoever has it, and whatever he has reset on it
    assert refused(phone.bind()) == "device SN-0001 is killed"
    assert refused(phone.bind(terminal_id=terminal.terminal_id)) == "device SN-0001 is killed"
    # the operator lets it come back: its terminal is another's, so it gets one of its own
    given(phone.bed.command("device_reactivate", device_id="SN-0001"))
    assert given(phone.bind())["terminal_id"] != terminal.terminal_id


def test_a_killed_phone_whose_terminal_is_anothers_counts_no_more(phone: Phone, trusting: TrustingBed) -> None:
    phone.apply()
    phone.approve(devices=2)
    given(phone.bind())
    assert phone.terminal is not None
    phone.bed.sign_on(phone.terminal)
    phone.bed.command("device_kill", device_id="SN-0001", reason="stolen")
    phone.say({"type": "killed"})
    second, third, fourth = (Phone(trusting, f"SN-000{n}", 100 * n) for n in (2, 3, 4))
    for one in (second, third, fourth):
        one.application = phone.application
    given(second.bind(terminal_id=phone.terminal.terminal_id))
    given(third.bind())
    assert refused(fourth.bind()) == "the merchant may have 2 devices"


@pytest.mark.parametrize("name", ["device_suspend", "device_reactivate", "device_kill"])
def test_devices_that_are_not_there(trusting: TrustingBed, name: str) -> None:
    assert "no device" in refused(trusting.command(name, device_id="SN-4", reason="x"))
    assert "device_id is missing" in refused(trusting.command(name))


def test_a_device_in_the_wrong_state(phone: Phone) -> None:
    phone.onboard()
    assert refused(phone.bed.command("device_reactivate", device_id="SN-0001")) == "device SN-0001 is active"
    phone.bed.command("device_kill", device_id="SN-0001", reason="x")
    assert refused(phone.bed.command("device_suspend", device_id="SN-0001", reason="x")).endswith("killing")


def test_numbers_that_an_operator_has_given_by_hand_are_passed_over(empty: Store) -> None:
    bed = TrustingBed(empty)
    bed.command("add_merchant", merchant_id="480254110000001", name="A", city="B", category="5411")
    phone = Phone(bed)
    phone.apply()
    assert given(phone.approve())["merchant_id"] == "480254110000002"
    bed.unit.rollback()
