"""What every blob store promises; a folder, and the library's own memory store for what buckets do alike."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from domain.accounts import Principal
from domain.errors import BlobsUnavailable, Internal, NotFound
from domain.names import new_id
from domain.ports import Blobs
from infra.blobs import ObjectBlobs

BIG = bytes(range(256)) * 50_000  # 12.8 MB, more than a writer holds back


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "blobs, with a space"


@pytest.fixture(params=["folder", "memory"])
def blobs(request: pytest.FixtureRequest, folder: Path) -> Blobs:
    return ObjectBlobs(folder.as_uri() if request.param == "folder" else "memory:///")


async def collected(pieces: AsyncIterator[bytes]) -> bytes:
    return b"".join([piece async for piece in pieces])


async def write(blobs: Blobs, principal: Principal, path: str, data: bytes, *, fail: bool = False) -> None:
    async with blobs.writer(principal, path) as writer:
        for start in range(0, len(data), 1_000_000):
            await writer.write(data[start : start + 1_000_000])
        if fail:
            raise LookupError("the caller gave up")


@pytest.mark.parametrize("data", [b"", b"a", BIG], ids=["empty", "small", "big"])
async def test_a_blob_comes_back_as_it_was_put(blobs: Blobs, principal: Principal, data: bytes) -> None:
    await blobs.put(principal, "d/1/original", data)

    assert await blobs.get(principal, "d/1/original") == data
    assert await collected(blobs.stream(principal, "d/1/original")) == data


@pytest.mark.parametrize("data", [b"", b"a", BIG], ids=["empty", "small", "big"])
async def test_a_blob_comes_back_as_it_was_written(blobs: Blobs, principal: Principal, data: bytes) -> None:
    await write(blobs, principal, "d/1/original", data)

    assert await blobs.get(principal, "d/1/original") == data


async def test_putting_again_replaces(blobs: Blobs, principal: Principal) -> None:
    await blobs.put(principal, "d/1/text", b"before")
    await blobs.put(principal, "d/1/text", b"after")

    assert await blobs.get(principal, "d/1/text") == b"after"


@pytest.mark.parametrize("data", [b"", b"a", BIG], ids=["empty", "small", "big"])
async def test_a_writer_that_is_left_with_an_error_leaves_no_blob(
    blobs: Blobs, principal: Principal, data: bytes
) -> None:
    with pytest.raises(LookupError):
        await write(blobs, principal, "d/1/original", data, fail=True)

    assert not await blobs.exists(principal, "d/1/original")


async def test_a_writer_that_is_left_with_an_error_keeps_what_was_there(blobs: Blobs, principal: Principal) -> None:
    await blobs.put(principal, "d/1/original", b"before")

    with pytest.raises(LookupError):
        await write(blobs, principal, "d/1/original", BIG, fail=True)

    assert await blobs.get(principal, "d/1/original") == b"before"


async def test_a_blob_is_not_there_before_its_writer_has_ended(blobs: Blobs, principal: Principal) -> None:
    async with blobs.writer(principal, "d/1/original") as writer:
        await writer.write(BIG)

        assert not await blobs.exists(principal, "d/1/original")


async def test_a_missing_blob_is_not_found(blobs: Blobs, principal: Principal) -> None:
    assert not await blobs.exists(principal, "d/1/text")
    with pytest.raises(NotFound):
        await blobs.get(principal, "d/1/text")
    with pytest.raises(NotFound):
        await collected(blobs.stream(principal, "d/1/text"))


async def test_a_blob_belongs_to_its_tenant(blobs: Blobs, principal: Principal, stranger: Principal) -> None:
    await blobs.put(principal, "d/1/text", b"mine")

    assert not await blobs.exists(stranger, "d/1/text")
    with pytest.raises(NotFound):
        await blobs.get(stranger, "d/1/text")


async def test_a_folder_is_deleted_with_all_that_is_in_it_and_nothing_else(
    blobs: Blobs, principal: Principal, stranger: Principal
) -> None:
    for path in ("d/1/original", "d/1/vectors/e5-384-a1-c1/00000.npz", "d/12/text", "d/2/text"):
        await blobs.put(principal, path, b"x")
    await blobs.put(stranger, "d/1/original", b"x")

    await blobs.delete(principal, "d/1")

    kept = [path for path in ("d/1/original", "d/12/text", "d/2/text") if await blobs.exists(principal, path)]
    assert kept == ["d/12/text", "d/2/text"]
    assert not await blobs.exists(principal, "d/1/vectors/e5-384-a1-c1/00000.npz")
    assert await blobs.exists(stranger, "d/1/original")


async def test_the_folders_of_versions_are_listed_with_the_time_of_their_newest_blob(
    blobs: Blobs, principal: Principal, stranger: Principal
) -> None:
    begun = datetime.now(UTC)
    one, other = new_id(), new_id()
    for path in (f"{one}/1/original", f"{one}/12/text", f"{other}/1/vectors/e5/00000.npz", f"{one}/1/text"):
        await blobs.put(principal, path, b"x")
    for elsewhere in ("imports/1/manifest", f"{one}/original", f"{one}/draft/original"):
        await blobs.put(principal, elsewhere, b"x")
    await blobs.put(stranger, f"{new_id()}/1/original", b"x")

    found = [folder async for folder in blobs.folders(principal)]

    assert sorted(folder.version_key for folder in found) == sorted([f"{one}:1", f"{one}:12", f"{other}:1"])
    assert all(abs(folder.written_at - begun) < timedelta(seconds=30) for folder in found)


async def test_a_tenant_without_blobs_has_no_folders(blobs: Blobs, principal: Principal) -> None:
    assert [folder async for folder in blobs.folders(principal)] == []


async def test_deleting_what_is_not_there_is_no_error(blobs: Blobs, principal: Principal) -> None:
    await blobs.delete(principal, "d/1/")
    await blobs.delete(principal, "d")


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../other/text", "d/../../other", "d//text", "d/./t", "d/text#1"])
async def test_a_path_that_leads_elsewhere_is_refused(blobs: Blobs, principal: Principal, path: str) -> None:
    with pytest.raises(Internal):
        await blobs.put(principal, path, b"x")
    with pytest.raises(Internal):
        await blobs.get(principal, path)
    with pytest.raises(Internal):
        await blobs.delete(principal, path)


async def test_a_principal_without_a_tenant_is_refused(blobs: Blobs) -> None:
    with pytest.raises(Internal):
        await blobs.put(Principal("", "account"), "d/1/text", b"x")


async def test_a_store_that_lives_answers_a_ping(blobs: Blobs) -> None:
    await blobs.ping()


# --- a folder only --------------------------------------------------------------------------------------------


async def test_what_was_put_is_there_after_a_restart(folder: Path, principal: Principal) -> None:
    await ObjectBlobs(folder.as_uri()).put(principal, "d/1/text", b"x")

    assert await ObjectBlobs(folder.as_uri()).get(principal, "d/1/text") == b"x"
    assert (folder / principal.tenant / "d/1/text").read_bytes() == b"x"


async def test_a_stream_comes_in_pieces(folder: Path, principal: Principal) -> None:
    blobs = ObjectBlobs(folder.as_uri())
    await blobs.put(principal, "d/1/original", BIG)

    sizes = [len(piece) async for piece in blobs.stream(principal, "d/1/original")]

    assert max(sizes) < 1_000_000


async def test_what_a_killed_writer_left_is_deleted_with_its_folder(folder: Path, principal: Principal) -> None:
    blobs = ObjectBlobs(folder.as_uri())
    await blobs.put(principal, "d/1/text", b"x")
    (folder / principal.tenant / "d/1/original#1").write_bytes(b"torn")

    await blobs.delete(principal, "d/1")

    assert not (folder / principal.tenant / "d/1").exists()


async def test_a_folder_that_cannot_be_written_is_unavailable(folder: Path, principal: Principal) -> None:
    blobs = ObjectBlobs(folder.as_uri())
    (folder / principal.tenant).write_bytes(b"a file where a folder should be")

    with pytest.raises(BlobsUnavailable):
        await blobs.put(principal, "d/1/text", b"x")
    with pytest.raises(BlobsUnavailable):
        await write(blobs, principal, "d/1/text", b"x")


async def test_a_folder_that_is_gone_answers_no_ping(folder: Path) -> None:
    blobs = ObjectBlobs(folder.as_uri())
    folder.rmdir()

    with pytest.raises(BlobsUnavailable):
        await blobs.ping()


async def test_while_the_folder_is_gone_nothing_is_missing_and_nothing_is_made(
    folder: Path, principal: Principal
) -> None:
    blobs = ObjectBlobs(folder.as_uri())
    folder.rmdir()

    for call in (blobs.get, blobs.exists, blobs.delete):
        with pytest.raises(BlobsUnavailable):
            await call(principal, "d/1/original")
    with pytest.raises(BlobsUnavailable):
        await blobs.put(principal, "d/1/original", b"words")
    assert not folder.exists()


async def test_an_erased_tenant_has_no_blobs_and_the_others_keep_theirs(
    blobs: Blobs, principal: Principal, stranger: Principal
) -> None:
    for who in (principal, stranger):
        for path in ("d/1/original", "d/1/vectors/g/00000.npy", "e/2/text"):
            await blobs.put(who, path, b"bytes")
    before = await blobs.total(principal), await blobs.total(stranger)

    await blobs.erase(principal)
    await blobs.erase(principal)

    assert before == (3, 3)
    assert (await blobs.total(principal), await blobs.total(stranger)) == (0, 3)


async def test_erasing_leaves_no_folder_and_takes_what_a_killed_writer_left(folder: Path, principal: Principal) -> None:
    blobs = ObjectBlobs(folder.as_uri())
    await blobs.put(principal, "d/1/original", b"bytes")
    (folder / principal.tenant / "d" / "1" / "text#1").write_bytes(b"half")

    await blobs.erase(principal)

    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("tenant", ["", ".", "..", "a/b"])
async def test_nothing_but_an_id_of_ours_names_a_tenant_to_erase(blobs: Blobs, tenant: str) -> None:
    with pytest.raises(Internal):
        await blobs.erase(Principal(tenant, ""))
