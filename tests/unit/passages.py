"""Passages without a search: what was found, and where in the document it stands."""

from domain.search import Hit, Passage


def passage(text: str, *, start: int = 0, score: float = 1.0, document: str = "d") -> Passage:
    hit = Hit(
        chunk_id=f"{document}-{start}",
        document_id=document,
        version=1,
        ordinal=0,
        text=text,
        start=start,
        end=start + len(text),
        page=3,
        score=score,
    )
    return Passage(hit, filename=f"{document}.txt", title=document.upper())
