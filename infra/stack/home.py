"""The folder of everything that is kept on one machine."""

from pathlib import Path


def made(home: Path) -> Path:
    """The folder, absolute, there, and for its owner only: documents and answers lie in it."""
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    return home.absolute()
