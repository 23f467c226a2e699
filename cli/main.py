"""`moorage`: the launcher's front door and the processes it starts. Each command imports what it needs."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from infra.settings import Settings

app = typer.Typer(
    help="A self-hosted RAG platform whose every unit of work is a durable workflow.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,  # they would show secrets
)

Home = Annotated[
    Path | None, typer.Option(help="Folder of everything that is kept; MOORAGE_HOME, or .moorage, unless given.")
]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]


class Queue(StrEnum):
    """The task queues of `domain.names`, spelt out here so that the help needs no import."""

    CHAT = "chat"
    DOCUMENTS = "documents"


@app.command()
def dev(
    home: Home = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="The API's port; a free one unless given.")] = None,
    detach: Annotated[bool, typer.Option(help="Return when everything is ready, printing one JSON object.")] = False,
) -> None:
    """Start everything on this machine and keep it running."""
    from cli import dev as launcher

    settings = _settings(home, port)
    raise typer.Exit(launcher.detach(settings, port) if detach else launcher.dev(settings))


@app.command()
def status(home: Home = None, json: Json = False) -> None:
    """Show what runs and where."""
    from cli import dev as launcher

    raise typer.Exit(launcher.status(_home(home), json=json))


@app.command()
def stop(home: Home = None) -> None:
    """Stop everything, in order."""
    from cli import dev as launcher

    raise typer.Exit(launcher.stop(_home(home)))


@app.command()
def doctor(home: Home = None) -> None:
    """Say what was found, what is missing and what to do about it."""
    from cli.doctor import doctor as examine

    raise typer.Exit(examine(home))


@app.command()
def verify(
    home: Home = None,
    repair: Annotated[bool, typer.Option("--repair", help="Mend what is safe to mend.")] = False,
    json: Json = False,
) -> None:
    """Compare database, search index, blobs and ledger; exit 1 when something differs."""
    from cli.verify import verify as compare

    raise typer.Exit(compare(_running(home), repair=repair, json=json))


@app.command()
def demo(home: Home = None) -> None:
    """Start everything, index the sample documents, ask questions, show the answers."""
    from cli.demo import demo as perform

    raise typer.Exit(perform(_home(home)))


@app.command()
def api() -> None:
    """Run the HTTP API."""
    from api.serve import serve

    serve(_settings())


@app.command()
def worker(queue: Annotated[Queue, typer.Option(help="The task queue to serve.")]) -> None:
    """Run the worker of one task queue."""
    from workflows.worker import serve

    serve(_settings(), queue.value)


@app.command()
def migrate() -> None:
    """Bring the database's tables and the schedules up to date."""
    from workflows.migrate import migrate as bring_up_to_date

    bring_up_to_date(_settings())


def _settings(
    home: Path | None = None, port: int | None = None, env_files: tuple[Path, ...] = (Path(".env"),)
) -> "Settings":
    """Read once; ends the command with what is wrong, without quoting any value."""
    from pydantic import ValidationError

    from infra.settings import Settings

    given = {name: value for name, value in (("home", home), ("port", port)) if value is not None}
    try:
        return Settings(_env_file=env_files, **given)  # type: ignore[arg-type]  # pydantic checks them
    except ValidationError as error:
        for problem in error.errors(include_input=False, include_url=False, include_context=False):
            where = ".".join(map(str, problem["loc"]))
            typer.echo(f"Settings: {where}: {problem['msg']}" if where else f"Settings: {problem['msg']}", err=True)
        raise typer.Exit(2) from None


def _running(home: Path | None) -> "Settings":
    """Of the stack in this home: its env file knows where everything is, unless the environment says otherwise."""
    env_file = _home(home) / "env"
    return _settings(home, env_files=(env_file, Path(".env")))


def _home(home: Path | None) -> Path:
    return _settings(home).home.absolute()


if __name__ == "__main__":
    app()
