"""What every vector store promises; Weaviate and its twin in memory."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import httpx
import numpy as np
import pytest

from domain.accounts import Principal
from domain.analysis import terms
from domain.errors import DimensionMismatch, StoreUnavailable
from domain.names import chunk_id, new_id, version_key
from domain.ports import VectorStore
from domain.reconcile import StoredChunk
from domain.search import Generation, Hit, IndexedChunk, Mode, Query, Scope
from infra.memory import MemoryVectorStore, StubEmbedder
from infra.stack.addresses import Addresses
from infra.weaviate import WeaviateStore
from infra.weaviate_objects import class_name

MOON = "The Moon is the only natural satellite of the Earth."
TIDES = "Tides rise and fall because the Moon attracts the oceans."
BREAD = "Bread is baked from flour, water, salt and yeast."


@pytest.fixture(params=["memory_store", "weaviate"])
def store(request: pytest.FixtureRequest) -> VectorStore:
    found: VectorStore = request.getfixturevalue(request.param)
    return found


class Library:
    """One collection of one tenant, written and asked through a store."""

    def __init__(self, store: VectorStore, principal: Principal, embedder: StubEmbedder) -> None:
        self.store = store
        self.principal = principal
        self.embedder = embedder
        self.generation = embedder.generation
        self.collection = new_id()

    async def chunks(
        self, *texts: str, document: str, version: int = 1, meta: tuple[str, ...] = ()
    ) -> list[IndexedChunk]:
        vectors = (await self.embedder.passages(texts)).vectors
        return [
            IndexedChunk(
                chunk_id=chunk_id(self.principal.tenant, document, version, ordinal),
                document_id=document,
                version=version,
                collection_id=self.collection,
                ordinal=ordinal,
                text=text,
                terms=" ".join(terms(text)),
                start=10 * ordinal,
                end=10 * ordinal + len(text),
                page=ordinal + 1 if ordinal else None,
                meta=meta,
                vector=vectors[ordinal],
            )
            for ordinal, text in enumerate(texts)
        ]

    async def add(self, *texts: str, document: str | None = None, version: int = 1, meta: tuple[str, ...] = ()) -> str:
        document = document or new_id()
        chunks = await self.chunks(*texts, document=document, version=version, meta=meta)
        await self.store.insert(self.principal, self.generation, chunks)
        return document

    async def query(self, text: str, *, k: int = 10, mode: Mode = Mode.HYBRID, **scope: object) -> Query:
        vector = None if mode is Mode.KEYWORD else (await self.embedder.query(text)).vectors[0]
        within = replace(Scope(self.generation.name, self.collection), **scope)  # type: ignore[arg-type]
        return Query(text=text, vector=vector, k=k, mode=mode, scope=within)

    async def find(self, text: str, *, k: int = 10, mode: Mode = Mode.HYBRID, **scope: object) -> list[Hit]:
        return await self.store.search(self.principal, await self.query(text, k=k, mode=mode, **scope))

    async def count(self, document: str, version: int = 1) -> int:
        return await self.store.count(self.principal, self.generation, version_key(document, version))


@pytest.fixture
def library(store: VectorStore, principal: Principal, embedder: StubEmbedder) -> Library:
    return Library(store, principal, embedder)


def texts(hits: list[Hit]) -> set[str]:
    return {hit.text for hit in hits}


async def test_a_chunk_comes_back_as_it_was_written(library: Library) -> None:
    document = await library.add(BREAD, MOON)

    hit = (await library.find("natural satellite", k=1))[0]

    assert (hit.document_id, hit.version, hit.ordinal, hit.text) == (document, 1, 1, MOON)
    assert (hit.start, hit.end, hit.page) == (10, 10 + len(MOON), 2)
    assert hit.chunk_id == chunk_id(library.principal.tenant, document, 1, 1)


async def test_a_chunk_without_a_page_has_none(library: Library) -> None:
    await library.add(MOON)

    assert (await library.find("moon"))[0].page is None


@pytest.mark.parametrize("mode", list(Mode))
async def test_the_best_hit_comes_first(library: Library, mode: Mode) -> None:
    await library.add(BREAD, TIDES, MOON)

    hits = await library.find("why do tides rise", mode=mode)

    assert hits[0].text == TIDES
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


async def test_no_more_hits_than_asked_for(library: Library) -> None:
    await library.add(*(f"{MOON} {number}" for number in range(8)))

    assert len(await library.find("moon", k=3)) == 3


async def test_a_hit_tells_cosine_and_coverage(library: Library) -> None:
    await library.add(TIDES, BREAD)
    vector = (await library.embedder.query("moon tides cheese")).vectors[0]
    stored = (await library.embedder.passages([TIDES])).vectors[0]

    hit = (await library.find("moon tides cheese", k=1))[0]

    assert hit.cosine == pytest.approx(float(np.dot(vector, stored)), abs=1e-5)
    assert hit.coverage == pytest.approx(2 / 3)


async def test_keywords_need_no_vector_and_tell_no_cosine(library: Library) -> None:
    await library.add(TIDES, BREAD)

    hits = await library.find("yeast", mode=Mode.KEYWORD)

    assert texts(hits) == {BREAD}
    assert hits[0].cosine is None


@pytest.mark.parametrize("words", ["", "is it of the", "?!"])
async def test_a_question_without_terms_is_searched_by_vector_alone(library: Library, words: str) -> None:
    await library.add(TIDES, BREAD)

    assert texts(await library.find(words)) == {TIDES, BREAD}
    assert await library.find(words, mode=Mode.KEYWORD) == []


@pytest.mark.parametrize("asked", ["서울은", "서울", "서울의 인구"])
async def test_korean_particles_do_not_hide_a_word(library: Library, asked: str) -> None:
    await library.add("축제는 서울에서 열린다.", "부산은 항구 도시이다.")

    hits = await library.find(asked, mode=Mode.KEYWORD)

    assert texts(hits) == {"축제는 서울에서 열린다."}


async def test_the_same_ids_again_change_nothing(library: Library) -> None:
    document = await library.add(MOON, TIDES)

    await library.add(MOON, TIDES, document=document)

    assert await library.count(document) == 2
    assert len(await library.find("moon")) == 2


async def test_another_tenant_sees_nothing(library: Library, stranger: Principal) -> None:
    document = await library.add(MOON)
    await library.store.insert(stranger, library.generation, await library.chunks(BREAD, document=new_id()))

    found = await library.store.search(stranger, await library.query("moon"))

    assert texts(found) == {BREAD}
    assert await library.store.count(stranger, library.generation, version_key(document, 1)) == 0


async def test_another_tenant_deletes_nothing(library: Library, stranger: Principal) -> None:
    document = await library.add(MOON)
    await library.store.insert(stranger, library.generation, await library.chunks(BREAD, document=new_id()))

    await library.store.delete(stranger, library.generation, version_key(document, 1))

    assert await library.count(document) == 1


async def test_a_tenant_without_chunks_finds_nothing(library: Library) -> None:
    await library.store.prepare(library.generation)

    assert await library.find("moon") == []
    assert await library.count("nothing") == 0


async def test_an_unknown_generation_holds_nothing(library: Library) -> None:
    unknown = Generation(f"never-made-{new_id()}", 384)

    assert await library.find("moon", generation=unknown.name) == []
    assert await library.store.count(library.principal, unknown, "nothing:1") == 0
    await library.store.delete(library.principal, unknown, "nothing:1")


async def test_a_generation_can_be_prepared_by_many_at_once(store: VectorStore) -> None:
    generation = Generation(f"prepared/by many-{new_id()}", 8)

    await asyncio.gather(*(store.prepare(generation) for _ in range(5)))

    await store.prepare(generation)


async def test_a_generation_keeps_its_chunks_to_itself(library: Library) -> None:
    document = await library.add(MOON)
    other = Generation(f"other-{new_id()}", 384)
    await library.store.insert(library.principal, other, await library.chunks(BREAD, document=new_id()))

    assert texts(await library.find("moon", generation=other.name)) == {BREAD}
    assert await library.store.count(library.principal, other, version_key(document, 1)) == 0


async def test_another_collection_is_not_searched(library: Library, embedder: StubEmbedder) -> None:
    other = Library(library.store, library.principal, embedder)
    await library.add(MOON)
    await other.add(TIDES)

    assert texts(await library.find("moon")) == {MOON}


async def test_an_excluded_version_is_not_found(library: Library) -> None:
    document = await library.add(MOON, version=1)
    await library.add(TIDES, document=document, version=2)

    hits = await library.find("moon", excluded=(version_key(document, 1), version_key(new_id(), 1)))

    assert [(hit.text, hit.version) for hit in hits] == [(TIDES, 2)]


async def test_only_the_documents_asked_for_are_searched(library: Library) -> None:
    first, second = await library.add(MOON), await library.add(TIDES)
    await library.add(f"{MOON} Again.")

    hits = await library.find("moon", document_ids=(first, second))

    assert texts(hits) == {MOON, TIDES}


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ((("year=1999", "year=2001"),), {MOON, TIDES}),
        ((("year=1999", "year=2001"), ("kind=note",)), {TIDES}),
        ((("year=1999",), ("kind=note",)), set()),
        ((("year=199",),), set()),
        (((),), set()),
    ],
)
async def test_every_group_of_metadata_must_match_by_any_of_its_values(
    library: Library, groups: tuple[tuple[str, ...], ...], expected: set[str]
) -> None:
    await library.add(MOON, meta=("year=1999", "kind=book"))
    await library.add(TIDES, meta=("year=2001", "kind=note"))
    await library.add(BREAD)

    assert texts(await library.find("moon", meta=groups)) == expected


async def test_a_version_is_counted_by_itself(library: Library) -> None:
    document = await library.add(MOON, TIDES, version=1)
    await library.add(BREAD, document=document, version=2)
    await library.add(BREAD, document=document, version=12)

    assert await library.count(document, 1) == 2
    assert await library.count(document, 2) == 1


async def test_deleting_a_version_leaves_the_others(library: Library) -> None:
    document = await library.add(MOON, TIDES, version=1)
    await library.add(BREAD, document=document, version=2)

    await library.store.delete(library.principal, library.generation, version_key(document, 1))

    assert await library.count(document, 1) == 0
    assert texts(await library.find("moon")) == {BREAD}


async def walked(library: Library, limit: int) -> list[StoredChunk]:
    found: list[StoredChunk] = []
    after = None
    while page := await library.store.walk(library.principal, library.generation, after, limit):
        assert len(page) <= limit
        found += page
        after = page[-1].chunk_id
    return found


async def test_a_walk_meets_every_chunk_once_in_the_order_of_ids(library: Library) -> None:
    begun = datetime.now(UTC)
    first, second = await library.add(MOON, TIDES, BREAD), await library.add(MOON, TIDES, version=7)

    found = await walked(library, limit=2)

    expected = {chunk_id(library.principal.tenant, first, 1, number): version_key(first, 1) for number in range(3)}
    expected |= {chunk_id(library.principal.tenant, second, 7, number): version_key(second, 7) for number in range(2)}
    assert {chunk.chunk_id: chunk.version_key for chunk in found} == expected
    assert [chunk.chunk_id for chunk in found] == sorted(expected)
    assert all(abs(chunk.written_at - begun) < timedelta(seconds=30) for chunk in found)


async def test_a_walk_goes_on_behind_a_chunk_that_is_no_longer_there(library: Library) -> None:
    documents = [await library.add(MOON) for _ in range(4)]
    page = await library.store.walk(library.principal, library.generation, None, 2)

    for chunk in page:
        await library.store.delete(library.principal, library.generation, chunk.version_key)
    rest = await library.store.walk(library.principal, library.generation, page[-1].chunk_id, 10)

    assert len(rest) == 2
    assert {chunk.version_key for chunk in [*page, *rest]} == {version_key(document, 1) for document in documents}


async def test_a_walk_meets_nothing_of_another_tenant_or_generation(library: Library, stranger: Principal) -> None:
    await library.add(MOON)

    assert await library.store.walk(stranger, library.generation, None, 10) == []
    assert await library.store.walk(library.principal, Generation(f"never-made-{new_id()}", 384), None, 10) == []


async def test_more_chunks_than_one_batch_are_all_there(library: Library) -> None:
    document = await library.add(*(f"{BREAD} {number}" for number in range(450)))

    assert await library.count(document) == 450


async def test_a_vector_of_another_length_is_refused_for_good_and_nothing_is_written(library: Library) -> None:
    document = new_id()
    good = await library.chunks(MOON, TIDES, document=document)
    bad = [good[0], replace(good[1], vector=good[1].vector[:10])]

    with pytest.raises(DimensionMismatch):
        await library.store.insert(library.principal, library.generation, bad)

    assert await library.count(document) == 0


async def test_a_query_of_another_length_is_refused_for_good(library: Library) -> None:
    await library.add(MOON)
    query = await library.query("moon")
    assert query.vector is not None

    with pytest.raises(DimensionMismatch):
        await library.store.search(library.principal, replace(query, vector=query.vector[:10]))


async def test_a_store_that_lives_answers_a_ping(store: VectorStore) -> None:
    await store.ping()


# --- Weaviate only --------------------------------------------------------------------------------------------

CALLS: dict[str, Callable[[Library], Awaitable[object]]] = {
    "ping": lambda library: library.store.ping(),
    "prepare": lambda library: library.store.prepare(library.generation),
    "insert": lambda library: library.add(MOON),
    "count": lambda library: library.count("nothing"),
    "search": lambda library: library.find("moon"),
    "delete": lambda library: library.store.delete(library.principal, library.generation, "nothing:1"),
    "walk": lambda library: library.store.walk(library.principal, library.generation, None, 10),
}


@pytest.fixture
async def away(closed_port: int, principal: Principal, embedder: StubEmbedder) -> AsyncIterator[Library]:
    """A library whose server is not there."""
    store = WeaviateStore(f"http://127.0.0.1:{closed_port}", grpc_port=closed_port - 1, api_key="any")
    yield Library(store, principal, embedder)
    await store.aclose()


@pytest.mark.parametrize("call", CALLS)
async def test_a_server_that_is_not_there_is_unavailable_within_three_seconds(away: Library, call: str) -> None:
    async with asyncio.timeout(3):
        with pytest.raises(StoreUnavailable):
            await CALLS[call](away)


async def test_a_server_that_does_not_answer_is_unavailable_within_three_seconds(
    silent_port: int, principal: Principal, embedder: StubEmbedder
) -> None:
    silent = WeaviateStore(f"http://127.0.0.1:{silent_port}", grpc_port=silent_port - 1, api_key="any")

    async with asyncio.timeout(3):
        with pytest.raises(StoreUnavailable):
            await Library(silent, principal, embedder).find("moon")

    await silent.aclose()


async def test_a_server_that_answers_no_query_is_unavailable_within_three_seconds(
    weaviate: WeaviateStore, addresses: Addresses, closed_port: int, principal: Principal, embedder: StubEmbedder
) -> None:
    await Library(weaviate, principal, embedder).add(MOON)
    half = WeaviateStore(addresses.weaviate_url, grpc_port=closed_port, api_key=addresses.weaviate_api_key)

    async with asyncio.timeout(3):
        with pytest.raises(StoreUnavailable):
            await Library(half, principal, embedder).find("moon")

    await half.aclose()


async def test_a_wrong_key_is_unavailable(addresses: Addresses, principal: Principal, embedder: StubEmbedder) -> None:
    store = WeaviateStore(addresses.weaviate_url, grpc_port=addresses.weaviate_grpc_port, api_key="wrong")

    with pytest.raises(StoreUnavailable):
        await Library(store, principal, embedder).find("moon")

    await store.aclose()


async def test_an_inactive_tenant_is_unavailable_until_it_is_active_again(
    weaviate: WeaviateStore, addresses: Addresses, principal: Principal, embedder: StubEmbedder
) -> None:
    """Never "nothing found": an operator put it to sleep."""
    library = Library(weaviate, principal, embedder)
    await library.add(MOON, document="d")
    await _set_activity(addresses, library, "INACTIVE")

    with pytest.raises(StoreUnavailable):
        await library.find("Moon")
    with pytest.raises(StoreUnavailable):
        await library.add(TIDES, document="e")
    await _set_activity(addresses, library, "ACTIVE")

    assert [hit.text for hit in await library.find("Moon")] == [MOON]


async def test_a_class_that_was_lost_is_made_again_by_us_and_never_by_the_server(
    weaviate: WeaviateStore, addresses: Addresses, principal: Principal, embedder: StubEmbedder
) -> None:
    lost = Library(weaviate, principal, embedder)
    lost.generation = Generation(f"lost-{new_id()}", embedder.generation.dimensions)
    await lost.add(MOON, document="d")
    async with _server(addresses) as server:
        (await server.delete(f"/v1/schema/{class_name(lost.generation.name)}")).raise_for_status()

    with pytest.raises(StoreUnavailable):
        await lost.add(TIDES, document="e")
    await lost.add(TIDES, document="e")

    assert [hit.text for hit in await lost.find("Tides")] == [TIDES]


def _server(addresses: Addresses) -> httpx.AsyncClient:
    headers = {"Authorization": f"Bearer {addresses.weaviate_api_key}"}
    return httpx.AsyncClient(base_url=addresses.weaviate_url, headers=headers, trust_env=False)


async def _set_activity(addresses: Addresses, library: Library, status: str) -> None:
    path = f"/v1/schema/{class_name(library.generation.name)}/tenants"
    async with _server(addresses) as server:
        body = [{"name": library.principal.tenant, "activityStatus": status}]
        (await server.put(path, json=body)).raise_for_status()


async def test_an_error_of_the_server_is_not_quoted(away: Library) -> None:
    with pytest.raises(StoreUnavailable) as raised:
        await away.add(MOON)

    assert str(raised.value) == "store_unavailable"
    assert raised.value.__suppress_context__


async def test_a_wrong_key_answers_no_ping(addresses: Addresses) -> None:
    store = WeaviateStore(addresses.weaviate_url, grpc_port=addresses.weaviate_grpc_port, api_key="wrong")

    with pytest.raises(StoreUnavailable):
        await store.ping()

    await store.aclose()


async def test_more_chunks_than_weaviate_deletes_in_one_call_are_all_deleted(
    weaviate: WeaviateStore, principal: Principal, embedder: StubEmbedder
) -> None:
    library = Library(weaviate, principal, embedder)
    document = await library.add(*(f"word{number}" for number in range(10_050)))

    await weaviate.delete(principal, library.generation, version_key(document, 1))

    assert await library.count(document) == 0


async def test_a_cancelled_search_leaves_the_store_usable(
    weaviate: WeaviateStore, principal: Principal, embedder: StubEmbedder
) -> None:
    library = Library(weaviate, principal, embedder)
    await library.add(MOON)
    for pause in (0.0, 0.001, 0.003):
        search = asyncio.create_task(library.find("moon"))
        await asyncio.sleep(pause)
        search.cancel()
        await asyncio.wait([search])

    assert texts(await library.find("moon")) == {MOON}


async def test_many_searches_at_once_share_one_client(
    weaviate: WeaviateStore, principal: Principal, embedder: StubEmbedder
) -> None:
    library = Library(weaviate, principal, embedder)
    await library.add(MOON, BREAD)

    found = await asyncio.gather(*(library.find("moon", k=1) for _ in range(50)))

    assert {hit.text for hits in found for hit in hits} == {MOON}


async def test_the_twin_in_memory_starts_empty(principal: Principal, embedder: StubEmbedder) -> None:
    await Library(MemoryVectorStore(), principal, embedder).add(MOON)

    assert await Library(MemoryVectorStore(), principal, embedder).find("moon") == []


async def test_an_erased_tenant_has_no_chunks_in_any_generation_and_the_others_keep_theirs(
    store: VectorStore, principal: Principal, stranger: Principal
) -> None:
    embedders = StubEmbedder(), StubEmbedder(dimensions=8)
    libraries = [Library(store, who, embedder) for who in (principal, stranger) for embedder in embedders]
    for library in libraries:
        await store.prepare(library.generation)
        await library.add(MOON, TIDES)
    before = await store.total(principal), await store.total(stranger)

    await store.erase(principal)
    await store.erase(principal)

    assert before == (4, 4)
    assert (await store.total(principal), await store.total(stranger)) == (0, 4)
    assert await libraries[0].find("moon") == []


async def test_an_erased_tenant_can_be_written_again(store: VectorStore, principal: Principal) -> None:
    library = Library(store, principal, StubEmbedder())
    await store.prepare(library.generation)
    await library.add(MOON)

    await store.erase(principal)
    await library.add(TIDES)

    assert await store.total(principal) == 1
