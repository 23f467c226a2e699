"""The one door to the database: engines, transactions, deadlines, and vendor exceptions in our own words.

Everything that differs between SQLite and Postgres is in this file and in `schema.py`.
"""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any
from weakref import WeakSet

from sqlalchemy import Column, ColumnElement, Connection, Executable, Row, Table, event, make_url, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    IntegrityError,
    NotSupportedError,
    OperationalError,
    ProgrammingError,
    SQLAlchemyError,
    StatementError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncTransaction, create_async_engine

from domain.errors import (
    Conflict,
    DatabaseUnavailable,
    Internal,
    InvalidRequest,
    MoorageError,
    NotFound,
    StorageExhausted,
)

DEADLINE = 2.5  # seconds for a whole transaction, so that a caller has its 503 within 3
BUSY_MS = 200  # SQLite waits for another process in its thread, where no deadline reaches it: in short pieces
SQLITE_READERS = 4
POSTGRES_CONNECTIONS = 10

UNREADABLE = "22021"  # Postgres: a NUL character, which SQLite keeps
MALFORMED = "22"  # Postgres: values that do not fit their column
UNIQUE = {"SQLITE_CONSTRAINT_UNIQUE", "SQLITE_CONSTRAINT_PRIMARYKEY", "23505"}
NO_TABLE = "42P01"  # Postgres
FULL = {"SQLITE_FULL", "53100"}
AFTER = "after_commit"
OURS = (IntegrityError, ProgrammingError, DataError, NotSupportedError)


class Collision(Conflict):
    """A row with the same unique value was there first."""


class Database:
    """Two engines over one database: transactions that write, and single statements that read.

    SQLite: one writer connection per process whose transactions are `BEGIN IMMEDIATE`, and a few readers that
    cannot write. Other errors than domain.errors do not leave `read` and `write`.
    """

    def __init__(self, writer: AsyncEngine, reader: AsyncEngine, writers: int) -> None:
        self._writer = writer
        self._reader = reader
        self._turnstile = asyncio.Semaphore(writers)  # fair, and cheaper to wait at than the pool

    @classmethod
    async def open(cls, url: str) -> "Database":
        """Connects when first used, so that a database that is down keeps no process from starting."""
        if make_url(url).get_backend_name() == "sqlite":
            return cls(sqlite_writer(url, busy_ms=BUSY_MS), _sqlite_reader(url), writers=1)
        engine = postgres_engine(url)
        return cls(engine, engine.execution_options(isolation_level="AUTOCOMMIT"), writers=POSTGRES_CONNECTIONS)

    async def close(self) -> None:
        await self._writer.dispose()
        await self._reader.dispose()

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """Every statement sees what was committed when it began. Raises DatabaseUnavailable after 2.5 s."""
        async with _promptly(), self._reader.connect() as connection:
            yield connection

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncConnection]:
        """All of the block or nothing of it. Raises DatabaseUnavailable after 2.5 s, Collision, StorageExhausted."""
        async with _promptly(), self._turnstile, self._writer.connect() as connection:
            told: list[Callable[[], None]] = []
            connection.info[AFTER] = told
            transaction = await _begin(connection)
            yield connection
            await transaction.commit()
        for tell in told:
            tell()

    async def ping(self) -> None:
        async with self.read() as connection:
            await connection.execute(text("SELECT 1"))


def utc_now() -> datetime:
    return datetime.now(UTC)


def after_commit(connection: AsyncConnection, tell: Callable[[], None]) -> None:
    """Once the transaction of `Database.write` is committed, and not at all if it is not: what is counted elsewhere
    must not count what never was."""
    connection.info[AFTER].append(tell)


async def one(connection: AsyncConnection, statement: Executable) -> Row[Any]:
    """The only row. Raises NotFound where there is none."""
    row: Row[Any] | None = (await connection.execute(statement)).one_or_none()
    if row is None:
        raise NotFound
    return row


async def add_missing(connection: AsyncConnection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows; one whose unique values are there already changes nothing."""
    if rows:
        insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
        await connection.execute(insert(table).on_conflict_do_nothing(), rows)


async def put(
    connection: AsyncConnection, key: Column[Any], row: Mapping[str, Any], where: ColumnElement[bool]
) -> bool:
    """Insert a row, or overwrite the one that has its key if that one is `where`. False: another one stays."""
    insert = (postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert)(key.table).values(row)
    fresh = {name: insert.excluded[name] for name in row if name != key.name}
    statement = insert.on_conflict_do_update(index_elements=[key], set_=fresh, where=where)
    return (await connection.execute(statement)).rowcount == 1


# --- transactions ---------------------------------------------------------------------------------------------


@asynccontextmanager
async def _promptly() -> AsyncIterator[None]:
    """The deadline, and the one place where vendor exceptions become ours; `from None`: theirs may quote values."""
    try:
        async with asyncio.timeout(DEADLINE):
            yield
    except (OSError, PoolTimeout) as error:  # TimeoutError is an OSError
        raise DatabaseUnavailable(f"The database does not answer ({type(error).__name__}); try again.") from None
    except SQLAlchemyError as error:
        raise translated(error) from None


async def _begin(connection: AsyncConnection) -> AsyncTransaction:
    """Waits for the other processes' writers, as long as the caller's deadline allows."""
    while True:
        try:
            return await connection.begin()
        except OperationalError as error:
            if not _code(error).startswith("SQLITE_BUSY"):
                raise


def translated(error: SQLAlchemyError) -> MoorageError:
    code, empty = _code(error), _has_no_table(error)
    _forget_values(error)
    if empty:
        return DatabaseUnavailable("The database was not brought up to date: `moorage migrate` does that.")
    if code in UNIQUE:
        return Collision(f"A row with the same unique value was there first ({code}).")
    if code in FULL:
        return StorageExhausted(f"The database has no space left ({code}).")
    if code == UNREADABLE:
        return InvalidRequest("The text contains a NUL character, which cannot be stored; leave it out.")
    if isinstance(error, OURS) or not isinstance(error, DBAPIError) or _is_ours(code):
        return Internal(f"The database refused a statement of ours ({code}).")
    return DatabaseUnavailable(f"The database does not answer ({code}); try again.")


def _has_no_table(error: SQLAlchemyError) -> bool:
    """SQLite has one code for this and for a statement that is wrong."""
    orig = error.orig if isinstance(error, StatementError) else None
    return _code(error) == NO_TABLE or "no such table" in str(orig)


def _is_ours(code: str) -> bool:
    """asyncpg's data errors come as plain DBAPIErrors, which would be tried again for ever."""
    return code == "SQLITE_ERROR" or code.startswith(MALFORMED)


def _forget_values(error: SQLAlchemyError) -> None:
    """Postgres and its driver quote rows and arguments in exceptions that stay reachable as our error's context."""
    link: BaseException | None = error
    while link is not None:
        link.args = (type(link).__name__,)
        if isinstance(getattr(link, "detail", None), str):  # asyncpg's; SQLAlchemy has a list of that name
            vars(link)["detail"] = None
        link = link.__cause__ or link.__context__


def _code(error: SQLAlchemyError) -> str:
    """SQLite's error name or Postgres' SQLSTATE, else the name of the exception."""
    orig = error.orig if isinstance(error, StatementError) else None
    code = getattr(orig, "sqlite_errorname", None) or getattr(orig, "sqlstate", None)
    return str(code or type(orig or error).__name__)


# --- engines --------------------------------------------------------------------------------------------------

_engine = partial(
    create_async_engine,
    hide_parameters=True,  # what people wrote stays out of exceptions and logs
    json_serializer=partial(json.dumps, ensure_ascii=False, allow_nan=False, separators=(",", ":")),
    pool_timeout=DEADLINE,
    max_overflow=0,
)


class _SqliteConnection(sqlite3.Connection):
    """Gives its locks back when it is closed.

    A connection on which a statement is cancelled is closed, and SQLite puts that off while the statement lives: until
    the garbage collector comes by, a writer would keep its lock and a reader the log from being emptied.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._open: WeakSet[sqlite3.Cursor] = WeakSet()

    def cursor(self, *args: Any, **kwargs: Any) -> Any:
        cursor = super().cursor(*args, **kwargs)
        self._open.add(cursor)
        return cursor

    def close(self) -> None:
        with suppress(sqlite3.ProgrammingError):  # it is closed already
            for cursor in list(self._open):
                cursor.close()
            self.rollback()
        super().close()


def postgres_engine(url: str) -> AsyncEngine:
    return _engine(url, pool_size=POSTGRES_CONNECTIONS, pool_pre_ping=True, connect_args={"timeout": DEADLINE})


def sqlite_writer(url: str, *, busy_ms: int) -> AsyncEngine:
    """One connection; the driver's own `BEGIN` is off and every transaction takes the write lock at once."""
    arguments = {"isolation_level": None, "factory": _SqliteConnection}
    engine = _engine(url, pool_size=1, pool_reset_on_return=None, connect_args=arguments)
    _on_connect(engine, [f"busy_timeout={busy_ms}", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"])
    event.listen(engine.sync_engine, "begin", _begin_immediate)
    return engine


def _sqlite_reader(url: str) -> AsyncEngine:
    """Without transactions (as on Postgres each statement has its own snapshot), which saves 0.3 ms a read."""
    engine = _engine(
        url,
        pool_size=SQLITE_READERS,
        connect_args={"factory": _SqliteConnection},
        pool_reset_on_return=None,
        isolation_level="AUTOCOMMIT",
        skip_autocommit_rollback=True,
    )
    _on_connect(engine, [f"busy_timeout={BUSY_MS}", "query_only=ON"])
    return engine


def _on_connect(engine: AsyncEngine, pragmas: Sequence[str]) -> None:
    def set_pragmas(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        for pragma in pragmas:
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    event.listen(engine.sync_engine, "connect", set_pragmas)


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
