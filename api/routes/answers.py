"""Answers looked back on: what each was made from, whether it was any good, and the same question again."""

import asyncio

from fastapi import Request, Response

from api.admission import digest
from api.deps import Admit, Caller, Key, Platform, Wait
from api.record import answer_record
from api.routes.chat import ANSWERS, told
from api.routing import Router
from api.schemas.answers import AnswerRecord, FeedbackRequest, RerunRequest
from api.schemas.runs import Run
from domain.answers import Rerun

router = Router(prefix="/api/v1/answers", tags=["answers"])


@router.get("/{workflow_id}")
async def record(workflow_id: str, principal: Caller, platform: Platform) -> AnswerRecord:
    """Of the caller's own answers; a colleague's are absent."""
    found = await platform.answers.record(principal, workflow_id)
    return await asyncio.to_thread(answer_record, found)  # two long answers are compared for half a second


@router.post("/{workflow_id}/feedback", status_code=204)
async def feedback(workflow_id: str, body: FeedbackRequest, principal: Caller, platform: Platform) -> None:
    """The last one counts."""
    await platform.answers.rate(principal, workflow_id, body.rating, body.comment)


@router.post("/{workflow_id}/rerun", status_code=202, responses=ANSWERS, response_model=Run)
async def rerun(
    workflow_id: str,
    body: RerunRequest,
    request: Request,
    principal: Caller,
    platform: Platform,
    admit: Admit,
    key: Key,
    wait: Wait,
) -> Response:
    """The same question again, metered as any other, in a conversation of its own that is not listed: the original's
    order, history and next question stay as they are. `then` answers from the passages of the original, `now` from
    what its query finds at present."""
    fingerprint = digest(f"/api/v1/answers/{workflow_id}/rerun", body.model_dump(mode="json"))
    again = Rerun(
        workflow_id=workflow_id,
        as_of=body.as_of,
        model=body.model,
        models=platform.models,
        talks=platform.answerer.talks,
        billable=platform.answerer.billable,
    )
    command = await admit.rerun(principal, again, key, fingerprint)
    return await told(request, platform, principal, command, wait)
