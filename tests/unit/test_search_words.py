"""What decides how a query is searched, and whether its hits are evidence."""

import unicodedata

import pytest

from domain.search import (
    ENGLISH_ALPHA,
    KOREAN_ALPHA,
    Hit,
    Mode,
    Query,
    Relevance,
    Scope,
    coverage,
    is_korean,
    meta_term,
)
from tests.unit.passages import passage

SCOPE = Scope(generation="g", collection_id="c")
RELEVANCE = Relevance(floor=0.75, span=0.4, threshold=0.376, korean_threshold=0.48)


def query(text: str, mode: Mode = Mode.HYBRID) -> Query:
    return Query(text, None, 5, mode, scope=SCOPE)


def hit(*, cosine: float | None, coverage: float = 0.0) -> Hit:
    found = passage("text").hit
    return Hit(found.chunk_id, found.document_id, 1, 0, found.text, 0, 4, None, 1.0, cosine, coverage)


@pytest.mark.parametrize("text", ["보증금", "보증금 return", "계약 2019!"])
def test_a_third_of_hangul_letters_makes_a_text_korean(text: str) -> None:
    assert is_korean(text)


@pytest.mark.parametrize("text", ["deposit", "who wrote 홍길동", "2019", "", "日本語"])
def test_other_texts_are_not_korean(text: str) -> None:
    assert not is_korean(text)


def test_decomposed_hangul_is_korean() -> None:
    assert is_korean(unicodedata.normalize("NFD", "보증금"))


def test_the_weight_of_the_vector_leg_follows_the_language() -> None:
    assert (query("deposit").alpha, query("보증금").alpha) == (ENGLISH_ALPHA, KOREAN_ALPHA)


def test_one_leg_alone_has_all_the_weight() -> None:
    assert (query("보증금", Mode.VECTOR).alpha, query("deposit", Mode.KEYWORD).alpha) == (1.0, 0.0)


def test_coverage_is_the_share_of_the_querys_terms() -> None:
    assert coverage("mooring lines of vessels", "The vessel is moored.") == pytest.approx(2 / 3)


def test_repeated_words_count_once() -> None:
    assert coverage("dues dues monthly", "dues") == 0.5


def test_a_query_of_stop_words_covers_nothing() -> None:
    assert coverage("to be or not to be", "to be") == 0.0


def test_evidence_adds_cosine_and_coverage() -> None:
    assert RELEVANCE.evidence(hit(cosine=0.85, coverage=0.5)) == pytest.approx(0.25 + 0.25)


def test_a_hit_without_a_cosine_is_weak_evidence() -> None:
    assert RELEVANCE.evidence(hit(cosine=None)) < 0


def test_one_good_hit_makes_a_question_answerable() -> None:
    assert RELEVANCE.answerable("deposit", [hit(cosine=0.7), hit(cosine=0.9, coverage=0.1)])


def test_korean_questions_need_more_evidence() -> None:
    hits = [hit(cosine=0.9, coverage=0.1)]

    assert not RELEVANCE.answerable("보증금", hits)


def test_hits_beyond_the_fifth_are_no_evidence() -> None:
    assert not RELEVANCE.answerable("deposit", [hit(cosine=0.7)] * 5 + [hit(cosine=1.0, coverage=1.0)])


def test_metadata_keeps_numbers_strings_and_truth_apart() -> None:
    assert len({meta_term("k", value) for value in (1, "1", True, "true")}) == 4
