"""The acquirer on PostgreSQL: what its own SQL, and bytes that nobody has proved yet, come to there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from acquirer_bed import Bed, Terminal
from further_messages import asked, claim, claimed, new_order, offline_sale, payments, sent, state
from phone_bed import Phone, TrustingBed
from postgres import PostgresServer
from test_acquirer_bound_device import (  # noqa: F401
    attest,
    test_an_order_is_made_while_the_device_is_attested,
    test_an_order_outlives_the_verdict_but_not_the_trust,
)
from test_acquirer_claims import test_a_crash_at_each_commit_pays_once  # noqa: F401
from test_acquirer_offline_sale import test_a_number_that_is_used_again_does_not_hide_an_offline_sale  # noqa: F401
from test_acquirer_onboarding import (  # noqa: F401
    phone,
    test_a_killed_phone_stays_killed_when_another_takes_its_terminal,
    trusting,
)
from test_acquirer_operations import (  # noqa: F401
    client,
    test_rest_shows_orders_and_offline_sales,
    test_rest_shows_what_happened,
)

from acquirer.tables import TABLES
from network.iso8583.additional_data import encode_objects
from network.store import Store


@pytest.fixture(scope="module")
def database(postgres_server: PostgresServer) -> Iterator[Store]:
    """In place of the SQLite file that the other tests share."""
    store = Store(postgres_server.new_schema(), TABLES, durable=False)
    yield store
    store.close()


def test_a_nul_in_an_orders_number_is_no_matter_for_the_database(bed: Bed, terminal: Terminal) -> None:
    """PostgreSQL refuses such text, and with it the whole turn: of a sender who has shown no MAC yet."""
    number = new_order(bed, terminal)
    junk = encode_objects({"A5": {"01": "4802000000000000000\0"}}).encode()
    stranger = asked(terminal, number, de62=junk)
    stranger = stranger[:-1] + bytes((stranger[-1] ^ 1,))
    assert [one.fields[39] for one in bed.ask(terminal, stranger, asked(terminal, number))] == ["A0", "00"]
    assert bed.ask(terminal, asked(terminal, number, de62=junk))[0].fields[39] == "30"
    assert bed.ask(terminal, asked(terminal, number, "404", de62=junk))[0].fields[39] == "30"


def test_an_order_and_an_offline_sale_are_paid_once(bed: Bed, terminal: Terminal) -> None:
    number = new_order(bed, terminal)
    body = claim(bed.switch, number)
    assert claimed(bed, body, body) == ["00", "00"]
    bed.restart()
    bed.connect()
    assert claimed(bed, body) == ["00"]
    (request,) = payments(bed)
    bed.answer(bed.switch.answer(request), bed.switch.answer(request))
    assert state(bed, terminal, number) == "paid"
    bed.ask(terminal, offline_sale(terminal, 700))
    bed.restart()
    bed.connect()
    bed.wait(11)
    bed.answer(*[bed.switch.answer(one) for one in sent(bed, "0220")])
    assert bed.balances()["receivable:network"] == 1950


def test_a_phone_is_bound_attested_and_pays(trusting: TrustingBed, phone: Phone) -> None:  # noqa: F811
    terminal = phone.onboard()
    phone.attest_all()
    assert trusting.pay(terminal, terminal.sale()).fields[39] == "00"
    assert [record.purpose for record in phone.records()] == ["bind", "transaction", "pin"]
