"""The answerer without a language model: the best sentences of the passages, word for word, cited.

A sentence is ranked by its own evidence for the question and half the score of its passage. Nothing is invented
and nothing is bought; the model's name, `extractive`, tells that no language model was asked.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import numpy as np

from domain.analysis import terms, words
from domain.chat import Completion, Finish, Line, Prompt
from domain.citations import without_markers
from domain.models import EXTRACTIVE
from domain.ports import Embedder
from domain.search import Passage, Relevance, coverage
from domain.sentences import is_fragment, sentences

MODEL = EXTRACTIVE
PASSAGES = 5  # the best ones: about 26 sentences to embed
SENTENCES = 3
BEHIND = 0.25  # a further sentence may be this much weaker than the best one
CHARACTERS_PER_TOKEN = 3
UNMEASURED = Relevance(floor=0.0, span=1.0, threshold=0.0, korean_threshold=0.0)


@dataclass(frozen=True, slots=True)
class _Candidate:
    text: str
    passage: int  # counted from 1
    score: float  # of the passage

    @property
    def quoted(self) -> str:
        return f"{self.text} [{self.passage}]"


class ExtractiveAnswerer:
    """Answers from passages only; the embedder is the one the passages were found with."""

    billable = False
    talks = False
    models = (MODEL,)

    def __init__(self, embedder: Embedder, relevance: Relevance | None) -> None:
        self._embedder = embedder
        self._relevance = relevance or UNMEASURED

    async def answer(self, prompt: Prompt) -> AsyncIterator[str | Completion]:
        """One sentence a piece. Without a passage that holds words: no text, finish NOT_FOUND."""
        pieces: list[str] = []
        for candidate in _chosen(await self._ranked(prompt), prompt.max_tokens * CHARACTERS_PER_TOKEN):
            pieces.append(f" {candidate.quoted}" if pieces else candidate.quoted)
            yield pieces[-1]
        yield Completion("".join(pieces), MODEL, Finish.STOP if pieces else Finish.NOT_FOUND)

    async def condense(
        self, question: str, history: Sequence[Line], model: str | None, *, summary: str = ""
    ) -> Completion | None:
        return None

    async def summarize(self, summary: str, lines: Sequence[Line], model: str | None) -> Completion | None:
        return None

    async def _ranked(self, prompt: Prompt) -> list[tuple[float, _Candidate]]:
        """Best first."""
        candidates = _candidates(prompt.passages[:PASSAGES])
        if not candidates:
            return []
        question = prompt.query or prompt.question
        wanted = (await self._embedder.query(question)).vectors[0]
        vectors = (await self._embedder.passages([candidate.text for candidate in candidates])).vectors
        cosines = np.asarray(vectors @ wanted).tolist()
        scored = [
            (self._relevance.evidence_of(cosine, coverage(question, candidate.text)) + candidate.score / 2, candidate)
            for cosine, candidate in zip(cosines, candidates, strict=True)
        ]
        return sorted(scored, key=lambda pair: -pair[0])


def _candidates(passages: Sequence[Passage]) -> list[_Candidate]:
    """Every sentence once; headings and list markers only where there is nothing else."""
    found: dict[str, _Candidate] = {}
    for number, passage in enumerate(passages, start=1):
        for start, end in sentences(passage.hit.text):
            text = " ".join(without_markers(passage.hit.text[start:end]).split())
            found.setdefault(words(text), _Candidate(text, number, passage.hit.score))
    spoken = [candidate for candidate in found.values() if terms(candidate.text)]
    return [candidate for candidate in spoken if not is_fragment(candidate.text)] or spoken


def _chosen(ranked: Sequence[tuple[float, _Candidate]], characters: int) -> list[_Candidate]:
    """The best one in any case, then others that are nearly as good and fit."""
    chosen: list[_Candidate] = []
    for score, candidate in ranked[:SENTENCES]:
        characters -= len(candidate.quoted)
        if chosen and (score < ranked[0][0] - BEHIND or characters < 0):
            break
        chosen.append(candidate)
    return chosen
