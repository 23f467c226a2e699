"""Documents that can be asked without a database or a workflow: indexed, live, and their texts in the blobs."""

from collections.abc import Sequence
from typing import Any

from activities.meter import Meter
from activities.passages import Reader
from activities.retrieval import Find, Found, Retriever
from activities.spans import encode
from domain import names
from domain.accounts import Principal
from domain.analysis import terms
from domain.chunking import chunk, context
from domain.documents import Block, Live, Parsed
from domain.ports import Blobs, VectorStore
from domain.prices import Prices
from domain.search import IndexedChunk, Passage

TOKENS = 2_500


class Shelf:
    """A tenant's collection. It stands in for the records of documents, which know what is live; all else is real.

    `embedder` is the tokenizer as well.
    """

    def __init__(self, principal: Principal, store: VectorStore, blobs: Blobs, embedder: Any) -> None:
        self.principal = principal
        self.store = store
        self.blobs = blobs
        self.embedder = embedder
        self.collection = names.new_id()
        self._live: dict[str, Live] = {}
        self._staged: list[str] = []

    async def add(self, text: str, *, title: str = "", document: str | None = None, version: int = 1) -> str:
        """The id of the document, of which this version is live now."""
        document = document or names.new_id()
        if document in self._live:
            self._staged.append(names.version_key(document, self._live[document].version))
        spans = await chunk(Parsed(text, (Block(0, len(text)),)), self.embedder)
        texts = [context(title, span.heading) + text[span.start : span.end] for span in spans]
        vectors = (await self.embedder.passages(texts)).vectors
        chunks = [
            IndexedChunk(
                chunk_id=names.chunk_id(self.principal.tenant, document, version, span.ordinal),
                document_id=document,
                version=version,
                collection_id=self.collection,
                ordinal=span.ordinal,
                text=text[span.start : span.end],
                terms=" ".join(terms(analysed)),
                start=span.start,
                end=span.end,
                page=span.page,
                meta=(),
                vector=vector,
            )
            for span, analysed, vector in zip(spans, texts, vectors, strict=True)
        ]
        await self.store.insert(self.principal, self.embedder.generation, chunks)
        await self.blobs.put(self.principal, names.blob(document, version, "text"), text.encode())
        await self.blobs.put(self.principal, names.blob(document, version, "chunks.json"), encode(spans))
        self._live[document] = Live(version, f"{document}.txt", title)
        return document

    async def found(self, question: str, *, k: int = 5, documents: Sequence[str] = ()) -> Found:
        """As the search route shows it."""
        return await self._retriever.find(self.principal, self._find(question, k, documents), op_id=names.new_id())

    async def looked(self, question: str, *, k: int = 5, documents: Sequence[str] = ()) -> Found:
        """As a turn keeps it."""
        find = self._find(question, k, documents)
        chosen = await self._retriever.choose(self.principal, find, op_id=names.new_id())
        return await Reader(self.blobs, self.embedder, TOKENS).widen(self.principal, chosen, k)

    async def stored(self, passage: Passage) -> str:
        """The document's text at the offsets of the passage."""
        path = names.blob(passage.hit.document_id, passage.hit.version, "text")
        return (await self.blobs.get(self.principal, path)).decode()[passage.hit.start : passage.hit.end]

    async def generation(self, principal: Principal, collection_id: str) -> str:
        return str(self.embedder.generation.name)

    async def staged(self, principal: Principal, collection_id: str, limit: int) -> list[str]:
        return self._staged[:limit]

    async def live(self, principal: Principal, document_ids: Sequence[str]) -> dict[str, Live]:
        return {document: self._live[document] for document in document_ids}

    @property
    def _retriever(self) -> Retriever:
        records: Any = self
        return Retriever(records, self.store, self.embedder, Meter(records, self.embedder, Prices("USD", [])))

    def _find(self, question: str, k: int, documents: Sequence[str]) -> Find:
        return Find(question, self.collection, k, document_ids=documents)
