"""What a wallet may ask: the proof that it is the wallet, its keys, and that nothing is obeyed twice."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from wallet_bed import TOKEN, WalletBed

from issuer.configuration import Configuration
from issuer.payer_phone import PayerPhone
from issuer.wallet_proof import ProofError, check_signature, signed_text, wallet_key
from network.party import CommandError, Json

OTHER = "6299000000000025"


@pytest.fixture
def bed(tmp_path: Path) -> WalletBed:
    return WalletBed(tmp_path)


def public_text(key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey) -> str:
    return base64.b64encode(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()


def test_the_signed_text_is_json_in_order() -> None:
    arguments: dict[str, Json] = {"token": "é", "counter": 2, "amount": None, "signature": "x", "a": [True, {"b": 1}]}
    expected = rb'{"arguments":{"a":[true,{"b":1}],"amount":null,"counter":2,"token":"\u00e9"},"command":"pay_order"}'
    assert signed_text("pay_order", arguments) == expected


def test_a_signature_of_another_library_is_right() -> None:
    key = ec.derive_private_key(5, ec.SECP256R1())
    arguments: dict[str, Json] = {"token": TOKEN, "counter": 1}
    signature = key.sign(signed_text("payments", arguments), ec.ECDSA(hashes.SHA256()))
    shown = {**arguments, "signature": base64.b64encode(signature).decode()}
    public = wallet_key(public_text(key.public_key()))
    check_signature(public, "payments", shown)
    bent = signature[:-1] + bytes((signature[-1] ^ 1,))
    for name, wrong in (
        ("replenish", shown),
        ("payments", {**shown, "counter": 2}),
        ("payments", {**shown, "more": 1}),
        ("payments", {**shown, "signature": base64.b64encode(bent).decode()}),
        ("payments", {**shown, "signature": ""}),
        ("payments", {**shown, "signature": "é"}),
        ("payments", {**shown, "signature": "A" * 1000}),
        ("payments", arguments),
        ("payments", {**shown, "more": "x" * 5000}),
        ("payments", {**shown, "more": float("nan")}),
    ):
        with pytest.raises(ProofError):
            check_signature(public, name, wrong)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "é",
        "AAAA",
        "A" * 400,
        public_text(ec.derive_private_key(5, ec.SECP384R1()).public_key()),
        public_text(rsa.generate_private_key(65537, 1024).public_key()),
    ],
)
def test_keys_that_are_none_of_a_wallet(text: str) -> None:
    with pytest.raises(ProofError):
        wallet_key(text)


def test_a_command_is_obeyed_once_and_in_order(bed: WalletBed) -> None:
    phone = bed.provision(bed.new_card())
    first, second = phone.signed("payments"), phone.signed("payments")
    assert bed.command("payments", **second)
    for used in (second, first):
        with pytest.raises(CommandError, match="counter: it was used"):
            bed.command("payments", **used)
    assert bed.command("payments", **phone.signed("payments"))


@pytest.mark.parametrize("name", ["replenish", "request_code", "pay_order", "payments"])
def test_only_the_wallet_may(bed: WalletBed, name: str) -> None:
    mine = bed.provision(bed.new_card())
    thief = bed.provision(bed.new_card(), bed.new_phone(2), OTHER)
    thief.confirm()
    signed = thief.signed(name)
    with pytest.raises(CommandError, match="signature is wrong"):
        bed.command(name, **{**signed, "token": mine.token, "counter": 99})
    with pytest.raises(CommandError, match="not signed"):
        bed.command(name, token=mine.token, counter=99)
    with pytest.raises(CommandError, match="counter:"):
        bed.command(name, **{**signed, "counter": "1"})
    with pytest.raises(CommandError, match="no such token"):
        bed.command(name, **{**signed, "token": "6299000000000999"})
    # what was wrong used no counter up
    assert bed.wallet(mine, "payments")


def test_a_code_needs_a_holder_who_was_verified(bed: WalletBed) -> None:
    phone = bed.provision(bed.new_card())
    phone._command_counter += 1
    content: dict[str, Json] = {"token": TOKEN, "counter": phone._command_counter}
    signature = phone._module.sign_ec(phone._pair, signed_text("request_code", content))
    with pytest.raises(CommandError, match="verified:"):
        bed.command("request_code", **content, signature=base64.b64encode(signature).decode())


@pytest.mark.parametrize(("name", "status"), [("suspend_token", "suspended"), ("delete_token", "deleted")])
def test_a_token_that_is_not_in_use_gets_nothing(bed: WalletBed, name: str, status: str) -> None:
    phone = bed.provision(bed.new_card())
    bed.give(name, token=TOKEN)
    for command in ("replenish", "request_code", "pay_order"):
        phone.confirm()
        with pytest.raises(CommandError, match=f"the token is {status}"):
            bed.command(command, **phone.signed(command))
    answer = bed.wallet(phone, "payments")
    assert isinstance(answer, dict)
    assert answer["status"] == status


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"pan": "6251880000051688"}, "no card"),
        ({"pan": None}, "pan:"),
        ({"domains": []}, "domains:"),
        ({"domains": ["code", "magic"]}, "domains:"),
        ({"domains": "code"}, "domains:"),
        ({"wallet_public_key": "AAAA"}, "wallet_public_key:"),
        ({"wallet_public_key": None}, "wallet_public_key:"),
    ],
)
def test_provisioning_that_is_refused(bed: WalletBed, changes: dict[str, Json], reason: str) -> None:
    arguments: dict[str, Json] = {
        "pan": bed.new_card().issued.pan,
        "domains": ["code"],
        "wallet_public_key": bed.new_phone().public_key,
    }
    with pytest.raises(CommandError, match=reason):
        bed.command("provision_token", **{**arguments, **changes})


@pytest.mark.parametrize(
    ("status", "expiry", "reason"), [("lost", "2903", "not active"), ("active", "2602", "is expired")]
)
def test_a_card_that_gets_no_token(bed: WalletBed, status: str, expiry: str, reason: str) -> None:
    card = bed.new_card(expiry=expiry)
    bed.command("set_card_status", pan=card.issued.pan, status=status)
    with pytest.raises(CommandError, match=reason):
        bed.command(
            "provision_token",
            pan=card.issued.pan,
            domains=["code"],
            wallet_public_key=bed.new_phone().public_key,
        )


def test_a_wallet_that_asks_again_has_the_same_token(bed: WalletBed) -> None:
    card = bed.new_card()
    phone = bed.provision(card)
    for _ in range(12):
        assert bed.code(bed.token_sale(card, 1, bed.tap(phone, 1))) == "00"
    arguments: dict[str, Json] = {"pan": card.issued.pan, "wallet_public_key": phone.public_key}
    again = bed.command("provision_token", **arguments, domains=["code", "contactless"])
    assert isinstance(again, dict)
    assert (again["token"], again["atc"], again["first_key"]) == (TOKEN, 12, 1)
    assert isinstance(again["keys"], list)
    assert len(again["keys"]) == 2, "the keys that are not used up"
    with pytest.raises(CommandError, match="other domains"):
        bed.command("provision_token", **arguments, domains=["code"])
    bed.give("delete_token", token=TOKEN)
    with pytest.raises(CommandError, match="needs a new key"):
        bed.command("provision_token", **arguments, domains=["code", "contactless"])


def test_keys_are_replenished_within_bounds(bed: WalletBed) -> None:
    card = bed.new_card()
    phone = bed.provision(card)
    assert phone.payments_left == 30
    answer = bed.wallet(phone, "replenish")
    assert isinstance(answer, dict)
    assert answer["first_key"] == 3
    # that answer was lost: the wallet asks again and gets the same keys, not further ones
    again = bed.wallet(phone, "replenish")
    assert isinstance(again, dict)
    assert again["first_key"] == 3
    phone.replenished(again)
    assert phone.payments_left == 60
    with pytest.raises(CommandError, match="keys enough"):
        bed.wallet(phone, "replenish")
    row = bed.token_row(phone)
    assert (row.first_key, row.end_key) == (0, 6)


def test_revoked_keys_are_replaced_by_others(bed: WalletBed) -> None:
    card = bed.new_card()
    phone = bed.provision(card)
    assert bed.command("revoke_keys", token=TOKEN) == {"token_id": bed.token_row(phone).token_index, "first_key": 3}
    assert bed.code(bed.token_sale(card, 1, bed.tap(phone, 1))) == "05"
    answer = bed.wallet(phone, "replenish")
    assert isinstance(answer, dict)
    assert answer["first_key"] == 3
    phone.replenished(answer)
    assert bed.code(bed.token_sale(card, 1, bed.tap(phone, 1))) == "00"
    assert phone.atc == 31, "the counters of revoked keys are passed over"


def test_a_wallet_cannot_have_had_keys_that_were_not_issued(bed: WalletBed) -> None:
    phone = bed.provision(bed.new_card())
    phone._last_key = 3
    with pytest.raises(CommandError, match="last:"):
        bed.wallet(phone, "replenish")


def test_counters_come_to_an_end(tmp_path: Path) -> None:
    bed = WalletBed(tmp_path, Configuration(uses_per_key=1000, keys_at_once=20, keys_outstanding=40))
    phone = bed.provision(bed.new_card())
    row = bed.token_row(phone)
    bed.unit.change(row)
    row.highest_atc, row.end_key = 64_500, 65
    bed.unit.commit()
    phone._last_key = 64
    with pytest.raises(CommandError, match="used up"):
        bed.wallet(phone, "replenish")


def test_a_wallet_whose_keys_were_revoked_again_and_again_is_replenished(bed: WalletBed) -> None:
    """What was revoked is not outstanding: a wallet that cannot pay is not told that it has keys enough."""
    card = bed.new_card()
    phone = bed.provision(card)
    for _ in range(4):
        bed.command("revoke_keys", token=TOKEN)
        answer = bed.wallet(phone, "replenish")
        assert isinstance(answer, dict)
        phone.replenished(answer)
    assert bed.code(bed.token_sale(card, 1, bed.tap(phone, 1))) == "00"


def test_a_phone_is_provisioned_again_after_its_keys_were_revoked(bed: WalletBed) -> None:
    """The first answer never reached it, and without a token it could not ask for keys."""
    card = bed.new_card()
    first = bed.provision(card)
    bed.command("revoke_keys", token=TOKEN)
    nothing: dict[str, Json] = {"token": "", "keys": [], "numbers": [], "last_key": -1, "command_counter": 0}
    again = PayerPhone.restored(first._module, first._clock, {**first.saved(), **nothing})
    answer = bed.command(
        "provision_token",
        pan=card.issued.pan,
        domains=["contactless", "code"],
        wallet_public_key=again.public_key,
    )
    assert isinstance(answer, dict)
    again.install(answer)
    answer = bed.wallet(again, "replenish")
    assert isinstance(answer, dict)
    again.replenished(answer)
    assert bed.code(bed.token_sale(card, 1, bed.tap(again, 1))) == "00"
