"""Every id, queue and search attribute name in one place: the Temporal UI reads like a table of contents.

Ids name tenants, documents and turns by random ids only: they stay readable in Temporal, so no personal
data and no content goes into them.
"""

import uuid

CHAT_QUEUE = "chat"  # somebody waits
DOCUMENTS_QUEUE = "documents"  # nobody waits
QUEUES = (CHAT_QUEUE, DOCUMENTS_QUEUE)

TENANT_ID, DOCUMENT_ID, IMPORT_ID, KIND = "TenantId", "DocumentId", "ImportId", "Kind"
INGEST_STATE, FAILED_STEP, ERROR_TYPE, PARKED_AT = "IngestState", "FailedStep", "ErrorType", "ParkedAt"
KEYWORD_ATTRIBUTES = (TENANT_ID, DOCUMENT_ID, IMPORT_ID, KIND, INGEST_STATE, FAILED_STEP, ERROR_TYPE)
DATETIME_ATTRIBUTES = (PARKED_AT,)

SWEEP = "sweep"
RECONCILE = "reconcile"
DEFAULT_COLLECTION = "default"

_CHUNKS = uuid.UUID("6f1d0c53-5f0e-4b55-9a39-2c1c4a9f6b0e")


def new_id() -> str:
    """A random id of 122 bits, 32 hexadecimal digits."""
    return uuid.uuid4().hex


def chat_run(tenant: str, conversation: str, seq: int) -> str:
    return f"chat:{tenant}:{conversation}:{seq}"


def ingest_run(tenant: str, document: str, version: int) -> str:
    return f"ingest:{tenant}:{document}:{version}"


def replay_run(tenant: str, nonce: str) -> str:
    return f"replay:{tenant}:{nonce}"


def usage_run(workflow_id: str, run_id: str) -> str:
    """The metering child of one run; the run id is part of it because a restarted run pays again."""
    return f"usage:{workflow_id}:{run_id}"


def tenant_of(workflow_id: str) -> str:
    """The tenant a workflow id belongs to; an empty string when the id is none of ours."""
    parts = workflow_id.split(":")
    return parts[1] if len(parts) > 2 else ""


def chunk_id(tenant: str, document: str, version: int, ordinal: int) -> str:
    """The same chunk has the same id in every attempt, so that writing it twice changes nothing."""
    return str(uuid.uuid5(_CHUNKS, f"{tenant}:{document}:{version}:{ordinal}"))


def version_key(document: str, version: int) -> str:
    """How one version of a document is called in the search index."""
    return f"{document}:{version}"


def split_version_key(key: str) -> tuple[str, int]:
    document, _, version = key.partition(":")
    return document, int(version)


def blob(document: str, version: int, name: str) -> str:
    """Path of a version's blob, relative to the tenant: `original`, `text`, `layout.json`, `chunks.json`."""
    return f"{document}/{version}/{name}"


def vectors_blob(document: str, version: int, generation: str, part: int) -> str:
    """Vectors are kept in parts, written as they arrive, so that a retry pays for none twice."""
    return blob(document, version, f"vectors/{generation}/{part:05}.npz")
