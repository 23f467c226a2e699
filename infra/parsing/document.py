"""Any supported file to text with pages and headings: scrubbed, in NFC, never blank."""

from domain.documents import Block, MediaType, Parsed
from domain.errors import NoText
from infra.parsing import markdown, text
from infra.parsing.scrub import scrub


def parse(data: bytes, media_type: MediaType) -> Parsed:
    """Raises BadDocument for what the bytes are to blame for."""
    if media_type is MediaType.PDF:
        from infra.parsing import pdf  # PDFium is loaded where it is needed, and only ever in a child process

        return pdf.parse(data)
    decoded, guessed = text.decode(data)
    clean, found = scrub(decoded)
    if not clean.strip():
        raise NoText
    blocks = markdown.blocks(clean) if media_type is MediaType.MARKDOWN else (Block(0, len(clean)),)
    return Parsed(clean, blocks, warnings=(*guessed, *found))
