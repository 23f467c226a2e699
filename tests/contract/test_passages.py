"""What an answer stands on: out of the search, and out of the documents' own texts."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from activities.retrieval import SLOW
from domain.accounts import Principal
from domain.errors import BlobsUnavailable
from domain.names import blob, new_id
from domain.ports import VectorStore
from domain.search import Passage
from domain.usage import cautious
from infra.blobs import ObjectBlobs
from infra.memory import StubEmbedder
from tests.shelf import Shelf

FILLER = "Ropes are kept dry and coiled in the shed behind the old mole. " * 7  # a paragraph that fills a chunk


@pytest.fixture(params=["memory_store", "weaviate"])
def store(request: pytest.FixtureRequest) -> VectorStore:
    found: VectorStore = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def shelf(principal: Principal, store: VectorStore, embedder: StubEmbedder) -> Shelf:
    return Shelf(principal, store, ObjectBlobs("memory:///"), embedder)


def paragraphs(*openings: str) -> str:
    """A chunk for each."""
    return "\n\n".join(f"{opening} {FILLER}".strip() for opening in openings)


def documents(passages: Sequence[Passage]) -> list[str]:
    return [passage.hit.document_id for passage in passages]


async def test_what_stands_beside_the_best_chunk_comes_along_word_for_word(shelf: Shelf) -> None:
    text = paragraphs("The lock opens at six.", "Pilots board at the lighthouse.", "Coal is sold by weight.", "Ice.")
    await shelf.add(text)

    (passage,) = (await shelf.looked("Where do pilots board?", k=1)).passages

    expected = text[text.index("Pilots") : text.index("\n\nIce.")]
    assert passage.hit.text == expected == await shelf.stored(passage)


async def test_every_passage_is_the_documents_text_at_its_offsets(shelf: Shelf) -> None:
    for number in range(4):
        await shelf.add("  \n" + paragraphs(*(f"Berth {number}{letter} is dredged.\t" for letter in "abcdef")))

    found = await shelf.looked("Which berth is dredged?")

    assert len(found.passages) > 1
    for passage in found.passages:
        assert passage.hit.text == await shelf.stored(passage)


async def test_a_merged_passage_has_id_score_and_evidence_of_its_best_chunk(shelf: Shelf) -> None:
    await shelf.add(paragraphs("The lock opens at six.", "Pilots board at the lighthouse.", "Coal is sold."))

    found = await shelf.looked("Where do pilots board?", k=1)

    best, merged = found.candidates[0].hit, found.passages[0].hit
    assert (merged.chunk_id, merged.score, merged.cosine, merged.coverage, merged.ordinal) == (
        best.chunk_id,
        best.score,
        best.cosine,
        best.coverage,
        1,
    )


class Slow:
    """VectorStore. Each search takes its time, and is counted."""

    def __init__(self, store: VectorStore, seconds: float) -> None:
        self.searches = 0
        self._store = store
        self._seconds = seconds

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def search(self, *asked: Any) -> Any:
        self.searches += 1
        await asyncio.sleep(self._seconds)
        return await self._store.search(*asked)


@pytest.mark.parametrize(("seconds", "searches"), [(0.0, 2), (SLOW, 1)])
async def test_a_slow_index_is_not_asked_twice(shelf: Shelf, seconds: float, searches: int) -> None:
    await shelf.add(paragraphs(*(f"When are dues paid? Dues are paid in week {at}." for at in range(30))))
    await shelf.add("Harbour dues are paid monthly.")
    slow = Slow(shelf.store, seconds)
    shelf.store = slow  # type: ignore[assignment]  # as much of it as a search needs

    found = await shelf.looked("When are dues paid?")

    assert found.passages
    assert slow.searches == searches


async def test_a_stuffed_document_leaves_room_for_the_others(shelf: Shelf) -> None:
    stuffed = await shelf.add(paragraphs(*(f"When are dues paid? Dues are paid in week {at}." for at in range(30))))
    honest = await shelf.add("Harbour dues are paid monthly.")

    found = await shelf.looked("When are dues paid?")

    chunks = {candidate.hit.chunk_id: candidate.hit for candidate in found.candidates}
    shown = [passage.hit for passage in found.passages if passage.hit.document_id == stuffed]
    assert honest in documents(found.passages)
    assert sum(hit.text.count("When are dues paid?") for hit in shown) <= 3
    assert honest in {hit.document_id for hit in chunks.values()}
    scores = [candidate.hit.score for candidate in found.candidates]
    assert scores == sorted(scores, reverse=True)


async def test_the_one_document_that_was_asked_for_has_no_share(shelf: Shelf) -> None:
    asked = await shelf.add(paragraphs(*(f"Dues of week {at} are paid." for at in range(8))))
    await shelf.add("Dues are paid monthly.")

    found = await shelf.looked("When are dues paid?", documents=[asked])

    assert set(documents(found.passages)) == {asked}
    assert sum(passage.hit.text.count("Dues of week") for passage in found.passages) >= 5


async def test_a_document_that_is_alone_has_no_share(shelf: Shelf) -> None:
    await shelf.add(paragraphs(*(f"Dues of week {at} are paid." for at in range(30))))

    found = await shelf.looked("When are dues paid?")

    assert sum(passage.hit.text.count("Dues of week") for passage in found.passages) >= 5


async def test_what_stands_beside_comes_from_the_live_version(shelf: Shelf) -> None:
    document = await shelf.add(paragraphs("Pilots board at the lighthouse.", "The old fee is nine."))
    await shelf.add(paragraphs("Pilots board at the pier.", "The new fee is ten."), document=document, version=2)

    (passage,) = (await shelf.looked("Where do pilots board?", k=1)).passages

    assert passage.hit.version == 2
    assert "new fee" in passage.hit.text
    assert "old fee" not in passage.hit.text


async def test_nothing_is_shown_of_documents_that_were_not_asked_for(shelf: Shelf) -> None:
    asked = [await shelf.add(paragraphs(f"Dues of {name} are paid.", "Coal is sold.")) for name in ("Ar", "Bo")]
    await shelf.add(paragraphs("When are dues paid?", "Dues are paid monthly."))

    found = await shelf.looked("When are dues paid?", documents=asked)

    assert set(documents(found.passages)) == set(asked)


async def test_nothing_is_shown_of_another_tenant(shelf: Shelf, stranger: Principal) -> None:
    theirs = Shelf(stranger, shelf.store, shelf.blobs, shelf.embedder)
    theirs.collection = shelf.collection
    await theirs.add(paragraphs("When are dues paid?", "Dues are paid monthly."))
    ours = await shelf.add(paragraphs("Dues are paid weekly.", "Coal is sold."))

    assert set(documents((await shelf.looked("When are dues paid?")).passages)) == {ours}


async def test_a_copy_of_a_document_is_quoted_once_and_found_twice(shelf: Shelf) -> None:
    await shelf.add("Dues are paid monthly.")
    await shelf.add("Dues are paid monthly.")

    found = await shelf.looked("When are dues paid?")

    assert (len(found.passages), len(found.candidates)) == (1, 2)
    assert len((await shelf.found("When are dues paid?")).passages) == 2


async def test_no_more_is_shown_than_was_reserved_for_k_chunks(shelf: Shelf) -> None:
    await shelf.add(paragraphs(*(f"Dues of week {at} are paid." for at in range(8))))

    for k in (1, 2, 5):
        shown = (await shelf.looked("When are dues paid?", k=k)).passages
        counts = await shelf.embedder.counts([passage.hit.text for passage in shown])
        assert len(shown) <= k
        assert sum(map(cautious, counts)) <= k * cautious(256)


async def test_without_the_texts_store_the_chunks_stand_alone(shelf: Shelf) -> None:
    await shelf.add(paragraphs("The lock opens at six.", "Pilots board at the lighthouse.", "Coal is sold."))
    shelf.blobs = Away("memory:///")

    found = await shelf.looked("Where do pilots board?", k=1)

    assert found.passages == found.candidates[:1]


async def test_a_document_whose_text_is_gone_is_shown_as_it_was_found(shelf: Shelf) -> None:
    document = await shelf.add(paragraphs("The lock opens at six.", "Pilots board at the lighthouse."))
    await shelf.blobs.delete(shelf.principal, blob(document, 1, "text"))

    found = await shelf.looked("Where do pilots board?", k=1)

    assert found.passages == found.candidates[:1]


async def test_a_collection_without_documents_gives_nothing(shelf: Shelf) -> None:
    shelf.collection = new_id()

    found = await shelf.looked("Where do pilots board?")

    assert (found.candidates, found.passages, found.relevant) == ((), (), False)


async def test_a_long_text_is_cut_at_its_letters_not_at_its_bytes(shelf: Shelf) -> None:
    """Pieces of a stream end in the middle of a letter."""
    before = "\n\n".join(f"부두 {at}번은 준설되었다. " + "밧줄은 헛간에 말려 둔다. " * 12 for at in range(900))
    text = f"{before}\n\n{paragraphs('Pilots board at the lighthouse.', 'Coal is sold.')}"
    await shelf.add(text)

    (passage,) = (await shelf.looked("Where do pilots board?", k=1)).passages

    assert len(text.encode()) > 256 * 1024
    assert passage.hit.text == await shelf.stored(passage) == text[text.index("Pilots") :]


class Away(ObjectBlobs):
    async def get(self, principal: Principal, path: str) -> bytes:
        raise BlobsUnavailable
