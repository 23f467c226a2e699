"""How the launcher tells people what it is doing."""

from collections.abc import Callable

Say = Callable[[str], None]  # one line at a time


def silence(line: str) -> None:
    """For whoever wants no progress."""
