"""Waiting is one mechanism: follow the run's event stream, and look at the row in case Redis is silent."""

import time

from domain.accounts import Principal
from domain.errors import TemporalUnavailable
from domain.runs import SETTLED, Command
from infra.services import Services

LOOK_AGAIN = 2.0  # seconds


async def settled(services: Services, principal: Principal, workflow_id: str, seconds: float) -> Command:
    """The command as soon as its run has ended or parked, or as it is when the time is up."""
    until = time.monotonic() + seconds
    async with services.events.follow(principal, workflow_id) as waiter:
        while True:
            command = await services.runs.command(principal, workflow_id)
            left = until - time.monotonic()
            if command.settled or left <= 0:
                return command
            closed = await waiter.closed(min(left, LOOK_AGAIN))
            if not closed and await over(services, principal, workflow_id):
                return await services.runs.command(principal, workflow_id)


async def over(services: Services, principal: Principal, workflow_id: str) -> bool:
    """Ended by hand: closed in Temporal, and nobody is left to write the row or an event."""
    try:
        live = await services.engine.describe(principal, workflow_id)
    except TemporalUnavailable:  # the row still tells, once Temporal is back
        return False
    return live is not None and live.state in SETTLED
