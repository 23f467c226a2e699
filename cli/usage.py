"""`moorage usage`: the operator's look at the ledger."""

from typing import Annotated

import typer

from cli.options import Home, Json, Repair, running

app = typer.Typer(no_args_is_help=True)


@app.callback()
def usage() -> None:
    """The ledger of tokens: the operator's commands."""


@app.command()
def verify(
    tenant: Annotated[str | None, typer.Option(help="Of this tenant only.")] = None,
    repair: Repair = False,
    json: Json = False,
    home: Home = None,
) -> None:
    """Compare months, runs and answers with the calls they follow from; exit 1 when something differs."""
    from cli.verify import Scope
    from cli.verify import verify as compare

    scope = Scope(tenant, ledger_only=True)
    raise typer.Exit(compare(running(home), repair=repair, json=json, scope=scope))
