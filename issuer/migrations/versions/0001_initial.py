"""The issuer's tables as they were when their history began."""

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
    op.create_table(
        "account",
        sa.Column("account_id", TEXT, primary_key=True),
        sa.Column("account_type", TEXT, nullable=False),
        sa.Column("credit_limit", INTEGER, nullable=False),
        sa.Column("opened_at", INTEGER, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "key_set",
        sa.Column("key_set_id", TEXT, primary_key=True),
        sa.Column("imk_ac", TEXT, nullable=False),
        sa.Column("imk_ac_sm4", TEXT, nullable=True),
        sa.Column("cvk", TEXT, nullable=False),
        sa.Column("pvk", TEXT, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "storage_key",
        sa.Column("purpose", TEXT, primary_key=True),
        sa.Column("block", TEXT, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "card",
        sa.Column("pan_index", TEXT, primary_key=True),
        sa.Column("sealed_pan", BYTES, nullable=False),
        sa.Column("sequence", TEXT, nullable=False),
        sa.Column("expiry", TEXT, nullable=False),
        sa.Column("service_code", TEXT, nullable=False),
        sa.Column("is_chip", INTEGER, nullable=False),
        sa.Column("manual_entry", INTEGER, nullable=False),
        sa.Column("account_id", TEXT, nullable=False),
        sa.Column("key_set_id", TEXT, nullable=False),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("pin_offset", TEXT, nullable=False),
        sa.Column("pin_tries_left", INTEGER, nullable=False),
        sa.Column("highest_atc", INTEGER, nullable=False),
        sa.Column("pin_free_limit", INTEGER, nullable=False),
        sa.Column("sale_limit", INTEGER, nullable=False),
        sa.Column("daily_amount_limit", INTEGER, nullable=False),
        sa.Column("daily_count_limit", INTEGER, nullable=False),
        sa.Column("used_on", INTEGER, nullable=False),
        sa.Column("used_amount", INTEGER, nullable=False),
        sa.Column("used_count", INTEGER, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "authorisation",
        sa.Column("reference", TEXT, primary_key=True),
        sa.Column("mti", TEXT, nullable=False),
        sa.Column("processing_code", TEXT, nullable=False),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("response_code", TEXT, nullable=False),
        sa.Column("pan_index", TEXT, nullable=False),
        sa.Column("account_id", TEXT, nullable=True),
        sa.Column("amount", INTEGER, nullable=False),
        sa.Column("currency", TEXT, nullable=False),
        sa.Column("auth_code", TEXT, nullable=True),
        sa.Column("issuer_authentication", BYTES, nullable=True),
        sa.Column("account_type", TEXT, nullable=True),
        sa.Column("ledger_balance", INTEGER, nullable=True),
        sa.Column("available_balance", INTEGER, nullable=True),
        sa.Column("settlement_date", TEXT, nullable=False),
        sa.Column("used_on", INTEGER, nullable=False),
        sa.Column("rrn", TEXT, nullable=False),
        sa.Column("terminal_id", TEXT, nullable=False),
        sa.Column("merchant_id", TEXT, nullable=False),
        sa.Column("decided_at", INTEGER, nullable=False),
        sa.Column("reversed_at", INTEGER, nullable=True),
        sa.Column("reversal_code", TEXT, nullable=True),
        sa.Column("token_payment", TEXT, nullable=True),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "wallet",
        sa.Column("wallet_id", TEXT, primary_key=True),
        sa.Column("public_key", BYTES, nullable=False),
        sa.Column("pan_index", TEXT, nullable=False),
        sa.Column("domains", TEXT, nullable=False),
        sa.Column("token_index", TEXT, nullable=True),
        sa.Column("asked", TEXT, nullable=True),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "token",
        sa.Column("token_index", TEXT, primary_key=True),
        sa.Column("sealed_token", BYTES, nullable=False),
        sa.Column("pan_index", TEXT, nullable=False),
        sa.Column("wallet_id", TEXT, nullable=False),
        sa.Column("sequence", TEXT, nullable=False),
        sa.Column("expiry", TEXT, nullable=False),
        sa.Column("domains", TEXT, nullable=False),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("told", TEXT, nullable=False),
        sa.Column("uses_per_key", INTEGER, nullable=False),
        sa.Column("first_key", INTEGER, nullable=False),
        sa.Column("end_key", INTEGER, nullable=False),
        sa.Column("highest_atc", INTEGER, nullable=False),
        sa.Column("command_counter", INTEGER, nullable=False),
        sa.Column("payments", INTEGER, nullable=False),
        sa.Column("code_used_on", INTEGER, nullable=False),
        sa.Column("code_used_amount", INTEGER, nullable=False),
        sa.Column("issued_at", INTEGER, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_token_pan_index", "token", ["pan_index"])
    op.create_table(
        "token_payment",
        sa.Column("payment_id", TEXT, primary_key=True),
        sa.Column("token_index", TEXT, nullable=False),
        sa.Column("reference", TEXT, nullable=False),
        sa.Column("domain", TEXT, nullable=False),
        sa.Column("order_number", TEXT, nullable=True),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "question",
        sa.Column("question_id", TEXT, primary_key=True),
        sa.Column("function", TEXT, nullable=False),
        sa.Column("transmission", TEXT, nullable=False),
        sa.Column("stan", TEXT, nullable=False),
        sa.Column("subject", TEXT, nullable=False),
        sa.Column("amount", INTEGER, nullable=True),
        sa.Column("order_number", TEXT, nullable=True),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("tries", INTEGER, nullable=False),
        sa.Column("response_code", TEXT, nullable=True),
        sa.Column("asked_at", INTEGER, nullable=False),
        sa.Column("answered_at", INTEGER, nullable=True),
        sqlite_with_rowid=False,
    )
    _partial_index("ix_question_status_pending", "question", ["question_id"], "status = 'pending'")
    op.create_table(
        "counter",
        sa.Column("name", TEXT, primary_key=True),
        sa.Column("value", INTEGER, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "offline_sale",
        sa.Column("offline_sale_id", TEXT, primary_key=True),
        sa.Column("pan_index", TEXT, nullable=False),
        sa.Column("reference", TEXT, nullable=False),
        sa.Column("amount", INTEGER, nullable=False),
        sa.Column("overdrawn", INTEGER, nullable=False),
        sa.Column("redeemed_at", INTEGER, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "issuer_certificate",
        sa.Column("issuer_identifier", TEXT, primary_key=True),
        sa.Column("key_block", TEXT, nullable=False),
        sa.Column("modulus", BYTES, nullable=False),
        sa.Column("exponent", INTEGER, nullable=False),
        sa.Column("rid", BYTES, nullable=False),
        sa.Column("ca_index", INTEGER, nullable=False),
        sa.Column("certificate", BYTES, nullable=False),
        sa.Column("remainder", BYTES, nullable=False),
        sa.Column("expiry", TEXT, nullable=False),
        sa.Column("cards_certified", INTEGER, nullable=False),
        sqlite_with_rowid=False,
    )


def _partial_index(name: str, table: str, columns: list[str], where: str) -> None:
    condition = sa.text(where)
    op.create_index(name, table, columns, sqlite_where=condition, postgresql_where=condition)
