"""Files to text: what comes out of good ones, and how bad ones end."""

import asyncio
import os
import subprocess
import unicodedata
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.documents import Block, MediaType, Parsed
from domain.errors import BadDocument, CorruptFile, NoText, PasswordProtected, ResourceLimit, TooManyPages
from infra.parsing import document, limits
from infra.parsing.parser import SMALL, ChildParser
from infra.parsing.scrub import scrub
from tests.unit.pdfs import from_streams, pdf

LEASE = "계약이 종료되면 보증금은 30일 이내에 반환됩니다."
LINE = "The harbour master assigns every berth for one season and"


def text(data: bytes) -> Parsed:
    return document.parse(data, MediaType.TEXT)


def markdown(source: str) -> list[tuple[tuple[str, ...], str]]:
    """(heading path, text) of each section."""
    parsed = document.parse(source.encode(), MediaType.MARKDOWN)
    return [(block.heading, parsed.text[block.start : block.end]) for block in parsed.blocks]


async def pdf_text(data: bytes) -> str:
    return (await ChildParser().parse(data, MediaType.PDF)).text


# --- plain text -------------------------------------------------------------------------------------------


def test_plain_text_is_one_block_without_pages() -> None:
    parsed = text(b"One.\n\nTwo.")

    assert parsed == Parsed("One.\n\nTwo.", (Block(0, 10),))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_unicode_is_read_by_its_byte_order_mark(encoding: str) -> None:
    assert text(LEASE.encode(encoding)).text == LEASE


def test_an_old_korean_encoding_is_guessed_with_a_warning() -> None:
    parsed = text(LEASE.encode("cp949"))

    assert (parsed.text, parsed.warnings) == (LEASE, ("guessed_encoding",))


@pytest.mark.parametrize("data", [bytes(range(256)) * 4, "x".encode("utf-16")[:-1], b"\xff\xfe\x00\xd8"])
def test_bytes_that_are_no_text_are_corrupt(data: bytes) -> None:
    with pytest.raises(CorruptFile):
        text(data)


@pytest.mark.parametrize("data", [b"", b" \n\t\r\n", "\u200b\ufeff\u3000".encode()])
def test_a_blank_file_holds_no_text(data: bytes) -> None:
    with pytest.raises(NoText):
        text(data)


def test_every_kind_of_line_end_becomes_one() -> None:
    assert text("a\r\nb\rc\u2028d\fe".encode()).text == "a\nb\nc\nd\ne"


def test_decomposed_letters_are_composed() -> None:
    assert text(unicodedata.normalize("NFD", LEASE).encode()).text == LEASE


def test_control_characters_are_taken_out_but_for_tab_and_line_end() -> None:
    assert scrub("a\x00b\x1b[31mc\td\ne\x7f\x9f") == ("ab[31mc\td\ne", ())


def test_lone_surrogates_are_replaced() -> None:
    assert scrub("a\ud800b") == ("a\ufffdb", ())


@pytest.mark.parametrize("hidden", ["\u200b", "\u202e", "\u2066", "\U000e0041", "\xad", "\ufeff"])
def test_invisible_characters_are_taken_out_with_a_warning(hidden: str) -> None:
    assert scrub(f"pay{hidden}ment") == ("payment", ("invisible_characters",))


@given(st.text())
def test_scrubbing_twice_changes_nothing_more(anything: str) -> None:
    once, _ = scrub(anything)

    assert scrub(once) == (once, ())
    assert unicodedata.is_normalized("NFC", once)


# --- Markdown ---------------------------------------------------------------------------------------------


def test_headings_give_paths() -> None:
    found = markdown("Intro\n# A\none\n## B\ntwo\n# C\nthree")

    assert found == [
        ((), "Intro\n"),
        (("A",), "# A\none\n"),
        (("A", "B"), "## B\ntwo\n"),
        (("C",), "# C\nthree"),
    ]


def test_headings_that_follow_each_other_open_one_section() -> None:
    found = markdown("# A\n\n## B\n\ntext")

    assert found == [(("A", "B"), "# A\n\n## B\n\ntext")]


def test_underlined_lines_are_headings() -> None:
    found = markdown("A\n===\none\n\nB\n---\ntwo")

    assert [heading for heading, _ in found] == [("A",), ("A", "B")]


@pytest.mark.parametrize(
    "source",
    [
        "```\n# no\n```\ntext",
        "~~~~ python\n```\n# no\n~~~\n# no\n~~~~\ntext",
        "```\n# never closed",
        "    # indented code",
        "#hashtag",
        "####### seven",
        "a\nb\n---\nc",
        "- item\n---\ntext",
        "---\ntitle: front matter\n---\ntext",
        "text\n\n---\n\ntext",
        "a | b\n--- | ---\n1 | 2",
    ],
)
def test_what_only_looks_like_a_heading_is_none(source: str) -> None:
    assert markdown(source) == [((), source)]


def test_decoration_is_no_part_of_a_headings_name() -> None:
    assert markdown("## **Dues** ##\ntext")[0][0] == ("Dues",)


def test_a_very_long_heading_is_cut() -> None:
    assert len(markdown(f"# {'x' * 10_000}\ntext")[0][0][0]) == limits.HEADING


def test_endless_sections_are_a_resource_limit() -> None:
    with pytest.raises(ResourceLimit):
        markdown("# a\nb\n" * (limits.BLOCKS + 1))


@given(st.text(alphabet="#=-`~ ab\n", max_size=200).filter(str.strip))
def test_sections_hold_the_whole_text_in_order(source: str) -> None:
    parsed = document.parse(source.encode(), MediaType.MARKDOWN)

    assert parsed.text == source
    assert (parsed.blocks[0].start, parsed.blocks[-1].end) == (0, len(source))
    assert all(before.end == after.start for before, after in pairwise(parsed.blocks))


# --- PDF --------------------------------------------------------------------------------------------------


async def test_every_page_with_text_is_a_block() -> None:
    parsed = await ChildParser().parse(pdf([["First page."], [""], ["Third page."]]), MediaType.PDF)

    assert parsed == Parsed("First page.\n\nThird page.", (Block(0, 11, page=1), Block(13, 24, page=3)), pages=3)


async def test_lines_of_a_paragraph_are_joined() -> None:
    assert await pdf_text(pdf([[LINE, "bills it monthly."]])) == f"{LINE} bills it monthly."


async def test_a_short_line_stays_a_line() -> None:
    assert await pdf_text(pdf([["Berths", LINE, "bills it."]])) == f"Berths\n{LINE} bills it."


async def test_a_list_stays_a_list() -> None:
    assert await pdf_text(pdf([[LINE, "2. bills it monthly."]])) == f"{LINE}\n2. bills it monthly."


async def test_a_hyphen_at_a_line_end_stays() -> None:
    assert await pdf_text(pdf([["A well-", "known harbour."]])) == "A well-known harbour."


async def test_korean_words_broken_at_a_line_end_are_whole_again() -> None:
    assert await pdf_text(pdf([["계약이 종", "료되면 끝납니다."]])) == "계약이 종료되면 끝납니다."


async def test_a_claim_of_a_hundred_million_pages_is_not_believed() -> None:
    parsed = await ChildParser().parse(pdf([["One page."]], count=100_000_000), MediaType.PDF)

    assert parsed.pages == 1


async def test_as_many_pages_as_allowed_are_read() -> None:
    parsed = await ChildParser().parse(pdf([["x"]] * limits.PAGES), MediaType.PDF)

    assert parsed.pages == limits.PAGES


ONE_PAGE = pdf([["One page."]])
ANY_GLYPH = {"a": 1}
BAD: dict[str, tuple[Callable[[], bytes], type[BadDocument]]] = {
    "garbage": (lambda: b"%PDF-1.4\n" + os.urandom(2_000), CorruptFile),
    "truncated": (lambda: ONE_PAGE[: len(ONE_PAGE) // 2], CorruptFile),
    "no pages": (lambda: pdf([]), CorruptFile),
    "not a pdf": (lambda: b"plain text", CorruptFile),
    "locked": (lambda: pdf([["secret"]], locked=True), PasswordProtected),
    "without text": (lambda: pdf([[""], [" "]]), NoText),
    "one page too many": (lambda: pdf([["x"]] * (limits.PAGES + 1)), TooManyPages),
    "flate bomb": (lambda: from_streams([b" " * 50_000_000], ANY_GLYPH, repeat=25), ResourceLimit),
    "operator bomb": (lambda: from_streams([b"q " * 10_000_000], ANY_GLYPH, repeat=25), ResourceLimit),
}


@pytest.mark.parametrize(("make", "error"), BAD.values(), ids=BAD.keys())
async def test_a_bad_pdf_ends_with_its_own_error(make: Callable[[], bytes], error: type[BadDocument]) -> None:
    with pytest.raises(error):
        await ChildParser().parse(make(), MediaType.PDF)


# --- the child process ------------------------------------------------------------------------------------


async def test_large_text_comes_back_from_a_child_unchanged() -> None:
    source = f"# Title\n{LEASE}\n" * (SMALL // 30)

    parsed = await ChildParser().parse(source.encode(), MediaType.MARKDOWN)

    assert parsed == document.parse(source.encode(), MediaType.MARKDOWN)


async def test_more_text_than_allowed_is_a_resource_limit() -> None:
    with pytest.raises(ResourceLimit):
        await ChildParser().parse(b"x" * (limits.OUTPUT_BYTES + 1), MediaType.TEXT)


async def test_a_child_that_takes_too_long_is_killed() -> None:
    with pytest.raises(ResourceLimit):
        await ChildParser(wall_seconds=0).parse(ONE_PAGE, MediaType.PDF)

    assert _children() == []


async def test_a_cancelled_parse_leaves_no_child() -> None:
    parsing = asyncio.create_task(ChildParser().parse(pdf([["x"]] * limits.PAGES), MediaType.PDF))
    while not _children():
        await asyncio.sleep(0)

    parsing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await parsing

    assert _children() == []


async def test_several_documents_are_read_at_once() -> None:
    texts = await asyncio.gather(*(pdf_text(pdf([[f"Document {number}."]])) for number in range(4)))

    assert texts == [f"Document {number}." for number in range(4)]


async def test_the_child_sees_nothing_of_our_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOORAGE_SECRET_KEY", "canary")

    parsing = asyncio.create_task(ChildParser().parse(pdf([["x"]] * limits.PAGES), MediaType.PDF))
    while not (children := _children()):
        await asyncio.sleep(0)
    await parsing

    assert all("canary" not in line for line in children)


def _children() -> list[str]:
    """Command lines and environments of our own parsing processes that are still there."""
    found = subprocess.run(["ps", "axeww", "-o", "ppid=,args="], capture_output=True, text=True, check=True)
    ours = [line for line in found.stdout.splitlines() if line.split(maxsplit=1)[0] == str(os.getpid())]
    return [line for line in ours if "infra.parsing.child" in line]
