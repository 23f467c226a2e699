"""Load shedding: when more questions wait than can be answered soon, whoever asks too much is asked to come back."""

import asyncio
import time
from collections.abc import Callable
from datetime import timedelta

import structlog

from domain import names
from domain.accounts import Principal
from domain.errors import MoorageError, Overloaded
from domain.load import Backlog
from infra.services import Services
from infra.telemetry import SHED

LOOK = 0.5  # seconds between two looks at the queue
TRUSTED = 5.0  # seconds; an older look says nothing about now
NOTHING = Backlog(0, timedelta(0))

_log = structlog.get_logger()


class Load:
    """The backlog of questions, as this process last saw it, and what it has let in since. Nobody waits for a look."""

    def __init__(self, services: Services, clock: Callable[[], float] = time.monotonic) -> None:
        self._services = services
        self._clock = clock
        self._most = services.settings.chat_backlog
        self._backlog = NOTHING
        self._looked = 0.0
        self._since = 0  # questions let in since that look began
        self._look: asyncio.Task[None] | None = None

    async def check(self, principal: Principal) -> None:
        """Raises Overloaded: there are too many, and the tenant has more than its share of them."""
        if not self._most:
            return
        age = self._clock() - self._looked
        if age > LOOK and (self._look is None or self._look.done()):
            self._look = asyncio.create_task(self._look_again())
        if age > TRUSTED or self._backlog.tasks + self._since < self._most:
            return
        share = await self._services.runs.share(principal)
        if share.exceeds(self._most):
            SHED.inc()
            raise Overloaded(retry_after=self._backlog.passes_after)

    def let_in(self) -> None:
        self._since += 1

    async def _look_again(self) -> None:
        seen = self._since
        try:
            self._backlog = await self._services.engine.backlog(names.CHAT_QUEUE)
        except MoorageError as error:
            _log.warning("backlog_unknown", code=error.code)
            return
        self._since -= seen
        self._looked = self._clock()
