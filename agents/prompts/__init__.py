"""The words sent to language models: one text file per model call, and how passages and history are set into them.

What comes from documents and earlier messages is data: it stands between lines with a marker that is drawn for
each request and taken out of the data, so that no text can close its passage or open another.
"""

import hashlib
import json
import re
import secrets
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Literal, TypedDict

from domain.chat import Line, Prompt
from domain.citations import without_markers
from domain.search import Passage

LONGEST_TITLE = 80  # characters of a document's title beside its number


class Message(TypedDict):
    role: Literal["system", "user", "assistant"]
    content: str


@cache
def load(name: str) -> str:
    """The text of `name`.txt, without the line end after it. Raises FileNotFoundError."""
    return files(__name__).joinpath(f"{name}.txt").read_text(encoding="utf-8").strip()


def digest(messages: Sequence[Message]) -> str:
    """SHA-256 in hexadecimal of exactly these messages: what an answer record keeps of its prompt."""
    return hashlib.sha256(json.dumps(messages, ensure_ascii=True, separators=(",", ":")).encode()).hexdigest()


def marker() -> str:
    """Eight random hexadecimal digits."""
    return secrets.token_hex(4)


def answer(prompt: Prompt, mark: str) -> list[Message]:
    """Messages for an answer: from the passages, or without them when the turn does not use retrieval."""
    history = [_said(line) for line in prompt.history]
    if not prompt.use_rag:
        return [_message("system", load("chat")), *history, _message("user", prompt.question)]
    labelled = [_labelled(number, passage, mark) for number, passage in enumerate(prompt.passages, start=1)]
    last = "\n\n".join([*labelled, f"{mark} end", f"Question: {_without(prompt.question, mark)}"])
    return [_message("system", _marked("answer", mark)), *history, _message("user", last)]


def condense(question: str, history: Sequence[Line], mark: str) -> list[Message]:
    """Messages for a question that stands alone."""
    lines = [f"{line.speaker}: {_without(line.text, mark)}" for line in history]
    last = "\n".join([f"{mark} begin", *lines, f"{mark} end", "", f"Question: {_without(question, mark)}"])
    return [_message("system", _marked("condense", mark)), _message("user", last)]


def _labelled(number: int, passage: Passage, mark: str) -> str:
    title, text = (_without(without_markers(words), mark) for words in (passage.title, passage.hit.text))
    return f"[{number}] {mark} {' '.join(title.split())[:LONGEST_TITLE]}".rstrip() + f"\n{text}"


def _without(text: str, mark: str) -> str:
    """A space in its place keeps what stood on either side from joining into another."""
    return re.sub(re.escape(mark), " ", text, flags=re.IGNORECASE)


def _marked(name: str, mark: str) -> str:
    return load(name).replace("{marker}", mark)


def _said(line: Line) -> Message:
    return _message("user" if line.speaker == "user" else "assistant", line.text)


def _message(role: Literal["system", "user", "assistant"], content: str) -> Message:
    return {"role": role, "content": content}
