"""What the commands have in common: options, and the settings they are run with."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from infra.settings import Settings

Home = Annotated[
    Path | None, typer.Option(help="Folder of everything that is kept; MOORAGE_HOME, or .moorage, unless given.")
]
Repair = Annotated[bool, typer.Option("--repair", help="Mend what is safe to mend.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")]


def settings(
    home: Path | None = None, env_files: tuple[Path, ...] = (Path(".env"),), **options: int | None
) -> "Settings":
    """Read once, options before the environment; ends the command with what is wrong, without quoting any value."""
    from pydantic import ValidationError

    from infra.settings import Settings

    given = {name: value for name, value in (("home", home), *options.items()) if value is not None}
    try:
        return Settings(_env_file=env_files, **given)  # type: ignore[arg-type]  # pydantic checks them
    except ValidationError as error:
        for problem in error.errors(include_input=False, include_url=False, include_context=False):
            where = ".".join(map(str, problem["loc"]))
            typer.echo(f"Settings: {where}: {problem['msg']}" if where else f"Settings: {problem['msg']}", err=True)
        raise typer.Exit(2) from None


def running(home: Path | None) -> "Settings":
    """Of the stack in this home: its env file knows where everything is, unless the environment says otherwise."""
    env_file = absolute(home) / "env"
    return settings(home, env_files=(env_file, Path(".env")))


def absolute(home: Path | None) -> Path:
    return settings(home).home.absolute()
