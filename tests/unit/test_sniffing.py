"""The first bytes of an upload against the type of its name."""

import gzip

import pytest

from domain.documents import MediaType
from domain.sniffing import HEAD, contradiction

TEXTS = (MediaType.TEXT, MediaType.MARKDOWN)
BINARIES = {
    "pdf": b"%PDF-1.7\n",
    "zip": b"PK\x03\x04\x14\x00",
    "empty zip": b"PK\x05\x06",
    "png": b"\x89PNG\r\n\x1a\n",
    "jpeg": b"\xff\xd8\xff\xe0",
    "gif": b"GIF89a",
    "elf": b"\x7fELF",
    "gzip": gzip.compress(b"text"),
    "ole": b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
}


@pytest.mark.parametrize("media_type", TEXTS)
@pytest.mark.parametrize("head", BINARIES.values(), ids=BINARIES.keys())
def test_a_binary_file_contradicts_a_text_name(media_type: MediaType, head: bytes) -> None:
    assert contradiction(media_type, head)


@pytest.mark.parametrize("media_type", TEXTS)
@pytest.mark.parametrize("text", ["plain", "한국어", "GIF is a format", "", "# PK"])
def test_text_agrees_with_a_text_name(media_type: MediaType, text: str) -> None:
    assert not contradiction(media_type, text.encode())


def test_text_in_an_old_encoding_is_left_to_the_parser() -> None:
    assert not contradiction(MediaType.TEXT, "보증금".encode("cp949"))


def test_a_nul_contradicts_a_text_name() -> None:
    assert contradiction(MediaType.TEXT, b"begins well\0and then")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_a_byte_order_mark_explains_the_nuls(encoding: str) -> None:
    assert not contradiction(MediaType.TEXT, "text".encode(encoding))


def test_wide_text_without_a_byte_order_mark_looks_binary() -> None:
    assert contradiction(MediaType.TEXT, "text".encode("utf-16-le"))


def test_a_pdf_agrees_with_its_name() -> None:
    assert not contradiction(MediaType.PDF, b"%PDF-1.4\n%\xe2\xe3\xcf\xd3")


def test_a_pdf_may_begin_with_other_bytes() -> None:
    assert not contradiction(MediaType.PDF, b"\0" * 100 + b"%PDF-1.4")


def test_a_mark_beyond_the_first_kilobyte_does_not_make_a_pdf() -> None:
    assert contradiction(MediaType.PDF, b" " * HEAD + b"%PDF-1.4")


@pytest.mark.parametrize("head", [b"", b"just text", BINARIES["zip"]])
def test_anything_else_contradicts_the_name_of_a_pdf(head: bytes) -> None:
    assert contradiction(MediaType.PDF, head)
