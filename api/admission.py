"""One transaction, then a workflow: what is admitted is started, now or by the sweeper."""

import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from api.lanes import AGAIN, Lanes
from api.load import Load
from api.outage import Outage
from domain.accounts import Principal
from domain.answers import Rerun
from domain.chat import Ask
from domain.documents import Upload
from domain.errors import Overloaded, TemporalUnavailable
from domain.runs import Command, Kind, State
from infra.services import Services
from infra.telemetry import ADMITTED

# Of one tenant, in this process. A start costs Temporal's only writer some 20 ms: without a limit sixteen uploading
# clients would queue ahead of every question, and of their own documents' next steps.
AT_ONCE = {Kind.CHAT: 4, Kind.INGESTION: 1, Kind.REPLAY: 1}
PATIENCE = 30.0  # seconds; two hundred clients that are told to ask again cost more than two hundred that wait


def digest(path: str, body: dict[str, Any]) -> str:
    """Equal for equal requests, whatever the order of fields: path and canonical JSON."""
    canonical = json.dumps([path, body], sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


async def _present() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Admission:
    """Of one API process. Its verbs raise Overloaded when there is no room, IdempotencyKeyReused, and
    TemporalUnavailable with the admitted run.

    A known key is looked at before anything else: who repeats a request is not turned away. `gone` says that the caller
    has hung up: work that waited for room is not begun for nobody.
    """

    services: Services
    load: Load
    patience: float = PATIENCE
    gone: Callable[[], Awaitable[bool]] = _present
    lanes: Lanes = field(default_factory=Lanes)
    outage: Outage = field(default_factory=Outage)

    async def turn(self, principal: Principal, ask: Ask, key: str | None, fingerprint: str) -> Command:
        """Raises what Admissions.admit_turn raises."""
        if known := await self._known(principal, key, fingerprint):
            return known
        async with self._question(principal):
            command = await self.services.admissions.admit_turn(principal, ask, key, fingerprint)
            return await self._started(principal, command)

    async def rerun(self, principal: Principal, rerun: Rerun, key: str | None, fingerprint: str) -> Command:
        """Raises what Admissions.admit_rerun raises."""
        if known := await self._known(principal, key, fingerprint):
            return known
        async with self._question(principal):
            command = await self.services.admissions.admit_rerun(principal, rerun, key, fingerprint)
            return await self._started(principal, command)

    async def replay(
        self, principal: Principal, states: Sequence[State], since: datetime | None, key: str | None, fingerprint: str
    ) -> Command:
        """Raises what Admissions.admit_replay raises."""
        if known := await self._known(principal, key, fingerprint):
            return known
        async with self._lane(principal, Kind.REPLAY):
            command = await self.services.admissions.admit_replay(principal, states, since, key, fingerprint)
            return await self._started(principal, command)

    async def upload(
        self, principal: Principal, upload: Upload, key: str | None, fingerprint: str
    ) -> tuple[Command | None, str]:
        """(command, document id); no command for a duplicate. Raises what Admissions.admit_upload raises."""
        if known := await self._known(principal, key, fingerprint):
            return known, known.document_id or ""
        generation = self.services.embedder.generation
        async with self._lane(principal, Kind.INGESTION):
            command, document = await self.services.admissions.admit_upload(
                principal, upload, generation, key, fingerprint
            )
            return command and await self._started(principal, command), document

    async def _known(self, principal: Principal, key: str | None, fingerprint: str) -> Command | None:
        command = key and await self.services.admissions.known(principal, key, fingerprint)
        return await self._started(principal, command) if command else None

    @asynccontextmanager
    async def _question(self, principal: Principal) -> AsyncIterator[None]:
        """Who asks too much is told so before it waits, and again if the others got there first meanwhile."""
        await self.load.check(principal)
        async with self._lane(principal, Kind.CHAT):
            await self.load.check(principal)
            yield
            self.load.let_in()

    @asynccontextmanager
    async def _lane(self, principal: Principal, kind: Kind) -> AsyncIterator[None]:
        async with self.lanes.enter((principal.tenant, kind), AT_ONCE[kind], self.patience):
            if await self.gone():
                raise Overloaded(retry_after=AGAIN)
            yield

    async def _started(self, principal: Principal, command: Command) -> Command:
        if command.outcome is None:
            ADMITTED.labels(command.kind).inc()
            try:
                with self.outage.noticed():
                    await self.services.engine.start(principal, command.launch)
            except TemporalUnavailable as error:
                error.run = command.workflow_id
                raise
        return command
