"""What a parsing child says on its pipe: two lengths, then a JSON header and the text in UTF-8."""

import json
import struct
from asyncio import StreamReader
from typing import Any

from domain.documents import Block, Parsed
from domain.errors import BadDocument, Internal, ResourceLimit, by_code
from infra.parsing.limits import OUTPUT_BYTES

LENGTHS = struct.Struct(">II")


def parsed_message(parsed: Parsed) -> bytes:
    blocks = [[block.start, block.end, block.page, block.heading] for block in parsed.blocks]
    header = {"blocks": blocks, "pages": parsed.pages, "warnings": parsed.warnings}
    return _message(header, parsed.text.encode())


def error_message(error: BadDocument) -> bytes:
    return _message({"error": error.code}, b"")


async def read_message(pipe: StreamReader) -> Parsed:
    """Raises the error that the child reported, ResourceLimit when it says too much, EOFError when it fell silent."""
    header_size, text_size = LENGTHS.unpack(await pipe.readexactly(LENGTHS.size))
    if header_size + text_size > OUTPUT_BYTES:
        raise ResourceLimit
    header = json.loads(await pipe.readexactly(header_size))
    if "error" in header:
        raise _error(header["error"])
    text = (await pipe.readexactly(text_size)).decode()
    blocks = tuple(Block(start, end, page, tuple(heading)) for start, end, page, heading in header["blocks"])
    return Parsed(text, blocks, header["pages"], tuple(header["warnings"]))


def _message(header: dict[str, Any], text: bytes) -> bytes:
    encoded = json.dumps(header, ensure_ascii=False).encode()
    if len(encoded) + len(text) > OUTPUT_BYTES:
        return error_message(ResourceLimit())
    return LENGTHS.pack(len(encoded), len(text)) + encoded + text


def _error(code: str) -> Exception:
    cls = by_code(code)
    return cls() if issubclass(cls, BadDocument) else Internal(f"The parser reported {code[:32]!a}.")
