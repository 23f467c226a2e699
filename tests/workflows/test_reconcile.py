"""Differences planted behind the platform's back are found, and mended when that is safe."""

from collections.abc import AsyncIterator
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from temporalio import activity
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment
from temporalio.worker import Worker
from weaviate.collections import CollectionAsync

from activities.ledger import CLOSED
from activities.reconcile import Examination, Place, Progress, ReconcileActivities
from domain import names
from domain.accounts import Principal
from domain.names import blob, chunk_id, new_id, vectors_blob, version_key
from domain.reconcile import Difference, Finding, Tally
from domain.runs import Outcome, State
from domain.search import IndexedChunk
from domain.usage import month_of
from infra.services import Services, open_services
from infra.stack.addresses import Addresses
from infra.weaviate_objects import class_name
from tests.contract.records import ASK, a_call, a_file
from tests.platform import Platform, User, platform
from workflows.reconcile import Reconcile
from workflows.worker import reconcile_activities

LONG = "\n\n".join(f"The lock number {number} opens at six in the morning. " * 20 for number in range(5)).encode()


@pytest.fixture(scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory, addresses: Addresses) -> AsyncIterator[Platform]:
    """Of our own: reconciling looks at every tenant."""
    async with platform(tmp_path_factory.mktemp("reconcile"), addresses) as found:
        yield found


@pytest.fixture
async def user(running: Platform) -> User:
    return await running.user()


def _at_once(activities: ReconcileActivities, closed: timedelta = timedelta(0)) -> ReconcileActivities:
    ledger = replace(activities.ledger, closed=closed)
    return replace(activities, ledger=ledger, old=timedelta(0), forgotten=timedelta(0))


class Harbour:
    """One tenant, looked at without waiting until what is wrong is an hour old."""

    def __init__(self, services: Services, user: User) -> None:
        self.services = services
        self.user = user
        self.principal = Principal(user.tenant, user.account)
        self.generation = services.embedder.generation
        self.activities = _at_once(reconcile_activities(services))

    async def found(self, *, repair: bool = False, activities: ReconcileActivities | None = None) -> list[Finding]:
        work = Examination(self.user.tenant, repair)
        return [each async for _, page in (activities or self.activities).examine(work) for each in page.findings]

    async def live(self, data: bytes = LONG) -> tuple[str, int]:
        """A document that is ready, and its chunks."""
        run = await self.user.upload("lock.txt", data + new_id().encode())
        assert run["state"] == "succeeded"
        return run["document_id"], run["result"]["chunks"]

    async def admitted(self) -> str:
        """A document whose run nobody has started yet."""
        upload = a_file(document_id=new_id())
        await self.services.admissions.admit_upload(self.principal, upload, self.generation, None, "digest")
        return upload.document_id

    async def plant(self, document: str, ordinals: range = range(3)) -> None:
        """Chunks in the index that no ingestion wrote."""
        text, vector = "Nobody knows me.", np.eye(1, self.generation.dimensions, dtype=np.float32)[0]
        chunks = [
            IndexedChunk(
                chunk_id(self.user.tenant, document, 1, n), document, 1, "c", n, text, text, 0, 1, None, (), vector
            )
            for n in ordinals
        ]
        await self.services.store.insert(self.principal, self.generation, chunks)

    async def index(self) -> CollectionAsync[Any, Any]:
        """The tenant's part of the class, where no port leads."""
        index = await self.services.store._existing(class_name(self.generation.name), self.user.tenant)
        assert index is not None
        return index

    async def lose_chunk(self, document: str) -> None:
        await (await self.index()).data.delete_by_id(chunk_id(self.user.tenant, document, 1, 0))

    async def count(self, document: str) -> int:
        return await self.services.store.count(self.principal, self.generation, version_key(document, 1))

    async def lose(self, path: str) -> None:
        """A folder of the blob store, or one blob."""
        store = self.services.blobs._store
        await store.delete_async(f"{self.user.tenant}/{path}")


@pytest.fixture
def harbour(running: Platform, user: User) -> Harbour:
    return Harbour(running.services, user)


async def test_a_clean_tenant_differs_in_nothing(harbour: Harbour) -> None:
    await harbour.live()
    await harbour.user.upload("broken.pdf", b"%PDF-1.7 broken")
    await harbour.user.ask("When does lock number 3 open?")
    patient = _at_once(harbour.activities, CLOSED)  # the answer's metering child may still be at work

    assert await harbour.found(repair=True, activities=patient) == []


async def test_a_lost_chunk_is_found_and_written_again(harbour: Harbour) -> None:
    document, chunks = await harbour.live()
    await harbour.lose_chunk(document)

    reported, mended = await harbour.found(), await harbour.found(repair=True)

    expected = Finding(
        Difference.INDEX_DIFFERS,
        harbour.user.tenant,
        f"{document}:1",
        harbour.generation.name,
        expected=chunks,
        found=chunks - 1,
    )
    assert chunks > 1
    assert reported == [expected]
    assert mended == [replace(expected, repaired=True)]
    assert await harbour.count(document) == chunks
    assert await harbour.found() == []


async def test_a_lost_index_is_written_again(running: Platform, harbour: Harbour) -> None:
    documents = dict([await harbour.live() for _ in range(2)])
    index = await harbour.index()
    await index.tenants.remove([harbour.user.tenant])
    async with open_services(running.services.settings, running.client) as restarted:
        afterwards = Harbour(restarted, harbour.user)

        findings = await afterwards.found(repair=True)

        assert [(each.found, each.repaired) for each in findings] == [(0, True)] * 2
        assert {document: await afterwards.count(document) for document in documents} == documents


async def test_chunks_whose_vectors_are_gone_are_reported_only(harbour: Harbour) -> None:
    document, chunks = await harbour.live()
    await harbour.services.store.delete(harbour.principal, harbour.generation, version_key(document, 1))
    await harbour.lose(vectors_blob(document, 1, harbour.generation.name, 0))

    findings = await harbour.found(repair=True)

    assert [(each.difference, each.expected, each.found, each.repaired) for each in findings] == [
        (Difference.INDEX_DIFFERS, chunks, 0, False)
    ]


async def test_too_many_chunks_of_a_live_version_are_reported_only(harbour: Harbour) -> None:
    document, chunks = await harbour.live()
    await harbour.plant(document, range(100, 102))

    findings = await harbour.found(repair=True)

    assert [(each.difference, each.found, each.repaired) for each in findings] == [
        (Difference.INDEX_DIFFERS, chunks + 2, False)
    ]


async def test_chunks_of_an_unknown_version_are_reported_once_and_deleted(harbour: Harbour) -> None:
    live, chunks = await harbour.live()
    unknown = new_id()
    await harbour.plant(unknown)

    reported, mended = await harbour.found(), await harbour.found(repair=True)

    assert [(each.difference, each.subject, each.found) for each in reported] == [
        (Difference.ORPHAN_CHUNKS, f"{unknown}:1", 3)
    ]
    assert [each.repaired for each in mended] == [True]
    assert (await harbour.count(unknown), await harbour.count(live)) == (0, chunks)
    assert await harbour.found() == []


async def test_chunks_of_a_failed_version_are_deleted(harbour: Harbour) -> None:
    failed = (await harbour.user.upload("broken.pdf", b"%PDF-1.7 broken"))["document_id"]
    await harbour.plant(failed)

    findings = await harbour.found(repair=True)

    assert [(each.difference, each.repaired) for each in findings] == [(Difference.ORPHAN_CHUNKS, True)]
    assert await harbour.count(failed) == 0


async def test_chunks_of_a_version_whose_run_is_open_are_left_alone(harbour: Harbour) -> None:
    document = await harbour.admitted()
    await harbour.plant(document)

    assert await harbour.found(repair=True) == []
    assert await harbour.count(document) == 3


async def test_a_run_that_goes_on_in_temporal_protects_chunks_of_a_closed_version(
    running: Platform, harbour: Harbour
) -> None:
    document = await harbour.admitted()
    workflow_id = names.ingest_run(harbour.user.tenant, document, 1)
    await harbour.services.runs.close(harbour.principal, workflow_id, Outcome(State.FAILED, "internal"))
    await harbour.plant(document)
    handle = await running.client.start_workflow("Nothing", id=workflow_id, task_queue="nobody works here")

    protected = await harbour.found(repair=True)
    await handle.terminate()
    findings = await harbour.found(repair=True)

    assert protected == []
    assert [each.difference for each in findings] == [Difference.ORPHAN_CHUNKS]


async def test_a_folder_that_no_row_knows_is_found_and_deleted(harbour: Harbour) -> None:
    live, _ = await harbour.live()
    unknown = new_id()
    for name in ("original", "text"):
        await harbour.services.blobs.put(harbour.principal, blob(unknown, 1, name), b"x")

    reported, mended = await harbour.found(), await harbour.found(repair=True)

    expected = Finding(Difference.ORPHAN_BLOBS, harbour.user.tenant, f"{unknown}:1")
    assert (reported, mended) == ([expected], [replace(expected, repaired=True)])
    assert not await harbour.services.blobs.exists(harbour.principal, blob(unknown, 1, "original"))
    assert await harbour.services.blobs.exists(harbour.principal, blob(live, 1, "original"))
    assert await harbour.found() == []


async def test_bytes_that_no_row_knows_are_kept_for_days_before_they_are_deleted(harbour: Harbour) -> None:
    """A database restored from an older day does not know the originals that were uploaded since."""
    unknown = new_id()
    await harbour.services.blobs.put(harbour.principal, blob(unknown, 1, "original"), b"x")
    patient = replace(reconcile_activities(harbour.services), old=timedelta(0))

    findings = await harbour.found(repair=True, activities=patient)

    assert [(each.difference, each.repaired) for each in findings] == [(Difference.ORPHAN_BLOBS, False)]
    assert await harbour.services.blobs.exists(harbour.principal, blob(unknown, 1, "original"))


async def test_what_is_younger_than_an_hour_is_no_orphan(harbour: Harbour) -> None:
    unknown = new_id()
    await harbour.plant(unknown)
    await harbour.services.blobs.put(harbour.principal, blob(unknown, 1, "original"), b"x")

    assert await harbour.found(repair=True, activities=reconcile_activities(harbour.services)) == []
    assert await harbour.count(unknown) == 3


@pytest.mark.parametrize("name", ["original", "text", "chunks.json"])
async def test_a_lost_blob_is_reported_and_never_repaired(harbour: Harbour, name: str) -> None:
    document, _ = await harbour.live(b"The lock opens at six.")
    await harbour.lose(blob(document, 1, name))

    findings = await harbour.found(repair=True)

    expected = Finding(Difference.BLOB_MISSING, harbour.user.tenant, f"{document}:1", name, expected=3, found=2)
    assert findings == [expected]
    assert await harbour.found(repair=True) == [expected]


async def test_a_closed_run_that_nobody_settled_is_settled(harbour: Harbour) -> None:
    ask = replace(ASK, billable=True)
    command = await harbour.services.admissions.admit_turn(harbour.principal, ask, None, "digest")
    await harbour.services.usage.record(harbour.principal, [a_call(command)])
    open_run = await harbour.found(repair=True)
    await harbour.services.runs.close(harbour.principal, command.workflow_id, Outcome(State.FAILED, "internal"))

    findings = await harbour.found(repair=True)

    month = await harbour.services.usage.month(harbour.principal, month_of(datetime.now(UTC)))
    expected = Finding(Difference.UNSETTLED, harbour.user.tenant, command.workflow_id, harbour.user.account)
    assert open_run == []
    assert findings == [replace(expected, repaired=True)]
    assert (month.used, month.reserved) == (100, 0)
    assert await harbour.found() == []


async def test_page_by_page_the_same_is_found(harbour: Harbour) -> None:
    for _ in range(3):
        document, _ = await harbour.live(b"The lock opens at six.")
        await harbour.lose(blob(document, 1, "text"))
        await harbour.services.blobs.put(harbour.principal, blob(new_id(), 1, "original"), b"x")

    whole = await harbour.found()
    paged = await harbour.found(activities=replace(harbour.activities, page=1))

    assert len(whole) == 6
    assert sorted(map(str, paged)) == sorted(map(str, whole))


async def test_an_attempt_goes_on_where_the_last_one_was(harbour: Harbour) -> None:
    document, _ = await harbour.live(b"The lock opens at six.")
    await harbour.lose(blob(document, 1, "text"))
    await harbour.services.blobs.put(harbour.principal, blob(new_id(), 1, "original"), b"x")
    earlier = Progress(Place("blobs"), Tally(found={"blob_missing": 1}))
    environment = ActivityEnvironment()
    environment.info = replace(environment.info, heartbeat_details=[asdict(earlier)])

    tally = await environment.run(harbour.activities.tenant, Examination(harbour.user.tenant, repair=True))

    found = {"blob_missing": 1, "orphan_blobs": 1}
    assert tally == Tally(1, 0, found, {"orphan_blobs": 1}, compared={"runs": 1})


async def test_the_workflow_counts_over_all_tenants_and_mends(running: Platform, harbour: Harbour) -> None:
    document, chunks = await harbour.live()
    await harbour.lose_chunk(document)

    tally = await running.client.execute_workflow(Reconcile.run, id=new_id(), task_queue=names.DOCUMENTS_QUEUE)

    assert tally.tenants == len(await running.services.inventory.tenants("", 1000))
    assert tally.unexamined == 0
    assert tally.repaired["index_differs"] >= 1
    assert await harbour.count(document) == chunks


async def test_a_tenant_that_cannot_be_examined_holds_up_no_other(running: Platform) -> None:
    class Stores:
        @activity.defn(name="reconcile.tenants")
        async def tenants(self, after: str) -> list[str]:
            return [] if after else ["broken", "sound"]

        @activity.defn(name="reconcile.tenant")
        async def tenant(self, work: Examination) -> Tally:
            if work.tenant == "broken":
                raise ApplicationError("store_unavailable", non_retryable=True)
            return Tally(tenants=1)

    queue, stores = new_id(), Stores()
    async with Worker(
        running.client, task_queue=queue, workflows=[Reconcile], activities=[stores.tenants, stores.tenant]
    ):
        tally = await running.client.execute_workflow(Reconcile.run, id=new_id(), task_queue=queue)

    assert tally == Tally(tenants=1, unexamined=1)
