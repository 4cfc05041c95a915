"""What the issuer asks of the switch: the messages, and that none is lost, doubled or out of order."""

from __future__ import annotations

from pathlib import Path

import pytest
from issuer_bed import ISSUER, LINK
from wallet_bed import TOKEN, WalletBed

from issuer.configuration import Configuration
from issuer.party import Issuer
from issuer.questions import Questions
from issuer.token_tables import Question, Token
from network.emv.qr import MerchantCode
from network.iso8583 import Message
from network.party import Command, CommandError, Json, LinkChange, Received, Turn, Work, take_turn

CODE = "6212345678901234567"
ORDER = "48020000000000000042"


@pytest.fixture
def bed(tmp_path: Path) -> WalletBed:
    return WalletBed(tmp_path)


def merchant_code(amount: int | None = 888, order: str | None = ORDER, **more: str) -> str:
    return MerchantCode(
        amount is None,
        "48020000",
        order,
        "898290054110001",
        "00000001",
        "Stall",
        "Shanghai",
        "5411",
        amount=amount,
        **more,
    ).build()


def due(bed: WalletBed, question: Message) -> list[Message]:
    """The question's timer falls due; what is sent."""
    identity = f"2026{question.text(7)}{question.text(11)}-{ISSUER.lstrip('0')}"
    return bed.questions(bed.take(due=((Questions.TIMER, identity),)))


def answers(bed: WalletBed, body: bytes) -> list[tuple[int, Json | CommandError]]:
    turn = bed.take(body)
    bed.asked += bed.questions(turn)
    return list(turn.answers)


def pending(bed: WalletBed) -> list[Question]:
    return bed.unit.scan(Question, "status", "pending", 10)


def elements(message: Message) -> dict[int, str]:
    return {number: message.text(number) for number in message.fields if number not in (7, 11, 128)}


def test_a_token_is_asked_for(bed: WalletBed) -> None:
    card, phone = bed.new_card(), bed.new_phone()
    wanted_domains = ["code", "contactless"]
    bed.give("provision_token", pan=card.issued.pan, domains=wanted_domains, wallet_public_key=phone.public_key)
    (question,) = bed.asked
    assert question.mti == "0600"
    wanted = {2: card.issued.pan, 3: "910000", 14: card.issued.expiry, 33: ISSUER, 48: "contactless,code"}
    assert elements(question) == wanted
    ((ticket, answer),) = bed.reply(de103=TOKEN, de14="2812")
    assert ticket == 1
    assert isinstance(answer, dict)
    assert (answer["token"], answer["expiry"], answer["first_key"]) == (TOKEN, "2812", 0)
    assert isinstance(answer["keys"], list)
    assert len(answer["keys"]) == bed.configuration.keys_at_once
    assert pending(bed) == []


def test_neither_token_nor_key_stands_in_the_database(bed: WalletBed) -> None:
    card = bed.new_card()
    phone = bed.provision(card)
    bed.code(bed.token_sale(card, 100, bed.tap(phone, 100)))
    bed.store.close()
    stored = b"".join(path.read_bytes() for path in bed.path.iterdir())
    assert b"contactless" in stored, "the scan does see what is there"
    for secret in (TOKEN, card.issued.pan):
        assert secret.encode() not in stored


def test_an_answer_that_is_lost_is_asked_for_again_and_given_up_in_the_end(bed: WalletBed) -> None:
    card, phone = bed.new_card(), bed.new_phone()
    bed.give("provision_token", pan=card.issued.pan, domains=["code"], wallet_public_key=phone.public_key)
    (question,) = bed.asked
    for _ in range(bed.configuration.administrative_tries - 1):
        bed.later(9)
        (again,) = due(bed, question)
        assert (again[7], again[11], again[2], again[48]) == (question[7], question[11], question[2], question[48])
    identity = pending(bed)[0].question_id
    turn = bed.take(due=((Questions.TIMER, identity),))
    assert bed.questions(turn) == []
    ((ticket, answer),) = turn.answers
    assert (ticket, str(answer)) == (1, "the switch did not answer")
    late = bed.answer_to(question, de103=TOKEN, de14="2812")
    assert answers(bed, late) == []
    assert bed.party.dropped["an answer that came before"] == 1
    assert bed.take(due=((Questions.TIMER, identity),)).sent == []
    # asked anew by its holder
    bed.asked.clear()
    assert bed.provision(card, phone, domains=("code",)).token == TOKEN


def test_answers_that_count_for_nothing(bed: WalletBed) -> None:
    card, phone = bed.new_card(), bed.new_phone()
    bed.give("provision_token", pan=card.issued.pan, domains=["code"], wallet_public_key=phone.public_key)
    (question,) = bed.asked
    good = bed.answer_to(question, de103=TOKEN, de14="2812")
    assert answers(bed, good[:-1] + bytes((good[-1] ^ 1,))) == []
    assert bed.party.dropped["an answer with a wrong MAC"] == 1
    other = Message("0600", {**question.fields, 11: "999999"}, question.header)
    assert answers(bed, bed.answer_to(other)) == []
    wrong = Message("0600", {**question.fields, 3: "920000"}, question.header)
    assert answers(bed, bed.answer_to(wrong)) == []
    assert bed.party.dropped["an answer to no question"] == 2
    assert answers(bed, bed.answer_to(question, "96")) == [], "no answer yet"
    assert len(pending(bed)) == 1
    # twice in one turn: the first counts
    turn = bed.take(good, good)
    assert len(turn.answers) == 1
    assert len(bed.unit.scan(Token, "pan_index", card.issued.pan_index, 5)) == 1
    assert bed.party.dropped["an answer that came before"] == 1


@pytest.mark.parametrize("code", ["A0", "77"])
def test_a_link_that_is_not_in_order_is_put_in_order_and_the_question_goes_again(bed: WalletBed, code: str) -> None:
    card, phone = bed.new_card(), bed.new_phone()
    bed.give("provision_token", pan=card.issued.pan, domains=["code"], wallet_public_key=phone.public_key)
    question = bed.asked.pop()
    assert answers(bed, bed.answer_to(question, code)) == []
    assert not bed.party.session.ready
    bed.become_ready()
    (again,) = bed.asked
    assert (again[7], again[11]) == (question[7], question[11])
    assert len(bed.reply(de103=TOKEN, de14="2812")) == 1


@pytest.mark.parametrize(
    ("code", "more", "reason"),
    [
        ("14", {}, "made no token: 14"),
        ("65", {}, "made no token: 65"),
        ("00", {}, "made a token that is none"),
        ("00", {"de103": "62990A0000000017", "de14": "2812"}, "made a token that is none"),
    ],
)
def test_a_token_that_is_refused(bed: WalletBed, code: str, more: dict[str, str], reason: str) -> None:
    card, phone = bed.new_card(), bed.new_phone()
    bed.give("provision_token", pan=card.issued.pan, domains=["code"], wallet_public_key=phone.public_key)
    if "de103" not in more:
        bed.asked[0].fields.pop(14)
    ((_, answer),) = bed.reply(code, **more)
    assert isinstance(answer, CommandError)
    assert reason in str(answer)
    assert bed.provision(card, phone, domains=("code",)).token == TOKEN, "it may be asked again"


def test_a_process_that_dies_before_it_could_send(bed: WalletBed) -> None:
    """The commit is done, nothing left: the next process asks with the same identity, and the token is there."""
    card, phone = bed.new_card(), bed.new_phone()
    bed.give("provision_token", pan=card.issued.pan, domains=["code"], wallet_public_key=phone.public_key)
    (lost,) = bed.asked
    bed.asked.clear()
    bed.restart()
    bed.become_ready()
    (question,) = bed.asked
    assert (question[7], question[11]) == (lost[7], lost[11])
    assert bed.reply(de103=TOKEN, de14="2812") == [], "nobody waits any more"
    # the wallet asks again and is given the token that was made
    turn = bed.give(
        "provision_token", pan=card.issued.pan, domains=["code"], wallet_public_key=phone.public_key, ticket=7
    )
    ((ticket, answer),) = turn.answers
    assert ticket == 7
    assert isinstance(answer, dict)
    phone.install(answer)
    assert bed.asked == []
    assert bed.code(bed.token_sale(card, 100, bed.code_data(phone.show_code()), mode="032")) == "00"


def test_start_sets_the_timers_of_what_is_pending(bed: WalletBed) -> None:
    card, phone = bed.new_card(), bed.new_phone()
    bed.give("provision_token", pan=card.issued.pan, domains=["code"], wallet_public_key=phone.public_key)
    (row,) = pending(bed)
    turn = Turn(bed.now, bed.random, bed.unit, Work([], [], [], []))
    Issuer(bed.configuration, bed.module).start(turn)
    assert turn.timers == [((Questions.TIMER, row.question_id), bed.now + 10_000_000)]


def test_a_turn_that_is_lost_leaves_nobody_waiting(bed: WalletBed, monkeypatch: pytest.MonkeyPatch) -> None:
    card, phone = bed.new_card(), bed.new_phone()
    arguments: dict[str, Json] = {
        "pan": card.issued.pan,
        "domains": ["code"],
        "wallet_public_key": phone.public_key,
    }

    def refuse() -> None:
        raise RuntimeError("refused")

    with monkeypatch.context() as patched:
        patched.setattr(bed.unit, "commit", refuse)
        work = Work([], [], [Command("provision_token", arguments, 1)], [])
        assert len(take_turn(bed.party, bed.now, bed.random, bed.unit, work, lambda _: None)) == 1
    assert pending(bed) == []
    bed.give("provision_token", ticket=2, **arguments)
    question = bed.asked.pop()
    good = bed.answer_to(question, de103=TOKEN, de14="2812")
    with monkeypatch.context() as patched:
        patched.setattr(bed.unit, "commit", refuse)
        work = Work([], [Received(LINK, good)], [], [])
        assert len(take_turn(bed.party, bed.now, bed.random, bed.unit, work, lambda _: None)) == 1
    assert len(pending(bed)) == 1, "it was not taken"
    assert [ticket for ticket, _ in answers(bed, good)] == [2], "who waits still waits, who never asked does not"
    assert answers(bed, good) == []


def test_two_who_ask_for_one_wallet_are_both_answered(bed: WalletBed) -> None:
    card, phone = bed.new_card(), bed.new_phone()
    for ticket in (1, 2):
        bed.give(
            "provision_token",
            ticket,
            pan=card.issued.pan,
            domains=["code"],
            wallet_public_key=phone.public_key,
        )
    assert len(bed.asked) == 1
    assert [ticket for ticket, _ in bed.reply(de103=TOKEN, de14="2812")] == [1, 2]


def test_nothing_is_asked_that_nobody_can_answer(bed: WalletBed) -> None:
    card, phone = bed.new_card(), bed.new_phone()
    bed.take(links=(LinkChange(LINK, False),))
    with pytest.raises(CommandError, match="cannot be reached"):
        bed.command("provision_token", pan=card.issued.pan, domains=["code"], wallet_public_key=phone.public_key)
    assert pending(bed) == []
    bed.become_ready()
    assert bed.asked == []
    assert bed.provision(card, phone, domains=("code",)).token == TOKEN


# changes of a token's status


def functions(bed: WalletBed) -> list[str]:
    return [question.text(3) for question in bed.asked]


def test_the_switch_is_told_one_change_after_the_other(bed: WalletBed) -> None:
    phone = bed.provision(bed.new_card())
    bed.give("suspend_token", token=TOKEN)
    assert elements(bed.asked[0]) == {3: "920000", 33: ISSUER, 103: TOKEN}
    bed.give("resume_token", token=TOKEN)
    bed.give("suspend_token", token=TOKEN)
    bed.give("resume_token", token=TOKEN)
    assert functions(bed) == ["920000"], "the first one is still under way"
    assert bed.token_row(phone).told == "active"
    bed.reply()
    assert functions(bed) == ["921000"], "what it is now, not all that it was"
    assert bed.token_row(phone).told == "suspended"
    bed.reply()
    assert bed.asked == []
    assert bed.token_row(phone).told == "active"
    bed.give("delete_token", token=TOKEN)
    assert functions(bed) == ["922000"]
    bed.reply()
    with pytest.raises(CommandError, match="was deleted"):
        bed.command("resume_token", token=TOKEN)


def test_a_change_of_status_is_said_until_it_is_heard(bed: WalletBed) -> None:
    phone = bed.provision(bed.new_card())
    bed.take(links=(LinkChange(LINK, False),))
    bed.give("suspend_token", token=TOKEN)
    assert bed.asked == []
    assert bed.token_row(phone).status == "suspended", "in force at once"
    (row,) = pending(bed)
    for _ in range(20):
        bed.later(10)
        assert bed.take(due=((Questions.TIMER, row.question_id),)).sent == []
    bed.restart()
    bed.become_ready()
    (question,) = bed.asked
    bed.asked.clear()
    for _ in range(20):
        bed.later(10)
        (again,) = due(bed, question)
        assert again[11] == question[11]
    assert answers(bed, bed.answer_to(question)) == []
    assert bed.token_row(phone).told == "suspended"
    assert pending(bed) == []


def test_a_refused_change_is_not_said_for_ever(bed: WalletBed) -> None:
    phone = bed.provision(bed.new_card())
    bed.give("suspend_token", token=TOKEN)
    bed.reply("14")
    assert bed.asked == []
    row = bed.token_row(phone)
    assert (row.status, row.told) == ("suspended", "active")


# codes and orders


def test_a_code_is_asked_for(bed: WalletBed) -> None:
    phone = bed.provision(bed.new_card())
    phone.confirm()
    bed.give("request_code", **phone.signed("request_code"))
    assert elements(bed.asked[0]) == {3: "930000", 33: ISSUER, 103: TOKEN}
    asked_at = bed.now
    bed.later(2)
    assert bed.reply(de102=CODE) == [(1, {"code": CODE, "expires": asked_at + 60_000_000})]
    phone.confirm()
    bed.give("request_code", **phone.signed("request_code"))
    ((_, refused),) = bed.reply("62")
    assert str(refused) == "the switch made no code: 62"


@pytest.mark.parametrize("code", ["00", "25", "54", "13", "94", "98"])
def test_an_order_is_paid_for(bed: WalletBed, code: str) -> None:
    phone = bed.provision(bed.new_card())
    phone.confirm()
    bed.give("pay_order", **phone.signed("pay_order", text=merchant_code()))
    wanted = {3: "940000", 4: "000000000888", 33: ISSUER, 102: ORDER, 103: TOKEN}
    assert elements(bed.asked[0]) == wanted
    assert bed.reply(code) == [(1, {"response_code": code, "order": ORDER, "amount": 888})]


def test_of_a_static_code_the_payer_says_the_amount(bed: WalletBed) -> None:
    phone = bed.provision(bed.new_card())
    phone.confirm()
    bed.give("pay_order", **phone.signed("pay_order", text=merchant_code(None), amount=1_234))
    assert bed.asked[0][4] == "000000001234"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"text": merchant_code(), "amount": 889}, "not that of the code"),
        ({"text": merchant_code(None)}, "amount:"),
        ({"text": merchant_code(None), "amount": 0}, "amount:"),
        ({"text": merchant_code()[:-1] + "Z"}, "CRC is wrong"),
        ({"text": "https://example.org"}, "text:"),
        ({"text": merchant_code(order=None)}, "names no order"),
        ({"text": merchant_code(order="11112222000000000042")}, "names no order"),
        ({"text": merchant_code(currency="840")}, "another currency"),
        ({}, "text:"),
    ],
)
def test_codes_that_are_not_paid(bed: WalletBed, arguments: dict[str, Json], reason: str) -> None:
    phone = bed.provision(bed.new_card())
    phone.confirm()
    with pytest.raises(CommandError, match=reason):
        bed.command("pay_order", **phone.signed("pay_order", **arguments))
    assert pending(bed) == []


def test_an_order_tapped_twice_is_claimed_once(bed: WalletBed) -> None:
    phone = bed.provision(bed.new_card())
    for attempt in range(2):
        phone.confirm()
        signed = phone.signed("pay_order", text=merchant_code())
        if attempt:
            with pytest.raises(CommandError, match="under way"):
                bed.command("pay_order", **signed)
        else:
            bed.give("pay_order", **signed)
    assert len(bed.asked) == 1


def test_as_many_are_asked_as_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("issuer.questions.MAX_PENDING", 2)
    bed = WalletBed(tmp_path, Configuration())
    phone = bed.provision(bed.new_card())
    for _ in range(2):
        phone.confirm()
        bed.give("request_code", **phone.signed("request_code"))
    phone.confirm()
    with pytest.raises(CommandError, match="too many"):
        bed.command("request_code", **phone.signed("request_code"))
    bed.give("suspend_token", token=TOKEN)
    assert functions(bed) == ["930000", "930000", "920000"], "what protects money is always said"


def test_one_wallet_cannot_take_all_questions_for_itself(bed: WalletBed) -> None:
    greedy, other = bed.provision(bed.new_card()), bed.new_phone(2)
    for _ in range(4):
        greedy.confirm()
        bed.give("request_code", **greedy.signed("request_code"))
    greedy.confirm()
    with pytest.raises(CommandError, match="too many"):
        bed.command("request_code", **greedy.signed("request_code"))
    bed.give(
        "provision_token",
        pan=bed.new_card().issued.pan,
        domains=["code"],
        wallet_public_key=other.public_key,
    )
    assert functions(bed) == ["930000"] * 4 + ["910000"]
    bed.reply(de102="6212345678901234567")
    greedy.confirm()
    bed.give("request_code", **greedy.signed("request_code"))
    assert functions(bed) == ["930000"] * 3 + ["910000", "930000"]
