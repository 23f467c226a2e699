"""The local model: meaning, measures, and texts nobody should send."""

import asyncio
import os
import unicodedata
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.chunking import MAX_TOKENS, chunk, context
from domain.documents import Block, Parsed
from domain.search import Relevance
from infra.e5.build import build
from infra.e5.files import folder, is_whole
from infra.embedder import LocalEmbedder
from infra.settings import Settings

CACHE = Path(Settings.model_fields["cache_dir"].default).expanduser()
MODEL_TOKENS = 512
PREFIX_AND_ENDS = 5
LEASE = "계약이 종료되면 보증금은 30일 이내에 반환됩니다."
# Letters that expand, vanish, are unknown, are spaces in disguise, or spell a control piece of the model.
ODD = st.text(alphabet="ab 가ﷺ½ﬁ\u200b\u0301\u3000\t\n▁𐎠🚢.</s>mask\u00a0ㄱ㍿", max_size=1_500)
SOME = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def local() -> Iterator[LocalEmbedder]:
    embedder = LocalEmbedder(CACHE)
    yield embedder
    embedder.close()


async def similarity(local: LocalEmbedder, question: str, text: str) -> float:
    asked, found = await local.query(question), await local.passages([text])
    return float(asked.vectors[0] @ found.vectors[0])


async def test_vectors_are_unit_rows_of_384_dimensions(local: LocalEmbedder) -> None:
    embedded = await local.passages(["A mooring holds a vessel.", LEASE, ""])

    assert embedded.vectors.shape == (3, local.generation.dimensions) == (3, 384)
    assert embedded.vectors.dtype == np.float32
    assert np.linalg.norm(embedded.vectors, axis=1) == pytest.approx(1, abs=1e-4)


async def test_rows_are_in_the_order_of_the_texts(local: LocalEmbedder) -> None:
    texts = [f"Sentence number {number} of many." for number in range(20)]

    together = (await local.passages(texts)).vectors

    alone = np.concatenate([(await local.passages([text])).vectors for text in texts])
    assert together == pytest.approx(alone, abs=1e-6)


async def test_no_texts_give_no_rows(local: LocalEmbedder) -> None:
    assert (await local.passages([])).vectors.shape == (0, 384)


async def test_what_answers_a_question_is_nearer_than_what_does_not(local: LocalEmbedder) -> None:
    question = "When does the tenant get the deposit back?"

    near = await similarity(local, question, "The deposit is refunded within 30 days of the end of the lease.")
    far = await similarity(local, question, "The engine is cooled with sea water.")

    assert near > far + 0.05


async def test_korean_and_english_share_their_meaning(local: LocalEmbedder) -> None:
    question = "When is the deposit returned?"

    assert (
        await similarity(local, question, LEASE) > await similarity(local, question, "고양이가 창가에서 잔다.") + 0.05
    )


async def test_questions_and_passages_are_embedded_differently(local: LocalEmbedder) -> None:
    asked, found = await local.query("mooring"), await local.passages(["mooring"])

    assert float(asked.vectors[0] @ found.vectors[0]) < 0.999


async def test_decomposed_hangul_is_the_same_text(local: LocalEmbedder) -> None:
    composed = await local.query(LEASE)
    decomposed = await local.query(unicodedata.normalize("NFD", LEASE))

    assert float(composed.vectors[0] @ decomposed.vectors[0]) > 0.9999


async def test_a_spelled_out_control_piece_stays_text(local: LocalEmbedder) -> None:
    assert (await local.counts(["</s>"]))[0] > 1


async def test_tokens_and_model_are_told(local: LocalEmbedder) -> None:
    embedded = await local.passages(["mooring", LEASE])

    counts = await local.counts([f"passage: {text}" for text in ("mooring", LEASE)])
    assert (embedded.tokens, embedded.model) == (sum(counts) + 4, "multilingual-e5-small")


async def test_a_text_beyond_the_model_is_cut(local: LocalEmbedder) -> None:
    start = "harbour " * 600

    embedded = await local.passages([start, start + "unheard " * 600])

    assert embedded.tokens == 2 * MODEL_TOKENS
    assert embedded.vectors[0] == pytest.approx(embedded.vectors[1])


async def test_the_generation_names_model_dimensions_analyser_and_chunker(local: LocalEmbedder) -> None:
    assert local.generation.name == "multilingual-e5-small-384-a1-c1"


async def test_it_is_free_and_has_measured_constants(local: LocalEmbedder) -> None:
    assert (local.billable, local.relevance) == (False, Relevance(0.75, 0.4, 0.376, 0.48))


async def test_a_question_does_not_wait_for_all_passages_before_it(local: LocalEmbedder) -> None:
    many = asyncio.create_task(local.passages(["A long list of passages keeps the model busy."] * 400))
    await asyncio.sleep(0)

    await local.query("Is anybody there?")

    assert not many.done()
    await many


async def test_counting_needs_the_tokenizer_only() -> None:
    fresh = LocalEmbedder(CACHE)

    await fresh.counts(["mooring"])

    assert (fresh._loaded_tokenizer is not None, fresh._loaded_session) == (True, None)
    fresh.close()


async def test_warming_loads_everything() -> None:
    fresh = LocalEmbedder(CACHE)

    await fresh.warm()

    assert fresh._loaded_session is not None
    fresh.close()


@SOME
@given(text=ODD, limit=st.integers(16, MAX_TOKENS))
async def test_cuts_leave_pieces_within_the_limit(local: LocalEmbedder, text: str, limit: int) -> None:
    cuts = await local.cuts(text, limit)

    edges = [0, *cuts, len(text)]
    assert edges == sorted(edges)
    assert max(await local.counts([text[first:last] for first, last in pairwise(edges)])) <= limit


async def test_words_are_not_cut_where_that_can_be_helped(local: LocalEmbedder) -> None:
    text = "harbour mooring " * 200

    cuts = await local.cuts(text, 64)

    pieces = [text[first:last].split() for first, last in pairwise([0, *cuts, len(text)])]
    assert {word for piece in pieces for word in piece} == {"harbour", "mooring"}


@SOME
@given(text=ODD, title=ODD, heading=st.lists(ODD, max_size=3))
async def test_a_chunk_in_its_context_fits_the_model(
    local: LocalEmbedder, text: str, title: str, heading: list[str]
) -> None:
    parsed = Parsed(text, (Block(0, len(text), heading=tuple(heading)),))

    spans = await chunk(parsed, local)

    whole = [context(title, span.heading) + text[span.start : span.end] for span in spans]
    assert all(tokens + PREFIX_AND_ENDS < MODEL_TOKENS for tokens in await local.counts(whole))


def test_a_model_that_is_there_is_not_built_again() -> None:
    model = build(CACHE)
    made = (model / "model.onnx").stat().st_mtime_ns

    assert build(CACHE) == model == folder(CACHE)
    assert (model / "model.onnx").stat().st_mtime_ns == made


def test_a_model_that_is_not_whole_is_not_taken_for_one(tmp_path: Path) -> None:
    copy = folder(tmp_path)
    copy.mkdir(parents=True)
    for path in build(CACHE).iterdir():
        os.link(path, copy / path.name)
    assert is_whole(copy)

    (copy / "model.onnx").unlink()
    (copy / "model.onnx").write_bytes(b"cut short")

    assert not is_whole(copy)
