"""Receive an upload: multipart parsed as it arrives, bytes counted, hashed and written to the blob store."""

import hashlib
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Annotated, Any

from fastapi import Request
from pydantic import Field, TypeAdapter, ValidationError

from api import strict_json
from api.multipart import Part, Piece, parts
from api.schemas.body import CollectionName, MetadataKey, MetadataValue
from api.schemas.body import Request as Body
from domain import names
from domain.accounts import Principal
from domain.documents import SUFFIXES, MediaType, OnDuplicate, Upload
from domain.errors import EmptyFile, FileTooLarge, InvalidRequest, MalformedRequest, TypeMismatch, UnsupportedType
from domain.ports import BlobWriter
from domain.sniffing import HEAD, contradiction
from infra.services import Services

OVERHEAD = 1_000_000  # bytes of a multipart body that are not the file
LONGEST_FIELD = 64_000
LONGEST_NAME = 255


class Fields(Body):
    """The fields beside the file."""

    collection: CollectionName = "default"
    title: Annotated[str, Field(max_length=500)] = ""
    metadata: Annotated[dict[MetadataKey, MetadataValue], Field(max_length=16)] = Field(default_factory=dict)
    on_duplicate: OnDuplicate = OnDuplicate.SKIP


# What FastAPI cannot tell from a signature: the body is read as it arrives.
BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "text": {"type": "string", "description": "instead of a file"},
                        "collection": {"type": "string", "minLength": 1, "maxLength": 100, "default": "default"},
                        "title": {"type": "string", "maxLength": 500},
                        "metadata": {"type": "string", "description": "JSON object of strings, numbers and booleans"},
                        "on_duplicate": {"type": "string", "enum": [one.value for one in OnDuplicate]},
                    },
                }
            }
        },
    }
}


@dataclass
class Received:
    """What has arrived so far."""

    limit: int
    filename: str = ""
    media_type: MediaType | None = None
    size: int = 0
    head: bytes = b""
    hash: Any = field(default_factory=hashlib.sha256)
    fields: dict[str, str] = field(default_factory=dict)

    async def take(self, data: bytes, sink: BlobWriter) -> None:
        self.size += len(data)
        if self.size > self.limit:
            raise FileTooLarge
        if len(self.head) < HEAD:
            self.head += data[: HEAD - len(self.head)]
            if len(self.head) == HEAD:
                self.check()
        self.hash.update(data)
        await sink.write(data)

    def check(self) -> None:
        """Once the head is whole, or the file was shorter than it. Raises TypeMismatch."""
        if self.media_type is not None and contradiction(self.media_type, self.head):
            raise TypeMismatch


async def receive(request: Request, platform: Services, principal: Principal, document_id: str) -> Upload:
    """The upload, its bytes already in the blob store. Raises FileTooLarge before all of it is read."""
    received = Received(limit=platform.settings.max_upload_bytes)
    claimed = request.headers.get("content-length", "0")
    if claimed.isdigit() and int(claimed) > received.limit + OVERHEAD:
        raise FileTooLarge
    async with platform.blobs.writer(principal, names.blob(document_id, 1, "original")) as sink:
        await _read(request, received, sink)
        if received.media_type is None:
            raise InvalidRequest("Send one part named `file`, or a field named `text`.")
        if not received.size:
            raise EmptyFile
        received.check()
        fields = _fields(received.fields)
    return Upload(
        document_id=document_id,
        collection=fields.collection,
        filename=received.filename,
        title=fields.title.strip(),
        media_type=received.media_type,
        size=received.size,
        sha256=received.hash.hexdigest(),
        metadata=fields.metadata,
        on_duplicate=fields.on_duplicate,
    )


async def _read(request: Request, received: Received, sink: BlobWriter) -> None:
    content = False  # the part being read is the document itself
    name = ""
    async for item in parts(request, received.limit + OVERHEAD):
        if isinstance(item, Part):
            name = item.name
            content = name in ("file", "text")
            if content:
                _begin(received, item)
            elif name in received.fields:
                raise InvalidRequest(f"{name[:64]}: given twice.")
            else:
                received.fields[name] = ""
        elif content:
            await received.take(item.data, sink)
        else:
            _append(received, name, item)


def _begin(received: Received, part: Part) -> None:
    if received.media_type is not None:
        raise InvalidRequest("Send one document: `file` or `text`, once.")
    received.filename = "text.txt" if part.name == "text" else _clean(part.filename)
    suffix = PurePosixPath(received.filename).suffix.lower()
    if suffix not in SUFFIXES:
        raise UnsupportedType
    received.media_type = SUFFIXES[suffix]


def _append(received: Received, name: str, piece: Piece) -> None:
    try:
        received.fields[name] += piece.data.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"{name[:64]}: must be UTF-8.") from error
    if "\0" in received.fields[name]:
        raise InvalidRequest(f"{name[:64]}: holds the character NUL.")
    if len(received.fields[name]) > LONGEST_FIELD:
        raise InvalidRequest(f"{name[:64]}: too long.")


def _clean(filename: str) -> str:
    """A label, never a path: the last component without control characters, cut but for its suffix."""
    last = filename.replace("\\", "/").rpartition("/")[2]
    label = "".join(character for character in last if character.isprintable()).strip()
    if len(label) <= LONGEST_NAME:
        return label
    suffix = PurePosixPath(label).suffix[:16]
    return label[: LONGEST_NAME - len(suffix)] + suffix


def _fields(given: dict[str, str]) -> Fields:
    try:
        values: dict[str, Any] = dict(given)
        if "metadata" in values:
            values["metadata"] = TypeAdapter(dict[str, Any]).validate_python(
                strict_json.loads(given["metadata"].encode())
            )
        return Fields.model_validate(values)
    except ValidationError as error:
        where = ".".join(str(part)[:64] for part in error.errors()[0]["loc"])
        raise InvalidRequest(f"{where}: {error.errors()[0]['msg']}") from error
    except MalformedRequest as error:
        raise InvalidRequest(f"metadata: {error.detail}") from None
