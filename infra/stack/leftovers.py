"""Ends what a launcher left behind that could not stop in order: by recorded id and birth, never by name."""

from pathlib import Path

from infra.stack import identity, state
from infra.stack.errors import StackError
from infra.stack.progress import Say


def end_leftovers(home: Path, say: Say) -> int:
    """How many of the recorded processes were still there. Raises StackError when one does not end."""
    last = state.read(home)
    left = [child for child in last.children if child.lives()] if last else []
    for child in left:
        say(f"ending process {child.pid}, left over from the last time")
        if not identity.end(child.pid, child.birth):
            raise StackError(f"Process {child.pid}, left over from the last time, does not end.")
    return len(left)
