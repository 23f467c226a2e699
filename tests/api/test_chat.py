"""A turn over HTTP: asked, answered from the documents, cited, remembered."""

import asyncio
from dataclasses import replace

import pytest
from redis.asyncio import Redis

from infra.redis import RedisWindows
from tests.platform import Platform, User, api_client
from tests.provider.script import Fault
from tests.provider.server import ScriptedProvider

LOCK = b"The harbour master opens the lock at six in the morning. A mooring costs 14 euros a night."
KOREAN = "등대 박물관은 월요일에 쉽니다. 입장료는 어른 3,000원입니다. 주차장은 무료입니다.".encode()


async def test_a_question_answers_202_with_a_run_that_can_be_followed(user: User) -> None:
    await user.upload("lock.txt", LOCK)

    response = await user.http.post("/api/v1/chat", json={"message": "When does the lock open?"})

    accepted = response.json()
    assert response.status_code == 202
    assert accepted["kind"] == "chat"
    assert accepted["workflow_id"] == f"chat:{user.tenant}:{accepted['conversation_id']}:1"
    assert response.headers["location"] == f"/api/v1/runs/{accepted['workflow_id']}"
    assert "retry-after" in response.headers
    run = await user.finished(accepted["workflow_id"])
    assert run["state"] == "succeeded"
    assert run["links"]["temporal_ui"].endswith(f"{run['workflow_id']}/{run['run_id']}")


async def test_prefer_wait_gives_the_answer_with_exact_quotes(user: User) -> None:
    uploaded = await user.upload("lock.txt", LOCK)

    response = await user.http.post(
        "/api/v1/chat", json={"message": "When does the lock open?"}, headers={"Prefer": "wait=60"}
    )

    answer = response.json()
    assert response.status_code == 200
    assert response.headers["preference-applied"] == "wait=60"
    assert "six in the morning" in answer["response"]["content"]
    assert (answer["finish_reason"], answer["tokens_used"]) == ("stop", 0)
    cited = [source for source in answer["sources"] if source["cited"]]
    assert cited[0]["document_id"] == uploaded["document_id"]
    assert all(LOCK.decode()[source["start"] : source["end"]] == source["quote"] for source in answer["sources"])


async def test_a_question_the_documents_do_not_answer_is_told_so(user: User) -> None:
    await user.upload("lock.txt", LOCK)

    answer = await user.ask("Who composed the opera Carmen?")

    assert answer["finish_reason"] == "not_found"
    assert [source for source in answer["sources"] if source["cited"]] == []


async def test_a_question_without_any_document_is_not_found(user: User) -> None:
    answer = await user.ask("When does the lock open?")

    assert (answer["finish_reason"], answer["sources"]) == ("not_found", [])


async def test_a_korean_question_is_answered_from_korean_text(user: User) -> None:
    await user.upload("museum.txt", KOREAN)

    answer = await user.ask("등대 박물관은 무슨 요일에 쉬나요?")

    assert "월요일" in answer["response"]["content"]


async def test_a_follow_up_without_a_model_searches_with_the_question_before_it(user: User) -> None:
    await user.upload("lock.txt", LOCK)
    await user.upload("museum.txt", b"The museum opens at nine. Tickets for the museum are sold at the gate.")
    first = await user.ask("When does the lock of the harbour open?")

    second = await user.ask("And who opens it?", conversation_id=first["conversation_id"])

    assert second["conversation_id"] == first["conversation_id"]
    assert second["workflow_id"].endswith(":2")
    assert "harbour master" in second["response"]["content"]


async def test_turns_of_one_conversation_are_answered_in_order(user: User) -> None:
    await user.upload("lock.txt", LOCK)
    first = await user.ask("When does the lock open?")
    conversation = first["conversation_id"]

    answers = await asyncio.gather(
        *(user.ask(f"What does mooring {n} cost?", conversation_id=conversation) for n in range(4))
    )

    history = (await user.http.get(f"/api/v1/chat/conversations/{conversation}/history")).json()["messages"]
    assert [message["role"] for message in history] == ["user", "assistant"] * 5
    assert [message["workflow_id"].rpartition(":")[2] for message in history[::2]] == ["1", "2", "3", "4", "5"]
    assert {answer["workflow_id"] for answer in answers} == {message["workflow_id"] for message in history[2:]}
    moments = [message["timestamp"] for message in history[1::2]]
    assert moments == sorted(moments)


async def test_history_is_listed_and_deleted(user: User) -> None:
    answer = await user.ask("When does the lock open?")
    path = f"/api/v1/chat/conversations/{answer['conversation_id']}"
    listed = (await user.http.get("/api/v1/chat/conversations")).json()["items"]

    deleted = await user.http.delete(path)

    assert [(one["conversation_id"], one["turns"]) for one in listed] == [(answer["conversation_id"], 1)]
    assert deleted.status_code == 204
    assert (await user.http.get(f"{path}/history")).status_code == 404
    assert (await user.http.get("/api/v1/chat/conversations")).json()["items"] == []


async def test_a_deletion_that_met_an_outage_can_be_repeated(quiet: Platform, user: User, away: Redis) -> None:
    answer = await user.ask("When does the lock open?")
    path = f"/api/v1/chat/conversations/{answer['conversation_id']}"
    services = replace(quiet.services, windows=RedisWindows(away))

    async with api_client(services, dict(user.http.headers)) as without_redis:
        refused = await without_redis.delete(path)
        kept = await without_redis.get(f"{path}/history")
    deleted = await user.http.delete(path)

    assert [one.status_code for one in (refused, kept, deleted)] == [503, 200, 204]


async def test_a_colleagues_or_strangers_conversation_is_absent(quiet: Platform, user: User) -> None:
    answer = await user.ask("When does the lock open?")
    stranger = await quiet.user()
    path = f"/api/v1/chat/conversations/{answer['conversation_id']}"

    seen = [
        await stranger.http.get(f"{path}/history"),
        await stranger.http.delete(path),
        await stranger.http.get(f"/api/v1/runs/{answer['workflow_id']}"),
        await stranger.http.post("/api/v1/chat", json={"message": "?", "conversation_id": answer["conversation_id"]}),
    ]

    assert [response.status_code for response in seen] == [404] * 4


async def test_a_foreign_document_in_context_docs_starts_nothing(quiet: Platform, user: User) -> None:
    uploaded = await user.upload("lock.txt", LOCK)
    stranger = await quiet.user()

    response = await stranger.http.post(
        "/api/v1/chat", json={"message": "When?", "context_docs": [uploaded["document_id"]]}
    )

    assert response.status_code == 404
    assert (await stranger.http.get("/api/v1/runs")).json()["items"] == []


async def test_context_docs_limit_the_answer_to_those_documents(user: User) -> None:
    await user.upload("a.txt", b"The crane of the north quay lifts four tonnes.")
    south = await user.upload("b.txt", b"The crane of the south quay lifts nine tonnes.")

    answer = await user.ask("How much does the crane of the quay lift?", context_docs=[south["document_id"]])

    assert {source["document_id"] for source in answer["sources"]} == {south["document_id"]}
    assert "nine" in answer["response"]["content"]


async def test_the_same_key_gives_the_same_turn_and_its_answer(user: User) -> None:
    headers = {"Idempotency-Key": "ask-1"}
    body = {"message": "When does the lock open?"}

    twins = await asyncio.gather(*(user.http.post("/api/v1/chat", json=body, headers=headers) for _ in range(10)))
    waited = await user.http.post("/api/v1/chat", json=body, headers={**headers, "Prefer": "wait=60"})
    other = await user.http.post("/api/v1/chat", json={"message": "Something else"}, headers=headers)

    assert {response.status_code for response in twins} == {202}
    assert len({response.json()["workflow_id"] for response in twins}) == 1
    assert waited.json()["workflow_id"] == twins[0].json()["workflow_id"]
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")
    assert len((await user.http.get("/api/v1/chat/conversations")).json()["items"]) == 1


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"message": ""}, 422, "invalid_request"),
        ({"message": "   "}, 422, "invalid_request"),
        ({"message": "x" * 32_001}, 422, "invalid_request"),
        ({"message": "x", "k": 51}, 422, "invalid_request"),
        ({"message": "x", "k": True}, 422, "invalid_request"),
        ({"message": "x", "temperature": 3}, 422, "invalid_request"),
        ({"message": "x", "surprise": 1}, 422, "invalid_request"),
        ({"message": "x", "model": "gpt-unknown"}, 422, "unknown_model"),
        ({"message": "x", "use_rag": False}, 409, "no_model"),
        ({"message": "x", "collection": "nowhere"}, 404, "not_found"),
        ({"message": "x", "conversation_id": "0" * 32}, 404, "not_found"),
    ],
)
async def test_a_question_that_cannot_be_answered_is_refused_with_its_reason(
    user: User, body: dict[str, object], status: int, code: str
) -> None:
    response = await user.http.post("/api/v1/chat", json=body)

    assert (response.status_code, response.json()["code"]) == (status, code)


# --- with a language model ----------------------------------------------------------------------------------


async def test_a_model_answers_from_the_passages_and_is_cited(talker: User, provider: ScriptedProvider) -> None:
    await talker.upload("lock.txt", LOCK)

    answer = await talker.ask("When does the lock open?")

    assert answer["model_used"]
    assert "[1]" in answer["response"]["content"]
    assert answer["sources"][0]["cited"]
    assert answer["usage"]["total_tokens"] == answer["tokens_used"] > 0
    assert answer["usage"]["estimated"] is False


async def test_use_rag_false_asks_the_model_alone(talker: User) -> None:
    answer = await talker.ask("Say hello.", use_rag=False)

    assert answer["sources"] == []
    assert answer["response"]["content"]


async def test_a_follow_up_is_condensed_by_the_model_and_both_calls_are_metered(
    talker: User, provider: ScriptedProvider
) -> None:
    await talker.upload("lock.txt", LOCK)
    first = await talker.ask("When does the lock open?")
    provider.reset()

    await talker.ask("And who opens it?", conversation_id=first["conversation_id"])

    usage = await talker.settled_usage()
    calls = {line["purpose"]: line["calls"] for line in usage["by_purpose"]}
    assert calls == {"chat": 2, "condense": 1}
    assert len([call for call in provider.calls if call.kind == "chat"]) == 2


async def test_usage_adds_up_to_the_providers_own_log(talker: User, provider: ScriptedProvider) -> None:
    await talker.upload("lock.txt", LOCK)
    provider.reset()

    for _ in range(3):
        await talker.ask("When does the lock open?")

    usage = await talker.settled_usage()
    bought = sum(call.prompt_tokens + call.completion_tokens for call in provider.calls)
    assert (usage["tokens_used"], usage["tokens_reserved"]) == (bought, 0)
    assert bought > 0


async def test_a_turn_the_provider_refuses_answers_its_problem_and_costs_nothing(
    talker: User, provider: ScriptedProvider
) -> None:
    await talker.upload("lock.txt", LOCK)
    provider.reset()
    provider.script(Fault(status=401, kind="chat"))

    response = await talker.http.post(
        "/api/v1/chat", json={"message": "When does the lock open?"}, headers={"Prefer": "wait=60"}
    )

    assert (response.status_code, response.json()["code"]) == (503, "provider_auth")
    assert len(provider.calls) == 1
    run = await talker.finished(response.json()["run"])
    assert (run["state"], run["error"]["step"]) == ("failed", "answer")
    usage = await talker.settled_usage()
    assert (usage["tokens_used"], usage["tokens_reserved"]) == (0, 0)


async def test_a_condensation_that_fails_leaves_the_raw_question(talker: User, provider: ScriptedProvider) -> None:
    await talker.upload("lock.txt", LOCK)
    first = await talker.ask("When does the lock open?")
    provider.reset()
    provider.script(Fault(status=500, kind="chat", times=2))

    answer = await talker.ask("When does the lock open again?", conversation_id=first["conversation_id"])

    assert "six" in answer["response"]["content"]


async def test_a_budget_that_does_not_cover_the_turn_refuses_it_before_any_call(
    talker: User, provider: ScriptedProvider
) -> None:
    await talker.upload("lock.txt", LOCK)
    provider.reset()
    provider.manners.latency = 1.0  # a turn that is over makes room again
    asked = {"message": "When does the lock open?", "max_tokens": 4000, "k": 50}

    responses = await asyncio.gather(*(talker.http.post("/api/v1/chat", json=asked) for _ in range(5)))
    provider.manners.latency = 0.0

    refused = [response for response in responses if response.status_code == 429]
    assert refused[0].json()["code"] == "quota_exhausted"
    assert int(refused[0].headers["retry-after"]) > 0
    admitted = [response.json()["workflow_id"] for response in responses if response.status_code == 202]
    for workflow_id in admitted:
        await talker.finished(workflow_id)
    assert len([call for call in provider.calls if call.kind == "chat"]) == len(admitted)
