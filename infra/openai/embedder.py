"""Embeddings from any endpoint that speaks the OpenAI protocol."""

import asyncio
from collections.abc import Iterator, Sequence

import numpy as np
from openai import AsyncOpenAI
from openai.types import CreateEmbeddingResponse

from domain import analysis, chunking
from domain.errors import ContextTooLong, DimensionMismatch, ProviderMalformed
from domain.search import Embedded, Generation, Relevance, Vectors
from infra.openai.client import NO_KEY, OPENAI, TIMEOUT, connections
from infra.openai.errors import translated
from infra.openai.replies import name_of

LARGEST_BATCH = 256  # texts of one call
BATCH_TOKENS = 200_000  # of one call; OpenAI refuses 300,000
BYTES_PER_TOKEN = 2  # fewer than any tokenizer packs on average, so that a guess is an upper bound
RESIZABLE = "text-embedding-3"  # other models refuse to be told their dimensions


class OpenAIEmbedder:
    """Embedder. Raises ProviderAuth, ProviderRateLimited, ProviderRefused, ProviderUnavailable, ProviderMalformed,
    ContextTooLong (one text alone is too much) or DimensionMismatch, and tries nothing twice.
    """

    billable = True

    def __init__(
        self,
        *,
        base_url: str,
        api_key: str,
        model: str,
        dimensions: int,
        query_seconds: float = 4.0,
        passages_seconds: float = 60.0,
    ) -> None:
        self.model = model
        self._dimensions = dimensions
        self._seconds = query_seconds, passages_seconds
        self._pool = connections()
        self._client = AsyncOpenAI(
            base_url=base_url or OPENAI,
            api_key=api_key or NO_KEY,
            http_client=self._pool,
            timeout=TIMEOUT,
            max_retries=0,
        )

    @property
    def generation(self) -> Generation:
        name = f"{self.model}-{self._dimensions}-a{analysis.VERSION}-c{chunking.VERSION}"
        return Generation(name, self._dimensions)

    @property
    def relevance(self) -> Relevance | None:
        return None

    async def query(self, text: str) -> Embedded:
        """Within the few seconds a search has."""
        return await self._embedded([text], self._seconds[0])

    async def passages(self, texts: Sequence[str]) -> Embedded:
        """In as few calls as the provider takes; each call has its own deadline."""
        parts = [await self._embedded(batch, self._seconds[1]) for batch in batches(texts)]
        return _joined(parts, self._dimensions)

    async def aclose(self) -> None:
        await self._pool.aclose()

    async def _embedded(self, texts: list[str], seconds: float) -> Embedded:
        """One call; a batch the provider finds too large goes in halves."""
        try:
            reply = await self._call(texts, seconds)
        except ContextTooLong:
            if len(texts) == 1:
                raise
            middle = len(texts) // 2
            halves = [await self._embedded(half, seconds) for half in (texts[:middle], texts[middle:])]
            return _joined(halves, self._dimensions)
        with translated():
            vectors = _vectors(reply, len(texts), self._dimensions)
            tokens = _tokens(reply, texts)
            guessed = sum(map(guess, texts)) if tokens is None else tokens
            return Embedded(vectors, guessed, name_of(reply.model, self.model), estimated=tokens is None)

    async def _call(self, texts: list[str], seconds: float) -> CreateEmbeddingResponse:
        with translated():
            async with asyncio.timeout(seconds):
                if self.model.startswith(RESIZABLE):
                    return await self._client.embeddings.create(
                        model=self.model, input=texts, dimensions=self._dimensions
                    )
                return await self._client.embeddings.create(model=self.model, input=texts)


def batches(texts: Sequence[str]) -> Iterator[list[str]]:
    """Runs of texts that fit one call; a text too large for any goes alone."""
    batch: list[str] = []
    tokens = 0
    for text in texts:
        cost = guess(text)
        if batch and (len(batch) == LARGEST_BATCH or tokens + cost > BATCH_TOKENS):
            yield batch
            batch, tokens = [], 0
        batch.append(text)
        tokens += cost
    if batch:
        yield batch


def guess(text: str) -> int:
    """An upper bound of a text's tokens, for a provider whose tokenizer is not at hand."""
    return len(text.encode("utf-8", "replace")) // BYTES_PER_TOKEN + 1


def _vectors(reply: CreateEmbeddingResponse, texts: int, dimensions: int) -> Vectors:
    """Unit rows in the order of the texts, whatever order they came in."""
    rows = sorted(reply.data, key=lambda row: row.index)
    if [row.index for row in rows] != list(range(texts)):
        raise ProviderMalformed("vectors: the model provider did not embed every text once.")
    if any(len(row.embedding) != dimensions for row in rows):
        raise DimensionMismatch(f"The embedding model's vectors do not have the configured {dimensions} dimensions.")
    vectors = np.array([row.embedding for row in rows], dtype=np.float64)
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not np.isfinite(norms).all() or not norms.all():
        raise ProviderMalformed("vectors: the model provider sent numbers that are no direction.")
    unit: Vectors = (vectors / norms).astype(np.float32)
    return unit


def _tokens(reply: CreateEmbeddingResponse, texts: Sequence[str]) -> int | None:
    """What the provider counted; None where it says nothing or what cannot be."""
    most = sum(guess(text) * BYTES_PER_TOKEN for text in texts)
    told = getattr(reply.usage, "prompt_tokens", None)
    return told if isinstance(told, int) and 0 < told <= most else None


def _joined(parts: Sequence[Embedded], dimensions: int) -> Embedded:
    vectors = [part.vectors for part in parts] or [np.empty((0, dimensions), np.float32)]
    return Embedded(
        np.concatenate(vectors),
        sum(part.tokens for part in parts),
        parts[-1].model if parts else "",
        estimated=any(part.estimated for part in parts),
    )
