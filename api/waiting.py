"""Waiting is one mechanism: follow the run's event stream, and look at the row in case Redis is silent."""

import time

from domain.accounts import Principal
from domain.errors import TemporalUnavailable
from domain.runs import SETTLED, Command
from infra.services import Services

LOOK_AGAIN = 2.0  # seconds
ASK_AGAIN = 6.0  # seconds between two questions to Temporal: with many who wait it has better things to do


async def settled(services: Services, principal: Principal, workflow_id: str, seconds: float) -> Command:
    """The command as soon as its run has ended or parked, or as it is when the time is up."""
    until = time.monotonic() + seconds
    doubt = Doubt(services, principal, workflow_id)
    async with services.events.follow(principal, workflow_id) as waiter:
        while True:
            command = await services.runs.command(principal, workflow_id)
            left = until - time.monotonic()
            if command.settled or left <= 0:
                return command
            closed = await waiter.closed(min(left, LOOK_AGAIN))
            if not closed and await doubt.confirmed():
                return await services.runs.command(principal, workflow_id)


class Doubt:
    """Whether a silent run was ended by hand: closed in Temporal, and nobody left to write the row or an event."""

    def __init__(self, services: Services, principal: Principal, workflow_id: str) -> None:
        self._engine = services.engine
        self._run = principal, workflow_id
        self._due = time.monotonic() + ASK_AGAIN

    async def confirmed(self) -> bool:
        if time.monotonic() < self._due:
            return False
        self._due = time.monotonic() + ASK_AGAIN
        try:
            live = await self._engine.describe(*self._run)
        except TemporalUnavailable:  # the row still tells, once Temporal is back
            return False
        return live is not None and live.state in SETTLED
