"""The sample documents are what their questions, their licences and the demo need them to be."""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import pypdfium2
import pytest

SAMPLES = Path(str(files("cli"))) / "samples"
QUESTIONS: list[dict[str, Any]] = json.loads((SAMPLES / "questions.json").read_text(encoding="utf-8"))
DOCUMENTS = sorted(path for path in SAMPLES.iterdir() if path.name[0].islower() and path.suffix != ".json")
PDF = SAMPLES / "filesystem-hierarchy-standard-3.0.pdf"


def pages(path: Path) -> list[str]:
    """The text of each page; one page where there are none."""
    if path.suffix != ".pdf":
        return [path.read_text(encoding="utf-8")]
    with pypdfium2.PdfDocument(path) as document:
        return [page.get_textpage().get_text_bounded() for page in document]


def is_korean(text: str) -> bool:
    return any("가" <= letter <= "힣" for letter in text)


def holding(expected: str) -> list[str]:
    return [path.name for path in DOCUMENTS if any(expected in page for page in pages(path))]


def test_there_are_documents_of_every_type_that_can_be_uploaded() -> None:
    assert len(DOCUMENTS) >= 6
    assert {path.suffix for path in DOCUMENTS} == {".md", ".txt", ".pdf"}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_document_is_small_and_named_in_the_attribution(path: Path) -> None:
    assert path.stat().st_size < 2_000_000
    assert f"`{path.name}`" in (SAMPLES / "ATTRIBUTION.md").read_text()


def test_the_pdf_has_many_pages_of_real_text() -> None:
    texts = pages(PDF)

    assert 3 <= len(texts) <= 60
    assert sum(len(text) for text in texts) > 100_000


def test_the_pdf_carries_its_permission_notice_and_so_does_the_file_beside_it() -> None:
    notice = (SAMPLES / "LICENSE-FHS.txt").read_text().split("\n\n")[2]

    assert notice.split() == notice_in(pages(PDF)[1]).split()


def notice_in(page: str) -> str:
    start = page.index("Permission is granted to make")
    return page[start : page.index("Permission is granted to copy")]


@pytest.mark.parametrize("path", [path for path in DOCUMENTS if path.suffix == ".md"], ids=lambda path: path.name)
def test_an_article_opens_with_its_title_and_has_paragraphs(path: Path) -> None:
    title, *paragraphs = path.read_text(encoding="utf-8").strip().split("\n\n")

    assert title.startswith("# ")
    assert len(paragraphs) == 5


@pytest.mark.parametrize("question", QUESTIONS, ids=lambda question: question["text"])
def test_an_expected_answer_stands_in_exactly_one_document(question: dict[str, Any]) -> None:
    assert len(holding(question["expect"] or question["text"])) == (1 if question["expect"] else 0)


def test_the_questions_are_of_every_kind() -> None:
    answered = [question for question in QUESTIONS if question["expect"]]

    assert 6 <= len(QUESTIONS) <= 7
    assert len(QUESTIONS) - len(answered) == 1
    assert [question["text"] for question in QUESTIONS if question["follow_up"]] == ["And in which year was that?"]
    assert any(holding(question["expect"]) == [PDF.name] for question in answered)
    assert any(is_korean(question["text"]) and is_korean(question["expect"]) for question in answered)


def test_a_follow_up_has_a_question_before_it() -> None:
    assert QUESTIONS[0]["follow_up"] is False
