"""The work of an ingestion's nodes: parse, embed, index, publish.

original --parse--> text, layout --embed--> chunks, vectors (in parts) --index--> search index --publish--> live
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from typing import Any

import numpy as np
from temporalio import activity

from activities.attempt import operation_ids, principal_of
from activities.heartbeat import heartbeating, survived
from activities.meter import Asked, Meter
from activities.spans import decode, encode
from agents.options import PARSE_DEATHS
from agents.state import VersionRef
from domain import chunking, names
from domain.accounts import Principal
from domain.analysis import terms
from domain.documents import Block, Parsed, Span, Version
from domain.errors import NoText, ResourceLimit, RunFinished, StoreUnavailable
from domain.events import EventKind
from domain.ports import Blobs, DocumentRecords, Embedder, Events, Parser, Tokenizer, VectorStore
from domain.search import Embedded, Generation, IndexedChunk, Vectors, meta_term
from domain.usage import ProviderCall, Purpose

PART = 64  # chunks embedded, kept and indexed together: about 2 s of local embedding
DERIVED = ("text", "layout.json", "chunks.json", "vectors")  # made from the original, and so made again


@dataclass(frozen=True, slots=True)
class Discard:
    """Whose leftovers to take away: chunks in the index and, with `derived`, text and vectors as well.

    Text and vectors of a failed run are kept: they are paid for, and a replay goes on from them.
    """

    tenant: str
    account: str
    document: str
    version: int
    derived: bool


@dataclass(frozen=True, slots=True)
class _Bought:
    """The vectors of one part and what is written down of their purchase."""

    embedded: Embedded
    op_id: str
    at: datetime


@dataclass(frozen=True, slots=True)
class DocumentActivities:
    """Built by the worker with real ports; the graph names the methods."""

    documents: DocumentRecords
    blobs: Blobs
    parser: Parser
    tokenizer: Tokenizer
    embedder: Embedder
    store: VectorStore
    meter: Meter
    events: Events

    async def parse(self, state: VersionRef) -> dict[str, Any]:
        """Bytes to text with pages and headings."""
        principal, version = await self._version(state)
        deaths = _deaths_so_far()
        if deaths >= PARSE_DEATHS:
            raise ResourceLimit
        original = await self.blobs.get(principal, _blob(version, "original"))
        async with heartbeating(lambda: deaths + 1):
            parsed = await self.parser.parse(original, version.media_type)
        survived()
        await self.blobs.put(principal, _blob(version, "text"), parsed.text.encode())
        await self.blobs.put(principal, _blob(version, "layout.json"), _layout(parsed))
        await self.documents.parsed(principal, version.document_id, version.version, pages=parsed.pages)
        return {"characters": len(parsed.text), "pages": parsed.pages}

    async def embed(self, state: VersionRef) -> dict[str, Any]:
        """Text to chunks and vectors; parts that an earlier attempt kept are not bought again."""
        principal, version = await self._version(state)
        async with heartbeating():
            parsed = await self._parsed(principal, version)
            spans = await chunking.chunk(parsed, self.tokenizer)
            if not spans:
                raise NoText
            await self.blobs.put(principal, _blob(version, "chunks.json"), encode(spans))
            billed = await self._embed_parts(principal, version, parsed.text, spans)
        return {"chunks": len(spans), "billed": billed}

    async def index(self, state: VersionRef) -> dict[str, Any]:
        """Write the chunks under their ids, then count: done is when the index says so."""
        principal, version = await self._version(state)
        generation = self.embedder.generation
        async with heartbeating():
            await self.documents.stage(principal, version.document_id, version.version)
            text = (await self.blobs.get(principal, _blob(version, "text"))).decode()
            spans = await self._spans(principal, version)
            for part, some in enumerate(_parts(spans)):
                await self._version(state)  # a run closed meanwhile writes no more
                vectors = _bought(await self.blobs.get(principal, _part(version, generation, part))).embedded.vectors
                chunks = [
                    _indexed(principal, version, text, span, vector) for span, vector in zip(some, vectors, strict=True)
                ]
                await self.store.insert(principal, generation, chunks)
            await self._counted(principal, version, generation, len(spans))
        return {"chunks": len(spans)}

    async def publish(self, state: VersionRef) -> dict[str, Any]:
        """One update makes the version live."""
        principal, version = await self._version(state)
        spans = await self._spans(principal, version)
        await self.documents.publish(principal, version.document_id, version.version, chunks=len(spans))
        await self._version(state)  # closed as something else in the meantime: then it is not live
        await self.events.publish(principal, _run(principal, version), EventKind.DONE)
        return {"chunks": len(spans)}

    @activity.defn(name="documents.discard")
    async def discard(self, left: Discard) -> None:
        """A version that is not live leaves nothing in the index and, if so told, nothing but its original."""
        principal = Principal(left.tenant, left.account)
        version = await self.documents.version(principal, left.document, left.version)
        if version.outcome == "ready":
            return
        async with heartbeating():
            key = names.version_key(version.document_id, version.version)
            await self.store.delete(principal, self.embedder.generation, key)
            await self.documents.unstage(principal, version.document_id, version.version)
            for name in DERIVED if left.derived else ():
                await self.blobs.delete(principal, _blob(version, name))

    async def _version(self, state: VersionRef) -> tuple[Principal, Version]:
        """Raises RunFinished for a version whose run was closed, by a cancel or by the sweeper."""
        principal = principal_of(state)
        version = await self.documents.version(principal, state["document"], state["version"])
        if version.outcome not in (None, "ready"):
            raise RunFinished
        return principal, version

    async def _parsed(self, principal: Principal, version: Version) -> Parsed:
        text = (await self.blobs.get(principal, _blob(version, "text"))).decode()
        layout = json.loads(await self.blobs.get(principal, _blob(version, "layout.json")))
        blocks = tuple(Block(start, end, page, tuple(heading)) for start, end, page, heading in layout["blocks"])
        return Parsed(text, blocks, layout["pages"])

    async def _spans(self, principal: Principal, version: Version) -> list[Span]:
        return decode(await self.blobs.get(principal, _blob(version, "chunks.json")))

    async def _embed_parts(self, principal: Principal, version: Version, text: str, spans: Sequence[Span]) -> int:
        """How many calls were paid for.

        What was bought is kept, with its bill, before the bill is written down: an attempt that dies or fails in
        between leaves it to the next one, which buys nothing.
        """
        operations, billed = operation_ids(), 0
        for part, some in enumerate(_parts(spans)):
            path = _part(version, self.embedder.generation, part)
            if await self.blobs.exists(principal, path):
                bought = _bought(await self.blobs.get(principal, path))
            else:
                texts = [_in_context(version, text, span) for span in some]
                bought = await self._buy(principal, version, texts, path, next(operations))
            if self.embedder.billable:
                await self.meter.record(principal, self._line(principal, version, bought))
                billed += 1
            if activity.in_activity():
                activity.heartbeat(part)
            await self._tell(principal, version, min(PART * (part + 1), len(spans)), len(spans))
        return billed

    async def _tell(self, principal: Principal, version: Version, done: int, total: int) -> None:
        progress = {"done": done, "failed": 0, "total": total, "unit": "chunks"}
        await self.events.note(principal, _run(principal, version), EventKind.PROGRESS, progress)

    async def _buy(
        self, principal: Principal, version: Version, texts: Sequence[str], path: str, op_id: str
    ) -> _Bought:
        async with self.meter.call(principal, self._asked(principal, version, op_id, texts)) as call:
            embedded = await self.embedder.passages(texts)
            line = call.answered(embedded.model, embedded.tokens, estimated=embedded.estimated)
            bought = _Bought(embedded, op_id, line.at)
            await self.blobs.put(principal, path, _npz(bought))
        return bought

    def _line(self, principal: Principal, version: Version, bought: _Bought) -> ProviderCall:
        asked = self._asked(principal, version, bought.op_id)
        embedded = bought.embedded
        return self.meter.bill(asked, embedded.model, embedded.tokens, bought.at, estimated=embedded.estimated)

    def _asked(self, principal: Principal, version: Version, op_id: str, texts: Sequence[str] = ()) -> Asked:
        return Asked(
            op_id=op_id,
            workflow_id=_run(principal, version),
            purpose=Purpose.EMBEDDING,
            model=self.embedder.model,
            sent=texts,
            billable=self.embedder.billable,
        )

    async def _counted(self, principal: Principal, version: Version, generation: Generation, expected: int) -> None:
        key = names.version_key(version.document_id, version.version)
        stored = await self.store.count(principal, generation, key)
        if stored != expected:
            raise StoreUnavailable(f"The index holds {stored} of {expected} chunks of this version.")


def _deaths_so_far() -> int:
    """Earlier attempts that fell silent while they read the document: each had said which one it was."""
    details = activity.info().heartbeat_details if activity.in_activity() else ()
    return int(details[0]) if details else 0


def _run(principal: Principal, version: Version) -> str:
    return names.ingest_run(principal.tenant, version.document_id, version.version)


def _blob(version: Version, name: str) -> str:
    return names.blob(version.document_id, version.version, name)


def _part(version: Version, generation: Generation, part: int) -> str:
    return names.vectors_blob(version.document_id, version.version, generation.name, part)


def _parts(spans: Sequence[Span]) -> list[Sequence[Span]]:
    return [spans[at : at + PART] for at in range(0, len(spans), PART)]


def _in_context(version: Version, text: str, span: Span) -> str:
    """What is embedded and analysed: title and headings lead, the stored span stays as it is."""
    return chunking.context(version.title, span.heading) + text[span.start : span.end]


def _indexed(principal: Principal, version: Version, text: str, span: Span, vector: Vectors) -> IndexedChunk:
    return IndexedChunk(
        chunk_id=names.chunk_id(principal.tenant, version.document_id, version.version, span.ordinal),
        document_id=version.document_id,
        version=version.version,
        collection_id=version.collection_id,
        ordinal=span.ordinal,
        text=text[span.start : span.end],
        terms=" ".join(terms(_in_context(version, text, span))),
        start=span.start,
        end=span.end,
        page=span.page,
        meta=tuple(meta_term(key, value) for key, value in version.metadata.items()),
        vector=vector,
    )


def _layout(parsed: Parsed) -> bytes:
    blocks = [(block.start, block.end, block.page, block.heading) for block in parsed.blocks]
    return json.dumps({"pages": parsed.pages, "blocks": blocks, "warnings": parsed.warnings}).encode()


def _npz(bought: _Bought) -> bytes:
    buffer = BytesIO()
    np.savez(
        buffer,
        vectors=bought.embedded.vectors,
        tokens=np.array(bought.embedded.tokens),
        estimated=np.array(bought.embedded.estimated),
        model=np.array(bought.embedded.model),
        op_id=np.array(bought.op_id),
        at=np.array(bought.at.isoformat()),
    )
    return buffer.getvalue()


def _bought(data: bytes) -> _Bought:
    with np.load(BytesIO(data), allow_pickle=False) as kept:
        estimated = "estimated" in kept and bool(kept["estimated"])  # older bills do not say
        embedded = Embedded(kept["vectors"], int(kept["tokens"]), str(kept["model"]), estimated)
        return _Bought(embedded, str(kept["op_id"]), datetime.fromisoformat(str(kept["at"])))
