"""Tells whoever listens to a run which step it is at."""

from typing import Any

from temporalio import activity
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from domain import names
from domain.accounts import Principal
from domain.errors import Temporary
from domain.events import EventKind
from domain.ports import Events
from infra.boundary import is_node


class Steps(Interceptor):
    """Inside the boundary, where errors are still ours."""

    def __init__(self, events: Events) -> None:
        self._events = events

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _ToldActivity(next, self._events)


class _ToldActivity(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, events: Events) -> None:
        super().__init__(next)
        self._events = events

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        if not is_node(activity.info().activity_type):
            return await self.next.execute_activity(input)
        await self._tell("running")
        try:
            return await self.next.execute_activity(input)
        except Temporary:
            await self._tell("waiting")
            raise

    async def _tell(self, state: str) -> None:
        info = activity.info()
        run = info.workflow_id or ""
        step = {"name": info.activity_type.rpartition(".")[2], "state": state, "attempt": info.attempt}
        await self._events.note(Principal(names.tenant_of(run), ""), run, EventKind.STEP, step, info.attempt)
