"""One log per process, appended to; what grew too long is set aside when the process is started."""

from pathlib import Path

CAP = 20_000_000  # bytes; one older file of the same size is kept


def log_file(folder: Path, name: str) -> Path:
    """The file to append to, after rotation."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.log"
    if path.exists() and path.stat().st_size > CAP:
        path.replace(folder / f"{name}.1.log")
    return path


def tail(path: Path, lines: int = 15) -> str:
    """The last lines, for an error message; an empty string when there are none."""
    if not path.exists():
        return ""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 20_000))
        return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])
