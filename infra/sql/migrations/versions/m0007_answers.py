"""What an answer was made from, how it was liked, and answers that are made again."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

PARTIAL = {
    "ix_turns_rerun_of": ("turns", "rerun_of", "rerun_of IS NOT NULL"),
    "ix_conversations_origin_id": ("conversations", "origin_id", "origin_id IS NOT NULL"),
}
ADDED = ("candidates", "prompts", "rerun_of", "as_of", "origin_id", "origin_seq", "rating", "comment", "rated_at")


def upgrade() -> None:
    op.add_column("conversations", sa.Column("origin_id", sa.String(length=32), nullable=True))
    with op.batch_alter_table("turns") as turns:
        turns.add_column(sa.Column("candidates", sa.JSON(), server_default="[]", nullable=False))
        turns.add_column(sa.Column("prompts", sa.JSON(), server_default="{}", nullable=False))
        turns.add_column(sa.Column("rerun_of", sa.String(length=255), nullable=True))
        turns.add_column(sa.Column("as_of", sa.String(length=32), nullable=True))
        turns.add_column(sa.Column("origin_id", sa.String(length=32), nullable=True))
        turns.add_column(sa.Column("origin_seq", sa.Integer(), nullable=True))
        turns.add_column(sa.Column("rating", sa.String(length=32), nullable=True))
        turns.add_column(sa.Column("comment", sa.Text(), nullable=True))
        turns.add_column(sa.Column("rated_at", sa.DateTime(timezone=True), nullable=True))
    for name, (table, column, where) in PARTIAL.items():
        op.create_index(name, table, [column], sqlite_where=sa.text(where), postgresql_where=sa.text(where))


def downgrade() -> None:
    for name, (table, _, _) in PARTIAL.items():
        op.drop_index(name, table)
    with op.batch_alter_table("turns") as turns:
        for column in reversed(ADDED):
            turns.drop_column(column)
    op.drop_column("conversations", "origin_id")
