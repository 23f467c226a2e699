"""A multipart body as a stream of parts and pieces, without holding or spooling any of them."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

from fastapi import Request
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser, parse_options_header

from domain.errors import FileTooLarge, MalformedRequest

MOST_PARTS = 20
LONGEST_HEADERS = 8_000  # bytes of one part's headers


@dataclass(frozen=True, slots=True)
class Part:
    """A part begins; its pieces follow."""

    name: str
    filename: str


@dataclass(frozen=True, slots=True)
class Piece:
    data: bytes


async def parts(request: Request, limit: int) -> AsyncIterator[Part | Piece]:
    """Raises FileTooLarge once more than `limit` bytes have come, MalformedRequest for a broken body."""
    reader = _Reader(_boundary(request))
    total = 0
    async for chunk in request.stream():
        total += len(chunk)
        if total > limit:
            raise FileTooLarge
        for item in reader.feed(chunk):
            yield item
    reader.finish()


def _boundary(request: Request) -> bytes:
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not boundary:
        raise MalformedRequest("Send multipart/form-data with a boundary.")
    return boundary


class _Reader:
    """The parser calls back in the middle of a chunk; what it said is kept until the chunk is done."""

    def __init__(self, boundary: bytes) -> None:
        self._items: list[Part | Piece] = []
        self._field = self._value = b""
        self._headers: dict[bytes, bytes] = {}
        self._parts = 0
        self._ended = False
        try:
            self._parser = MultipartParser(
                boundary,
                {
                    "on_part_begin": self._begin,
                    "on_header_field": self._header_field,
                    "on_header_value": self._header_value,
                    "on_header_end": self._header_end,
                    "on_headers_finished": self._headers_finished,
                    "on_part_data": self._data,
                    "on_end": self._end,
                },
            )
        except MultipartParseError as error:
            raise MalformedRequest("The multipart boundary is not usable.") from error

    def feed(self, chunk: bytes) -> list[Part | Piece]:
        self._items = []
        try:
            self._parser.write(chunk)
        except MultipartParseError as error:
            raise MalformedRequest("The multipart body is broken.") from error
        return self._items

    def finish(self) -> None:
        if not self._ended:
            raise MalformedRequest("The multipart body ends too early.")

    def _begin(self) -> None:
        self._parts += 1
        if self._parts > MOST_PARTS:
            raise MalformedRequest(f"More than {MOST_PARTS} parts.")
        self._headers = {}

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]
        self._bound()

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]
        self._bound()

    def _bound(self) -> None:
        if len(self._field) + len(self._value) > LONGEST_HEADERS:
            raise MalformedRequest("A part's headers are too long.")

    def _header_end(self) -> None:
        self._headers[self._field.lower()] = self._value
        self._field = self._value = b""

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        name, filename = options.get(b"name", b""), options.get(b"filename", b"")
        self._items.append(Part(name.decode(errors="replace"), filename.decode(errors="replace")))

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._items.append(Piece(data[start:end]))

    def _end(self) -> None:
        self._ended = True
