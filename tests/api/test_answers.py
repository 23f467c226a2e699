"""Answers looked back on: their records, what people thought of them, the same again, and to be taken away."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import update

from api.routes.chat import A_PAGE
from domain.accounts import Principal
from infra.sql.tables import documents
from tests.contract.records import ASK
from tests.platform import Platform, User
from tests.provider.script import Fault
from tests.provider.server import ScriptedProvider

LOCK = b"The harbour master opens the lock at six in the morning. A mooring costs 14 euros a night."
LATER = b"The harbour master opens the lock at nine in the morning. A mooring costs 19 euros a night."
QUESTION = "When does the harbour master open the lock?"


async def record_of(user: User, workflow_id: str) -> dict[str, Any]:
    response = await user.http.get(f"/api/v1/answers/{workflow_id}")
    assert response.status_code == 200, response.text
    record: dict[str, Any] = response.json()
    return record


async def again(user: User, workflow_id: str, as_of: str, **fields: Any) -> dict[str, Any]:
    """The answer to a rerun."""
    response = await user.http.post(
        f"/api/v1/answers/{workflow_id}/rerun", json={"as_of": as_of, **fields}, headers={"Prefer": "wait=60"}
    )
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


async def withdraw(platform: Platform, document_id: str) -> None:
    """As a deletion begins: the document is invisible from here on."""
    database = platform.services.documents._database  # type: ignore[attr-defined]  # no verb deletes a document
    async with database.write() as connection:
        row = update(documents).where(documents.c.id == document_id)
        await connection.execute(row.values(live_version=None))


# --- the record -----------------------------------------------------------------------------------------------------


async def test_a_record_says_what_was_found_chosen_and_cited(user: User) -> None:
    uploaded = await user.upload("lock.txt", LOCK, title="The lock")
    answer = await user.ask(QUESTION, k=3)

    record = await record_of(user, answer["workflow_id"])

    assert (record["question"], record["query"], record["answer"]) == (
        QUESTION,
        QUESTION,
        answer["response"]["content"],
    )
    assert (record["state"], record["finish_reason"], record["relevant"]) == ("succeeded", "stop", True)
    assert record["scope"] == {
        "use_rag": True,
        "collection": "default",
        "context_docs": [],
        "filters": {},
        "k": 3,
    }
    [candidate] = record["candidates"]
    assert (candidate["rank"], candidate["document_id"], candidate["version"]) == (1, uploaded["document_id"], 1)
    assert (candidate["chosen"], candidate["cited"]) == (True, True)
    assert candidate["legs"]["vector"]["rank"] == candidate["legs"]["keyword"]["rank"] == 1
    assert 0 < candidate["legs"]["vector"]["value"] <= 1
    [passage] = record["passages"]
    assert passage["text"] == LOCK.decode()[passage["start"] : passage["end"]]
    assert (passage["title"], passage["cited"], passage["gone"]) == ("The lock", True, False)
    assert record["sources"] == answer["sources"]
    assert record["model"] == {"asked": None, "used": "extractive", "temperature": 0.7, "max_tokens": 1000}
    assert record["prompt"] == {"digest": None, "files": {}}
    assert set(record["timings_ms"]) >= {"embed", "search", "answer"}
    assert (record["rerun_of"], record["difference"], record["reruns"]) == (None, None, [])


async def test_a_record_of_a_models_answer_names_its_prompts_and_calls(
    talker: User, provider: ScriptedProvider
) -> None:
    await talker.upload("lock.txt", LOCK)
    first = await talker.ask(QUESTION)
    provider.reset()
    answer = await talker.ask("And what does a mooring cost?", conversation_id=first["conversation_id"])

    record = await record_of(talker, answer["workflow_id"])

    assert record["query"] not in (None, record["question"])
    assert set(record["prompt"]["files"]) == {"condense", "answer"}
    assert len(record["prompt"]["digest"]) == 64
    assert [(call["purpose"], call["outcome"]) for call in record["calls"]] == [
        ("condense", "delivered"),
        ("chat", "delivered"),
    ]
    asked = [(call.prompt_tokens, call.completion_tokens) for call in provider.calls]
    assert [(call["prompt_tokens"], call["completion_tokens"]) for call in record["calls"]] == asked
    assert record["usage"] == answer["usage"]
    assert set(record["timings_ms"]) >= {"condense", "embed", "search", "answer"}


async def test_a_record_of_a_failed_turn_says_why(talker: User, provider: ScriptedProvider) -> None:
    await talker.upload("lock.txt", LOCK)
    provider.reset()
    provider.script(Fault(status=401, kind="chat"))
    accepted = (await talker.http.post("/api/v1/chat", json={"message": QUESTION})).json()
    await talker.finished(accepted["workflow_id"])

    record = await record_of(talker, accepted["workflow_id"])

    assert (record["state"], record["error"]["code"], record["answer"]) == ("failed", "provider_auth", None)
    assert len(record["passages"]) == 1
    assert (await again(talker, accepted["workflow_id"], "now"))["finish_reason"] == "stop"


# --- feedback -------------------------------------------------------------------------------------------------------


async def test_the_last_feedback_is_shown_and_goes_with_the_conversation(user: User) -> None:
    answer = await user.ask(QUESTION)
    path = f"/api/v1/answers/{answer['workflow_id']}"

    first = await user.http.post(f"{path}/feedback", json={"rating": "up"})
    last = await user.http.post(f"{path}/feedback", json={"rating": "down", "comment": "There is a lock."})

    shown = (await record_of(user, answer["workflow_id"]))["feedback"]
    assert (first.status_code, last.status_code, last.content) == (204, 204, b"")
    assert (shown["rating"], shown["comment"]) == ("down", "There is a lock.")
    await user.http.delete(f"/api/v1/chat/conversations/{answer['conversation_id']}")
    gone = [await user.http.get(path), await user.http.post(f"{path}/feedback", json={"rating": "up"})]
    assert [response.status_code for response in gone] == [404, 404]


@pytest.mark.parametrize(
    "body",
    [{}, {"rating": "sideways"}, {"rating": "up", "comment": "x" * 2001}, {"rating": "up", "stars": 5}, {"rating": 1}],
)
async def test_feedback_of_another_form_is_refused(user: User, body: dict[str, object]) -> None:
    response = await user.http.post(f"/api/v1/answers/chat:{user.tenant}:x:1/feedback", json=body)

    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")


# --- again ----------------------------------------------------------------------------------------------------------


async def test_then_sees_the_same_chunks_and_now_sees_the_present_ones(quiet: Platform, user: User) -> None:
    old = await user.upload("lock.txt", LOCK)
    answer = await user.ask(QUESTION)
    original = answer["workflow_id"]
    await withdraw(quiet, old["document_id"])
    new = await user.upload("lock.txt", LATER)

    then, now = await again(user, original, "then"), await again(user, original, "now")

    assert then["response"]["content"] == answer["response"]["content"]
    assert then["sources"] == answer["sources"]
    assert "at nine" in now["response"]["content"]
    assert {source["document_id"] for source in now["sources"]} == {new["document_id"]}
    records = [await record_of(user, one["workflow_id"]) for one in (answer, then, now)]
    assert [[passage["gone"] for passage in record["passages"]] for record in records] == [[True], [True], [False]]
    assert [record["rerun_of"] for record in records] == [None, original, original]
    assert [one["workflow_id"] for one in records[0]["reruns"]] == [now["workflow_id"], then["workflow_id"]]
    assert records[1]["candidates"] == records[0]["candidates"]


async def test_a_rerun_is_compared_with_its_original(quiet: Platform, user: User) -> None:
    old = await user.upload("lock.txt", LOCK)
    answer = await user.ask(QUESTION)
    same = await record_of(user, (await again(user, answer["workflow_id"], "then"))["workflow_id"])
    await withdraw(quiet, old["document_id"])
    new = await user.upload("lock.txt", LATER)

    other = await record_of(user, (await again(user, answer["workflow_id"], "now"))["workflow_id"])

    assert same["difference"]["answer"] == []
    assert [len(same["difference"]["sources"][name]) for name in ("added", "removed", "kept")] == [0, 0, 1]
    lines = other["difference"]["answer"]
    assert [line for line in lines if line.startswith("-The")] != []
    assert [line for line in lines if line.startswith("+The") and "nine" in line] != []
    assert [source["document_id"] for source in other["difference"]["sources"]["added"]] == [new["document_id"]]
    assert [source["document_id"] for source in other["difference"]["sources"]["removed"]] == [old["document_id"]]
    assert other["difference"]["model"] == {"before": "extractive", "after": "extractive"}
    assert (other["difference"]["tokens"], other["difference"]["cost"]) == (
        {"before": 0, "after": 0},
        {"before": None, "after": None},
    )


async def test_a_rerun_tells_the_model_what_it_was_told_then_and_is_metered(
    talker: User, provider: ScriptedProvider
) -> None:
    await talker.upload("lock.txt", LOCK)
    first = await talker.ask(QUESTION)
    second = await talker.ask("And what does a mooring cost?", conversation_id=first["conversation_id"])
    await talker.ask("Is that all?", conversation_id=first["conversation_id"])
    told = [call for call in provider.calls if call.kind == "chat"][-3]  # before the third question's two
    spent = (await talker.settled_usage())["tokens_used"]
    provider.reset()

    rerun = await again(talker, second["workflow_id"], "then")

    [call] = provider.calls
    assert call.messages[1:-1] == told.messages[1:-1]
    assert len(call.messages) == 4
    assert call.prompt_tokens == told.prompt_tokens
    assert rerun["usage"] == second["usage"]
    usage = await talker.settled_usage()
    assert (usage["tokens_used"], usage["tokens_reserved"]) == (spent + rerun["tokens_used"], 0)
    difference = (await record_of(talker, rerun["workflow_id"]))["difference"]
    assert difference["tokens"] == {"before": second["tokens_used"], "after": rerun["tokens_used"]}


async def test_a_rerun_stays_out_of_the_conversation(user: User) -> None:
    await user.upload("lock.txt", LOCK)
    answer = await user.ask(QUESTION)
    path = f"/api/v1/chat/conversations/{answer['conversation_id']}"
    before = (await user.http.get(f"{path}/history")).json()

    rerun = await again(user, answer["workflow_id"], "now")

    assert rerun["conversation_id"] != answer["conversation_id"]
    assert (await user.http.get(f"{path}/history")).json() == before
    listed = (await user.http.get("/api/v1/chat/conversations")).json()["items"]
    assert [one["conversation_id"] for one in listed] == [answer["conversation_id"]]
    following = await user.ask("And then?", conversation_id=answer["conversation_id"])
    assert following["workflow_id"].endswith(":2")
    await user.http.delete(path)
    assert (await user.http.get(f"/api/v1/answers/{rerun['workflow_id']}")).status_code == 404


async def test_the_same_key_gives_the_same_rerun(user: User) -> None:
    answer = await user.ask(QUESTION)
    path = f"/api/v1/answers/{answer['workflow_id']}/rerun"
    headers = {"Idempotency-Key": "again-1"}

    twins = await asyncio.gather(*(user.http.post(path, json={"as_of": "then"}, headers=headers) for _ in range(5)))
    other = await user.http.post(path, json={"as_of": "now"}, headers=headers)

    assert {response.status_code for response in twins} == {202}
    [workflow_id] = {response.json()["workflow_id"] for response in twins}
    assert twins[0].headers["location"] == f"/api/v1/runs/{workflow_id}"
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")
    assert (await user.finished(workflow_id))["state"] == "succeeded"
    assert len((await record_of(user, answer["workflow_id"]))["reruns"]) == 1


async def test_a_rerun_that_the_budget_does_not_cover_is_429(
    talking: Platform, talker: User, provider: ScriptedProvider
) -> None:
    await talker.upload("lock.txt", LOCK)
    answer = await talker.ask(QUESTION)
    spent = (await talker.settled_usage())["tokens_used"]
    await talking.services.tenants.set_budget(talker.tenant, spent + 100)
    provider.reset()

    response = await talker.http.post(f"/api/v1/answers/{answer['workflow_id']}/rerun", json={"as_of": "then"})

    assert (response.status_code, response.json()["code"]) == (429, "quota_exhausted")
    assert int(response.headers["retry-after"]) > 0
    assert provider.calls == []
    assert (await record_of(talker, answer["workflow_id"]))["reruns"] == []


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 422, "invalid_request"),
        ({"as_of": "soon"}, 422, "invalid_request"),
        ({"as_of": "now", "message": "Another question?"}, 422, "invalid_request"),
        ({"as_of": "now", "model": "gpt-unknown"}, 422, "unknown_model"),
    ],
)
async def test_a_rerun_that_cannot_be_is_refused(user: User, body: dict[str, object], status: int, code: str) -> None:
    answer = await user.ask(QUESTION)

    response = await user.http.post(f"/api/v1/answers/{answer['workflow_id']}/rerun", json=body)

    assert (response.status_code, response.json()["code"]) == (status, code)


# --- to be taken away -----------------------------------------------------------------------------------------------


async def test_an_export_holds_the_quotes_as_they_are_stored(quiet: Platform, user: User) -> None:
    uploaded = await user.upload("lock.txt", LOCK)
    answer = await user.ask(QUESTION)
    await user.ask("Who composed the opera Carmen?", conversation_id=answer["conversation_id"])
    path = f"/api/v1/chat/conversations/{answer['conversation_id']}/export"

    response = await user.http.get(path, params={"format": "json"})

    assert response.headers["content-type"] == "application/json"
    name = f"conversation-{answer['conversation_id']}.json"
    assert response.headers["content-disposition"] == f'attachment; filename="{name}"'
    messages = response.json()["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant"] * 2
    assert messages[1]["sources"] == answer["sources"]
    text = (await user.http.get(f"/api/v1/documents/{uploaded['document_id']}/text")).text
    for source in messages[1]["sources"]:
        assert text[source["start"] : source["end"]] == source["quote"]


async def test_an_export_is_markdown_unless_asked_otherwise(user: User) -> None:
    answer = await user.ask("Is this ![bold](https://evil.example) or <b>not</b>?")
    path = f"/api/v1/chat/conversations/{answer['conversation_id']}/export"

    response, head = await user.http.get(path), await user.http.head(path)

    assert response.headers["content-type"] == "text/markdown; charset=utf-8"
    assert response.headers["content-disposition"].endswith('.md"')
    assert "![" not in response.text
    assert "<b>" not in response.text
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-disposition"] == response.headers["content-disposition"]
    assert (await user.http.get(path, params={"format": "pdf"})).status_code == 422


async def test_an_export_of_many_pages_has_every_turn_once(quiet: Platform, user: User) -> None:
    me, conversation = Principal(user.tenant, user.account), None
    questions = [f"Question {number}?" for number in range(A_PAGE + 1)]
    for question in questions:  # admitted, and never started
        ask = replace(ASK, message=question, conversation_id=conversation)
        conversation = (await quiet.services.admissions.admit_turn(me, ask, None, "digest")).conversation_id

    path = f"/api/v1/chat/conversations/{conversation}/export"
    messages = (await user.http.get(path, params={"format": "json"})).json()["messages"]

    assert [message["content"] for message in messages] == questions
