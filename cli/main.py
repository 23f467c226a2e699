"""`moorage`: the launcher's front door and the processes it starts. Each command imports what it needs."""

from enum import StrEnum
from typing import Annotated

import typer

from cli import admin, usage
from cli.loading import loading
from cli.options import Home, Json, Repair, absolute, running, settings

app = typer.Typer(
    help="A self-hosted RAG platform whose every unit of work is a durable workflow.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,  # they would show secrets
)

app.add_typer(admin.app, name="admin")
app.add_typer(usage.app, name="usage")


class Queue(StrEnum):
    """The task queues of `domain.names`, spelt out here so that the help needs no import."""

    CHAT = "chat"
    DOCUMENTS = "documents"


@app.command()
def dev(
    home: Home = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="The API's port; a free one unless given.")] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, max=16, help="APIs and workers of each queue; one, and two for chat, unless given."),
    ] = None,
    detach: Annotated[bool, typer.Option(help="Return when everything is ready, printing one JSON object.")] = False,
) -> None:
    """Start everything on this machine and keep it running."""
    from cli import dev as launcher

    chosen = settings(home, port=port, workers=workers)
    raise typer.Exit(launcher.detach(chosen, port=port, workers=workers) if detach else launcher.dev(chosen))


@app.command()
def status(home: Home = None, json: Json = False) -> None:
    """Show what runs and where."""
    from cli import dev as launcher

    raise typer.Exit(launcher.status(absolute(home), json=json))


@app.command()
def stop(home: Home = None) -> None:
    """Stop everything, in order."""
    from cli import dev as launcher

    raise typer.Exit(launcher.stop(absolute(home)))


@app.command()
def doctor(home: Home = None) -> None:
    """Say what was found, what is missing and what to do about it."""
    from cli.doctor import doctor as look_around

    raise typer.Exit(look_around(home))


@app.command()
def verify(
    home: Home = None,
    repair: Repair = False,
    json: Json = False,
) -> None:
    """Compare database, search index, blobs and ledger; exit 1 when something differs."""
    with loading():
        from cli.verify import verify as compare

    raise typer.Exit(compare(running(home), repair=repair, json=json))


@app.command()
def demo(home: Home = None) -> None:
    """Start everything, index the sample documents, ask questions, show the answers."""
    from cli.demo import demo as perform

    raise typer.Exit(perform(absolute(home)))


@app.command()
def api() -> None:
    """Run the HTTP API."""
    with loading():
        from api.serve import serve

    serve(settings())


@app.command()
def worker(queue: Annotated[Queue, typer.Option(help="The task queue to serve.")]) -> None:
    """Run the worker of one task queue."""
    with loading():
        from workflows.worker import serve

    serve(settings(), queue.value)


@app.command()
def migrate() -> None:
    """Bring the database's tables, the search index and the schedules up to date."""
    with loading():
        from workflows.migrate import migrate as bring_up_to_date

    bring_up_to_date(settings())


if __name__ == "__main__":
    app()
