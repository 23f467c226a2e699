"""Runs: list, look, wait, cancel, replay, abort."""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import Header, Query, Request, Response

from activities.runs import Replayer
from api import views
from api.admission import digest
from api.deps import LONGEST_WAIT, Admit, Caller, Cursor, Key, Limit, Platform
from api.event_stream import MEDIA_TYPE, event_stream
from api.routing import Router
from api.schemas.body import Moment, Page
from api.schemas.runs import Replayed, ReplayRequest, Run
from api.waiting import settled
from domain.accounts import Principal
from domain.errors import NotFound, RunFinished, TemporalUnavailable
from domain.runs import Command, Kind, LiveRun, Outcome, State
from infra.services import Services

router = Router(prefix="/api/v1/runs", tags=["runs"])
EVENTS: dict[int | str, dict[str, Any]] = {
    200: {"content": {MEDIA_TYPE: {}}, "description": "Server-Sent Events"},
    204: {"description": "Nothing more will come"},
}


@router.get("", response_model_exclude_none=True)
async def list_runs(
    principal: Caller,
    platform: Platform,
    kind: Kind | None = None,
    state: State | None = None,
    since: Moment | None = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[Run]:
    """Newest first. An open run's state is asked of Temporal; the page may then be shorter than `limit`."""
    page = await platform.runs.commands(principal, kind=kind, state=state, since=since, limit=limit, cursor=cursor)
    lives = await _describe_all(platform, principal, page.items)
    runs = [views.run(platform.settings, command, live) for command, live in zip(page.items, lives, strict=True)]
    return Page(items=[run for run in runs if state in (None, run.state)], next_cursor=page.next_cursor)


@router.post("/replay", status_code=202)
async def replay_many(
    body: ReplayRequest, principal: Caller, platform: Platform, admit: Admit, key: Key, response: Response
) -> Run:
    """Sets every ingestion of the tenant going again that stands in one of these states; a run with progress."""
    fingerprint = digest("/api/v1/runs/replay", body.model_dump(mode="json"))
    states = [State(state) for state in dict.fromkeys(body.states)]
    command = await admit.replay(principal, states, body.since, key, fingerprint)
    response.headers.update({"Location": views.run_path(command.workflow_id), "Retry-After": "1"})
    return views.run(platform.settings, command)


@router.get("/{workflow_id}")
async def get_run(
    workflow_id: str,
    principal: Caller,
    platform: Platform,
    wait: Annotated[int | None, Query(ge=1, le=LONGEST_WAIT)] = None,
) -> Run:
    """With `wait` the answer comes when the run has ended, or after that many seconds."""
    if wait:
        command = await settled(platform, principal, workflow_id, wait)
    else:
        command = await platform.runs.command(principal, workflow_id)
    return await detail(platform, principal, command)


@router.get("/{workflow_id}/events", responses=EVENTS, response_model=Run)
async def events(
    workflow_id: str,
    request: Request,
    principal: Caller,
    platform: Platform,
    after: Annotated[str | None, Query(max_length=64)] = None,
    last_event_id: Annotated[str | None, Header(max_length=64)] = None,
) -> Response:
    """Everything that is kept, then what happens, and one closing event; resumes after `Last-Event-ID`."""
    command = await platform.runs.command(principal, workflow_id)
    return await event_stream(request, platform, principal, command, last_event_id or after)


@router.post("/{workflow_id}/cancel", status_code=202)
async def cancel_run(workflow_id: str, principal: Caller, platform: Platform, response: Response) -> Run:
    command = await platform.runs.command(principal, workflow_id)
    if command.outcome not in (None, State.CANCELLED):
        raise RunFinished
    if command.outcome is None:
        await _cancel(platform, principal, command)
    response.headers["Location"] = views.run_path(workflow_id)
    return await detail(platform, principal, await platform.runs.command(principal, workflow_id))


@router.post("/{workflow_id}/replay", status_code=202)
async def replay_run(workflow_id: str, principal: Caller, platform: Platform, response: Response) -> Replayed:
    """From the step that failed, where there is one to go back to; only that step and those after it run."""
    command = await platform.runs.command(principal, workflow_id)
    done = await Replayer(platform.runs, platform.events, platform.engine).replay(principal, command)
    response.headers.update({"Location": views.run_path(workflow_id), "Retry-After": "1"})
    return Replayed(workflow_id=workflow_id, **asdict(done))


@router.post("/{workflow_id}/abort", status_code=202)
async def abort_run(workflow_id: str, principal: Caller, platform: Platform, response: Response) -> Run:
    """A parked ingestion becomes failed; its chunks are taken out of the index, text and vectors kept for a replay."""
    command = await platform.runs.command(principal, workflow_id)
    if command.parked is None:
        raise RunFinished("Only a parked run can be aborted; cancel one that is under way.")
    await platform.engine.abort(principal, workflow_id)
    response.headers["Location"] = views.run_path(workflow_id)
    return await detail(platform, principal, command)


async def detail(platform: Services, principal: Principal, command: Command) -> Run:
    """A finished run is shown from its row even when Temporal is down."""
    try:
        live = await platform.engine.describe(principal, command.workflow_id)
    except TemporalUnavailable:
        if command.outcome is None:
            raise
        live = None
    return views.run(platform.settings, command, live, detail=True)


async def _cancel(platform: Services, principal: Principal, command: Command) -> None:
    """What was never started is closed here, so that the sweeper does not start it after all."""
    try:
        await platform.engine.cancel(principal, command.workflow_id)
    except NotFound:
        await platform.runs.close(principal, command.workflow_id, Outcome(State.CANCELLED))
        await platform.usage.settle(principal, command.workflow_id)


async def _describe_all(platform: Services, principal: Principal, commands: Sequence[Command]) -> list[LiveRun | None]:
    async def live(command: Command) -> LiveRun | None:
        if command.settled:
            return None
        return await platform.engine.describe(principal, command.workflow_id)

    return list(await asyncio.gather(*(live(command) for command in commands)))
