"""Compare a tenant's database, search index, blobs and ledger page by page, and mend what may be mended.

live: promised chunks and blobs are there -> index: nobody else's chunks are -> blobs: every folder has a row
-> the parts of the ledger
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import structlog
from temporalio import activity

from activities.heartbeat import heartbeating
from activities.ledger import PAGE, LedgerComparison, Part, Sheets
from agents.state import VersionRef
from domain.accounts import Principal
from domain.errors import MoorageError
from domain.names import blob, split_version_key
from domain.ports import Blobs, Engine, Inventory, VectorStore
from domain.reconcile import (
    BLOBS,
    BlobFolder,
    Difference,
    Finding,
    LiveVersion,
    Sheet,
    Tally,
    compare_blobs,
    compare_index,
    is_orphaned,
    may_be_orphaned,
)
from domain.runs import FINAL
from domain.search import Generation

OLD = timedelta(hours=1)  # an upload writes its blob before it is admitted, an ingestion its chunks before it is live
FORGOTTEN = timedelta(days=7)  # a database restored from an older day does not know the originals uploaded since
CHUNKS = 1000  # of the index, ids only
AT_ONCE = 4  # versions that are looked at side by side
TENANTS = 100
DONE = "done"

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Examination:
    tenant: str
    repair: bool


@dataclass(frozen=True, slots=True)
class Place:
    """Where the next page begins."""

    part: str = ""
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """What a heartbeat keeps for the next attempt."""

    place: Place = field(default_factory=Place)
    tally: Tally = field(default_factory=Tally)


@dataclass(frozen=True, slots=True)
class ReconcileActivities:
    """`index` makes a version's chunks anew from its blobs; `generation` is the one it writes to."""

    inventory: Inventory
    store: VectorStore
    blobs: Blobs
    ledger: LedgerComparison
    engine: Engine
    index: Callable[[VersionRef], Awaitable[dict[str, Any]]]
    generation: Generation
    old: timedelta = OLD
    forgotten: timedelta = FORGOTTEN
    page: int = PAGE

    @activity.defn(name="reconcile.tenants")
    async def tenants(self, after: str) -> list[str]:
        return await self.inventory.tenants(after, TENANTS)

    @activity.defn(name="reconcile.tenant")
    async def tenant(self, work: Examination) -> Tally:
        """Goes on where an earlier attempt was; what that one mended is not found again."""
        progress = _resumed()
        async with heartbeating(lambda: progress):
            async for place, sheet in self.examine(work, progress.place):
                for finding in sheet.findings:
                    _report(finding)
                progress = Progress(place, progress.tally.with_sheet(sheet))
        return progress.tally.plus(Tally(tenants=1))

    async def examine(
        self, work: Examination, place: Place | None = None, *, ledger_only: bool = False
    ) -> AsyncIterator[tuple[Place, Sheet]]:
        """Page by page: where the next one begins, and what was found on this one."""
        principal = Principal(work.tenant, account="")
        parts: Mapping[str, Part] = self.ledger.parts() if ledger_only else await self._parts(principal)
        names = [*parts, DONE]
        place = place if place and place.part in names else Place(names[0])
        for number in range(names.index(place.part), len(parts)):
            cursor = place.cursor if names[number] == place.part else None
            async for sheet in parts[names[number]](principal, cursor):
                mended = [await self._mended(principal, each) if work.repair else each for each in sheet.findings]
                yield Place(names[number + (sheet.following is None)], sheet.following), replace(sheet, findings=mended)

    async def _parts(self, principal: Principal) -> dict[str, Part]:
        generations = {*await self.inventory.generations(principal), self.generation.name}
        walks = {f"index {name}": partial(self._orphan_chunks, name) for name in sorted(generations)}
        return {"live": self._live, **walks, "blobs": self._orphan_blobs, **self.ledger.parts()}

    # --- finding ----------------------------------------------------------------------------------------------

    async def _live(self, principal: Principal, cursor: str | None) -> Sheets:
        while True:
            page = await self.inventory.live(principal, limit=self.page, cursor=cursor)
            findings: list[Finding] = []
            for start in range(0, len(page.items), AT_ONCE):
                some = page.items[start : start + AT_ONCE]
                compared = await asyncio.gather(*(self._differences(principal, version) for version in some))
                findings += [finding for each in compared for finding in each]
            cursor = page.next_cursor
            yield Sheet(cursor, findings)
            if cursor is None:
                return

    async def _differences(self, principal: Principal, version: LiveVersion) -> list[Finding]:
        """Looked at twice: a version may stop being live between the row and the stores."""
        findings = await self._compared(principal, version)
        if not findings:
            return []
        standing = (await self.inventory.standings(principal, {version.key})).get(version.key)
        return await self._compared(principal, version) if standing is not None and standing.live else []

    async def _compared(self, principal: Principal, version: LiveVersion) -> list[Finding]:
        document, number = split_version_key(version.key)
        indexed = await self.store.count(principal, self._named(version.generation), version.key)
        present = {name for name in BLOBS if await self.blobs.exists(principal, blob(document, number, name))}
        compared = (
            compare_index(principal.tenant, version, indexed),
            compare_blobs(principal.tenant, version, present),
        )
        return [finding for finding in compared if finding is not None]

    async def _orphan_chunks(self, generation: str, principal: Principal, after: str | None) -> Sheets:
        """Every version is reported once, however its chunks are spread over the pages."""
        reported: set[str] = set()
        while True:
            page = await self.store.walk(principal, self._named(generation), after, CHUNKS)
            standings = await self.inventory.standings(principal, {chunk.version_key for chunk in page})
            before = datetime.now(UTC) - self.old
            findings: list[Finding] = []
            for chunk in page:
                key, standing = chunk.version_key, standings.get(chunk.version_key)
                if key in reported or not may_be_orphaned(chunk, standing, before):
                    continue
                if standing is not None and await self._is_open(principal, standing.workflow_id):
                    continue
                reported.add(key)
                stored = await self.store.count(principal, self._named(generation), key)
                findings.append(
                    Finding(Difference.ORPHAN_CHUNKS, principal.tenant, key, generation, expected=0, found=stored)
                )
            after = page[-1].chunk_id if page else None
            yield Sheet(after, findings)
            if after is None:
                return

    async def _orphan_blobs(self, principal: Principal, _: str | None) -> Sheets:
        """From the beginning in every attempt: not every store lists in order."""
        some: list[BlobFolder] = []
        async for folder in self.blobs.folders(principal):
            some.append(folder)
            if len(some) == self.page:
                yield Sheet("", await self._unknown(principal, some))
                some = []
        yield Sheet(None, await self._unknown(principal, some))

    async def _unknown(self, principal: Principal, folders: list[BlobFolder]) -> list[Finding]:
        """Rows are read after the folders, so that what was admitted meanwhile is known."""
        standings = await self.inventory.standings(principal, {folder.version_key for folder in folders})
        now = datetime.now(UTC)
        before = now - self.old
        return [
            Finding(
                Difference.ORPHAN_BLOBS,
                principal.tenant,
                folder.version_key,
                mendable=folder.written_at < now - self.forgotten,
            )
            for folder in folders
            if is_orphaned(folder, standings.get(folder.version_key), before)
        ]

    # --- mending ----------------------------------------------------------------------------------------------

    async def _mended(self, principal: Principal, finding: Finding) -> Finding:
        """One that cannot be mended holds up no other; the next run finds it again."""
        if not finding.mendable:
            return finding
        try:
            return replace(finding, repaired=await self._mend(principal, finding))
        except MoorageError as error:
            _log.warning("reconcile_repair_failed", subject=finding.subject, code=error.code)
            return finding

    async def _mend(self, principal: Principal, finding: Finding) -> bool:
        match finding.difference:
            case Difference.INDEX_DIFFERS:
                return await self._index_again(principal, finding)
            case Difference.ORPHAN_CHUNKS:
                await self.store.delete(principal, self._named(finding.detail), finding.subject)
            case Difference.ORPHAN_BLOBS:
                await self.blobs.delete(principal, finding.subject.replace(":", "/"))
            case Difference.BLOB_MISSING:
                return False
            case _:
                return await self.ledger.mend(principal, finding)
        return True

    async def _index_again(self, principal: Principal, finding: Finding) -> bool:
        """From the blobs and into the configured generation only: vectors of another cannot be made here."""
        if finding.detail != self.generation.name:
            return False
        document, version = split_version_key(finding.subject)
        await self.index(VersionRef(tenant=principal.tenant, account="", document=document, version=version))
        return await self.store.count(principal, self.generation, finding.subject) == finding.expected

    async def _is_open(self, principal: Principal, workflow_id: str) -> bool:
        live = await self.engine.describe(principal, workflow_id)
        return live is not None and live.state not in FINAL

    def _named(self, generation: str) -> Generation:
        """To read and to delete it takes the name only."""
        return self.generation if generation == self.generation.name else Generation(generation, 0)


def _resumed() -> Progress:
    details = activity.info().heartbeat_details
    if not details:
        return Progress()
    kept = details[0]
    return Progress(Place(**kept["place"]), Tally(**kept["tally"]))


def _report(finding: Finding) -> None:
    """One event and one count per finding; what nothing can recreate is an error."""
    lost = finding.difference is Difference.BLOB_MISSING
    (_log.error if lost else _log.warning)(
        "reconcile_finding",
        tenant=finding.tenant,
        difference=finding.difference,
        subject=finding.subject,
        detail=finding.detail,
        expected=finding.expected,
        found=finding.found,
        repaired=finding.repaired,
    )
    labels = {"difference": str(finding.difference), "repaired": str(finding.repaired).lower()}
    activity.metric_meter().create_counter("moorage_reconcile_findings").add(1, labels)
