"""A device is attested, becomes a terminal, and becomes one anew."""

import base64
from random import Random

import pytest
from device_bed import MERCHANT_ID, PAN, START, TERMINAL_ID
from trust_bed import DEVICE, MAKER, PLACE, STATE, TrustBed

from merchant_device.installation import install_terminal
from merchant_device.secure_element import manufacture
from network.attestation import public_key_of, verify_chain
from network.keys import Algorithm, KeyUsage, KeyUsageError, SecurityModule
from network.keys.elliptic_operations import verify_ec
from network.party import CommandError


@pytest.fixture
def made():
    return TrustBed(install=False)


def attest(bed, **changes):
    return bed.ask("attest", **{"device": DEVICE, "challenge": "5a" * 32, **changes})


def error_of(bed, name, **arguments):
    ticket = bed.command(name, **arguments)
    bed.step()
    bed.settle()
    error = bed.answers[ticket]
    assert isinstance(error, CommandError), error
    return str(error)


def test_what_a_device_attests(made):
    answer = attest(made, challenge="00ff" * 16)
    chain = [base64.b64decode(one) for one in answer["chain"]]
    description = verify_chain(chain, {MAKER.root_public_key}, {}, made.now)
    challenge = bytes.fromhex("00ff" * 16)
    assert description.challenge == challenge
    assert description.hardware.text("attestationIdSerial") == DEVICE
    assert verify_ec(public_key_of(chain[0]), challenge + chain[0], base64.b64decode(answer["signature"]))
    assert (answer["device"], answer["model"], answer["signals"]) == (DEVICE, STATE.model, [])


def test_the_device_key_is_made_once(made):
    keys = {public_key_of(base64.b64decode(attest(made)["chain"][0])) for _ in range(2)}
    made.restart(up=False)
    keys.add(public_key_of(base64.b64decode(attest(made)["chain"][0])))
    assert len(keys) == 1


@pytest.mark.parametrize("challenge", [None, "", "5a" * 15, "5a" * 65, "5g" * 32, "5a" * 31 + "5", 7, ["5a" * 32]])
def test_challenges_that_are_none(made, challenge):
    assert "challenge" in error_of(made, "attest", device=DEVICE, challenge=challenge)
    assert made.element().device_key is None


@pytest.mark.parametrize("device", [None, "", "SN-0002", 7])
@pytest.mark.parametrize("name", ["attest", "install", "place", "signal", "kill"])
def test_a_device_that_is_not_there(made, name, device):
    assert error_of(made, name, device=device) == "device: there is no such device"


def test_a_phone_is_told_where_it_is(made):
    assert error_of(made, "place", device=DEVICE, place=PLACE) == f"device {DEVICE} is no terminal yet"
    made.install()
    assert made.ask("place", device=DEVICE, place="+39.9042,+116.4074") == {
        "device": DEVICE,
        "place": "+39.9042,+116.4074",
    }
    assert made.phone().place == "+39.9042,+116.4074"
    for place in (None, "", "Beijing", "39.9,116.4", "+39.9042,+116.40741234", 7):
        assert "place" in error_of(made, "place", device=DEVICE, place=place)
    assert made.phone().place == "+39.9042,+116.4074"


def test_a_device_becomes_a_terminal(made):
    answer = made.install()
    assert answer == {
        "device": DEVICE,
        "terminal": TERMINAL_ID,
        "merchant": MERCHANT_ID,
        "links": [f"acquirer:{TERMINAL_ID}", f"monitor:{TERMINAL_ID}"],
    }
    phone = made.phone()
    assert (phone.status, phone.device_id, phone.place) == ("signed_on", DEVICE, PLACE)
    assert (made.element().status, made.element().terminal_id) == ("bound", TERMINAL_ID)
    tmk = made.module.load(phone.tmk)
    with pytest.raises(KeyUsageError, match="not exportable"):
        made.module.wrap_for(made.device_public_key, tmk)
    assert made.ask("sale", amount=1)["outcome"] == "approved"


def install_error(bed, **changes):
    good = {"device": DEVICE, "merchant": MERCHANT_ID, "wrapped_tmk": bed.wrapped(), "place": PLACE}
    return error_of(bed, "install", **{**good, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"merchant": "1"}, "merchant_id: 15 printable ASCII characters"),
        ({"merchant": None}, "terminal, merchant: text is needed"),
        ({"terminal": 7}, "terminal, merchant: text is needed"),
        ({"terminal": "1000"}, "terminal_id: 8 printable ASCII characters"),
        ({"terminal": "1000|001"}, "terminal_id: may not contain"),
        ({"place": "Shanghai"}, "place: latitude and longitude"),
        ({"place": 7}, "place: latitude and longitude"),
        ({"wrapped_tmk": "00"}, "wrapped_tmk: a key envelope is malformed"),
        ({"wrapped_tmk": "0"}, "wrapped_tmk: an envelope in hexadecimal digits"),
        ({"wrapped_tmk": None}, "wrapped_tmk: an envelope in hexadecimal digits"),
        ({"wrapped_tmk": "00" * 3000}, "wrapped_tmk: an envelope in hexadecimal digits"),
    ],
)
def test_installations_that_are_refused(made, changes, message):
    made.device_public_key = public_key_of(base64.b64decode(attest(made)["chain"][0]))
    assert message in install_error(made, **changes)
    assert (made.element().status, made.element().terminal_id) == ("made", None)


def test_an_envelope_that_was_changed_or_is_anothers(made):
    made.device_public_key = public_key_of(base64.b64decode(attest(made)["chain"][0]))
    good = made.wrapped()
    for at in (2, 70, 150, -1):
        spoiled = bytearray.fromhex(good)
        spoiled[at] ^= 1
        assert "wrapped_tmk" in install_error(made, wrapped_tmk=spoiled.hex())
    other = SecurityModule(bytes(32), Random(5)).generate_ec("other")
    envelope = made.acquirer.module.wrap_for(other.public_key, made.acquirer.tmk).hex()
    assert "made for another key" in install_error(made, wrapped_tmk=envelope)
    working = made.acquirer.module.load(made.acquirer.module.generate(KeyUsage.PIN_ENCRYPTION, Algorithm.TDES_DOUBLE))
    envelope = made.acquirer.module.wrap_for(made.device_public_key, working).hex()
    assert "usage K0 is needed" in install_error(made, wrapped_tmk=envelope)
    assert made.element().status == "made"


def test_a_device_without_a_key_is_attested_first(made):
    made.device_public_key = MAKER.root_public_key
    assert "attest it first" in install_error(made)


def test_a_device_is_one_terminal(made):
    made.install()
    assert f"device {DEVICE} is terminal {TERMINAL_ID}" in install_error(made, terminal="10000002")


def test_a_terminal_stays_its_merchants():
    bed = TrustBed()
    before = bed.phone().tmk
    assert "another merchant's" in install_error(bed, merchant="104110000000009")
    assert bed.phone().tmk == before
    assert bed.ask("sale", amount=1)["outcome"] == "approved"


def test_a_conventional_terminal_is_not_taken_over(made):
    tmk = made.module.import_clear(KeyUsage.KEY_ENCRYPTION, Algorithm.TDES_DOUBLE, bytes(range(16)))
    install_terminal(made.unit, made.module, TERMINAL_ID, MERCHANT_ID, tmk)
    made.unit.commit()
    made.device_public_key = public_key_of(base64.b64decode(attest(made)["chain"][0]))
    assert "conventional terminal" in install_error(made)


def test_the_same_again_and_new_keys(made):
    """The answer may have been lost; and a phone that the acquirer had suspended is bound anew with another key."""
    made.install()
    assert made.ask("sale", amount=1)["outcome"] == "approved"
    made.install()
    assert made.phone().status == "signed_on"
    made.acquirer.tmk = made.acquirer.module.load(
        made.acquirer.module.generate(KeyUsage.KEY_ENCRYPTION, Algorithm.TDES_DOUBLE)
    )
    heard = len(made.heard)
    made.install()
    assert made.phone().status == "signed_on"
    assert made.ask("sale", amount=1)["outcome"] == "approved"
    assert len(made.heard) == heard + 2, "a verdict for the binding before does not count any more"
    stans = [sale.stan for sale in made.sales()]
    assert len(set(stans)) == 2


def test_a_terminal_in_the_middle_of_a_payment_is_busy():
    bed = TrustBed()
    bed.cards[TERMINAL_ID] = None
    bed.command("sale", amount=1250)
    bed.settle()
    assert "is busy: waiting for the card" in install_error(bed)


def test_another_device_takes_over_a_terminal():
    bed = TrustBed()
    manufacture(bed.unit, bed.module, MAKER, "SN-0002", STATE, bed.now)
    bed.unit.commit()
    shown = bed.ask("attest", device="SN-0002", challenge="5a" * 32)
    bed.device_public_key = public_key_of(base64.b64decode(shown["chain"][0]))
    bed.ask("install", device="SN-0002", merchant=MERCHANT_ID, wrapped_tmk=bed.wrapped(), place=PLACE)
    assert (bed.element().status, bed.element().terminal_id) == ("made", None)
    assert bed.phone().device_id == "SN-0002"
    assert bed.ask("sale", amount=1)["outcome"] == "approved"
    bed.ask("signal", device=DEVICE, signals=["root"])
    assert bed.phone().status == "signed_on", "what befalls the phone before is not this terminal's"


def test_a_device_is_made_once():
    bed = TrustBed(install=False)
    with pytest.raises(ValueError, match="made already"):
        manufacture(bed.unit, bed.module, MAKER, DEVICE, STATE, START)
    with pytest.raises(ValueError, match="printable"):
        manufacture(bed.unit, bed.module, MAKER, "", STATE, START)


def test_a_crash_after_the_installation_finds_it_done():
    bed = TrustBed()
    bed.restart()
    bed.settle()
    receipt = bed.ask("sale", amount=1250)
    assert (receipt["outcome"], receipt["pan"]) == ("approved", PAN[:6] + "******" + PAN[-4:])
