"""Every JSON endpoint of the live OpenAPI, every field, the 25 bodies: a typed refusal or an answer, no fault."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from api import strict_json
from api.app import create_app
from domain.errors import MalformedRequest
from tests.api.hostile import BODIES, MALFORMED, TOO_LARGE
from tests.platform import Platform, User

MOST_PROBES = 5  # fields of one endpoint that get the two huge bodies: they are refused before they are parsed


@dataclass(frozen=True)
class Endpoint:
    method: str
    path: str
    body: dict[str, Any]


def endpoints(schema: dict[str, Any]) -> Iterator[Endpoint]:
    """With a body that is valid as far as its schema tells."""
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            content = operation.get("requestBody", {}).get("content", {})
            if "application/json" in content:
                given = path.replace("{", "").replace("}", "")
                yield Endpoint(method.upper(), given, example(content["application/json"]["schema"], schema))


def example(node: dict[str, Any], schema: dict[str, Any]) -> Any:
    if "$ref" in node:
        return example(schema["components"]["schemas"][node["$ref"].rpartition("/")[2]], schema)
    if "anyOf" in node:
        return example(node["anyOf"][0], schema)
    for fixed in ("default", "const"):
        if fixed in node:
            return node[fixed]
    if "enum" in node:
        return node["enum"][0]
    match node.get("type"):
        case "object":
            return {name: example(child, schema) for name, child in node.get("properties", {}).items()}
        case "array":
            return []
        case "integer" | "number":
            return node.get("minimum", 1)
        case "boolean":
            return True
    return {"email": "a@example.com", "date-time": "2026-01-01T00:00:00Z"}.get(
        node.get("format", ""), "abcdefghijklmnop"
    )


@pytest.fixture(scope="module")
def all_endpoints(quiet: Platform) -> list[Endpoint]:
    return list(endpoints(create_app(quiet.services).openapi()))


async def send(http: httpx.AsyncClient, endpoint: Endpoint, content: bytes) -> httpx.Response:
    headers = {"Content-Type": "application/json"}
    return await http.request(endpoint.method, endpoint.path, content=content, headers=headers)


@pytest.mark.parametrize("name", BODIES)
async def test_a_hostile_body_in_any_field_is_no_fault(
    quiet: Platform, user: User, all_endpoints: list[Endpoint], name: str
) -> None:
    seen: Counter[int] = Counter()
    for endpoint in all_endpoints:
        fields = list(endpoint.body)[: MOST_PROBES if name in TOO_LARGE else None]
        for field in [*fields, "not_a_field"]:
            response = await send(user.http, endpoint, BODIES[name](endpoint.body, field))

            seen[response.status_code] += 1
            assert response.status_code < 500, (endpoint, field, response.text)
            assert response.headers["x-request-id"]
            if response.status_code >= 400:
                assert response.headers["content-type"] == "application/problem+json"
                assert response.json()["request_id"] == response.headers["x-request-id"]
                assert not {"input", "ctx"} & {key for one in response.json().get("errors", []) for key in one}
            if name in MALFORMED:
                assert (response.status_code, response.json()["code"]) == (400, "malformed_request"), (endpoint, field)
            if name in TOO_LARGE:
                assert (response.status_code, response.json()["code"]) == (413, "body_too_large")
    print(f"{name}: {seen.total()} requests, {dict(seen)}")
    assert seen.total() >= len(all_endpoints) >= 5


async def test_a_validation_error_quotes_no_more_of_a_key_than_is_needed_to_find_it(user: User) -> None:
    response = await user.http.post("/api/v1/search", json={"query": "x", "k" * 100_000: 1})

    assert response.status_code == 422
    assert len(response.content) < 2_000


@pytest.mark.parametrize(
    "text", ['"\\u00e9\\ud83d\\ude00"', "1e308", "[]", "[" * 64 + "]" * 64, " {} ", "true", "-0", "9223372036854775807"]
)
def test_good_json_is_read(text: str) -> None:
    strict_json.loads(text.encode())


@pytest.mark.parametrize(
    "text", ["[" * 66 + "]" * 66, "01", "'a'", "{}//", '{"a":1,"a":1}', '"\t"', "nan", "", "9223372036854775808"]
)
def test_bad_json_is_refused(text: str) -> None:
    with pytest.raises(MalformedRequest):
        strict_json.loads(text.encode())
