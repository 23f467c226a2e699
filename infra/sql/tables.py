"""The records, table by table: what must survive everything else.

Every table of a tenant has `tenant_id`; `ownership.py` builds the statements that always name it.
"""

from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
)


class UtcDateTime(TypeDecorator[datetime]):
    """A moment: aware going in, UTC coming out, in databases with and without time zones."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a stored moment needs a time zone")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)

ID = String(32)
WORD = String(32)  # a state, a kind, an error code
NAME = String(255)
Tokens = BigInteger


def _tenant() -> Column[str]:
    return Column("tenant_id", ID, ForeignKey("tenants.id"), nullable=False)


def _account() -> Column[str]:
    return Column("account_id", ID, ForeignKey("accounts.id"), nullable=False)


def _moment(name: str, *, nullable: bool = False) -> Column[datetime]:
    return Column(name, UtcDateTime, nullable=nullable)


tenants = Table(
    "tenants",
    metadata,
    Column("id", ID, primary_key=True),
    Column("token_limit", Tokens, nullable=False),
    _moment("created_at"),
)

accounts = Table(
    "accounts",
    metadata,
    Column("id", ID, primary_key=True),
    _tenant(),
    Column("username", NAME, nullable=False),
    Column("username_folded", NAME, nullable=False, unique=True),
    Column("email", Text, nullable=False),
    Column("password_hash", Text, nullable=False),
    Column("role", WORD, nullable=False),
    Column("token_limit", Tokens, nullable=False),
    Column("is_active", Boolean, nullable=False),
    Column("token_epoch", Integer, nullable=False),
    _moment("created_at"),
)

logins = Table(
    "logins",
    metadata,
    Column("account_id", ID, ForeignKey("accounts.id"), primary_key=True),
    Column("family", ID, primary_key=True),
    _tenant(),
    Column("ended", Boolean, nullable=False),
    Column("carried_to", Integer, nullable=True),  # the epoch it lives on in after a change of the password
    _moment("noted_at"),
)

collections = Table(
    "collections",
    metadata,
    Column("id", ID, primary_key=True),
    _tenant(),
    Column("name", NAME, nullable=False),
    Column("description", Text, nullable=False),
    Column("generation", NAME, nullable=False),  # empty until the first upload decides it
    _moment("created_at"),
    _moment("updated_at"),
    UniqueConstraint("tenant_id", "name"),
)

documents = Table(
    "documents",
    metadata,
    Column("id", ID, primary_key=True),
    _tenant(),
    _account(),
    Column("collection_id", ID, ForeignKey("collections.id"), nullable=False),
    Column("live_version", Integer),
    Column("latest_version", Integer, nullable=False),
    _moment("created_at"),
    _moment("updated_at"),
    Index(None, "tenant_id", "created_at", "id"),
    Index(None, "collection_id", "created_at", "id"),
)

versions = Table(
    "versions",
    metadata,
    Column("document_id", ID, ForeignKey("documents.id"), primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    _tenant(),
    Column("collection_id", ID, ForeignKey("collections.id"), nullable=False),
    Column("generation", NAME, nullable=False),
    Column("workflow_id", NAME, nullable=False, unique=True),
    Column("filename", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("media_type", NAME, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("metadata", JSON, nullable=False),
    Column("outcome", WORD),  # ready, failed, cancelled; none while it is being processed
    Column("staged", Boolean, nullable=False),
    Column("pages", Integer),
    Column("chunks", Integer, nullable=False),
    Column("error_code", WORD),
    Column("error_step", WORD),
    _moment("created_at"),
    _moment("finished_at", nullable=True),
    Index(None, "collection_id", "sha256"),
    Index(None, "collection_id", "staged"),
)

commands = Table(
    "commands",
    metadata,
    Column("id", ID, primary_key=True),
    _tenant(),
    _account(),
    Column("kind", WORD, nullable=False),
    Column("workflow_id", NAME, nullable=False, unique=True),
    Column("idempotency_key", NAME),
    Column("digest", NAME),
    Column("document_id", ID),  # subjects are named, not referenced: the registry outlives them
    Column("version", Integer),
    Column("conversation_id", ID),
    Column("seq", Integer),
    Column("outcome", WORD),
    Column("error_code", WORD),
    Column("error_step", WORD),
    Column("parked_step", WORD),  # the three together, while the run waits for somebody to decide
    Column("parked_code", WORD),
    _moment("parked_at", nullable=True),
    Column("replayed_run", NAME),  # the closed run that a replay was asked for; empty when it was forgotten
    Column("parameters", JSON),  # of a run over many things
    Column("progress", JSON),
    Column("result", JSON, nullable=False),
    Column("reserved", Tokens, nullable=False),
    Column("reserved_month", String(7)),
    _moment("looked_at", nullable=True),
    _moment("created_at"),
    _moment("updated_at"),
    _moment("finished_at", nullable=True),
    UniqueConstraint("account_id", "idempotency_key"),
    Index(None, "tenant_id", "created_at", "id"),
)
Index(
    "ix_commands_open",
    commands.c.created_at,
    sqlite_where=commands.c.outcome.is_(None),
    postgresql_where=commands.c.outcome.is_(None),
)
Index(
    "ix_commands_reserved",
    commands.c.tenant_id,
    sqlite_where=commands.c.reserved > 0,
    postgresql_where=commands.c.reserved > 0,
)

conversations = Table(
    "conversations",
    metadata,
    Column("id", ID, primary_key=True),
    _tenant(),
    _account(),
    Column("title", Text, nullable=False),
    Column("turns", Integer, nullable=False),  # the last seq given out
    Column("summary", Text),  # of the turns up to `summary_until`
    Column("summary_until", Integer),
    Column("origin_id", ID),  # of a rerun: the conversation that it stands beside
    _moment("created_at"),
    _moment("updated_at"),
    Index(None, "account_id", "created_at", "id"),
)
Index(
    "ix_conversations_origin_id",
    conversations.c.origin_id,
    sqlite_where=conversations.c.origin_id.is_not(None),
    postgresql_where=conversations.c.origin_id.is_not(None),
)

turns = Table(
    "turns",
    metadata,
    Column("conversation_id", ID, ForeignKey("conversations.id"), primary_key=True),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    _tenant(),
    _account(),
    Column("workflow_id", NAME, nullable=False, unique=True),
    _moment("asked_at"),
    Column("question", Text, nullable=False),
    Column("question_tokens", Tokens, nullable=False),
    Column("model", NAME),
    Column("temperature", Float, nullable=False),
    Column("max_tokens", Integer, nullable=False),
    Column("use_rag", Boolean, nullable=False),
    Column("collection_id", ID, ForeignKey("collections.id", ondelete="SET NULL")),
    Column("document_ids", JSON, nullable=False),
    Column("filters", JSON, nullable=False),
    Column("k", Integer, nullable=False),
    Column("query", Text),
    Column("candidates", JSON, nullable=False, server_default="[]"),
    Column("passages", JSON, nullable=False),
    Column("relevant", Boolean, nullable=False),
    Column("outcome", WORD),
    Column("error_code", WORD),
    Column("answer", Text),
    _moment("answered_at", nullable=True),
    Column("finish", WORD),
    Column("model_used", NAME),
    Column("prompt_tokens", Tokens, nullable=False),
    Column("completion_tokens", Tokens, nullable=False),
    Column("estimated", Boolean, nullable=False),
    Column("answer_tokens", Tokens, nullable=False),
    Column("sources", JSON, nullable=False),
    Column("prompt_digest", NAME),
    Column("prompts", JSON, nullable=False, server_default="{}"),  # names and digests of the files
    Column("timings", JSON, nullable=False),
    Column("flags", JSON, nullable=False),
    Column("rerun_of", NAME),  # the four together, of an answer made again
    Column("as_of", WORD),
    Column("origin_id", ID),
    Column("origin_seq", Integer),
    Column("rating", WORD),
    Column("comment", Text),
    _moment("rated_at", nullable=True),
)
Index(
    "ix_turns_rerun_of",
    turns.c.rerun_of,
    sqlite_where=turns.c.rerun_of.is_not(None),
    postgresql_where=turns.c.rerun_of.is_not(None),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", ID, primary_key=True),
    _tenant(),
    _account(),
    Column("name", NAME, nullable=False),
    Column("secret_hash", String(64), nullable=False, unique=True),
    _moment("created_at"),
    _moment("expires_at", nullable=True),
    _moment("last_used_at", nullable=True),
    Index(None, "account_id", "created_at", "id"),
)

invites = Table(
    "invites",
    metadata,
    Column("id", ID, primary_key=True),
    _tenant(),
    _account(),  # who invited
    Column("role", WORD, nullable=False),
    Column("secret_hash", String(64), nullable=False, unique=True),
    _moment("created_at"),
    _moment("expires_at"),
    Column("used_by", ID),
    Index(None, "tenant_id", "expires_at"),
)

audit = Table(
    "audit",  # names what it is about without referring to it: notes outlive tenants
    metadata,
    Column("id", ID, primary_key=True),
    _moment("at"),
    Column("tenant_id", ID, nullable=False),
    Column("account_id", ID),  # who did it; none for the operator
    Column("event", WORD, nullable=False),
    Column("subject", NAME, nullable=False),
    Column("facts", JSON, nullable=False),
    Index(None, "tenant_id", "at"),
    Index(None, "at"),
)

provider_calls = Table(
    "provider_calls",
    metadata,
    Column("op_id", NAME, primary_key=True),
    _tenant(),
    _account(),
    Column("workflow_id", NAME),
    Column("purpose", WORD, nullable=False),
    Column("model", NAME, nullable=False),
    Column("prompt_tokens", Tokens, nullable=False),
    Column("completion_tokens", Tokens, nullable=False),
    Column("delivery", WORD, nullable=False),
    Column("billable", Boolean, nullable=False),
    Column("month", String(7), nullable=False),
    _moment("at"),
    Column("settled", Boolean, nullable=False),
    Column("cost", BigInteger),  # billionths of the price list's currency
    Index(None, "workflow_id"),
    Index(None, "account_id", "month", "at", "op_id"),
    Index(  # a month is summed up from the index alone
        "ix_provider_calls_totals",
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
    ),
)
Index(
    "ix_provider_calls_open",
    provider_calls.c.at,
    sqlite_where=provider_calls.c.delivery == "open",
    postgresql_where=provider_calls.c.delivery == "open",
)

budgets = Table(
    "budgets",
    metadata,
    Column("account_id", ID, ForeignKey("accounts.id"), primary_key=True),
    Column("month", String(7), primary_key=True),
    _tenant(),
    Column("used", Tokens, nullable=False),
    Column("reserved", Tokens, nullable=False),
)
