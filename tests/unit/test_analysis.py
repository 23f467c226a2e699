"""Words to search terms."""

import unicodedata
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.analysis import STOP, terms
from domain.characters import normalized


def test_words_are_lowered_and_stemmed() -> None:
    assert terms("Moored vessels were MOORING") == ["moor", "vessel", "were", "moor"]


def test_stop_words_are_dropped() -> None:
    assert terms("This is the harbour") == ["harbour"]


def test_the_stop_words_are_the_33_of_the_search_server() -> None:
    assert len(STOP) == 33


def test_nothing_is_left_of_stop_words_and_punctuation() -> None:
    assert terms("To be, or not to be?! -- _ ...") == []


def test_hangul_becomes_bigrams() -> None:
    assert terms("보증금은") == ["보증", "증금", "금은"]


def test_a_single_syllable_is_its_own_term() -> None:
    assert terms("배 가") == ["배", "가"]


def test_digits_beside_hangul_are_part_of_the_bigrams() -> None:
    assert terms("30일") == ["30", "0일"]


def test_decomposed_hangul_gives_the_same_terms() -> None:
    assert terms(unicodedata.normalize("NFD", "계약이 종료")) == terms("계약이 종료")


def test_full_width_letters_and_ligatures_are_ordinary_letters() -> None:
    assert terms("ＰＤＦ ﬁle") == ["pdf", "file"]


def test_underscores_and_hyphens_separate_words() -> None:
    assert terms("ERR_CONN-42") == ["err", "conn", "42"]


def test_a_lone_surrogate_is_no_letter() -> None:
    assert terms("a1 \ud800 b2") == ["a1", "b2"]


def test_threads_do_not_disturb_each_other() -> None:
    words = "connection connections connecting mooring moored vessels harbours " * 50

    with ThreadPoolExecutor(8) as threads:
        found = set(threads.map(lambda _: tuple(terms(words)), range(64)))

    assert found == {tuple(terms(words))}


@given(st.text())
def test_a_term_holds_no_white_space(text: str) -> None:
    assert all(term and not any(letter.isspace() for letter in term) for term in terms(text))


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])), st.sampled_from(["NFC", "NFKC"]))
def test_normalising_is_that_of_unicode(text: str, form: str) -> None:
    assert normalized(form, text) == unicodedata.normalize(form, text)


@pytest.mark.timeout(20)
def test_a_million_marks_on_one_letter_are_normalised_in_no_time() -> None:
    text = "a" + "\u0301\u0327" * 500_000

    assert len(normalized("NFC", text)) <= len(text)
