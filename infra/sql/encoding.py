"""Rows into words: what several records read in the same way, and what is kept as JSON."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from sqlalchemy import Row

from domain.answers import Candidate
from domain.chat import AsOf, Finish, Place, Turn
from domain.runs import Command, Kind, Parked, Progress, State
from domain.search import Hit, Passage, Source

Json = dict[str, Any]


def encode(items: Iterable[Passage] | Iterable[Source] | Iterable[Candidate]) -> list[Json]:
    return [asdict(item) for item in items]


def passages_of(stored: Iterable[Json]) -> tuple[Passage, ...]:
    """Strict: an unknown or missing field is an error, not a guess."""
    return tuple(Passage(**{**item, "hit": Hit(**item["hit"])}) for item in stored)


def candidates_of(stored: Iterable[Json]) -> tuple[Candidate, ...]:
    return tuple(Candidate(**item) for item in stored)


def sources_of(stored: Iterable[Json]) -> tuple[Source, ...]:
    return tuple(Source(**item) for item in stored)


def state_of(outcome: str | None) -> State | None:
    return None if outcome is None else State(outcome)


def finish_of(finish: str | None) -> Finish | None:
    return None if finish is None else Finish(finish)


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
        question_tokens=row.question_tokens,
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
        finish=finish_of(row.finish),
        model_used=row.model_used,
        prompt_tokens=row.prompt_tokens,
        completion_tokens=row.completion_tokens,
        estimated=row.estimated,
        sources=sources_of(row.sources),
        timings=row.timings,
        flags=tuple(row.flags),
        rerun_of=row.rerun_of,
        as_of=None if row.as_of is None else AsOf(row.as_of),
        origin=None if row.origin_id is None else Place(row.origin_id, row.origin_seq),
    )
