"""Contract of DocumentRecords: what is live, what is staged, and who may see it."""

import asyncio

import pytest

from domain.accounts import Account, Principal
from domain.documents import Live, MediaType
from domain.errors import NotFound
from domain.names import new_id, version_key
from domain.runs import Command, Outcome, State
from tests.contract.records import Records, a_colleague


def place(command: Command) -> tuple[str, int]:
    assert command.document_id and command.version
    return command.document_id, command.version


async def default_id(records: Records, principal: Principal) -> str:
    return (await records.documents.collection(principal, "default")).collection_id


async def fail(records: Records, principal: Principal, command: Command, state: State = State.FAILED) -> None:
    await records.runs.close(principal, command.workflow_id, Outcome(state, "corrupt_file", "parse"))


async def test_a_new_document_is_being_processed(records: Records, me: Principal) -> None:
    command = await records.upload(me, filename="a.pdf", title="A", media_type=MediaType.PDF, size=7, sha256="s")

    document = await records.documents.document(me, place(command)[0])

    assert (document.filename, document.title, document.media_type) == ("a.pdf", "A", MediaType.PDF)
    assert (document.size, document.sha256, document.collection) == (7, "s", "default")
    assert (document.version, document.chunks, document.pages) == (None, 0, None)
    assert document.pending is not None
    assert document.pending.state is State.RUNNING
    assert (document.pending.version, document.pending.workflow_id) == (1, command.workflow_id)


async def test_a_published_document_is_live(records: Records, me: Principal) -> None:
    command = await records.upload(me)
    await records.documents.parsed(me, *place(command), pages=2)

    assert await records.publish(me, command, chunks=12)

    document = await records.documents.document(me, place(command)[0])
    assert (document.version, document.pending, document.chunks, document.pages) == (1, None, 12, 2)
    assert document.updated_at > document.created_at


async def test_publishing_closes_the_command(records: Records, me: Principal) -> None:
    command = await records.upload(me)
    await records.documents.parsed(me, *place(command), pages=2)

    await records.publish(me, command, chunks=12)

    closed = await records.runs.command(me, command.workflow_id)
    assert (closed.outcome, closed.result) == (State.SUCCEEDED, {"chunks": 12, "pages": 2})
    assert closed.finished_at is not None


async def test_publishing_twice_changes_nothing(records: Records, me: Principal) -> None:
    command = await records.upload(me)
    await records.publish(me, command, chunks=12)

    assert not await records.publish(me, command, chunks=99)

    assert (await records.documents.document(me, place(command)[0])).chunks == 12


async def test_of_publishes_at_once_one_wins(records: Records, me: Principal) -> None:
    command = await records.upload(me)

    won = await asyncio.gather(*(records.publish(me, command, chunks=chunks) for chunks in range(10)))

    assert won.count(True) == 1
    assert (await records.documents.document(me, place(command)[0])).chunks == won.index(True)


async def test_a_cancelled_version_cannot_be_published(records: Records, me: Principal) -> None:
    command = await records.upload(me)
    await fail(records, me, command, State.CANCELLED)

    assert not await records.publish(me, command)

    assert await records.documents.live(me, [place(command)[0]]) == {}


async def test_a_published_version_cannot_be_failed(records: Records, me: Principal) -> None:
    command = await records.upload(me)
    await records.publish(me, command)

    await fail(records, me, command)

    assert (await records.documents.document(me, place(command)[0])).version == 1


async def test_another_tenant_can_neither_read_nor_change_a_document(
    records: Records, me: Principal, elsewhere: Principal
) -> None:
    command = await records.upload(me)

    for read in (
        records.documents.document(elsewhere, place(command)[0]),
        records.documents.version(elsewhere, *place(command)),
        records.documents.require(elsewhere, [place(command)[0]]),
    ):
        with pytest.raises(NotFound):
            await read
    assert not await records.publish(elsewhere, command)
    await records.documents.stage(elsewhere, *place(command))

    assert (await records.documents.documents(elsewhere)).items == []
    assert await records.documents.staged(me, await default_id(records, me), 10) == []
    assert (await records.documents.document(me, place(command)[0])).version is None


async def test_a_colleague_reads_the_tenants_documents(records: Records, account: Account, me: Principal) -> None:
    command = await records.upload(me)

    assert (await records.documents.document(a_colleague(account), place(command)[0])).document_id == place(command)[0]


async def test_an_unknown_version_is_not_found(records: Records, me: Principal) -> None:
    command = await records.upload(me)

    with pytest.raises(NotFound):
        await records.documents.version(me, place(command)[0], 2)


async def test_only_the_tenants_documents_are_enough(records: Records, me: Principal, elsewhere: Principal) -> None:
    mine, foreign = place(await records.upload(me))[0], place(await records.upload(elsewhere))[0]

    await records.documents.require(me, [mine, mine])
    await records.documents.require(me, [])

    for ids in ([mine, foreign], [mine, new_id()]):
        with pytest.raises(NotFound):
            await records.documents.require(me, ids)


# --- lists ------------------------------------------------------------------------------------------------------


async def test_documents_are_listed_newest_first_and_each_once(records: Records, me: Principal) -> None:
    uploaded = [place(await records.upload(me))[0] for _ in range(5)]

    first = await records.documents.documents(me, limit=3)
    second = await records.documents.documents(me, limit=3, cursor=first.next_cursor)

    assert [found.document_id for found in [*first.items, *second.items]] == uploaded[::-1]
    assert second.next_cursor is None


async def test_documents_are_listed_by_collection(records: Records, me: Principal) -> None:
    await records.upload(me)
    other = await records.upload(me, collection="other")

    found = (await records.documents.documents(me, collection="other")).items

    assert [document.document_id for document in found] == [place(other)[0]]


async def test_documents_are_listed_by_state(records: Records, me: Principal) -> None:
    ready, failed, cancelled, processed = [await records.upload(me) for _ in range(4)]
    await records.publish(me, ready)
    await fail(records, me, failed)
    await fail(records, me, cancelled, State.CANCELLED)

    for state, expected in {
        "ready": ready,
        "failed": failed,
        State.CANCELLED: cancelled,
        "processing": processed,
        State.RUNNING: processed,
    }.items():
        found = (await records.documents.documents(me, state=state)).items
        assert [document.document_id for document in found] == [place(expected)[0]], state


async def test_a_collection_counts_live_documents_and_their_chunks(records: Records, me: Principal) -> None:
    for chunks in (3, 4):
        await records.publish(me, await records.upload(me), chunks=chunks)
    await records.upload(me)
    await fail(records, me, await records.upload(me))
    await records.upload(me, collection="empty")

    counts = {found.name: (found.documents, found.chunks) for found in await records.documents.collections(me)}

    assert counts == {"default": (2, 7), "empty": (0, 0)}


async def test_an_unknown_collection_is_not_found(records: Records, me: Principal, elsewhere: Principal) -> None:
    await records.upload(elsewhere, collection="theirs")

    for name in ("unknown", "theirs"):
        with pytest.raises(NotFound):
            await records.documents.collection(me, name)
    with pytest.raises(NotFound):
        await records.documents.generation(me, await default_id(records, elsewhere))


# --- what search may see ----------------------------------------------------------------------------------------


async def test_only_published_versions_are_live(records: Records, me: Principal, elsewhere: Principal) -> None:
    live = await records.upload(me, filename="live.txt", title="Live")
    await records.publish(me, live)
    pending = await records.upload(me)
    foreign = await records.upload(elsewhere)
    await records.publish(elsewhere, foreign)

    found = await records.documents.live(me, [place(command)[0] for command in (live, pending, foreign)])

    assert found == {place(live)[0]: Live(1, "live.txt", "Live")}


async def test_a_version_is_staged_until_it_is_published(records: Records, me: Principal) -> None:
    command = await records.upload(me)
    collection = await default_id(records, me)
    before = await records.documents.staged(me, collection, 10)
    await records.documents.stage(me, *place(command))
    during = await records.documents.staged(me, collection, 10)

    await records.publish(me, command)

    assert (before, during) == ([], [version_key(*place(command))])
    assert await records.documents.staged(me, collection, 10) == []


async def test_a_failed_version_stays_staged(records: Records, me: Principal) -> None:
    command = await records.upload(me)
    await records.documents.stage(me, *place(command))

    await fail(records, me, command)

    assert await records.documents.staged(me, await default_id(records, me), 10) == [version_key(*place(command))]


async def test_an_index_that_writes_on_after_the_end_is_staged_all_the_same(records: Records, me: Principal) -> None:
    command = await records.upload(me)
    await fail(records, me, command, State.CANCELLED)

    await records.documents.stage(me, *place(command))

    assert await records.documents.staged(me, await default_id(records, me), 10) == [version_key(*place(command))]


async def test_a_live_version_is_never_staged_again(records: Records, me: Principal) -> None:
    command = await records.upload(me)
    await records.publish(me, command)

    await records.documents.stage(me, *place(command))

    assert await records.documents.staged(me, await default_id(records, me), 10) == []


async def test_staged_versions_are_counted_up_to_the_limit_and_by_collection(records: Records, me: Principal) -> None:
    for collection in ("default", "default", "default", "other"):
        await records.documents.stage(me, *place(await records.upload(me, collection=collection)))
    collection = await default_id(records, me)

    assert len(await records.documents.staged(me, collection, 2)) == 2
    assert len(await records.documents.staged(me, collection, 10)) == 3
