"""Ask; and the conversations that came of it."""

from collections.abc import AsyncIterator, Sequence
from typing import Annotated, Any

from fastapi import Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from api import views
from api.admission import digest
from api.deps import Admit, Caller, Cursor, Key, Limit, Platform, Wait
from api.errors import ended, problem
from api.event_stream import MEDIA_TYPE, event_stream
from api.filters import accepted
from api.routes.runs import detail
from api.routing import Router
from api.schemas.body import Page
from api.schemas.chat import ChatRequest, ChatResponse, Conversation, History, HistoryMessage
from api.schemas.runs import Run
from api.transcript import MEDIA_TYPES, SUFFIXES, Format, written
from api.waiting import settled
from domain import runs
from domain.accounts import Principal
from domain.chat import Ask, TranscriptEntry
from domain.errors import InvalidRequest, NoModel
from domain.runs import Command, State
from domain.usage import cautious
from infra.services import Services

router = Router(prefix="/api/v1/chat", tags=["chat"])
ANSWERS: dict[int | str, dict[str, Any]] = {200: {"model": ChatResponse, "content": {MEDIA_TYPE: {}}}}
EXPORTS: dict[int | str, dict[str, Any]] = {200: {"content": {kind: {} for kind in MEDIA_TYPES.values()}}}
A_PAGE = 20  # turns of an export that are in memory at once


@router.post("", status_code=202, responses=ANSWERS, response_model=Run)
async def ask(
    body: ChatRequest,
    request: Request,
    principal: Caller,
    platform: Platform,
    admit: Admit,
    key: Key,
    wait: Wait,
) -> Response:
    """202 and a run; with `Prefer: wait=N` the answer itself when it is there in time; or its events as they come."""
    fingerprint = digest("/api/v1/chat", body.model_dump(mode="json", by_alias=True))
    command = await admit.turn(principal, await _ask(platform, body), key, fingerprint)
    return await told(request, platform, principal, command, wait)


async def told(
    request: Request, platform: Services, principal: Principal, command: Command, wait: int | None
) -> Response:
    """Of a turn that was admitted, what its caller wants to hear: events, the answer, or where to look."""
    if MEDIA_TYPE in request.headers.get("accept", ""):
        return await event_stream(request, platform, principal, command)
    if wait:
        command = await settled(platform, principal, command.workflow_id, wait)
        if command.outcome is not None:
            return await _outcome(request, platform, principal, command, wait)
    return await _accepted(platform, principal, command)


@router.get("/conversations")
async def list_conversations(
    principal: Caller, platform: Platform, limit: Limit = 50, cursor: Cursor = None
) -> Page[Conversation]:
    page = await platform.turns.conversations(principal, limit=limit, cursor=cursor)
    return Page(items=[views.conversation(item) for item in page.items], next_cursor=page.next_cursor)


@router.get("/conversations/{conversation_id}/history")
async def history(
    conversation_id: str, principal: Caller, platform: Platform, limit: Annotated[int, Query(ge=1, le=100)] = 50
) -> History:
    """The newest messages, oldest first."""
    said = await platform.turns.history(principal, conversation_id, limit)
    messages = [
        HistoryMessage(role=one.speaker, content=one.text, timestamp=one.at, workflow_id=one.workflow_id)
        for one in said
    ]
    return History(conversation_id=conversation_id, messages=messages)


@router.get("/conversations/{conversation_id}/export", response_class=Response, responses=EXPORTS)
async def export(
    conversation_id: str,
    request: Request,
    principal: Caller,
    platform: Platform,
    form: Annotated[Format, Query(alias="format")] = Format.MARKDOWN,
) -> Response:
    """All of it with its sources. What fails before the first word is a problem, later the file ends early."""
    conversation = await platform.turns.conversation(principal, conversation_id)
    first = await platform.answers.exchanges(principal, conversation_id, limit=A_PAGE, cursor=None)
    name = f"conversation-{conversation.conversation_id}.{SUFFIXES[form]}"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    if request.scope.get("bare"):
        return Response(None, 200, headers, MEDIA_TYPES[form])
    pages = _pages(platform, principal, conversation_id, first)
    return StreamingResponse(written(form, conversation, pages), 200, headers, MEDIA_TYPES[form])


@router.delete("/conversations/{conversation_id}", status_code=204)
async def forget(conversation_id: str, principal: Caller, platform: Platform) -> None:
    """Questions, answers and their reruns are gone; ledger lines stay."""
    workflow_ids = await platform.turns.told(principal, conversation_id)
    await _drop(platform, principal, conversation_id, workflow_ids)  # first: while rows are left it can be repeated
    workflow_ids = await platform.turns.forget(principal, conversation_id)
    await _drop(platform, principal, conversation_id, workflow_ids)  # again: words may have been told meanwhile


async def _drop(platform: Services, principal: Principal, conversation_id: str, workflow_ids: Sequence[str]) -> None:
    await platform.windows.drop(principal, conversation_id)
    await platform.events.drop(principal, workflow_ids)


async def _pages(
    platform: Services, principal: Principal, conversation_id: str, page: runs.Page[TranscriptEntry]
) -> AsyncIterator[runs.Page[TranscriptEntry]]:
    yield page
    while page.next_cursor is not None:
        page = await platform.answers.exchanges(principal, conversation_id, limit=A_PAGE, cursor=page.next_cursor)
        yield page


async def _ask(platform: Services, body: ChatRequest) -> Ask:
    if not body.message.strip():
        raise InvalidRequest("message: must hold more than white space.")
    platform.models.named(body.model)
    if not body.use_rag and not platform.answerer.talks:
        raise NoModel
    tokens = (await platform.tokenizer.counts([body.message]))[0]
    return Ask(
        message=body.message,
        conversation_id=body.conversation_id,
        model=body.model,
        temperature=body.temperature,
        max_tokens=body.max_tokens,
        use_rag=body.use_rag,
        collection=body.collection,
        document_ids=tuple(body.context_docs),
        filters=accepted(body.filters),
        k=body.k,
        question_tokens=cautious(tokens),
        billable=platform.answerer.billable,
    )


async def _accepted(platform: Services, principal: Principal, command: Command) -> Response:
    """The run as admitted: asking Temporal what it makes of it would cost more than it tells."""
    if command.outcome is None:
        run = views.run(platform.settings, command)
    else:
        run = await detail(platform, principal, command)
    headers = {"Location": views.run_path(command.workflow_id), "Retry-After": "1"}
    return JSONResponse(run.model_dump(mode="json"), 202, headers)


async def _outcome(request: Request, platform: Services, principal: Principal, command: Command, wait: int) -> Response:
    """The answer, or the problem that a failed or cancelled turn ended with."""
    if command.outcome is State.FAILED:
        return problem(request, ended(command.error_code or "internal", command.workflow_id))
    turn = await platform.turns.turn_of_run(principal, command.workflow_id)
    if turn.answer is None:  # stopped before a word was said
        return problem(request, ended("conflict", command.workflow_id))
    response = views.chat_response(platform.settings, turn)
    headers = {"Location": views.run_path(command.workflow_id), "Preference-Applied": f"wait={wait}"}
    return JSONResponse(response.model_dump(mode="json"), 200, headers)
