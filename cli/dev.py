"""The launcher's commands: start here or in the background, show, stop. Each returns its exit code."""

import asyncio
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from infra.settings import Settings
from infra.stack import background, state
from infra.stack.errors import AlreadyRunning, StackError
from infra.stack.state import Phase, Report

out = Console(highlight=False)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def dev(settings: Settings) -> int:
    from infra.stack import launch

    home = settings.home.absolute()
    try:
        asyncio.run(launch.run(settings, home, say=_say, ready=_show))
    except AlreadyRunning as running:
        return _already(home, str(running))
    except StackError as failure:
        return _fail(failure)
    return 0


def detach(settings: Settings, **given: int | None) -> int:
    options = [word for name, value in given.items() if value is not None for word in (f"--{name}", str(value))]
    try:
        report = background.detach(settings.home.absolute(), options, say=_say)
    except StackError as failure:
        return _fail(failure)
    print(report.json())
    return 0


def status(home: Path, *, json: bool) -> int:
    """0 when everything is ready, 1 when it is not (yet, or any more)."""
    last = state.read(home)
    report = last.report if last and last.running else Report(str(home), Phase.STOPPED)
    if json:
        print(report.json())
    elif report.phase is Phase.STOPPED:
        out.print(f"Nothing runs in {home}.")
    else:
        _show(report)
    return 0 if report.phase is Phase.READY else 1


def stop(home: Path) -> int:
    try:
        found = background.stop(home)
    except StackError as failure:
        return _fail(failure)
    _say("Stopped." if found else f"Nothing runs in {home}.")
    return 0


def _say(line: str) -> None:
    err.print(line, markup=False)


def _fail(failure: StackError) -> int:
    err.print("error:", style="bold red", end=" ")
    err.print(str(failure), markup=False)
    return 1


def _already(home: Path, message: str) -> int:
    _say(f"{message}; `moorage stop` ends it.")
    if last := state.read(home):
        _show(last.report)
    return 0


def _show(report: Report) -> None:
    for name, where in _places(report):
        out.print(f"[bold]{name:<12}[/bold] {where}", soft_wrap=True)  # a link is not to be broken
    processes = Table("process", "pid", "restarts", "state", box=None, header_style="dim", padding=(0, 2, 0, 0))
    for process in report.processes:
        condition = "ready" if process["ready"] else "starting"
        processes.add_row(process["name"], str(process["pid"]), str(process["restarts"]), condition)
    out.print(processes)
    if sys.stdout.isatty() and report.phase is Phase.READY:
        out.print("[dim]Ctrl-C, or `moorage stop`, stops everything in order.[/dim]")


def _places(report: Report) -> list[tuple[str, str]]:
    return [
        ("API", f"{report.api_url}  (documentation: {report.api_url}/docs)"),
        ("Temporal UI", report.temporal_ui_url),
        ("Temporal", f"{report.temporal_address}  (namespace {report.temporal_namespace})"),
        ("Weaviate", report.weaviate_url),
        ("Redis", report.redis_url),
        ("data, logs", f"{report.home}, {report.home}/logs"),
        ("secrets", report.env_file),
    ]
