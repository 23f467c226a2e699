"""What the scripted provider says and counts: tokens, answers and vectors, the same for the same input."""

import hashlib
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from agents import prompts
from domain.analysis import terms
from domain.sentences import sentences

TOKENS_PER_WORD = 1.3
TOKENS_PER_MESSAGE = 4
NOTHING_FOUND = "The documents do not say."
CONDENSE = prompts.load("condense")[:40]
SUMMARIZE = prompts.load("summarize")[:40]
REMEMBERED = 100  # words of a summary

_PIECE = re.compile(r"\s*\S+")
_PASSAGE = re.compile(r"^\[1\] ([0-9a-f]+)[^\n]*\n(.*?)\n\n(?:\[2\] )?\1", re.MULTILINE | re.DOTALL)
_ASKED = re.compile(r"^user: (.*)$", re.MULTILINE)
_SUMMARY = re.compile(r"^summary: (.*)$", re.MULTILINE)


def tokens(words: int) -> int:
    """Tokens of so many words: times 1.3, rounded up."""
    return math.ceil(words * TOKENS_PER_WORD)


def count(text: str) -> int:
    return tokens(len(text.split()))


def prompt_tokens(messages: Sequence[Mapping[str, Any]]) -> int:
    return sum(count(content(message)) + TOKENS_PER_MESSAGE for message in messages)


def content(message: Mapping[str, Any]) -> str:
    """The text of a message, whether it is a string or a list of parts."""
    found = message.get("content") or ""
    return found if isinstance(found, str) else " ".join(str(part.get("text", "")) for part in found)


def pieces(text: str, max_tokens: int | None) -> tuple[list[str], bool]:
    """(a text in the pieces it is streamed in, whether `max_tokens` cut it)."""
    found = _PIECE.findall(text)
    if max_tokens is None or tokens(len(found)) <= max_tokens:
        return found, False
    return found[: int(max_tokens / TOKENS_PER_WORD)], True


def obedient(messages: Sequence[Mapping[str, Any]]) -> str:
    """The first sentence of the first passage, cited; a question with the one before it, or what was summarized and
    asked so far, when that is wanted; an echo."""
    last = content(messages[-1]) if messages else ""
    if messages and content(messages[0]).startswith(CONDENSE):
        return " ".join([*_ASKED.findall(last)[-1:], last.rpartition("Question: ")[2]])
    if messages and content(messages[0]).startswith(SUMMARIZE):
        return " ".join(" ".join([*_SUMMARY.findall(last), *_ASKED.findall(last)]).split()[:REMEMBERED])
    if passage := _PASSAGE.search(last):
        start, end = next(sentences(passage[2]), (0, 0))
        return f"{passage[2][start:end]} [1]" if end else NOTHING_FOUND
    return NOTHING_FOUND if "Question: " in last else f"You said: {' '.join(last.split()[:12])}"


def embed(text: str, dimensions: int) -> npt.NDArray[np.float32]:
    """A unit vector: the sum of one seeded direction per term, so that shared words raise the cosine."""
    total = np.zeros(dimensions, dtype=np.float64)
    for word, times in Counter(terms(text) or [text]).items():
        total += (1 + math.log(times)) * _direction(word, dimensions)
    return (total / np.linalg.norm(total)).astype(np.float32)


@lru_cache(maxsize=50_000)
def _direction(word: str, dimensions: int) -> npt.NDArray[np.float64]:
    seed = int.from_bytes(hashlib.blake2b(word.encode("utf-8", "replace"), digest_size=8).digest())
    direction = np.random.default_rng(seed).standard_normal(dimensions)
    return direction / np.linalg.norm(direction)
