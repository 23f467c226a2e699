"""Whether the first bytes of a file contradict the type its name promises."""

import codecs

from domain.documents import MediaType

HEAD = 1024  # bytes to look at; a PDF may begin with other bytes, but not with more than this

WIDE_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)  # UTF-32-LE begins like UTF-16-LE
BINARY_MARKS = (
    b"%PDF-",
    b"PK\x03\x04",  # ZIP, and with it DOCX, XLSX, PPTX, EPUB
    b"PK\x05\x06",
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff",  # JPEG
    b"GIF87a",
    b"GIF89a",
    b"\x7fELF",
    b"\x1f\x8b",  # gzip
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",  # OLE: old DOC, XLS, PPT
)


def contradiction(media_type: MediaType, head: bytes) -> bool:
    """`head` is the whole first kilobyte, or the whole of a shorter file: of less nothing can be said of a PDF.

    False is no promise: the parser decides.
    """
    head = head[:HEAD]
    if media_type is MediaType.PDF:
        return b"%PDF-" not in head
    if head.startswith(BINARY_MARKS):
        return True
    return b"\0" in head and not head.startswith(WIDE_MARKS)
