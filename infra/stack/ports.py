"""Free ports, remembered per home, so that printed links keep working from one start to the next."""

import json
import random
import socket
from pathlib import Path

from infra.stack.errors import StackError

# Below the range from which Linux takes the ports of outgoing connections: nobody's connection takes the port of
# a server while it is being restarted.
RANGE = range(20_000, 32_000)


class Ports:
    """The ports of one home. Raises StackError when a port that was asked for is taken."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._known: dict[str, int] = json.loads(file.read_text()) if file.exists() else {}
        self._given: set[int] = set()

    def port(self, name: str, *, fixed: int = 0, following: int = 0) -> int:
        """The fixed port, else the one of last time if it is free, else any that is.

        `following` more ports right after it are free as well and given to nobody else.
        """
        if fixed and not is_free(fixed):
            raise StackError(f"Port {fixed} for {name} is taken: stop what listens there, or choose another port.")
        found = fixed or self._first_free(following, self._known.get(name, 0))
        self._given.update(range(found, found + following + 1))
        self._known[name] = found
        self._file.write_text(json.dumps(self._known, indent=2))
        return found

    def _first_free(self, following: int, last: int) -> int:
        """At random, so that homes that are started at the same time do not take the same ones."""
        taken = self._given | set(self._known.values()) - {last}
        for port in (last, *random.sample(RANGE, 200)):
            block = range(port, port + following + 1)
            if port and taken.isdisjoint(block) and all(map(is_free, block)):
                return port
        raise StackError(f"No free port between {RANGE.start} and {RANGE.stop} on this machine.")


def is_free(port: int) -> bool:
    """Nobody listens there, on any interface. Connections in TIME_WAIT do not count, as for the servers."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))  # noqa: S104 - Weaviate listens on every interface; nothing is accepted here
        except OSError:
            return False
    return True
