"""Ports to a paid provider, at the pace it allows: who may not call now gets an error that says when to come back."""

import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager

from domain.chat import Completion, Line, Prompt
from domain.errors import ProviderMalformed, ProviderRateLimited, ProviderUnavailable
from domain.pace import Lane
from domain.ports import Answerer, Embedder, Limiter
from domain.search import Embedded, Generation, Relevance


def lane(endpoint: str, purpose: str, *, patient: bool = False) -> Lane:
    """The endpoint goes by a digest: an address can hold a password."""
    return Lane(f"{hashlib.sha256(endpoint.encode()).hexdigest()[:16]}:{purpose}", patient)


class LimitedEmbedder:
    """Embedder. Questions go before passages, as soon as there is no pause."""

    def __init__(self, embedder: Embedder, limiter: Limiter, endpoint: str) -> None:
        self._embedder = embedder
        self._limiter = limiter
        self._urgent = lane(endpoint, "embedding")
        self._patient = lane(endpoint, "embedding", patient=True)

    @property
    def model(self) -> str:
        return self._embedder.model

    @property
    def generation(self) -> Generation:
        return self._embedder.generation

    @property
    def relevance(self) -> Relevance | None:
        return self._embedder.relevance

    @property
    def billable(self) -> bool:
        return self._embedder.billable

    async def query(self, text: str) -> Embedded:
        async with _paced(self._limiter, self._urgent):
            return await self._embedder.query(text)

    async def passages(self, texts: Sequence[str]) -> Embedded:
        async with _paced(self._limiter, self._patient):
            return await self._embedder.passages(texts)


class LimitedAnswerer:
    """Answerer. Models of different `purpose` at one endpoint have each a pace of their own."""

    def __init__(self, answerer: Answerer, limiter: Limiter, endpoint: str, purpose: str = "chat") -> None:
        self._answerer = answerer
        self._limiter = limiter
        self._lane = lane(endpoint, purpose, patient=True)

    @property
    def billable(self) -> bool:
        return self._answerer.billable

    @property
    def models(self) -> tuple[str, ...]:
        return self._answerer.models

    @property
    def talks(self) -> bool:
        return self._answerer.talks

    async def answer(self, prompt: Prompt) -> AsyncIterator[str | Completion]:
        """The completion leaves last, after the limiter knows: its reader may not come back for more."""
        completion = None
        async with _paced(self._limiter, self._lane):
            async with aclosing(self._answerer.answer(prompt)) as pieces:  # type: ignore[type-var]
                async for piece in pieces:
                    if isinstance(piece, Completion):
                        completion = piece
                    else:
                        yield piece
        if completion is None:
            raise ProviderMalformed("The reply ended without its final part.")
        yield completion

    async def condense(
        self, question: str, history: Sequence[Line], model: str | None, *, summary: str = ""
    ) -> Completion | None:
        async with _paced(self._limiter, self._lane):
            return await self._answerer.condense(question, history, model, summary=summary)

    async def summarize(self, summary: str, lines: Sequence[Line], model: str | None) -> Completion | None:
        async with _paced(self._limiter, self._lane):
            return await self._answerer.summarize(summary, lines, model)


@asynccontextmanager
async def _paced(limiter: Limiter, lane: Lane) -> AsyncIterator[None]:
    await limiter.enter(lane)
    try:
        yield
    except (ProviderRateLimited, ProviderUnavailable) as error:
        error.retry_after = await limiter.refused(lane, error) or error.retry_after
        raise
    await limiter.answered(lane)
