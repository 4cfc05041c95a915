"""The merchant device's tables as they were when their history began."""

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
        "phone",
        sa.Column("terminal_id", TEXT, primary_key=True),
        sa.Column("merchant_id", TEXT, nullable=False),
        sa.Column("tmk", TEXT, nullable=False),
        sa.Column("pik", TEXT, nullable=True),
        sa.Column("mak", TEXT, nullable=True),
        sa.Column("tdk", TEXT, nullable=True),
        sa.Column("batch", INTEGER, nullable=False),
        sa.Column("stan_reserved", INTEGER, nullable=False),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("device_id", TEXT, nullable=True),
        sa.Column("place", TEXT, nullable=True),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "sale",
        sa.Column("reference", TEXT, primary_key=True),
        sa.Column("terminal_id", TEXT, nullable=False),
        sa.Column("merchant_id", TEXT, nullable=False),
        sa.Column("batch", TEXT, nullable=False),
        sa.Column("stan", TEXT, nullable=False),
        sa.Column("amount", INTEGER, nullable=False),
        sa.Column("pan_masked", TEXT, nullable=True),
        sa.Column("card", BYTES, nullable=True),
        sa.Column("entry_mode", TEXT, nullable=False),
        sa.Column("card_sequence", TEXT, nullable=True),
        sa.Column("chip", BYTES, nullable=True),
        sa.Column("cvm", TEXT, nullable=True),
        sa.Column("started_at", INTEGER, nullable=False),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("response_code", TEXT, nullable=True),
        sa.Column("reason", TEXT, nullable=True),
        sa.Column("rrn", TEXT, nullable=True),
        sa.Column("authorisation_code", TEXT, nullable=True),
        sa.Column("finished_at", INTEGER, nullable=True),
        sa.Column("reversal_reason", TEXT, nullable=True),
        sa.Column("reversal_code", TEXT, nullable=True),
        sa.Column("way", TEXT, nullable=False),
        sa.Column("is_offline", INTEGER, nullable=False),
        sa.Column("order_number", TEXT, nullable=True),
        sa.Column("additional", TEXT, nullable=True),
        sqlite_with_rowid=False,
    )
    _partial_index("ix_sale_status_offline", "sale", ["reference"], "status = 'offline'")
    _partial_index("ix_sale_status_pending", "sale", ["reference"], "status = 'pending'")
    _partial_index("ix_sale_status_reversing", "sale", ["reference"], "status = 'reversing'")
    op.create_table(
        "storage_key",
        sa.Column("purpose", TEXT, primary_key=True),
        sa.Column("block", TEXT, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "ca_key",
        sa.Column("identifier", TEXT, primary_key=True),
        sa.Column("data", BYTES, nullable=False),
        sa.Column("status", TEXT, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "kernel_parameter",
        sa.Column("identifier", TEXT, primary_key=True),
        sa.Column("terminal_id", TEXT, nullable=False),
        sa.Column("application", TEXT, nullable=False),
        sa.Column("floor_limit", INTEGER, nullable=True),
        sa.Column("contactless_limit", INTEGER, nullable=True),
        sa.Column("cvm_limit", INTEGER, nullable=True),
        sa.Column("status", TEXT, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "hot_card_page",
        sa.Column("number", INTEGER, primary_key=True, autoincrement=False),
        sa.Column("salt", BYTES, nullable=False),
        sa.Column("digests", BYTES, nullable=False),
        sa.Column("status", TEXT, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "secure_element",
        sa.Column("device_id", TEXT, primary_key=True),
        sa.Column("model", TEXT, nullable=False),
        sa.Column("attestation_key", TEXT, nullable=False),
        sa.Column("chain", TEXT, nullable=False),
        sa.Column("device_key", TEXT, nullable=True),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("terminal_id", TEXT, nullable=True),
        sa.Column("farewell", BYTES, nullable=True),
        sa.Column("noted", BYTES, nullable=True),
        sa.Column("tries", INTEGER, nullable=False),
        sqlite_with_rowid=False,
    )
    _partial_index("ix_secure_element_status_leaving", "secure_element", ["device_id"], "status = 'leaving'")
    op.create_table(
        "attestation",
        sa.Column("subject", TEXT, primary_key=True),
        sa.Column("step", TEXT, nullable=False),
        sa.Column("challenge", BYTES, nullable=True),
        sa.Column("tries", INTEGER, nullable=False),
        sa.Column("deadline", INTEGER, nullable=False),
        sa.Column("shown_at", INTEGER, nullable=False),
        sa.Column("until", INTEGER, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "shown_order",
        sa.Column("number", TEXT, primary_key=True),
        sa.Column("terminal_id", TEXT, nullable=False),
        sa.Column("amount", INTEGER, nullable=True),
        sa.Column("text", TEXT, nullable=False),
        sa.Column("batch", TEXT, nullable=False),
        sa.Column("stan", TEXT, nullable=False),
        sa.Column("started_at", INTEGER, nullable=False),
        sa.Column("expires_at", INTEGER, nullable=True),
        sa.Column("status", TEXT, nullable=False),
        sa.Column("pending_of", TEXT, nullable=True),
        sa.Column("finished_at", INTEGER, nullable=True),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_shown_order_pending_of", "shown_order", ["pending_of"])
    _partial_index("ix_shown_order_status_open", "shown_order", ["number"], "status = 'open'")
    _partial_index("ix_shown_order_status_withdrawing", "shown_order", ["number"], "status = 'withdrawing'")
    op.create_table(
        "static_code",
        sa.Column("identifier", TEXT, primary_key=True),
        sa.Column("number", TEXT, nullable=False),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "static_payment",
        sa.Column("identifier", TEXT, primary_key=True),
        sa.Column("reference", TEXT, nullable=False),
        sqlite_with_rowid=False,
    )


def _partial_index(name: str, table: str, columns: list[str], where: str) -> None:
    condition = sa.text(where)
    op.create_index(name, table, columns, sqlite_where=condition, postgresql_where=condition)
