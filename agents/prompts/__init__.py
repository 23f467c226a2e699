"""The words sent to language models: one text file per model call, and how passages and history are set into them.

What comes from documents and earlier messages is data: it stands between lines with a marker that is drawn for
each request and taken out of the data, so that no text can close its passage or open another. An answer that holds the
marker repeats our words instead of using them; the words themselves hold no secret.
"""

import hashlib
import json
import re
import secrets
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Literal, TypedDict

from domain.characters import INVISIBLE
from domain.chat import Line, Prompt
from domain.citations import without_markers
from domain.search import Passage

LONGEST_TITLE = 80  # characters of a document's title beside its number

# How chat templates write who speaks: a model that is served without care takes them at their word in any text.
SPEAKERS = re.compile(r"<[|｜][^\s|｜<>]{1,40}[|｜]>|</?s>|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>", re.IGNORECASE)


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


def used(*names: str) -> dict[str, str]:
    """Digests of the files of these names: which wording of ours a model was told."""
    return {name: hashlib.sha256(load(name).encode()).hexdigest() for name in names}


def marker() -> str:
    """Eight random hexadecimal digits."""
    return secrets.token_hex(4)


def answer(prompt: Prompt, mark: str) -> list[Message]:
    """Messages for an answer: from the passages, or without them when the turn does not use retrieval."""
    history = [_said(line, mark) for line in prompt.history]
    if not prompt.use_rag:
        said = [*history, _message("user", _data(prompt.question, mark))]
        return [_message("system", rules(prompt, mark)), *_with_summary(said, prompt.summary, mark)]
    labelled = [_labelled(number, passage, mark) for number, passage in enumerate(prompt.passages, start=1)]
    last = "\n\n".join([*labelled, f"{mark} end", f"Question: {_data(prompt.question, mark)}"])
    said = [*history, _message("user", last)]
    return [_message("system", rules(prompt, mark)), *_with_summary(said, prompt.summary, mark)]


def rules(prompt: Prompt, mark: str) -> str:
    """What a model is told about its task: nothing that belongs into its answer."""
    told = _marked("answer" if prompt.use_rag else "chat", mark)
    return f"{told}\n\n{_marked('earlier', mark)}" if prompt.summary else told


def condense(question: str, history: Sequence[Line], mark: str, *, summary: str = "") -> list[Message]:
    """Messages for a question that stands alone."""
    last = f"{_conversation(summary, history, mark)}\n\nQuestion: {_data(question, mark)}"
    return [_message("system", _marked("condense", mark)), _message("user", last)]


def summarize(summary: str, lines: Sequence[Line], mark: str) -> list[Message]:
    """Messages for one summary of a summary and what was said after it."""
    return [_message("system", _marked("summarize", mark)), _message("user", _conversation(summary, lines, mark))]


def _with_summary(said: Sequence[Message], summary: str, mark: str) -> list[Message]:
    """In the first message, not in one of its own: some models refuse two messages of one speaker in a row."""
    if not summary:
        return list(said)
    first, *others = said
    opening = f"{mark} earlier\n{_data(summary, mark)}\n{mark} now\n\n{first['content']}"
    return [_message(first["role"], opening), *others]


def _conversation(summary: str, lines: Sequence[Line], mark: str) -> str:
    told = [f"summary: {_data(summary, mark)}"] if summary else []
    told += [f"{line.speaker}: {_data(line.text, mark)}" for line in lines]
    return "\n".join([f"{mark} begin", *told, f"{mark} end"])


def _labelled(number: int, passage: Passage, mark: str) -> str:
    title, text = (_data(without_markers(words), mark) for words in (passage.title, passage.hit.text))
    return f"[{number}] {mark} {' '.join(title.split())[:LONGEST_TITLE]}".rstrip() + f"\n{text}"


def _data(text: str, mark: str) -> str:
    """Without what only we may write, and without what nobody sees. A space in its place keeps what stood on either
    side from joining into another.
    """
    return SPEAKERS.sub(" ", re.sub(re.escape(mark), " ", INVISIBLE.sub("", text), flags=re.IGNORECASE))


def _marked(name: str, mark: str) -> str:
    return load(name).replace("{marker}", mark)


def _said(line: Line, mark: str) -> Message:
    return _message("user" if line.speaker == "user" else "assistant", _data(line.text, mark))


def _message(role: Literal["system", "user", "assistant"], content: str) -> Message:
    return {"role": role, "content": content}
