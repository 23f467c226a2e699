"""Rows as the caller sees them."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime

from api.schemas.accounts import Account
from api.schemas.chat import (
    ChatLinks,
    ChatResponse,
    Conversation,
    ExportedAnswer,
    HistoryMessage,
    Message,
    Source,
    TokenUsage,
)
from api.schemas.documents import Document, Pending, SearchResult
from api.schemas.models import Model, Price
from api.schemas.runs import Progress, Run, RunError, RunLinks
from api.schemas.usage import UsageEvent
from domain import accounts, chat, documents, models, search
from domain.chat import Speaker, Turn
from domain.errors import Temporary, by_code
from domain.prices import Prices, money
from domain.runs import FINAL, Command, Kind, LiveRun, State
from domain.usage import ProviderCall
from infra.settings import Settings


def account(row: accounts.Account) -> Account:
    fields = asdict(row)
    return Account(user_id=fields.pop("account_id"), **fields)


def run_path(workflow_id: str) -> str:
    return f"/api/v1/runs/{workflow_id}"


def temporal_ui(settings: Settings, workflow_id: str, run_id: str | None) -> str | None:
    if not settings.temporal_ui_url:
        return None
    url = f"{settings.temporal_ui_url}/namespaces/{settings.temporal_namespace}/workflows/{workflow_id}"
    return f"{url}/{run_id}" if run_id else url


def run(settings: Settings, command: Command, live: LiveRun | None = None, *, detail: bool = False) -> Run:
    state = state_of(command, live)
    moving = detail and live is not None and state not in FINAL
    return Run(
        workflow_id=command.workflow_id,
        run_id=live.run_id if live else None,
        kind=command.kind,
        state=state,
        step=live.step if live and moving else None,
        waiting_for=_waiting_for(command, live) if detail and state not in FINAL else None,
        progress=_progress(command),
        attempt=live.attempt if live and moving else None,
        error=_error(command, state),
        result=command.result or None,
        document_id=command.document_id,
        version=command.version,
        conversation_id=command.conversation_id,
        links=RunLinks(
            self=run_path(command.workflow_id),
            events=f"{run_path(command.workflow_id)}/events",
            cancel=f"{run_path(command.workflow_id)}/cancel",
            replay=f"{run_path(command.workflow_id)}/replay" if command.kind is Kind.INGESTION else None,
            temporal_ui=temporal_ui(settings, command.workflow_id, live.run_id if live else None),
        ),
        created_at=command.created_at,
        updated_at=command.updated_at,
        finished_at=command.finished_at,
    )


def state_of(command: Command, live: LiveRun | None = None) -> State:
    """The row's outcome wins: it is written last and says more than Temporal's status; so does being parked."""
    if command.outcome is not None:
        return command.outcome
    if command.parked is not None:
        return State.PARKED
    return live.state if live else State.QUEUED


def _progress(command: Command) -> Progress | None:
    if command.progress is None:
        return None
    done, failed, total = command.progress.done, command.progress.failed, command.progress.total
    return Progress(done=done, failed=failed, total=total, unit="runs")


def _waiting_for(command: Command, live: LiveRun | None) -> str | None:
    if command.parked is not None:
        return "retry signal"
    if live is None:
        return "to be started by the sweeper" if command.outcome is None else None
    return live.waiting_for


def _error(command: Command, state: State) -> RunError | None:
    if state not in (State.FAILED, State.PARKED):
        return None
    step, code = command.error_step, command.error_code or "internal"
    if command.parked is not None:
        step, code = command.parked.step, command.parked.code
    known = by_code(code)
    return RunError(
        code=code,
        title=known.title,
        detail=known.detail,
        step=step,
        retryable=state is State.PARKED or issubclass(known, Temporary),
    )


def chat_response(settings: Settings, turn: Turn, run_id: str | None = None) -> ChatResponse:
    assert turn.answer is not None and turn.answered_at is not None and turn.finish is not None
    usage = token_usage(turn)
    return ChatResponse(
        workflow_id=turn.workflow_id,
        run_id=run_id,
        conversation_id=turn.conversation_id,
        message=Message(role=Speaker.USER, content=turn.question, timestamp=turn.asked_at),
        response=Message(role=Speaker.ASSISTANT, content=turn.answer, timestamp=turn.answered_at),
        model_used=turn.model_used or None,
        tokens_used=usage.total_tokens,
        usage=usage,
        response_time=round((turn.answered_at - turn.asked_at).total_seconds(), 3),
        finish_reason=turn.finish,
        sources=sources(turn.sources),
        links=ChatLinks(
            run=run_path(turn.workflow_id),
            history=f"/api/v1/chat/conversations/{turn.conversation_id}/history",
            temporal_ui=temporal_ui(settings, turn.workflow_id, run_id),
        ),
    )


def token_usage(turn: Turn) -> TokenUsage:
    return TokenUsage(
        prompt_tokens=turn.prompt_tokens,
        completion_tokens=turn.completion_tokens,
        total_tokens=turn.prompt_tokens + turn.completion_tokens,
        estimated=turn.estimated,
    )


def sources(rows: Sequence[search.Source]) -> list[Source]:
    return [Source(**asdict(row)) for row in rows]


def conversation(row: chat.Conversation) -> Conversation:
    return Conversation(**asdict(row))


def exported(row: chat.TranscriptEntry) -> list[HistoryMessage]:
    """The question, and the answer if there is one."""
    asked = HistoryMessage(role=Speaker.USER, content=row.question, timestamp=row.asked_at, workflow_id=row.workflow_id)
    if row.answer is None or row.answered_at is None:
        return [asked]
    answered = ExportedAnswer(
        role=Speaker.ASSISTANT,
        content=row.answer,
        timestamp=row.answered_at,
        workflow_id=row.workflow_id,
        model_used=row.model_used or None,
        finish_reason=row.finish,
        sources=sources(row.sources),
    )
    return [asked, answered]


def document(row: documents.Document, live: LiveRun | None = None) -> Document:
    """`ready` exactly when a version is live, else the pending version's state."""
    pending = None
    if row.pending is not None:
        state = _pending_state(row.pending.state, live)
        pending = Pending(version=row.pending.version, state=state, run=row.pending.workflow_id)
    return Document(
        document_id=row.document_id,
        collection=row.collection,
        filename=row.filename,
        title=row.title,
        media_type=row.media_type,
        bytes=row.size,
        sha256=row.sha256,
        version=row.version,
        state="ready" if row.version is not None else pending.state if pending else "processing",
        pending=pending,
        chunks=row.chunks,
        pages=row.pages,
        metadata=row.metadata,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def _pending_state(state: State, live: LiveRun | None) -> str:
    if state in (State.FAILED, State.CANCELLED, State.PARKED):
        return state.value
    return "waiting" if live and live.state is State.WAITING else "processing"


def model(row: models.Model, *, default: bool, talks: bool, prices: Prices, now: datetime) -> Model:
    price = prices.price(row.called, now)
    return Model(
        model=row.name,
        default=default,
        language_model=talks,
        context_tokens=row.context,
        max_tokens=row.max_tokens,
        fallback=list(row.fallback),
        price=price and Price(currency=prices.currency, prompt=float(price.prompt), completion=float(price.completion)),
    )


def usage_event(line: ProviderCall) -> UsageEvent:
    fields = asdict(line)
    outcome, billionths = fields.pop("delivery"), fields.pop("cost")
    return UsageEvent(**fields, outcome=outcome.value, cost=cost(billionths))


def cost(billionths: int | None) -> float | None:
    """None without a price."""
    return None if billionths is None else money(billionths)


def search_result(index: int, passage: search.Passage) -> SearchResult:
    hit = passage.hit
    return SearchResult(
        index=index,
        document_id=hit.document_id,
        version=hit.version,
        chunk_id=hit.chunk_id,
        filename=passage.filename,
        title=passage.title,
        page=hit.page,
        start=hit.start,
        end=hit.end,
        score=hit.score,
        quote=hit.text,
        cited=False,
        text=hit.text,
    )
