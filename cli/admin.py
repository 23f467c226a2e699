"""`moorage admin`: what only the operator may do, straight on the stores; no HTTP route can do any of it."""

from datetime import datetime
from typing import Annotated

import typer

from cli.loading import loading
from cli.options import Home, Json, running

app = typer.Typer(help="Tenants, budgets, accounts and the audit log: the operator's commands.", no_args_is_help=True)

Username = Annotated[str, typer.Argument(help="Whose account.")]
TenantId = Annotated[str, typer.Argument(help="The tenant's id, as `list` shows it.", metavar="TENANT")]
Tokens = Annotated[int, typer.Argument(help="Monthly tokens of all its accounts together.", min=0, max=10**15)]


@app.command("create-tenant")
def create_tenant(
    username: Annotated[str, typer.Option(help="Of its owner.")],
    email: Annotated[str, typer.Option(help="Of its owner.")],
    token_limit: Annotated[
        int | None, typer.Option(help="Its monthly budget; MOORAGE_TOKEN_LIMIT unless given.", min=0, max=10**15)
    ] = None,
    home: Home = None,
    json: Json = False,
) -> None:
    """Make a tenant and its owner; prints a generated password, once."""
    with loading():
        from cli import operator

    raise typer.Exit(operator.create_tenant(running(home), username, email, token_limit, json=json))


@app.command("list")
def listing(home: Home = None, json: Json = False) -> None:
    """Show tenants with their accounts, budgets and this month's tokens."""
    with loading():
        from cli import operator

    raise typer.Exit(operator.listing(running(home), json=json))


@app.command("set-budget")
def set_budget(tenant: TenantId, tokens: Tokens, home: Home = None) -> None:
    """Set a tenant's monthly budget; the limits of its accounts are cut where they exceed it together."""
    with loading():
        from cli import operator

    raise typer.Exit(operator.set_budget(running(home), tenant, tokens))


@app.command("reset-password")
def reset_password(
    username: Username,
    revoke_keys: Annotated[bool, typer.Option("--revoke-keys", help="Delete the account's API keys too.")] = False,
    home: Home = None,
    json: Json = False,
) -> None:
    """Give an account a new generated password, printed once; its logins end."""
    with loading():
        from cli import operator

    raise typer.Exit(operator.reset_password(running(home), username, revoke_keys=revoke_keys, json=json))


@app.command()
def disable(username: Username, home: Home = None) -> None:
    """Keep an account out: its logins end and its API keys are refused."""
    with loading():
        from cli import operator

    raise typer.Exit(operator.set_active(running(home), username, active=False))


@app.command()
def enable(username: Username, home: Home = None) -> None:
    """Let an account in again."""
    with loading():
        from cli import operator

    raise typer.Exit(operator.set_active(running(home), username, active=True))


@app.command("delete-tenant")
def delete_tenant(
    tenant: TenantId,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without, only what would go is shown.")] = False,
    patience: Annotated[
        int, typer.Option(help="Seconds in which cancelled runs may end by themselves.", min=0, max=3600)
    ] = 30,
    home: Home = None,
) -> None:
    """Stop a tenant's runs, erase everything it has in every store, prove it, print and keep the receipt (JSON)."""
    with loading():
        from cli import deletion

    raise typer.Exit(deletion.delete_tenant(running(home), tenant, yes=yes, patience=patience))


@app.command()
def audit(
    tenant: Annotated[str | None, typer.Option(help="Of this tenant only.")] = None,
    since: Annotated[datetime | None, typer.Option(help="UTC, such as 2026-01-31T12:00:00.")] = None,
    limit: Annotated[int, typer.Option(help="How many at most.", min=1, max=100_000)] = 1000,
    home: Home = None,
    json: Json = False,
) -> None:
    """Show who changed whose access, newest first; `--json` prints one object a line."""
    with loading():
        from cli import operator

    raise typer.Exit(operator.audit(running(home), tenant, since, limit, json=json))
