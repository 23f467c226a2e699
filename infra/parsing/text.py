"""Bytes of a text file to characters, whatever encoding they are in."""

import codecs

from domain.errors import CorruptFile

BYTE_ORDER_MARKS = (  # the longer ones first: UTF-32-LE begins like UTF-16-LE
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
GUESSED_ENCODING = "guessed_encoding"


def decode(data: bytes) -> tuple[str, tuple[str, ...]]:
    """(text, warnings). Raises CorruptFile for bytes that are no text."""
    encoding = next((name for mark, name in BYTE_ORDER_MARKS if data.startswith(mark)), "utf-8")
    try:
        return data.decode(encoding), ()
    except UnicodeDecodeError as error:
        if encoding != "utf-8" or b"\0" in data:
            raise CorruptFile from error
        return _guessed(data), (GUESSED_ENCODING,)


def _guessed(data: bytes) -> str:
    from charset_normalizer import from_bytes  # slow to import, and seldom needed

    best = from_bytes(data).best()
    if best is None:
        raise CorruptFile
    return str(best)
