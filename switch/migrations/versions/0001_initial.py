"""The switch's tables as they were when their history began."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

INTEGER = sa.BigInteger()
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
BYTES = sa.LargeBinary()


def upgrade() -> None:
    """Make the tables in an empty database."""
    op.create_table(
        "member",
        sa.Column("member_id", TEXT, primary_key=True),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("joined_at", INTEGER, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_member_state", "member", ["state"])
    op.create_table(
        "zone_keys",
        sa.Column("zone", TEXT, primary_key=True),
        sa.Column("master_key", TEXT, nullable=False),
        sa.Column("pin_key", TEXT, nullable=True),
        sa.Column("mac_key", TEXT, nullable=True),
        sa.Column("old_pin_key", TEXT, nullable=True),
        sa.Column("old_mac_key", TEXT, nullable=True),
        sa.Column("changed_at", INTEGER, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "route",
        sa.Column("prefix", TEXT, primary_key=True),
        sa.Column("member_id", TEXT, nullable=False),
        sa.Column("created_at", INTEGER, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_route_member_id", "route", ["member_id"])
    op.create_table(
        "switch_transaction",
        sa.Column("reference", TEXT, primary_key=True),
        sa.Column("mti", TEXT, nullable=False),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("acquirer", TEXT, nullable=False),
        sa.Column("issuer", TEXT, nullable=True),
        sa.Column("forwarder", TEXT, nullable=True),
        sa.Column("card", BYTES, nullable=False),
        sa.Column("token_index", TEXT, nullable=True),
        sa.Column("processing_code", TEXT, nullable=False),
        sa.Column("amount", INTEGER, nullable=False),
        sa.Column("local_time", TEXT, nullable=True),
        sa.Column("local_date", TEXT, nullable=True),
        sa.Column("settlement_date", TEXT, nullable=False),
        sa.Column("merchant_type", TEXT, nullable=True),
        sa.Column("entry_mode", TEXT, nullable=True),
        sa.Column("card_sequence", TEXT, nullable=True),
        sa.Column("condition", TEXT, nullable=True),
        sa.Column("rrn", TEXT, nullable=True),
        sa.Column("terminal", TEXT, nullable=True),
        sa.Column("merchant", TEXT, nullable=True),
        sa.Column("currency", TEXT, nullable=False),
        sa.Column("received_at", INTEGER, nullable=False),
        sa.Column("deadline", INTEGER, nullable=False),
        sa.Column("response_code", TEXT, nullable=True),
        sa.Column("authorisation", TEXT, nullable=True),
        sa.Column("balances", TEXT, nullable=True),
        sa.Column("chip_reply", BYTES, nullable=True),
        sa.Column("answered_at", INTEGER, nullable=True),
        sa.Column("reversal_code", TEXT, nullable=True),
        sa.Column("reversed_at", INTEGER, nullable=True),
        sa.Column("late_code", TEXT, nullable=True),
        sa.Column("risk_score", INTEGER, nullable=True),
        sa.Column("risk_rules", TEXT, nullable=True),
        sqlite_with_rowid=False,
    )
    _partial_index("ix_switch_transaction_status_pending", "switch_transaction", ["reference"], "status = 'pending'")
    op.create_table(
        "advice",
        sa.Column("reference", TEXT, primary_key=True),
        sa.Column("original", TEXT, nullable=False, unique=True),
        sa.Column("issuer", TEXT, nullable=False),
        sa.Column("pending_for", TEXT, nullable=True),
        sa.Column("transmission", TEXT, nullable=False),
        sa.Column("stan", TEXT, nullable=False),
        sa.Column("forwarder", TEXT, nullable=False),
        sa.Column("reason", TEXT, nullable=False),
        sa.Column("created_at", INTEGER, nullable=False),
        sa.Column("attempts", INTEGER, nullable=False),
        sa.Column("answer_code", TEXT, nullable=True),
        sa.Column("answered_at", INTEGER, nullable=True),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_advice_pending_for", "advice", ["pending_for"])
    op.create_table(
        "token",
        sa.Column("token_index", TEXT, primary_key=True),
        sa.Column("card_index", TEXT, nullable=False),
        sa.Column("sealed", BYTES, nullable=False),
        sa.Column("masked", TEXT, nullable=False),
        sa.Column("issuer", TEXT, nullable=False),
        sa.Column("domains", TEXT, nullable=False),
        sa.Column("expiry", TEXT, nullable=False),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("created_at", INTEGER, nullable=False),
        sa.Column("changed_at", INTEGER, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_token_card_index", "token", ["card_index"])
    op.create_table(
        "payer_code",
        sa.Column("code_index", TEXT, primary_key=True),
        sa.Column("token_index", TEXT, nullable=False),
        sa.Column("made_at", INTEGER, nullable=False),
        sa.Column("expires_at", INTEGER, nullable=False),
        sa.Column("used_by", TEXT, nullable=True),
        sa.Column("used_at", INTEGER, nullable=True),
        sa.Column("acquirer", TEXT, nullable=True),
        sa.Column("order_number", TEXT, nullable=True),
        sa.Column("amount", INTEGER, nullable=True),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "administrative_request",
        sa.Column("reference", TEXT, primary_key=True),
        sa.Column("function", TEXT, nullable=False),
        sa.Column("member", TEXT, nullable=False),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("asked", TEXT, nullable=False),
        sa.Column("reply", BYTES, nullable=False),
        sa.Column("response_code", TEXT, nullable=True),
        sa.Column("received_at", INTEGER, nullable=False),
        sa.Column("answered_at", INTEGER, nullable=True),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "claim",
        sa.Column("reference", TEXT, primary_key=True),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("asked_by", TEXT, nullable=False),
        sa.Column("acquirer", TEXT, nullable=False),
        sa.Column("order_number", TEXT, nullable=False),
        sa.Column("amount", INTEGER, nullable=False),
        sa.Column("code_index", TEXT, nullable=False),
        sa.Column("code", BYTES, nullable=False),
        sa.Column("created_at", INTEGER, nullable=False),
        sa.Column("attempts", INTEGER, nullable=False),
        sa.Column("response_code", TEXT, nullable=True),
        sa.Column("answered_at", INTEGER, nullable=True),
        sa.Column("late_code", TEXT, nullable=True),
        sqlite_with_rowid=False,
    )
    _partial_index("ix_claim_status_pending", "claim", ["reference"], "status = 'pending'")
    op.create_table(
        "blocked_device",
        sa.Column("name", TEXT, primary_key=True),
        sa.Column("acquirer", TEXT, nullable=False),
        sa.Column("device_id", TEXT, nullable=False),
        sa.Column("is_blocked", INTEGER, nullable=False),
        sa.Column("reason", TEXT, nullable=False),
        sa.Column("changed_at", INTEGER, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "risk_rule_set",
        sa.Column("name", TEXT, primary_key=True),
        sa.Column("content", TEXT, nullable=False),
        sa.Column("changed_at", INTEGER, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "sequence",
        sa.Column("name", TEXT, primary_key=True),
        sa.Column("next_value", INTEGER, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "data_key",
        sa.Column("purpose", TEXT, primary_key=True),
        sa.Column("block", TEXT, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "ledger_account",
        sa.Column("account_id", TEXT, primary_key=True),
        sa.Column("normal", TEXT, nullable=False),
        sa.Column("currency", TEXT, nullable=False),
        sa.Column("debits", INTEGER, nullable=False),
        sa.Column("credits", INTEGER, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "transfer",
        sa.Column("transfer_id", TEXT, primary_key=True),
        sa.Column("reference", TEXT, nullable=False),
        sa.Column("debit_account", TEXT, nullable=False),
        sa.Column("credit_account", TEXT, nullable=False),
        sa.Column("amount", INTEGER, nullable=False),
        sa.Column("currency", TEXT, nullable=False),
        sa.Column("settlement_date", TEXT, nullable=False),
        sa.Column("posted_at", INTEGER, nullable=False),
        sqlite_with_rowid=False,
    )


def _partial_index(name: str, table: str, columns: list[str], where: str) -> None:
    condition = sa.text(where)
    op.create_index(name, table, columns, sqlite_where=condition, postgresql_where=condition)
