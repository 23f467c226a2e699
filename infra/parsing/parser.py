"""The Parser port: one child process per document, so that a hostile file can only end its own reading."""

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from domain.documents import MediaType, Parsed
from domain.errors import Internal, ResourceLimit
from infra.parsing import document, limits, wire

SMALL = 1_000_000  # bytes of plain text that are read without a child, whose start costs more than the reading


class ChildParser:
    def __init__(self, wall_seconds: float = limits.WALL_SECONDS) -> None:
        self._wall_seconds = wall_seconds

    async def parse(self, data: bytes, media_type: MediaType) -> Parsed:
        """Raises BadDocument for what the bytes are to blame for: dying of them is `resource_limit`."""
        if _is_harmless(data, media_type):
            return await asyncio.to_thread(document.parse, data, media_type)
        async with _child(media_type) as child:
            try:
                async with asyncio.timeout(self._wall_seconds):
                    return await _exchange(child, data)
            except TimeoutError as error:
                raise ResourceLimit from error


def _is_harmless(data: bytes, media_type: MediaType) -> bool:
    """Small UTF-8 text: the code that reads it is plain Python whose time is linear in its size."""
    if media_type is MediaType.PDF or len(data) > SMALL:
        return False
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


@asynccontextmanager
async def _child(media_type: MediaType) -> AsyncIterator[Process]:
    """A child in a process group of its own, without our environment; the group is gone afterwards in any case."""
    command = (sys.executable, "-I", "-m", "infra.parsing.child", media_type)
    child = await asyncio.create_subprocess_exec(
        *command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, cwd="/", env={}, start_new_session=True
    )
    try:
        yield child
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        await asyncio.shield(child.wait())


async def _exchange(child: Process, data: bytes) -> Parsed:
    assert child.stdin and child.stdout
    feeding = asyncio.create_task(_feed(child.stdin, data))
    try:
        return await wire.read_message(child.stdout)
    except EOFError as error:
        code = await child.wait()
        if code < 0:  # a signal: a limit, or PDFium giving up
            raise ResourceLimit from error
        raise Internal(f"The parsing process ended with {code}.") from error
    finally:
        feeding.cancel()


async def _feed(pipe: asyncio.StreamWriter, data: bytes) -> None:
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it died: its silence says so
        pipe.write(data)
        await pipe.drain()
        pipe.close()
