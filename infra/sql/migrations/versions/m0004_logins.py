"""What is noted of single log-ins: ended, or carried over a change of the password."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "logins",
        sa.Column("account_id", sa.String(length=32), nullable=False),
        sa.Column("family", sa.String(length=32), nullable=False),
        sa.Column("tenant_id", sa.String(length=32), nullable=False),
        sa.Column("ended", sa.Boolean(), nullable=False),
        sa.Column("carried_to", sa.Integer(), nullable=True),
        sa.Column("noted_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_logins_account_id_accounts"),
        sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name="fk_logins_tenant_id_tenants"),
        sa.PrimaryKeyConstraint("account_id", "family", name="pk_logins"),
    )


def downgrade() -> None:
    op.drop_table("logins")
