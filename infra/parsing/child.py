"""The process that reads one document and may die of it: `python -I -m infra.parsing.child MEDIA_TYPE`.

The document comes on standard input, one message of `wire` goes to standard output.
"""

import contextlib
import resource
import signal
import sys

from domain.documents import MediaType
from domain.errors import BadDocument, ResourceLimit
from infra.parsing import document, limits, wire


def main() -> None:
    _limit()
    message = _message(sys.stdin.buffer.read(), MediaType(sys.argv[1]))
    sys.stdout.buffer.write(message)
    sys.stdout.buffer.flush()


def _message(data: bytes, media_type: MediaType) -> bytes:
    try:
        return wire.parsed_message(document.parse(data, media_type))
    except BadDocument as error:
        return wire.error_message(error)
    except (MemoryError, RecursionError):
        return wire.error_message(ResourceLimit())


def _limit() -> None:
    signal.alarm(limits.WALL_SECONDS + 1)  # the parent kills earlier, unless it is gone itself
    resource.setrlimit(resource.RLIMIT_CPU, (limits.CPU_SECONDS, limits.CPU_SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    with contextlib.suppress(ValueError, OSError):  # macOS knows this limit but does not take it
        resource.setrlimit(resource.RLIMIT_AS, (limits.MEMORY, limits.MEMORY))


if __name__ == "__main__":
    main()
