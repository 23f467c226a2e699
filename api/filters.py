"""Metadata filters of a request in the form the index compares."""

from collections.abc import Mapping

from api.schemas.chat import AnyOf
from domain.documents import MetadataValue
from domain.search import meta_term


def accepted(filters: Mapping[str, AnyOf | MetadataValue]) -> dict[str, list[str]]:
    """Key to the `key=value` terms that satisfy it; keys are joined by and."""
    return {key: [meta_term(key, value) for value in _values(wanted)] for key, wanted in filters.items()}


def _values(wanted: AnyOf | MetadataValue) -> list[MetadataValue]:
    return list(wanted.values) if isinstance(wanted, AnyOf) else [wanted]
