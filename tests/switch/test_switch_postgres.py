"""The switch on PostgreSQL: tokens, codes, orders, offline sales, blocked devices, and a process that dies."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from postgres import PostgresServer
from switch_world import World
from test_switch_codes import (  # noqa: F401
    test_a_code_is_used_once,
    test_a_sale_by_an_emvco_code,
    test_a_sale_by_digits,
)
from test_switch_offline import (  # noqa: F401
    test_a_copy_with_another_card_is_a_duplicate_trace_and_not_passed_on,
    test_no_answer_means_nothing_and_a_copy_is_passed_on,
)
from test_switch_orders import test_a_payer_pays_an_order  # noqa: F401
from test_switch_risk import test_rules_and_decisions_over_rest  # noqa: F401
from test_switch_tokens import test_tokens_that_may_not_be_used  # noqa: F401


@pytest.fixture
def world(postgres_server: PostgresServer) -> Iterator[World]:
    """As the other tests' world."""
    made = World(postgres_server.new_schema())
    made.sign_on()
    yield made
    assert not made.failures
    made.store.close()
