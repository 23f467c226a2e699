"""Sentences, and how they are packed into chunks."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.chunking import CONTEXT_CHARACTERS, MAX_CHARACTERS, MAX_TOKENS, chunk, context
from domain.documents import Block, Parsed, Span
from domain.sentences import is_fragment, sentences
from infra.memory import StubEmbedder

TOKENIZER = StubEmbedder()
PROSE = st.text(alphabet='ab .!?\n한글。\t\u00a0")', max_size=400)


def parsed(text: str) -> Parsed:
    return Parsed(text, (Block(0, len(text)),))


def sections(*texts: str) -> Parsed:
    """Each text under a heading of its own, on a page of its own."""
    blocks, at = [], 0
    for number, text in enumerate(texts, start=1):
        blocks.append(Block(at, at + len(text), page=number, heading=(f"h{number}",)))
        at += len(text)
    return Parsed("".join(texts), tuple(blocks))


def split(text: str) -> list[str]:
    return [text[start:end] for start, end in sentences(text)]


def texts(document: Parsed, spans: list[Span]) -> list[str]:
    return [document.text[span.start : span.end] for span in spans]


def words(count: int) -> str:
    return " ".join(["word"] * (count - 1)) + " end."


def test_a_sentence_ends_at_its_mark() -> None:
    assert split("One. Two! Three? Four") == ["One.", "Two!", "Three?", "Four"]


def test_a_mark_inside_a_word_ends_nothing() -> None:
    assert split("Version 3.2 of e.g.x is out.") == ["Version 3.2 of e.g.x is out."]


def test_closing_quotes_and_brackets_stay_with_their_sentence() -> None:
    assert split("“Cast off.” (He did.) Gone.") == ["“Cast off.”", "(He did.)", "Gone."]


def test_a_line_end_closes_a_sentence() -> None:
    assert split("Heading\nText goes\n\non") == ["Heading", "Text goes", "on"]


def test_korean_sentences_end_like_english_ones() -> None:
    assert split("계약이 끝났다. 보증금은 반환된다.") == ["계약이 끝났다.", "보증금은 반환된다."]


def test_blank_text_has_no_sentences() -> None:
    assert split(" \n\t\n ") == []


@pytest.mark.parametrize(("text", "expected"), [("- 3.", True), ("Two words", True), ("It says much.", False)])
def test_a_fragment_has_fewer_than_three_words(text: str, expected: bool) -> None:
    assert is_fragment(text) is expected


async def test_short_text_is_one_chunk() -> None:
    document = parsed("  One sentence. Another one.\n")

    spans = await chunk(document, TOKENIZER)

    assert texts(document, spans) == ["One sentence. Another one."]


async def test_a_sentence_that_does_not_fit_starts_the_next_chunk() -> None:
    document = parsed(" ".join([words(100)] * 4))

    spans = await chunk(document, TOKENIZER)

    assert texts(document, spans) == [f"{words(100)} {words(100)}"] * 2


async def test_a_blank_line_ends_a_chunk_that_is_well_begun() -> None:
    document = parsed(f"{words(90)}\n\n{words(10)}")

    spans = await chunk(document, TOKENIZER)

    assert texts(document, spans) == [words(90), words(10)]


async def test_a_blank_line_does_not_end_a_chunk_that_has_hardly_begun() -> None:
    document = parsed(f"{words(10)}\n \n{words(90)}")

    spans = await chunk(document, TOKENIZER)

    assert texts(document, spans) == [document.text]


async def test_a_line_end_alone_does_not_end_a_chunk() -> None:
    document = parsed(f"{words(90)}\n{words(90)}")

    spans = await chunk(document, TOKENIZER)

    assert len(spans) == 1


async def test_a_heading_starts_a_chunk() -> None:
    document = sections("First.", " Second.")

    spans = await chunk(document, TOKENIZER)

    assert [(span.heading, span.page) for span in spans] == [(("h1",), 1), (("h2",), 2)]


async def test_a_chunk_may_go_on_over_pages_and_keeps_the_page_it_starts_on() -> None:
    document = Parsed("One begins\n\nand ends.", (Block(0, 10, page=1), Block(12, 21, page=2)))

    spans = await chunk(document, TOKENIZER)

    assert spans == [Span(0, 0, 21, 1, ())]


async def test_a_sentence_longer_than_a_chunk_is_cut_between_words() -> None:
    document = parsed(words(1_000))

    found = texts(document, await chunk(document, TOKENIZER))

    assert len(found) > 1
    assert " ".join(found) == document.text


async def test_letters_that_cost_no_tokens_do_not_make_endless_chunks() -> None:
    document = parsed("x" * 10 * MAX_CHARACTERS + " " * MAX_CHARACTERS + "y. " + "\n" * 2 * MAX_CHARACTERS + "z")

    spans = await chunk(document, TOKENIZER)

    assert max(span.end - span.start for span in spans) <= MAX_CHARACTERS


async def test_more_sentences_than_a_batch_holds_are_all_there() -> None:
    document = parsed("A b c. " * 2_000)

    spans = await chunk(document, TOKENIZER)

    assert sum(text.count("A b c.") for text in texts(document, spans)) == 2_000


@given(st.lists(PROSE, min_size=1, max_size=4))
async def test_chunks_hold_all_text_once_and_in_order(pieces: list[str]) -> None:
    document = sections(*pieces)

    spans = await chunk(document, TOKENIZER)

    assert [span.ordinal for span in spans] == list(range(len(spans)))
    assert all(before.end <= after.start for before, after in pairwise(spans))
    assert "".join("".join(texts(document, spans)).split()) == "".join(document.text.split())


@given(st.lists(PROSE, min_size=1, max_size=4))
async def test_a_chunk_has_no_white_space_around_it_and_is_never_too_long(pieces: list[str]) -> None:
    document = sections(*pieces)

    found = texts(document, await chunk(document, TOKENIZER))

    assert all(text and text == text.strip() for text in found)
    assert all(count <= MAX_TOKENS for count in await TOKENIZER.counts(found))


@given(PROSE)
async def test_the_same_text_gives_the_same_chunks(text: str) -> None:
    assert await chunk(parsed(text), TOKENIZER) == await chunk(parsed(text), TOKENIZER)


def test_the_context_is_title_and_headings_on_a_line() -> None:
    assert context("Lease", ("Deposit", "Return")) == "Lease > Deposit > Return\n"


def test_without_title_and_headings_there_is_no_context() -> None:
    assert context("", ()) == ""


@pytest.mark.parametrize("filename", ["lease.pdf", "READ ME.MD"])
def test_a_file_name_is_no_title(filename: str) -> None:
    assert context(filename, ()) == ""


def test_a_heading_that_repeats_the_title_is_said_once() -> None:
    assert context("Lease", ("Lease", "Deposit")) == "Lease > Deposit\n"


def test_white_space_in_a_title_cannot_add_lines() -> None:
    assert context("A\n\nB", ()) == "A B\n"


@given(st.text(), st.lists(st.text(), max_size=6))
def test_the_context_is_short(title: str, heading: list[str]) -> None:
    assert len(context(title, heading)) <= CONTEXT_CHARACTERS + 1
