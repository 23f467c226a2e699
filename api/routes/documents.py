"""Upload, list and read documents."""

from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Literal
from urllib.parse import quote

from fastapi import Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from api import views
from api.admission import Admission, digest
from api.deps import Admit, Caller, Cursor, Key, Limit, Platform
from api.routing import Router
from api.schemas.body import Page
from api.schemas.documents import Collection, Document, Duplicate
from api.schemas.runs import Run
from api.uploads import BODY, receive
from domain import documents, names
from domain.accounts import Principal
from domain.documents import Upload
from domain.errors import NotFound, Overloaded, Permanent, TemporalUnavailable
from domain.runs import Command, LiveRun
from domain.runs import State as RunState
from infra.services import Services

PATH = "/api/v1/documents"

router = Router(prefix="/api/v1", tags=["documents"])

State = Literal["ready", "processing", "parked", "failed", "cancelled"]


@router.post(
    "/documents", status_code=202, responses={200: {"model": Duplicate}}, response_model=Run, openapi_extra=BODY
)
async def upload(request: Request, principal: Caller, platform: Platform, admit: Admit, key: Key) -> Response:
    """Multipart `file` (or a `text` field) with `collection`, `title`, `metadata`, `on_duplicate`."""
    document_id = names.new_id()
    received = await receive(request, platform, principal, document_id)
    command, kept = await _admit(platform, admit, principal, received, key)
    if kept != document_id:  # this request, or this content, was admitted before
        await platform.blobs.delete(principal, document_id)
    if command is None:
        return JSONResponse(Duplicate(document_id=kept).model_dump(), 200)
    headers = {"Location": views.run_path(command.workflow_id), "Retry-After": "1"}
    return JSONResponse(views.run(platform.settings, command).model_dump(mode="json"), 202, headers)


@router.get("/documents")
async def list_documents(
    principal: Caller,
    platform: Platform,
    collection: str | None = None,
    state: State | None = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[Document]:
    """Newest first."""
    wanted = RunState.RUNNING if state == "processing" else state
    page = await platform.documents.documents(
        principal, collection=collection, state=wanted, limit=limit, cursor=cursor
    )
    return Page(items=[views.document(row) for row in page.items], next_cursor=page.next_cursor)


@router.get("/documents/{document_id}")
async def get_document(document_id: str, principal: Caller, platform: Platform, response: Response) -> Document:
    row = await platform.documents.document(principal, document_id)
    response.headers["ETag"] = f'"{row.version or 0}-{int(row.updated_at.timestamp() * 1_000_000)}"'
    return views.document(row, await _pending(platform, principal, row))


@router.get("/documents/{document_id}/content")
async def content(document_id: str, principal: Caller, platform: Platform) -> Response:
    """The original bytes, always as an attachment."""
    row = await platform.documents.document(principal, document_id)
    path = names.blob(document_id, _readable_version(row), "original")
    headers = {
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(row.filename, safe='')}",
        "Content-Length": str(row.size),
        "Content-Security-Policy": "default-src 'none'; sandbox",
    }
    pieces = await _opened(platform.blobs.stream(principal, path))
    return StreamingResponse(pieces, headers=headers, media_type=row.media_type.value)


@router.get("/documents/{document_id}/text")
async def text(document_id: str, principal: Caller, platform: Platform) -> Response:
    """The parsed text: what offsets of sources point into. 404 until a version is live."""
    row = await platform.documents.document(principal, document_id)
    if row.version is None:
        raise NotFound("No version of this document is ready yet; see `pending.run`.")
    parsed = await platform.blobs.get(principal, names.blob(document_id, row.version, "text"))
    return Response(parsed, media_type="text/plain; charset=utf-8")


@router.get("/collections")
async def list_collections(principal: Caller, platform: Platform) -> Page[Collection]:
    rows = await platform.documents.collections(principal)
    return Page(items=[_collection(row) for row in rows])


@router.get("/collections/{name}/documents")
async def documents_of_collection(
    name: str, principal: Caller, platform: Platform, limit: Limit = 50, cursor: Cursor = None
) -> Page[Document]:
    await platform.documents.collection(principal, name)
    return await list_documents(principal, platform, collection=name, limit=limit, cursor=cursor)


async def _admit(
    platform: Services, admit: Admission, principal: Principal, received: Upload, key: str | None
) -> tuple[Command | None, str]:
    """A refused upload leaves no bytes behind; one whose fate is unknown keeps them."""
    fields = {name: value for name, value in asdict(received).items() if name != "document_id"}
    try:
        return await admit.upload(principal, received, key, digest(PATH, fields))
    except (Permanent, Overloaded):
        await platform.blobs.delete(principal, received.document_id)
        raise


async def _pending(platform: Services, principal: Principal, row: documents.Document) -> LiveRun | None:
    """What Temporal says of a version that is not live yet; the row alone will do while Temporal is down."""
    if row.pending is None or row.pending.state is not RunState.RUNNING:
        return None
    try:
        return await platform.engine.describe(principal, row.pending.workflow_id)
    except TemporalUnavailable:
        return None


def _readable_version(row: documents.Document) -> int:
    version = row.version or (row.pending.version if row.pending else None)
    if version is None:
        raise NotFound
    return version


async def _opened(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Read the first piece now, so that a missing blob is still a 404."""
    first = await anext(pieces, b"")

    async def rest() -> AsyncIterator[bytes]:
        yield first
        async for piece in pieces:
            yield piece

    return rest()


def _collection(row: documents.Collection) -> Collection:
    return Collection(**{name: value for name, value in asdict(row).items() if name != "generation"})
