"""One transaction, then a workflow: what is admitted is started, now or by the sweeper."""

import hashlib
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from domain.accounts import Principal
from domain.chat import Ask
from domain.documents import Upload
from domain.errors import TemporalUnavailable
from domain.runs import Command, State
from infra.services import Services
from infra.telemetry import ADMITTED


def digest(path: str, body: dict[str, Any]) -> str:
    """Equal for equal requests, whatever the order of fields: path and canonical JSON."""
    canonical = json.dumps([path, body], sort_keys=True, separators=(",", ":"), ensure_ascii=True, default=str)
    return hashlib.sha256(canonical.encode()).hexdigest()


async def admit_turn(services: Services, principal: Principal, ask: Ask, key: str | None, fingerprint: str) -> Command:
    """Raises what Admissions.admit_turn raises, and TemporalUnavailable with the admitted run."""
    command = await services.admissions.admit_turn(principal, ask, key, fingerprint)
    await _start(services, principal, command)
    return command


async def admit_replay(
    services: Services,
    principal: Principal,
    states: Sequence[State],
    since: datetime | None,
    key: str | None,
    fingerprint: str,
) -> Command:
    """Raises as `admit_turn`, but for budgets."""
    command = await services.admissions.admit_replay(principal, states, since, key, fingerprint)
    await _start(services, principal, command)
    return command


async def admit_upload(
    services: Services, principal: Principal, upload: Upload, key: str | None, fingerprint: str
) -> tuple[Command | None, str]:
    """(command, document id); no command for a duplicate. Raises as `admit_turn`."""
    command, document_id = await services.admissions.admit_upload(
        principal, upload, services.embedder.generation, key, fingerprint
    )
    if command is not None:
        await _start(services, principal, command)
    return command, document_id


async def _start(services: Services, principal: Principal, command: Command) -> None:
    if command.outcome is not None:
        return
    ADMITTED.labels(command.kind).inc()
    try:
        await services.engine.start(principal, command.launch)
    except TemporalUnavailable as error:
        error.run = command.workflow_id
        raise
