"""Whether answers are worth something: forty questions with known answers, the real model, without a stack.

`make answers` measures the same with a thousand questions through the API.
"""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from domain.accounts import Principal
from domain.chat import Completion, Prompt
from domain.citations import cite
from domain.names import blob, new_id
from domain.search import Source
from infra.blobs import ObjectBlobs
from infra.embedder import LocalEmbedder
from infra.extractive import ExtractiveAnswerer
from infra.memory import MemoryVectorStore
from infra.settings import Settings
from tests.shelf import Shelf
from tests.xquad.marks import holds, share

SAMPLES = Path(__file__).parents[2] / "cli" / "samples"
QUESTIONS = Path(__file__).parents[1] / "xquad" / "questions.jsonl"
CACHE = Path(Settings.model_fields["cache_dir"].default).expanduser()


@dataclass(frozen=True)
class Reply:
    answers: list[str]
    relevant: bool
    relevant_without_its_document: bool
    text: str
    sources: tuple[Source, ...]


@pytest.fixture(scope="module")
async def shelf() -> AsyncIterator[Shelf]:
    embedder = LocalEmbedder(CACHE)
    yield Shelf(Principal(new_id(), new_id()), MemoryVectorStore(), ObjectBlobs("memory:///"), embedder)
    embedder.close()


@pytest.fixture(scope="module")
async def replies(shelf: Shelf) -> list[Reply]:
    questions: list[dict[str, Any]] = [json.loads(line) for line in QUESTIONS.read_text(encoding="utf-8").splitlines()]
    documents = {name: await _added(shelf, name) for name in sorted({question["document"] for question in questions})}
    return [await _asked(shelf, question, documents) for question in questions]


async def test_every_quote_is_the_stored_text_at_its_offsets(shelf: Shelf, replies: list[Reply]) -> None:
    sources = [source for reply in replies for source in reply.sources]

    for source in sources:
        path = blob(source.document_id, source.version, "text")
        text = (await shelf.blobs.get(shelf.principal, path)).decode()
        assert text[source.start : source.end] == source.quote
    assert len(sources) >= len(replies)


async def test_four_of_five_replies_hold_the_answer(replies: list[Reply]) -> None:
    assert share([reply.relevant and holds(reply.text, reply.answers) for reply in replies]) >= 0.8


async def test_two_of_three_answers_cite_a_quote_that_holds_the_answer(replies: list[Reply]) -> None:
    answered = [reply for reply in replies if reply.relevant]

    quotes = [" ".join(source.quote for source in reply.sources if source.cited) for reply in answered]
    holding = [holds(quote, reply.answers) for quote, reply in zip(quotes, answered, strict=True)]
    assert share(holding) >= 0.67


async def test_a_question_is_answered_where_its_document_is_and_refused_where_it_is_not(replies: list[Reply]) -> None:
    assert share([reply.relevant for reply in replies]) >= 0.9
    assert share([not reply.relevant_without_its_document for reply in replies]) >= 0.85


async def _added(shelf: Shelf, name: str) -> str:
    text = (SAMPLES / name).read_text(encoding="utf-8")
    return await shelf.add(text, title=text.splitlines()[0].removeprefix("# "))


async def _asked(shelf: Shelf, question: dict[str, Any], documents: dict[str, str]) -> Reply:
    others = [document for name, document in documents.items() if name != question["document"]]
    looked = await shelf.looked(question["text"])
    without = await shelf.looked(question["text"], documents=others)
    prompt = Prompt(question["text"], looked.passages, (), True, None, 0.7, 1_000)
    async for piece in ExtractiveAnswerer(shelf.embedder, shelf.embedder.relevance).answer(prompt):
        completion = piece
    assert isinstance(completion, Completion)
    cited = cite(question["text"], completion.text, looked.passages)
    return Reply(question["answers"], looked.relevant, without.relevant, cited.text, cited.sources)
