"""Rows into words: what several records read in the same way, and what is kept as JSON."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from sqlalchemy import Row

from domain.chat import Finish, Turn
from domain.runs import Command, Kind, Parked, Progress, State
from domain.search import Hit, Passage, Source

Json = dict[str, Any]


def encode(items: Iterable[Passage] | Iterable[Source]) -> list[Json]:
    return [asdict(item) for item in items]


def passages_of(stored: Iterable[Json]) -> tuple[Passage, ...]:
    """Strict: an unknown or missing field is an error, not a guess."""
    return tuple(Passage(**{**item, "hit": Hit(**item["hit"])}) for item in stored)


def sources_of(stored: Iterable[Json]) -> tuple[Source, ...]:
    return tuple(Source(**item) for item in stored)


def state_of(outcome: str | None) -> State | None:
    return None if outcome is None else State(outcome)


def command_of(row: Row[Any]) -> Command:
    return Command(
        tenant_id=row.tenant_id,
        account_id=row.account_id,
        workflow_id=row.workflow_id,
        kind=Kind(row.kind),
        created_at=row.created_at,
        updated_at=row.updated_at,
        document_id=row.document_id,
        version=row.version,
        conversation_id=row.conversation_id,
        seq=row.seq,
        outcome=state_of(row.outcome),
        error_code=row.error_code,
        error_step=row.error_step,
        result=row.result,
        finished_at=row.finished_at,
        parked=None if row.parked_at is None else Parked(row.parked_step, row.parked_code, row.parked_at),
        replayed_run=row.replayed_run,
        parameters=row.parameters or {},
        progress=Progress(**row.progress) if row.progress else None,
    )


def turn_of(row: Row[Any]) -> Turn:
    return Turn(
        tenant_id=row.tenant_id,
        account_id=row.account_id,
        conversation_id=row.conversation_id,
        seq=row.seq,
        workflow_id=row.workflow_id,
        asked_at=row.asked_at,
        question=row.question,
        model=row.model,
        temperature=row.temperature,
        max_tokens=row.max_tokens,
        use_rag=row.use_rag,
        collection_id=row.collection_id,
        document_ids=tuple(row.document_ids),
        filters=row.filters,
        k=row.k,
        query=row.query,
        passages=passages_of(row.passages),
        relevant=row.relevant,
        outcome=state_of(row.outcome),
        error_code=row.error_code,
        answer=row.answer,
        answered_at=row.answered_at,
        finish=None if row.finish is None else Finish(row.finish),
        model_used=row.model_used,
        prompt_tokens=row.prompt_tokens,
        completion_tokens=row.completion_tokens,
        estimated=row.estimated,
        sources=sources_of(row.sources),
        timings=row.timings,
        flags=tuple(row.flags),
    )
