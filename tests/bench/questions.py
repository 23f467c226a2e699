"""Questions that the samples answer, in turn; a number makes each one new."""

import json
from itertools import count, cycle

from tests.bench.stack import SAMPLES


def _answered() -> list[str]:
    questions = json.loads((SAMPLES / "questions.json").read_text(encoding="utf-8"))
    return [one["text"] for one in questions if one["expect"] and one["text"].isascii() and not one["follow_up"]]


_numbered = zip(count(1), cycle(_answered()), strict=False)


def question() -> str:
    """Never the same twice, so that no cache answers it."""
    number, text = next(_numbered)
    return f"{text} ({number})"
