"""How chunks look inside Weaviate: the class of a generation, objects, filters, and hits from what comes back."""

import hashlib
import re
import uuid
from collections.abc import Set
from typing import Any, TypedDict

import numpy as np
from weaviate.classes.config import Configure, DataType, Property, Tokenization, VectorDistances
from weaviate.classes.data import DataObject
from weaviate.classes.query import Filter
from weaviate.collections.classes.filters import FilterReturn
from weaviate.collections.classes.internal import Object

from domain.names import version_key
from domain.reconcile import StoredChunk
from domain.search import Hit, IndexedChunk, Scope, Vector, share

RETURNED = ["text", "terms", "document", "version", "ordinal", "start", "end", "page"]


class Schema(TypedDict):
    """What a class is created with."""

    properties: list[Property]
    multi_tenancy_config: Any
    vector_config: Any


PREFIX = "Chunks_"


def is_ours(name: str) -> bool:
    return name.startswith(PREFIX)


def class_name(generation: str) -> str:
    """A legal class name that two generations never share: what is readable of the name, and a digest of all."""
    readable = re.sub("[^0-9A-Za-z]+", "_", generation)[:80]
    return f"{PREFIX}{readable}_{hashlib.sha256(generation.encode()).hexdigest()[:8]}"


def schema() -> Schema:
    return Schema(
        properties=[
            Property(name="text", data_type=DataType.TEXT, index_searchable=False, index_filterable=False),
            Property(
                name="terms", data_type=DataType.TEXT, tokenization=Tokenization.WHITESPACE, index_filterable=False
            ),
            *(_key(name) for name in ("document", "version", "collection")),
            _key("meta", DataType.TEXT_ARRAY),
            Property(name="ordinal", data_type=DataType.INT, index_range_filters=True),
            *(Property(name=name, data_type=DataType.INT, index_filterable=False) for name in ("start", "end", "page")),
        ],
        multi_tenancy_config=Configure.multi_tenancy(enabled=True, auto_tenant_creation=False),
        vector_config=Configure.Vectors.self_provided(
            vector_index_config=Configure.VectorIndex.hnsw(distance_metric=VectorDistances.COSINE)
        ),
    )


def _key(name: str, data_type: DataType = DataType.TEXT) -> Property:
    """Matched as a whole, never searched in."""
    return Property(name=name, data_type=data_type, tokenization=Tokenization.FIELD, index_searchable=False)


def to_object(chunk: IndexedChunk) -> DataObject[dict[str, Any], None]:
    properties: dict[str, Any] = {
        "text": chunk.text,
        "terms": chunk.terms,
        "document": chunk.document_id,
        "version": version_key(chunk.document_id, chunk.version),
        "collection": chunk.collection_id,
        "meta": list(chunk.meta),
        "ordinal": chunk.ordinal,
        "start": chunk.start,
        "end": chunk.end,
    }
    if chunk.page is not None:
        properties["page"] = chunk.page
    return DataObject(properties=properties, uuid=uuid.UUID(chunk.chunk_id), vector=chunk.vector.tolist())


def to_hit(found: Object[Any, Any], vector: Vector | None, wanted: Set[str]) -> Hit:
    """`wanted`: the query's terms."""
    stored = found.properties
    return Hit(
        chunk_id=str(found.uuid),
        document_id=stored["document"],
        version=int(stored["version"].rpartition(":")[2]),
        ordinal=stored["ordinal"],
        text=stored["text"],
        start=stored["start"],
        end=stored["end"],
        page=stored.get("page"),
        score=found.metadata.score or 0.0,
        cosine=None if vector is None else _dot(vector, found.vector["default"]),
        coverage=share(wanted, set(stored["terms"].split(" "))),
    )


def to_stored(found: Object[Any, Any]) -> StoredChunk:
    written_at = found.metadata.creation_time
    assert written_at is not None  # it was asked for
    return StoredChunk(str(found.uuid), found.properties["version"], written_at)


def of_version(key: str) -> FilterReturn:
    return Filter.by_property("version").equal(key)


def within(scope: Scope) -> FilterReturn:
    conditions: list[FilterReturn] = [Filter.by_property("collection").equal(scope.collection_id)]
    if scope.document_ids:
        conditions.append(Filter.by_property("document").contains_any(list(scope.document_ids)))
    if scope.excluded:
        conditions.append(Filter.by_property("version").contains_none(list(scope.excluded)))
    conditions += [Filter.by_property("meta").contains_any(list(group)) for group in scope.meta]
    return Filter.all_of(conditions)


def _dot(vector: Vector, stored: Any) -> float:
    return float(np.dot(vector, np.asarray(stored, dtype=np.float32)))
