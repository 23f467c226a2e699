"""What counts as a difference, and what may be deleted for it."""

from datetime import UTC, datetime, timedelta

import pytest

from domain.reconcile import (
    BlobFolder,
    Difference,
    Finding,
    LiveVersion,
    Sheet,
    Standing,
    StoredChunk,
    Tally,
    compare_blobs,
    compare_index,
    is_orphaned,
    may_be_orphaned,
)

BEFORE = datetime(2026, 5, 1, 12, tzinfo=UTC)
EARLIER, LATER = BEFORE - timedelta(seconds=1), BEFORE + timedelta(seconds=1)
VERSION = LiveVersion("document:1", "generation", 3)

LIVE = Standing(True, "ingest:t:document:1", EARLIER)
OPEN = Standing(False, "ingest:t:document:1", None)
CLOSED_LONG_AGO = Standing(False, "ingest:t:document:1", EARLIER)
JUST_CLOSED = Standing(False, "ingest:t:document:1", LATER)


def chunk(written_at: datetime) -> StoredChunk:
    return StoredChunk("chunk", "document:1", written_at)


def test_as_many_chunks_as_promised_differ_in_nothing() -> None:
    assert compare_index("tenant", VERSION, 3) is None


@pytest.mark.parametrize("indexed", [0, 2, 4])
def test_too_few_and_too_many_chunks_differ(indexed: int) -> None:
    finding = compare_index("tenant", VERSION, indexed)

    assert finding == Finding(Difference.INDEX_DIFFERS, "tenant", "document:1", "generation", 3, indexed)


def test_every_missing_blob_is_named() -> None:
    finding = compare_blobs("tenant", VERSION, {"text"})

    assert finding == Finding(Difference.BLOB_MISSING, "tenant", "document:1", "original chunks.json", 3, 1)
    assert compare_blobs("tenant", VERSION, {"original", "text", "chunks.json"}) is None


@pytest.mark.parametrize(
    ("standing", "orphaned"),
    [(None, True), (LIVE, False), (OPEN, False), (CLOSED_LONG_AGO, True), (JUST_CLOSED, False)],
    ids=["unknown", "live", "open", "closed", "just closed"],
)
def test_old_chunks_are_orphans_when_nobody_will_make_them_live(standing: Standing | None, orphaned: bool) -> None:
    assert may_be_orphaned(chunk(EARLIER), standing, BEFORE) is orphaned


@pytest.mark.parametrize("standing", [None, LIVE, OPEN, CLOSED_LONG_AGO, JUST_CLOSED])
def test_a_chunk_that_was_just_written_is_no_orphan(standing: Standing | None) -> None:
    assert not may_be_orphaned(chunk(LATER), standing, BEFORE)


@pytest.mark.parametrize(
    ("written_at", "standing", "orphaned"),
    [(EARLIER, None, True), (LATER, None, False), (EARLIER, CLOSED_LONG_AGO, False), (EARLIER, LIVE, False)],
    ids=["unknown", "being uploaded", "failed", "live"],
)
def test_a_folder_is_an_orphan_when_no_row_knows_it(
    written_at: datetime, standing: Standing | None, orphaned: bool
) -> None:
    assert is_orphaned(BlobFolder("document:1", written_at), standing, BEFORE) is orphaned


def test_a_tally_counts_what_was_found_and_what_was_repaired() -> None:
    lost = Finding(Difference.BLOB_MISSING, "tenant", "a:1")
    mended = Finding(Difference.ORPHAN_BLOBS, "tenant", "b:1", repaired=True)

    sheet = Sheet(None, [lost, mended, mended], {"calls": 3})

    tally = Tally(tenants=1, compared={"calls": 4}).with_sheet(sheet).plus(Tally(tenants=1, unexamined=1))

    assert tally == Tally(2, 1, {"blob_missing": 1, "orphan_blobs": 2}, {"orphan_blobs": 2}, {"calls": 7})


@pytest.mark.parametrize(
    ("tally", "clean"),
    [
        (Tally(tenants=3), True),
        (Tally(found={"unsettled": 1}, repaired={"unsettled": 1}), True),
        (Tally(found={"unsettled": 2}, repaired={"unsettled": 1}), False),
        (Tally(unexamined=1), False),
    ],
)
def test_all_is_clean_when_all_was_examined_and_all_that_was_found_is_repaired(tally: Tally, clean: bool) -> None:
    assert tally.clean is clean
