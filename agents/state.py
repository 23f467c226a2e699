"""What travels between nodes: ids, counts and codes, as JSON. All of it is written to workflow history."""

from typing import TypedDict


class TurnRef(TypedDict):
    """Which turn a chat node works on."""

    tenant: str
    account: str
    conversation: str
    seq: int


class ChatState(TurnRef, total=False):
    history: int  # messages the question can refer to
    left_out: int  # earlier turns that neither these nor the summary hold; unknown to runs of earlier releases
    use_rag: bool
    flags: list[str]
    passages: int
    finish: str
    prompt_tokens: int
    completion_tokens: int


class VersionRef(TypedDict):
    """Which version of a document an ingestion node works on."""

    tenant: str
    account: str
    document: str
    version: int


class DocumentState(VersionRef, total=False):
    characters: int
    pages: int | None
    chunks: int
    billed: int  # calls to a paid embedding provider
