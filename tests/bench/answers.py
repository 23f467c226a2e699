"""`make answers`: what answers and their quotes are worth, on XQuAD's English questions, through the API of a stack.

Each question is asked twice: where its article is, and where only the others are. `MOORAGE_XQUAD` names a folder with
`corpus.jsonl.gz` (id, title, text of an article), `queries.jsonl.gz` (id, text, answers) and `qrels.tsv` (a line of
names, then question and article).
"""

import argparse
import asyncio
import gzip
import json
import os
import random
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.stack import Stack, launched
from tests.bench.table import Figure, p, show
from tests.xquad.marks import holds, share

FOLDER = Path(os.environ.get("MOORAGE_XQUAD", "xquad"))
COLLECTION = "xquad"
SEED = 6
IN_FLIGHT = 4


@dataclass(frozen=True)
class Question:
    text: str
    answers: list[str]
    article: str  # its id in the set


@dataclass(frozen=True)
class Library:
    """The articles as the stack knows them, by their ids in the set."""

    documents: dict[str, str]
    texts: dict[str, str]  # by document id


@dataclass(frozen=True)
class Reply:
    question: Question
    body: dict[str, Any]
    seconds: float

    @property
    def found(self) -> bool:
        return bool(self.body["finish_reason"] != "not_found")

    @property
    def holds_answer(self) -> bool:
        return self.found and holds(self.body["response"]["content"], self.question.answers)

    @property
    def quotes_answer(self) -> bool:
        quotes = [source["quote"] for source in self.body["sources"] if source["cited"]]
        return any(holds(quote, self.question.answers) for quote in quotes)

    def cites(self, document_id: str) -> bool:
        return any(source["cited"] and source["document_id"] == document_id for source in self.body["sources"])


def _of_answerable(library: Library, replies: Sequence[Reply]) -> list[Figure]:
    exact = [_is_exact(library, source) for reply in replies for source in reply.body["sources"]]
    found = [reply for reply in replies if reply.found]
    refused = _not([reply.found for reply in replies])
    cites = [reply.cites(library.documents[reply.question.article]) for reply in found]
    return [
        _percent(f"quotes equal to the stored text at their offsets, of {len(exact)}", exact, "100"),
        _percent(f"questions that the articles answer, of {len(replies)}: refused", refused, "≤ 5"),
        _percent("— the reply holds the answer", [reply.holds_answer for reply in replies], "≥ 80"),
        _percent(f"— the same, of the {len(found)} that were answered", [reply.holds_answer for reply in found]),
        _percent("— a citation names the article, of those", cites),
        _percent("— the quote of a citation holds the answer, of those", [reply.quotes_answer for reply in found]),
        Figure("— answered after, four in flight", "ms, p50", [1000 * p([r.seconds for r in found], 0.5)], digits=0),
    ]


def _of_unanswerable(replies: Sequence[Reply]) -> list[Figure]:
    refused = _not([reply.found for reply in replies])
    return [_percent(f"the same {len(replies)} without their article: told that there is no answer", refused, "≥ 90")]


def _percent(name: str, marks: Sequence[bool], target: str = "") -> Figure:
    return Figure(name, "%", [100 * share(marks)], target)


def _not(marks: Sequence[bool]) -> list[bool]:
    return [not mark for mark in marks]


def _is_exact(library: Library, source: dict[str, Any]) -> bool:
    return library.texts[source["document_id"]][source["start"] : source["end"]] == source["quote"] != ""


def _without(library: Library, question: Question) -> list[str]:
    return [document for article, document in library.documents.items() if article != question.article]


async def _ask_all(stack: Stack, asked: Sequence[tuple[Question, list[str]]]) -> list[Reply]:
    waiting = iter(asked)
    askers = await asyncio.gather(*(_asker(stack, waiting) for _ in range(IN_FLIGHT)))
    return [reply for replies in askers for reply in replies]


async def _asker(stack: Stack, waiting: Iterator[tuple[Question, list[str]]]) -> list[Reply]:
    replies = []
    for question, documents in waiting:
        body = {"message": question.text, "collection": COLLECTION, "context_docs": documents}
        began = time.perf_counter()
        response = await stack.http.post("/api/v1/chat", json=body, headers={"Prefer": "wait=60"})
        assert response.status_code == 200, response.text
        replies.append(Reply(question, response.json(), time.perf_counter() - began))
    return replies


async def _upload(stack: Stack) -> Library:
    articles = _rows("corpus.jsonl.gz")
    runs = [
        await stack.upload(f"{one['id']}.txt", one["text"].encode(), title=one["title"], collection=COLLECTION)
        for one in articles
    ]
    ids = [(await stack.ready(run))["document_id"] for run in runs]
    texts = {document: (await stack.http.get(f"/api/v1/documents/{document}/text")).text for document in ids}
    return Library({one["id"]: document for one, document in zip(articles, ids, strict=True)}, texts)


def _questions(number: int) -> list[Question]:
    """Drawn from all of them, the same in every run."""
    lines = (FOLDER / "qrels.tsv").read_text(encoding="utf-8").splitlines()[1:]
    articles = dict(line.split("\t")[:2] for line in lines)
    every = [Question(row["text"], row["answers"], articles[row["id"]]) for row in _rows("queries.jsonl.gz")]
    return random.Random(SEED).sample(every, min(number, len(every)))


def _rows(name: str) -> list[dict[str, Any]]:
    with gzip.open(FOLDER / name, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


async def bench(number: int) -> AsyncIterator[list[Figure]]:
    questions = _questions(number)
    with tempfile.TemporaryDirectory(prefix="moorage-answers-") as home:
        async with launched(Path(home), OPENAI_API_KEY="", OPENAI_BASE_URL="") as stack:  # answers are quotes
            library = await _upload(stack)
            replies = await _ask_all(stack, [(question, []) for question in questions])
            yield _of_answerable(library, replies)
            replies = await _ask_all(stack, [(question, _without(library, question)) for question in questions])
            yield _of_unanswerable(replies)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.answers", description=__doc__)
    parser.add_argument("--questions", type=int, default=1000)
    options = parser.parse_args()
    if not FOLDER.is_dir():
        parser.error(f"no questions in {FOLDER}: name their folder in MOORAGE_XQUAD")
    asyncio.run(show(bench(options.questions)))


if __name__ == "__main__":
    main()
