"""One transaction, then a workflow: what is admitted is started, now or by the sweeper."""

import hashlib
import json
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any

from api.lanes import Lanes
from domain.accounts import Principal
from domain.answers import Rerun
from domain.chat import Ask
from domain.documents import Upload
from domain.errors import TemporalUnavailable
from domain.runs import Command, Kind, State
from infra.services import Services
from infra.telemetry import ADMITTED

# Of one tenant, in this process. A start costs Temporal's only writer some 20 ms: without a limit sixteen uploading
# clients would queue ahead of every question, and of their own documents' next steps.
AT_ONCE = {Kind.CHAT: 4, Kind.INGESTION: 1, Kind.REPLAY: 1}
PATIENCE = 30.0  # seconds; two hundred clients that are told to ask again cost more than two hundred that wait


def digest(path: str, body: dict[str, Any]) -> str:
    """Equal for equal requests, whatever the order of fields: path and canonical JSON."""
    canonical = json.dumps([path, body], sort_keys=True, separators=(",", ":"), ensure_ascii=True, default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()


class Admission:
    """Of one API process. Its verbs raise Overloaded when the tenant's own requests left no room for so many seconds,
    and TemporalUnavailable with the admitted run.
    """

    def __init__(self, services: Services, patience: float = PATIENCE) -> None:
        self._services = services
        self._patience = patience
        self._lanes = Lanes()

    async def turn(self, principal: Principal, ask: Ask, key: str | None, fingerprint: str) -> Command:
        """Raises what Admissions.admit_turn raises."""
        async with self._lane(principal, Kind.CHAT):
            command = await self._services.admissions.admit_turn(principal, ask, key, fingerprint)
            return await self._started(principal, command)

    async def rerun(self, principal: Principal, rerun: Rerun, key: str | None, fingerprint: str) -> Command:
        """Raises what Admissions.admit_rerun raises."""
        async with self._lane(principal, Kind.CHAT):
            command = await self._services.admissions.admit_rerun(principal, rerun, key, fingerprint)
            return await self._started(principal, command)

    async def replay(
        self, principal: Principal, states: Sequence[State], since: datetime | None, key: str | None, fingerprint: str
    ) -> Command:
        """Raises what Admissions.admit_replay raises."""
        async with self._lane(principal, Kind.REPLAY):
            command = await self._services.admissions.admit_replay(principal, states, since, key, fingerprint)
            return await self._started(principal, command)

    async def upload(
        self, principal: Principal, upload: Upload, key: str | None, fingerprint: str
    ) -> tuple[Command | None, str]:
        """(command, document id); no command for a duplicate. Raises what Admissions.admit_upload raises."""
        generation = self._services.embedder.generation
        async with self._lane(principal, Kind.INGESTION):
            command, document = await self._services.admissions.admit_upload(
                principal, upload, generation, key, fingerprint
            )
            return command and await self._started(principal, command), document

    def _lane(self, principal: Principal, kind: Kind) -> AbstractAsyncContextManager[None]:
        return self._lanes.enter((principal.tenant, kind), AT_ONCE[kind], self._patience)

    async def _started(self, principal: Principal, command: Command) -> Command:
        if command.outcome is None:
            ADMITTED.labels(command.kind).inc()
            try:
                await self._services.engine.start(principal, command.launch)
            except TemporalUnavailable as error:
                error.run = command.workflow_id
                raise
        return command
