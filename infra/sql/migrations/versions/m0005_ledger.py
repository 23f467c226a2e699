"""What a call cost, and indexes for a ledger of many lines and for reservations that are held."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

LINES = ["account_id", "month", "at", "op_id"]
TOTALS = [
    "tenant_id",
    "account_id",
    "month",
    "purpose",
    "model",
    "billable",
    "delivery",
    "prompt_tokens",
    "completion_tokens",
    "cost",
]
PARTIAL = {
    "ix_provider_calls_open": ("provider_calls", "at", "delivery = 'open'"),
    "ix_commands_reserved": ("commands", "tenant_id", "reserved > 0"),
}


def upgrade() -> None:
    op.add_column("provider_calls", sa.Column("cost", sa.BigInteger(), nullable=True))
    op.drop_index("ix_provider_calls_account_id_month", "provider_calls")
    op.create_index("ix_provider_calls_account_id_month_at_op_id", "provider_calls", LINES)
    op.create_index("ix_provider_calls_totals", "provider_calls", TOTALS)
    for name, (table, column, where) in PARTIAL.items():
        op.create_index(name, table, [column], sqlite_where=sa.text(where), postgresql_where=sa.text(where))


def downgrade() -> None:
    for name, (table, _, _) in PARTIAL.items():
        op.drop_index(name, table)
    op.drop_index("ix_provider_calls_totals", "provider_calls")
    op.drop_index("ix_provider_calls_account_id_month_at_op_id", "provider_calls")
    op.create_index("ix_provider_calls_account_id_month", "provider_calls", ["account_id", "month"])
    op.drop_column("provider_calls", "cost")
