"""A run's events as Server-Sent Events: the past, what happens, and one end, which comes from the database.

https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

import json
import time
from collections.abc import AsyncIterator, Iterable
from datetime import datetime
from typing import Any

from fastapi import Request, Response
from sse_starlette import EventSourceResponse, ServerSentEvent

from api import views
from api.authenticate import again
from api.deps import bearer
from api.errors import described, ended
from api.waiting import LOOK_AGAIN, Doubt
from domain.accounts import Principal
from domain.chat import Turn
from domain.errors import InvalidRequest, NotFound, Refused
from domain.events import BEGINNINGS, CLOSING, TOLD_BY, Event, EventKind, Relay, position
from domain.ports import Listener
from domain.runs import Command, Kind, State
from infra.services import Services

MEDIA_TYPE = "text/event-stream"
HEARTBEAT = 15.0  # seconds
LET_IN = 1.0  # seconds until a stream's credential is looked at again
GRACE = 0.3  # seconds that an end may take from the database to the log


async def event_stream(
    request: Request, platform: Services, principal: Principal, command: Command, after: str | None = None
) -> Response:
    """204 when the run has ended and `after` names its end; raises InvalidRequest when it names nothing."""
    if after is not None and after not in BEGINNINGS and position(after) is None:
        raise InvalidRequest("Last-Event-ID: the `id` of an event of this run, or 0 for all of them.")
    headers = {"Location": views.run_path(command.workflow_id), "X-Workflow-ID": command.workflow_id}
    if command.settled and after is not None and await _has_seen_the_end(platform, principal, command, after):
        return Response(None, 204, headers)
    if request.scope.get("bare"):
        return Response(None, 200, headers, MEDIA_TYPE)
    stream = _Stream(request, platform, principal, command, Relay(after))
    return EventSourceResponse(
        stream.events(), headers=headers, sep="\n", ping=HEARTBEAT, ping_message_factory=Heartbeat
    )


class Heartbeat(ServerSentEvent):
    """A comment, without a blank line after it: the official OpenAI clients take that for an empty event."""

    def encode(self) -> bytes:
        return b": \n"


class _Stream:
    def __init__(
        self, request: Request, platform: Services, principal: Principal, command: Command, relay: Relay
    ) -> None:
        self._request = request
        self._platform = platform
        self._principal = principal
        self._command = command
        self._relay = relay
        self._last_end: Event | None = None
        self._doubt = Doubt(platform, principal, command.workflow_id)
        self._let_in = again(platform, bearer(request))
        self._let_in_until = time.monotonic() + LET_IN

    async def events(self) -> AsyncIterator[ServerSentEvent]:
        yield _sent(EventKind.RUN, self._run())
        async with self._platform.events.listen(self._principal, self._command.workflow_id) as listener:
            for event in self._relay.begin(self._heard(listener.unread())):
                yield _told(event)
            while not self._command.settled:
                if not await self._still_let_in():
                    return
                fresh = self._heard(await listener.news(LOOK_AGAIN))
                for event in self._relay.tell(fresh):
                    yield _told(event)
                await self._look(silent=not fresh)
            if self._last_end is None:
                for event in self._relay.tell(self._heard(await self._rest(listener))):
                    yield _told(event)
        for last in await self._end():
            yield last

    async def _still_let_in(self) -> bool:
        """Who was logged out, disabled or lost the key hears no more, and is told why when they come back."""
        if time.monotonic() > self._let_in_until:
            self._let_in_until = time.monotonic() + LET_IN
            try:
                await self._let_in()
            except Refused:
                return False
        return True

    async def _look(self, *, silent: bool) -> None:
        """The row has the last word; it is asked when an end was heard of, and when nothing was."""
        if not silent and self._last_end is None:
            return
        principal, workflow_id = self._principal, self._command.workflow_id
        self._command = await self._platform.runs.command(principal, workflow_id)
        if silent and not self._command.settled and await self._doubt.confirmed():
            self._command = await self._platform.runs.command(principal, workflow_id)
        if not self._command.settled:
            self._last_end = None  # of an earlier stop: it was parked, and goes on

    async def _rest(self, listener: Listener) -> list[Event]:
        """What was told before the end that the row tells of."""
        found = listener.unread()
        while not any(event.kind in CLOSING for event in found):
            fresh = await listener.news(GRACE)
            found += fresh
            if not fresh:
                break
        return found

    def _heard(self, events: list[Event]) -> list[Event]:
        for event in events:
            if event.kind in CLOSING:
                self._last_end = event
        return events

    async def _end(self) -> Iterable[ServerSentEvent]:
        turn = await _turn(self._platform, self._principal, self._command)
        told = self._relay.end(turn.answer if turn else None)
        state = views.state_of(self._command)
        data = await self._closing(state, turn)
        end_id = self._last_end.id if self._last_end else _row_id(self._command)
        return [*map(_told, told), _sent(TOLD_BY[state], data, end_id)]

    async def _closing(self, state: State, turn: Turn | None) -> Any:
        if state is State.FAILED:
            error = ended(self._command.error_code or "internal", self._command.workflow_id)
            return described(self._request, error).body()
        if turn is not None and turn.answer is not None:
            return views.chat_response(self._platform.settings, turn).model_dump(mode="json")
        return self._run(detail=True)

    def _run(self, *, detail: bool = False) -> Any:
        run = views.run(self._platform.settings, self._command, detail=detail).model_dump(mode="json")
        return run if detail else {key: run[key] for key in ("workflow_id", "run_id", "kind", "conversation_id")}


async def _turn(platform: Services, principal: Principal, command: Command) -> Turn | None:
    """None for what is no turn, or one that was deleted."""
    if command.kind is not Kind.CHAT:
        return None
    try:
        return await platform.turns.turn_of_run(principal, command.workflow_id)
    except NotFound:
        return None


async def _has_seen_the_end(platform: Services, principal: Principal, command: Command, after: str) -> bool:
    seen = position(after)
    if seen is None:
        return False
    async with platform.events.listen(principal, command.workflow_id) as listener:
        ends = [event.id for event in listener.unread() if event.kind in CLOSING]
    return seen >= (position(ends[-1] if ends else _row_id(command)) or (0, 0))


def _row_id(command: Command) -> str:
    """An end's id when the log does not have it: ids begin with milliseconds."""
    at: datetime = command.finished_at or (command.parked.at if command.parked else command.updated_at)
    return f"{int(1000 * at.timestamp())}-0"


def _told(event: Event) -> ServerSentEvent:
    data = event.data["sources"] if event.kind is EventKind.SOURCES else event.data
    return _sent(event.kind, data, event.id or None)


def _sent(kind: EventKind, data: Any, event_id: str | None = None) -> ServerSentEvent:
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return ServerSentEvent(data=text, event=kind, id=event_id, sep="\n")
