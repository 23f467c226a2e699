"""Brings the database to the schema of this program: migrations, all or none, one process at a time."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, make_url, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from domain.errors import Internal
from infra.sql.database import postgres_engine, sqlite_writer, translated

MIGRATIONS = Path(__file__).parent / "migrations"
PATIENCE_MS = 60_000  # another process may be migrating
LOCK = 6_174_011  # of Postgres' advisory locks, ours


async def upgrade(url: str) -> None:
    """Safe to call from several processes at once, on an empty database too. Raises Internal, DatabaseUnavailable.

    A database whose schema this program does not know is left as it is.
    """
    engine = _engine(url)
    try:
        async with engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                await connection.execute(text(f"SET LOCAL lock_timeout = {PATIENCE_MS}"))
                await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
            await connection.run_sync(_upgrade)
    except SQLAlchemyError as error:
        raise translated(error) from None
    finally:
        await engine.dispose()


def _engine(url: str) -> AsyncEngine:
    target = make_url(url)
    if target.get_backend_name() != "sqlite":
        return postgres_engine(url)
    if target.database:
        Path(target.database).parent.mkdir(parents=True, exist_ok=True)
    return sqlite_writer(url, busy_ms=PATIENCE_MS)


def _upgrade(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    _refuse_unknown(connection, ScriptDirectory.from_config(config))
    command.upgrade(config, "head")


def _refuse_unknown(connection: Connection, scripts: ScriptDirectory) -> None:
    for revision in MigrationContext.configure(connection).get_current_heads():
        try:
            scripts.get_revision(revision)
        except CommandError:
            raise Internal(
                f"The database has schema {revision}, which is newer than this program; run the newer program."
            ) from None
