"""The metrics pages of all processes together say what the ledger says."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.bench.stack import Stack, launched
from tests.provider.script import Fault
from tests.provider.server import ScriptedProvider

pytestmark = [pytest.mark.stack, pytest.mark.timeout(180)]

LABELS = ("purpose", "model", "outcome", "billable")
CALLS, TOKENS = "moorage_provider_calls_total", "moorage_provider_tokens_total"
NAME = 'a "model" \\ of\nlines'  # what a provider may call itself

Lines = Counter[tuple[str, ...]]


async def test_the_pages_of_all_processes_together_say_what_the_ledger_says(tmp_path: Path) -> None:
    async with ScriptedProvider() as provider:
        bought = {
            "OPENAI_BASE_URL": provider.base_url,
            "OPENAI_API_KEY": "test-key",
            "MOORAGE_EMBEDDER": "openai",
            "MOORAGE_EMBEDDING_DIMENSIONS": "384",
        }
        async with launched(tmp_path / "home", **bought) as stack:
            await chats(stack, provider)
            await asyncio.gather(*(search(stack) for _ in range(5)))
            ledger = await settled(stack)
            api, *several, documents = [await page(url) for url in stack.metrics_urls]
    chat = {name: sum((one[name] for one in several), Counter()) for name in (CALLS, TOKENS)}

    calls, tokens = of_lines(ledger)
    print(f"\n  {calls.total()} lines, {tokens.total()} tokens; on the pages {api[CALLS].total()} of the API, ", end="")
    print(f"{documents[CALLS].total()} and {chat[CALLS].total()} of the workers")
    assert api[CALLS] + documents[CALLS] + chat[CALLS] == calls
    assert api[TOKENS] + documents[TOKENS] + chat[TOKENS] == tokens
    assert api[CALLS] == of_lines([line for line in ledger if line["workflow_id"] is None])[0]
    assert documents[CALLS] == of_lines([line for line in ledger if str(line["workflow_id"]).startswith("ingest:")])[0]
    assert {key[0] for key in chat[CALLS]} == {"chat", "condense", "embedding"}
    assert {key[2] for key in calls} == {"delivered", "estimated", "retried"}
    assert {key[1] for key in chat[CALLS]} == {"gpt-4o-mini", "text-embedding-3-small", NAME}


async def chats(stack: Stack, provider: ScriptedProvider) -> None:
    """Plain ones, a follow-up with retrieval, one of another name, one that is cut off once, one that is cancelled."""
    answers = await asyncio.gather(*(ask(stack, message=f"Say {number}.", use_rag=False) for number in range(10)))
    await ask(stack, message="And again?", conversation_id=answers[0]["conversation_id"])
    provider.script(Fault(model=NAME, kind="chat"))
    await ask(stack, message="Who are you?", use_rag=False)
    provider.script(Fault(cut_at=3, kind="chat"))
    await ask(stack, message="Say it again.", use_rag=False)
    await cancel(stack, provider)


async def ask(stack: Stack, **body: Any) -> dict[str, Any]:
    response = await stack.http.post("/api/v1/chat", json=body, headers={"Prefer": "wait=60"})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


async def cancel(stack: Stack, provider: ScriptedProvider) -> None:
    before = len(provider.calls)
    provider.script(Fault(hang_at=2, kind="chat"))
    run = (await stack.http.post("/api/v1/chat", json={"message": "Say nothing.", "use_rag": False})).json()
    await provider.until(lambda calls: len(calls) > before)
    assert (await stack.http.post(f"/api/v1/runs/{run['workflow_id']}/cancel")).status_code == 202
    await provider.idle()


async def search(stack: Stack) -> None:
    assert (await stack.http.post("/api/v1/search", json={"query": "liquid oxygen"})).status_code == 200


async def settled(stack: Stack) -> list[dict[str, Any]]:
    """The ledger, once the cancelled call has been written down too, at most 20 s later."""
    async with asyncio.timeout(20):
        while True:
            usage = (await stack.http.get("/api/v1/usage")).json()
            ledger = await lines(stack)
            if not usage["tokens_reserved"] and any(line["outcome"] == "estimated" for line in ledger):
                return ledger
            await asyncio.sleep(0.2)


async def lines(stack: Stack) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        listed = (await stack.http.get("/api/v1/usage/events", params={"limit": 100, **cursor})).json()
        found += listed["items"]
        if listed["next_cursor"] is None:
            return found
        cursor = {"cursor": listed["next_cursor"]}


def of_lines(ledger: list[dict[str, Any]]) -> tuple[Lines, Lines]:
    """(lines, tokens) by the counters' labels."""
    calls, tokens = Lines(), Lines()
    for line in ledger:
        key = tuple(str(line[label]).lower() if label == "billable" else line[label] for label in LABELS)
        calls[key] += 1
        for direction in ("prompt", "completion"):
            tokens[*key, direction] += line[f"{direction}_tokens"]
    return calls, tokens


async def page(url: str) -> dict[str, Lines]:
    """What a process says of both counters, whatever labels it adds."""
    async with httpx.AsyncClient(trust_env=False) as http:
        text = (await http.get(url)).raise_for_status().text
    found = {CALLS: Lines(), TOKENS: Lines()}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name in found:
                direction = (sample.labels["direction"],) if sample.name == TOKENS else ()
                found[sample.name][*(sample.labels[label] for label in LABELS), *direction] += int(sample.value)
    return found
