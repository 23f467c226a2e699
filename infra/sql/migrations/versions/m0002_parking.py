"""Parked and replayed runs."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("commands") as commands:
        commands.add_column(sa.Column("parked_step", sa.String(length=32), nullable=True))
        commands.add_column(sa.Column("parked_code", sa.String(length=32), nullable=True))
        commands.add_column(sa.Column("parked_at", sa.DateTime(timezone=True), nullable=True))
        commands.add_column(sa.Column("replayed_run", sa.String(length=255), nullable=True))
        commands.add_column(sa.Column("parameters", sa.JSON(), nullable=True))
        commands.add_column(sa.Column("progress", sa.JSON(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("commands") as commands:
        for column in ("progress", "parameters", "replayed_run", "parked_at", "parked_code", "parked_step"):
            commands.drop_column(column)
