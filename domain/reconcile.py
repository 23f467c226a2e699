"""Reconciling: where database, search index, blobs and ledger disagree, and which of it may be mended.

The database is right: what it promises and a store lacks is made again, what a store holds and it does not
know is an orphan once it is old enough.
"""

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

BLOBS = ("original", "text", "chunks.json")  # what a live version cannot be served or indexed again without


class Difference(StrEnum):
    INDEX_DIFFERS = "index_differs"  # a live version with too few or too many chunks
    ORPHAN_CHUNKS = "orphan_chunks"  # chunks of a version that is not live and never will be
    BLOB_MISSING = "blob_missing"  # nothing can recreate it
    ORPHAN_BLOBS = "orphan_blobs"  # a folder that no row knows
    UNSETTLED = "unsettled"  # a closed run with a reservation, or with calls that were not counted
    TURN_DIFFERS = "turn_differs"  # an answered turn says something else than its call, or has not one call
    CALL_OPEN = "call_open"  # nobody is left to end it
    MONTH_USED = "month_used"  # not what its settled calls add up to
    MONTH_RESERVED = "month_reserved"  # not what its runs hold


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference. `subject` is a version key, a workflow id, a call's op_id or a month; `detail` a generation,
    names of blobs, an account, or what of a turn it is about.

    Not `mendable`: to be looked at, and left alone for now.
    """

    difference: Difference
    tenant: str
    subject: str
    detail: str = ""
    expected: int | None = None
    found: int | None = None
    mendable: bool = True
    repaired: bool = False


@dataclass(frozen=True, slots=True)
class LiveVersion:
    """What the database promises of a document."""

    key: str
    generation: str
    chunks: int


@dataclass(frozen=True, slots=True)
class Standing:
    """What the database knows of a version; `quiet_since` is None while its run has no outcome."""

    live: bool
    workflow_id: str
    quiet_since: datetime | None


@dataclass(frozen=True, slots=True)
class StoredChunk:
    """A chunk as the index lists it."""

    chunk_id: str
    version_key: str
    written_at: datetime


@dataclass(frozen=True, slots=True)
class BlobFolder:
    """A version's folder as the blob store lists it; `written_at` is that of its newest blob."""

    version_key: str
    written_at: datetime


@dataclass(frozen=True, slots=True)
class Sheet:
    """A page of a comparison: what differs, and how many of what were compared.

    `following` is where the next one begins; None after the last.
    """

    following: str | None
    findings: Sequence[Finding]
    compared: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts by difference; `unexamined` are tenants that were given up, `compared` months, runs and calls."""

    tenants: int = 0
    unexamined: int = 0
    found: dict[str, int] = field(default_factory=dict)
    repaired: dict[str, int] = field(default_factory=dict)
    compared: dict[str, int] = field(default_factory=dict)

    def with_sheet(self, sheet: Sheet) -> "Tally":
        found = Counter(str(finding.difference) for finding in sheet.findings)
        repaired = Counter(str(finding.difference) for finding in sheet.findings if finding.repaired)
        return self.plus(Tally(found=dict(found), repaired=dict(repaired), compared=dict(sheet.compared)))

    def plus(self, other: "Tally") -> "Tally":
        return Tally(
            self.tenants + other.tenants,
            self.unexamined + other.unexamined,
            dict(Counter(self.found) + Counter(other.found)),
            dict(Counter(self.repaired) + Counter(other.repaired)),
            dict(Counter(self.compared) + Counter(other.compared)),
        )

    @property
    def clean(self) -> bool:
        """Every tenant was examined, and nothing differs any more."""
        return not self.unexamined and self.found == self.repaired


def compare_index(tenant: str, version: LiveVersion, indexed: int) -> Finding | None:
    if indexed == version.chunks:
        return None
    return Finding(
        Difference.INDEX_DIFFERS, tenant, version.key, version.generation, expected=version.chunks, found=indexed
    )


def compare_blobs(tenant: str, version: LiveVersion, present: Set[str]) -> Finding | None:
    missing = [name for name in BLOBS if name not in present]
    if not missing:
        return None
    return Finding(
        Difference.BLOB_MISSING, tenant, version.key, " ".join(missing), expected=len(BLOBS), found=len(present)
    )


def may_be_orphaned(chunk: StoredChunk, standing: Standing | None, before: datetime) -> bool:
    """Written before `before`, for a version that is unknown, or was closed by then and is not live."""
    if chunk.written_at >= before:
        return False
    if standing is None:
        return True
    return not standing.live and standing.quiet_since is not None and standing.quiet_since < before


def is_orphaned(folder: BlobFolder, standing: Standing | None, before: datetime) -> bool:
    """A failed version keeps its bytes: they are what it is tried again from."""
    return standing is None and folder.written_at < before
