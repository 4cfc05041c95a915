"""The acquirer's tables as they were when their history began."""

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
        "merchant",
        sa.Column("merchant_id", TEXT, primary_key=True),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("city", TEXT, nullable=False),
        sa.Column("country", TEXT, nullable=False),
        sa.Column("category", TEXT, nullable=False),
        sa.Column("acceptor", TEXT, nullable=False),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("enrolled_at", INTEGER, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "terminal",
        sa.Column("terminal_id", TEXT, primary_key=True),
        sa.Column("merchant_id", TEXT, nullable=False),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("master_key", TEXT, nullable=False),
        sa.Column("mac_algorithm", TEXT, nullable=False),
        sa.Column("pin_key", TEXT, nullable=True),
        sa.Column("mac_key", TEXT, nullable=True),
        sa.Column("track_key", TEXT, nullable=True),
        sa.Column("session", INTEGER, nullable=False),
        sa.Column("signed_on_at", INTEGER, nullable=True),
        sa.Column("enrolled_at", INTEGER, nullable=False),
        sa.Column("device_id", TEXT, nullable=True),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "card_transaction",
        sa.Column("reference", TEXT, primary_key=True),
        sa.Column("trace", TEXT, nullable=False, unique=True),
        sa.Column("latest", TEXT, nullable=True),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("terminal_id", TEXT, nullable=False),
        sa.Column("merchant_id", TEXT, nullable=False),
        sa.Column("session", INTEGER, nullable=False),
        sa.Column("digest", BYTES, nullable=False),
        sa.Column("link", TEXT, nullable=False),
        sa.Column("header", BYTES, nullable=False),
        sa.Column("card", BYTES, nullable=False),
        sa.Column("amount", INTEGER, nullable=False),
        sa.Column("currency", TEXT, nullable=False),
        sa.Column("entry_mode", TEXT, nullable=False),
        sa.Column("card_sequence", TEXT, nullable=True),
        sa.Column("condition", TEXT, nullable=False),
        sa.Column("private_data", TEXT, nullable=True),
        sa.Column("rrn", TEXT, nullable=False),
        sa.Column("created_at", INTEGER, nullable=False),
        sa.Column("response_code", TEXT, nullable=True),
        sa.Column("authorisation_code", TEXT, nullable=True),
        sa.Column("settlement_date", TEXT, nullable=True),
        sa.Column("issuer_id", TEXT, nullable=True),
        sa.Column("balances", TEXT, nullable=True),
        sa.Column("chip_response", BYTES, nullable=True),
        sa.Column("answered_at", INTEGER, nullable=True),
        sa.Column("order_number", TEXT, nullable=True),
        sa.Column("before", TEXT, nullable=True),
        sqlite_with_rowid=False,
    )
    _partial_index("ix_card_transaction_kind_offline", "card_transaction", ["reference"], "kind = 'offline'")
    _partial_index("ix_card_transaction_status_pending", "card_transaction", ["reference"], "status = 'pending'")
    op.create_table(
        "advice",
        sa.Column("reference", TEXT, primary_key=True),
        sa.Column("original", TEXT, nullable=False),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("reason", TEXT, nullable=False),
        sa.Column("created_at", INTEGER, nullable=False),
        sa.Column("attempts", INTEGER, nullable=False),
        sa.Column("response_code", TEXT, nullable=True),
        sa.Column("answered_at", INTEGER, nullable=True),
        sa.Column("message", BYTES, nullable=True),
        sqlite_with_rowid=False,
    )
    _partial_index("ix_advice_status_pending", "advice", ["reference"], "status = 'pending'")
    op.create_table(
        "payment_order",
        sa.Column("number", TEXT, primary_key=True),
        sa.Column("trace", TEXT, nullable=False, unique=True),
        sa.Column("merchant_id", TEXT, nullable=False),
        sa.Column("terminal_id", TEXT, nullable=False),
        sa.Column("amount", INTEGER, nullable=True),
        sa.Column("currency", TEXT, nullable=False),
        sa.Column("created_at", INTEGER, nullable=False),
        sa.Column("expires_at", INTEGER, nullable=True),
        sa.Column("device", TEXT, nullable=True),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("link", TEXT, nullable=False),
        sa.Column("header", BYTES, nullable=False),
        sa.Column("payment", TEXT, nullable=True),
        sa.Column("paid_amount", INTEGER, nullable=True),
        sa.Column("paid_rrn", TEXT, nullable=True),
        sa.Column("paid_code", TEXT, nullable=True),
        sa.Column("paid_at", INTEGER, nullable=True),
        sa.Column("payments", INTEGER, nullable=False),
        sa.Column("payments_total", INTEGER, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_payment_order_terminal_id", "payment_order", ["terminal_id"])
    op.create_table(
        "order_claim",
        sa.Column("code_index", BYTES, primary_key=True),
        sa.Column("order_number", TEXT, nullable=False),
        sa.Column("amount", INTEGER, nullable=False),
        sa.Column("response_code", TEXT, nullable=False),
        sa.Column("reference", TEXT, nullable=True),
        sa.Column("claimed_at", INTEGER, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_order_claim_order_number", "order_claim", ["order_number"])
    op.create_table(
        "ca_key",
        sa.Column("name", TEXT, primary_key=True),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("block", BYTES, nullable=False),
        sa.Column("expiry", TEXT, nullable=True),
        sa.Column("changed_at", INTEGER, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_ca_key_status", "ca_key", ["status"])
    op.create_table(
        "application_parameters",
        sa.Column("aid", TEXT, primary_key=True),
        sa.Column("floor_limit", INTEGER, nullable=False),
        sa.Column("contactless_limit", INTEGER, nullable=False),
        sa.Column("cvm_limit", INTEGER, nullable=False),
        sa.Column("changed_at", INTEGER, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "sequence",
        sa.Column("name", TEXT, primary_key=True),
        sa.Column("reserved", INTEGER, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "own_key",
        sa.Column("name", TEXT, primary_key=True),
        sa.Column("block", TEXT, nullable=False),
        sqlite_with_rowid=False,
    )
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
        "application",
        sa.Column("application_id", TEXT, primary_key=True),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("reason", TEXT, nullable=True),
        sa.Column("person", BYTES, nullable=False),
        sa.Column("details", BYTES, nullable=False),
        sa.Column("token_hash", BYTES, nullable=False),
        sa.Column("shop_name", TEXT, nullable=False),
        sa.Column("city", TEXT, nullable=False),
        sa.Column("category", TEXT, nullable=False),
        sa.Column("model", TEXT, nullable=False),
        sa.Column("latitude", INTEGER, nullable=False),
        sa.Column("longitude", INTEGER, nullable=False),
        sa.Column("radius", INTEGER, nullable=False),
        sa.Column("merchant_id", TEXT, nullable=True),
        sa.Column("devices_limit", INTEGER, nullable=False),
        sa.Column("created_at", INTEGER, nullable=False),
        sa.Column("reviewed_at", INTEGER, nullable=True),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_application_person", "application", ["person"])
    _partial_index("ix_application_status_submitted", "application", ["application_id"], "status = 'submitted'")
    op.create_table(
        "device",
        sa.Column("device_id", TEXT, primary_key=True),
        sa.Column("application_id", TEXT, nullable=False),
        sa.Column("merchant_id", TEXT, nullable=False),
        sa.Column("terminal_id", TEXT, nullable=False),
        sa.Column("model", TEXT, nullable=False),
        sa.Column("public_key", BYTES, nullable=False),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("reason", TEXT, nullable=True),
        sa.Column("latitude", INTEGER, nullable=False),
        sa.Column("longitude", INTEGER, nullable=False),
        sa.Column("radius", INTEGER, nullable=False),
        sa.Column("link", TEXT, nullable=True),
        sa.Column("attested_at", INTEGER, nullable=False),
        sa.Column("attested_until", INTEGER, nullable=False),
        sa.Column("pin_attested_until", INTEGER, nullable=False),
        sa.Column("bound_at", INTEGER, nullable=False),
        sa.Column("kills_sent", INTEGER, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_device_merchant_id", "device", ["merchant_id"])
    _partial_index("ix_device_status_killing", "device", ["device_id"], "status = 'killing'")
    op.create_table(
        "challenge",
        sa.Column("subject", TEXT, primary_key=True),
        sa.Column("challenge", BYTES, nullable=False),
        sa.Column("expires_at", INTEGER, nullable=False),
        sa.Column("used_at", INTEGER, nullable=True),
        sa.Column("evidence", BYTES, nullable=True),
        sa.Column("outcome", TEXT, nullable=True),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "attestation_record",
        sa.Column("record_id", TEXT, primary_key=True),
        sa.Column("device_id", TEXT, nullable=False),
        sa.Column("terminal_id", TEXT, nullable=True),
        sa.Column("application_id", TEXT, nullable=True),
        sa.Column("purpose", TEXT, nullable=False),
        sa.Column("accepted", INTEGER, nullable=False),
        sa.Column("reason", TEXT, nullable=True),
        sa.Column("detail", TEXT, nullable=True),
        sa.Column("model", TEXT, nullable=True),
        sa.Column("security_level", INTEGER, nullable=True),
        sa.Column("boot_state", INTEGER, nullable=True),
        sa.Column("os_patch_level", INTEGER, nullable=True),
        sa.Column("app_version", INTEGER, nullable=True),
        sa.Column("place", TEXT, nullable=True),
        sa.Column("recorded_at", INTEGER, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_attestation_record_device_id", "attestation_record", ["device_id"])
    op.create_table(
        "hot_card",
        sa.Column("identifier", TEXT, primary_key=True),
        sa.Column("card", BYTES, nullable=False),
        sa.Column("pan_masked", TEXT, nullable=False),
        sa.Column("reason", TEXT, nullable=False),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("added_at", INTEGER, nullable=False),
        sa.Column("removed_at", INTEGER, nullable=True),
        sqlite_with_rowid=False,
    )
    _partial_index("ix_hot_card_status_listed", "hot_card", ["identifier"], "status = 'listed'")
    op.create_table(
        "hot_list",
        sa.Column("name", TEXT, primary_key=True),
        sa.Column("cards", INTEGER, nullable=False),
        sa.Column("salt", BYTES, nullable=True),
        sa.Column("pages", INTEGER, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "hot_list_page",
        sa.Column("number", INTEGER, primary_key=True, autoincrement=False),
        sa.Column("salt", BYTES, nullable=False),
        sa.Column("digests", BYTES, nullable=False),
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
