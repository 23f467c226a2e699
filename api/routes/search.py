"""Search without an answer."""

from activities.meter import Meter
from activities.retrieval import Find, Retriever
from api import views
from api.deps import Caller, Platform
from api.filters import accepted
from api.routing import Router
from api.schemas.documents import SearchRequest, SearchResponse
from domain.names import new_id

router = Router(prefix="/api/v1", tags=["documents"])


@router.post("/search")
async def search(body: SearchRequest, principal: Caller, platform: Platform) -> SearchResponse:
    """Passages, best first, from live versions only."""
    collection = await platform.documents.collection(principal, body.collection)
    await platform.documents.require(principal, body.document_ids)
    find = Find(
        text=body.query,
        collection_id=collection.collection_id,
        k=body.k,
        mode=body.mode,
        document_ids=body.document_ids,
        filters=list(accepted(body.filters).values()),
    )
    meter = Meter(platform.usage, platform.tokenizer, platform.prices)
    retriever = Retriever(platform.documents, platform.store, platform.embedder, meter)
    found = await retriever.find(principal, find, op_id=f"search:{new_id()}")
    results = [views.search_result(index, passage) for index, passage in enumerate(found.passages, start=1)]
    return SearchResponse(results=results, timings_ms=dict(found.timings))
