"""What a reply to a question with a known answer is worth."""

from collections.abc import Sequence


def holds(text: str, answers: Sequence[str]) -> bool:
    """One of the answers, whatever its case and blanks."""
    return any(_plain(answer) in _plain(text) for answer in answers)


def share(marks: Sequence[bool]) -> float:
    return sum(marks) / len(marks)


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())
