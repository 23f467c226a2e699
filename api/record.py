"""An answer record as its owner sees it."""

from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TypeAlias

from api import views
from api.schemas import answers as shown
from domain.answers import AnswerRecord, Candidate, cost_of, difference, holds
from domain.chat import Turn
from domain.errors import by_code
from domain.runs import State

Score: TypeAlias = Callable[[Candidate], float]


def answer_record(record: AnswerRecord) -> shown.AnswerRecord:
    turn = record.turn
    return shown.AnswerRecord(
        workflow_id=turn.workflow_id,
        conversation_id=turn.conversation_id,
        state=turn.outcome,
        error=_error(turn),
        question=turn.question,
        query=(turn.query or turn.question) if turn.use_rag else None,
        asked_at=turn.asked_at,
        answer=turn.answer,
        answered_at=turn.answered_at,
        finish_reason=turn.finish,
        relevant=turn.relevant,
        scope=_scope(record),
        candidates=_candidates(record),
        passages=_passages(record),
        sources=views.sources(turn.sources),
        prompt=shown.Prompt(digest=record.prompt_digest or None, files=record.prompts),
        model=_model(turn),
        usage=views.token_usage(turn),
        cost=views.cost(cost_of(record.calls)),
        calls=[views.usage_event(call) for call in record.calls],
        timings_ms=turn.timings,
        flags=list(turn.flags),
        feedback=None if record.feedback is None else shown.Feedback(**asdict(record.feedback)),
        rerun_of=turn.rerun_of,
        as_of=turn.as_of,
        difference=_difference(record),
        reruns=_reruns(record),
        links=_links(turn),
    )


def _error(turn: Turn) -> shown.Ended | None:
    if turn.outcome is not State.FAILED:
        return None
    known = by_code(turn.error_code or "internal")
    return shown.Ended(code=known.code, title=known.title, detail=known.detail)


def _scope(record: AnswerRecord) -> shown.Scope:
    turn = record.turn
    return shown.Scope(
        use_rag=turn.use_rag,
        collection=record.collection,
        context_docs=list(turn.document_ids),
        filters=turn.filters,
        k=turn.k,
    )


def _candidates(record: AnswerRecord) -> list[shown.Candidate]:
    vector = _ranks([one for one in record.candidates if one.cosine is not None], lambda one: one.cosine or 0.0)
    keyword = _ranks(record.candidates, lambda one: one.coverage)
    passages, cited = record.turn.passages, _cited(record.turn)
    return [
        shown.Candidate(
            rank=one.rank,
            chunk_id=one.chunk_id,
            document_id=one.document_id,
            version=one.version,
            ordinal=one.ordinal,
            page=one.page,
            start=one.start,
            end=one.end,
            score=one.score,
            legs=shown.Legs(
                vector=None if one.cosine is None else shown.Leg(value=one.cosine, rank=vector[one.rank]),
                keyword=shown.Leg(value=one.coverage, rank=keyword[one.rank]),
            ),
            chosen=one.chosen,
            cited=any(holds(passages[index - 1].hit, one) for index in cited),
        )
        for one in record.candidates
    ]


def _ranks(candidates: Sequence[Candidate], score: Score) -> dict[int, int]:
    """Rank in the fused list -> rank by this score alone."""
    best_first = sorted(candidates, key=score, reverse=True)
    return {one.rank: rank for rank, one in enumerate(best_first, start=1)}


def _cited(turn: Turn) -> set[int]:
    """Numbers of passages; a source is a passage as it was quoted."""
    return {source.index for source in turn.sources if source.cited}


def _passages(record: AnswerRecord) -> list[shown.Passage]:
    cited = _cited(record.turn)
    return [
        shown.Passage(
            index=index,
            chunk_id=passage.hit.chunk_id,
            document_id=passage.hit.document_id,
            version=passage.hit.version,
            filename=passage.filename,
            title=passage.title,
            page=passage.hit.page,
            start=passage.hit.start,
            end=passage.hit.end,
            score=passage.hit.score,
            text=passage.hit.text,
            cited=index in cited,
            gone=(passage.hit.document_id, passage.hit.version) in record.gone,
        )
        for index, passage in enumerate(record.turn.passages, start=1)
    ]


def _model(turn: Turn) -> shown.Model:
    return shown.Model(
        asked=turn.model, used=turn.model_used or None, temperature=turn.temperature, max_tokens=turn.max_tokens
    )


def _difference(record: AnswerRecord) -> shown.Difference | None:
    """None of what is no rerun, and while there is nothing to compare."""
    if record.earlier is None:
        return None
    before, after = record.earlier.turn, record.turn
    found = difference(before, after)
    if found is None:
        return None
    return shown.Difference(
        answer=list(found.answer),
        sources=shown.SourcesChanged(
            added=views.sources(found.added), removed=views.sources(found.removed), kept=views.sources(found.kept)
        ),
        tokens=shown.Change(before=_tokens(before), after=_tokens(after)),
        cost=shown.Change(before=views.cost(record.earlier.cost), after=views.cost(cost_of(record.calls))),
        model=shown.Change(before=before.model_used or None, after=after.model_used or None),
    )


def _tokens(turn: Turn) -> int:
    return views.token_usage(turn).total_tokens


def _reruns(record: AnswerRecord) -> list[shown.Rerun]:
    return [
        shown.Rerun(
            workflow_id=rerun.workflow_id,
            as_of=rerun.as_of,
            model_asked=rerun.model,
            model_used=rerun.model_used or None,
            state=rerun.outcome,
            asked_at=rerun.asked_at,
        )
        for rerun in record.reruns
    ]


def _links(turn: Turn) -> shown.AnswerLinks:
    return shown.AnswerLinks(
        run=views.run_path(turn.workflow_id),
        conversation=f"/api/v1/chat/conversations/{turn.conversation_id}/history",
        original=None if turn.rerun_of is None else f"/api/v1/answers/{turn.rerun_of}",
    )
