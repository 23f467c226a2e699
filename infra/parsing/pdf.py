"""PDF to text, page by page, with PDFium. It may abort the process: for use in a child process only."""

import re
from collections.abc import Iterator
from itertools import pairwise

import pypdfium2 as pdfium
import pypdfium2.raw as raw

from domain.documents import Block, Parsed
from domain.errors import CorruptFile, NoText, PasswordProtected, ResourceLimit, TooManyPages
from infra.parsing.limits import OUTPUT_BYTES, PAGES
from infra.parsing.scrub import scrub

LINE_END_HYPHEN, NO_CHARACTER = "\ufffe", "\uffff"
UNREADABLE_PAGES = "unreadable_pages"
PROSE = 40  # characters: narrower text is a table, a form or a slide
SENTENCE_ENDS = (".", "!", "?", ":", "。")
GOES_ON = re.compile(r"(?!\d+(?:\.\d+)*[.)] )[\w\"'“‘(\[]")
KOREAN_LINE_END = re.compile("(?<=[가-힣])\n(?=[가-힣])")  # lines break inside words


def parse(data: bytes) -> Parsed:
    """One block per page that holds text; pages stand apart by a blank line."""
    texts: list[str] = []
    blocks: list[Block] = []
    warnings: dict[str, None] = {}
    length = pages = 0
    for number, page in enumerate(_pages(data), start=1):
        if page is None:
            warnings[UNREADABLE_PAGES] = None
            continue
        pages = number
        text, found = scrub(_unwrapped(page))
        warnings |= dict.fromkeys(found)
        text = text.strip()
        if text:
            blocks.append(Block(length, length + len(text), page=number))
            texts.append(text)
            length += len(text) + 2
        if length > OUTPUT_BYTES:
            raise ResourceLimit
    if not pages:
        raise CorruptFile
    if not blocks:
        raise NoText
    return Parsed("\n\n".join(texts), tuple(blocks), pages, tuple(warnings))


def _pages(data: bytes) -> Iterator[str | None]:
    """The text of each page as PDFium gives it; None for a page that cannot be read."""
    document = _open(data)
    try:
        if len(document) > PAGES:
            raise TooManyPages
        for number in range(len(document)):
            yield _text(document, number)
    finally:
        document.close()


def _open(data: bytes) -> pdfium.PdfDocument:
    try:
        return pdfium.PdfDocument(data)
    except pdfium.PdfiumError as error:
        locked = error.err_code in (raw.FPDF_ERR_PASSWORD, raw.FPDF_ERR_SECURITY)
        raise (PasswordProtected if locked else CorruptFile) from error


def _text(document: pdfium.PdfDocument, number: int) -> str | None:
    """Page and text page are closed at once: open ones add up to gigabytes."""
    try:
        page = document[number]
    except pdfium.PdfiumError:
        return None
    try:
        textpage = page.get_textpage()
        try:
            text: str = textpage.get_text_range()
            return text
        finally:
            textpage.close()
    except pdfium.PdfiumError:
        return None
    finally:
        page.close()


def _unwrapped(page: str) -> str:
    """Lines of a paragraph as one line: a line end closes a sentence, and most of a PDF's line ends do not.

    The next line goes on when this one is about as wide as the page's text and ends without a full stop.
    """
    page = page.replace("\r\n", "\n").replace(LINE_END_HYPHEN, "-").replace(NO_CHARACTER, "")
    lines = [line.rstrip() for line in KOREAN_LINE_END.sub("", page).split("\n")]
    widths = sorted(map(len, lines))
    wide = widths[len(widths) * 9 // 10]
    text = lines[0]
    for line, following in pairwise(lines):
        text += (" " if _goes_on(line, following, wide) else "\n") + following
    return text


def _goes_on(line: str, following: str, wide: int) -> bool:
    if wide < PROSE or line.endswith(SENTENCE_ENDS) or not GOES_ON.match(following):
        return False
    return len(line) >= wide * (0.7 if following[0].islower() else 0.85)
