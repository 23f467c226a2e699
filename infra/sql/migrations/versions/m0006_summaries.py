"""What left the window of a conversation: its summary, and up to which turn it goes."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("conversations", sa.Column("summary", sa.Text(), nullable=True))
    op.add_column("conversations", sa.Column("summary_until", sa.Integer(), nullable=True))


def downgrade() -> None:
    op.drop_column("conversations", "summary_until")
    op.drop_column("conversations", "summary")
