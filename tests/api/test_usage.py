"""What people are told of their tokens: equal everywhere, and to the provider's own log."""

import asyncio
import csv
import io
from pathlib import Path
from typing import Any

import pytest

from domain.names import new_id
from domain.usage import Delivery, ProviderCall
from tests.api.test_access import joined
from tests.contract.records import a_call
from tests.platform import Platform, StartPlatform, User
from tests.provider.script import Fault
from tests.provider.server import ScriptedProvider

LOCK = b"The harbour master opens the lock at six in the morning."
QUESTION = "When does the lock open?"
PRICES = """
currency = "USD"
[[price]]
model = "gpt-4o-mini*"
prompt = 0.15
completion = 0.60
"""


async def ledger(user: User, **params: str) -> list[dict[str, Any]]:
    """All lines, page by page."""
    lines: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        page = (await user.http.get("/api/v1/usage/events", params={"limit": "3", **params, **cursor})).json()
        lines += page["items"]
        if page["next_cursor"] is None:
            return lines
        cursor = {"cursor": page["next_cursor"]}


async def exported(user: User, **params: str) -> list[dict[str, str]]:
    response = await user.http.get("/api/v1/usage/events.csv", params=params)
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    return list(csv.DictReader(io.StringIO(response.text)))


def figures(lines: list[dict[str, Any]]) -> list[tuple[str, int, int]]:
    kind = {"chat": "chat", "condense": "chat", "embedding": "embedding"}
    return sorted((kind[one["purpose"]], int(one["prompt_tokens"]), int(one["completion_tokens"])) for one in lines)


async def test_month_ledger_and_export_are_the_providers_log(buyer: User, provider: ScriptedProvider) -> None:
    """M09, M13: every call with its purpose."""
    await buyer.upload("lock.txt", LOCK)
    first = await buyer.ask(QUESTION)
    await buyer.ask("And who does?", conversation_id=first["conversation_id"])
    await buyer.http.post("/api/v1/search", json={"query": "lock"})

    usage, lines, rows = await buyer.settled_usage(), await ledger(buyer), await exported(buyer)

    calls = sorted((call.kind, call.prompt_tokens, call.completion_tokens) for call in provider.calls)
    assert figures(lines) == figures(rows) == calls  # type: ignore[arg-type]
    assert [line["op_id"] for line in lines] == [row["op_id"] for row in rows]
    assert [line["at"] for line in lines] == sorted((line["at"] for line in lines), reverse=True)
    purposes = {line["purpose"]: (line["calls"], line["tokens"]) for line in usage["by_purpose"]}
    for purpose, expected in {"chat": 2, "condense": 1, "embedding": 4}.items():
        of_it = [line for line in lines if line["purpose"] == purpose]
        tokens = sum(line["prompt_tokens"] + line["completion_tokens"] for line in of_it)
        assert purposes[purpose] == (expected, tokens)
    assert usage["tokens_used"] == purposes["chat"][1] + purposes["condense"][1]
    assert [line["workflow_id"] for line in lines].count(None) == 1


async def test_another_month_is_empty(buyer: User) -> None:
    await buyer.http.post("/api/v1/search", json={"query": "lock"})

    usage = (await buyer.http.get("/api/v1/usage", params={"month": "2020-02"})).json()

    assert (usage["month"], usage["tokens_used"], usage["by_model"], usage["cost"]) == ("2020-02", 0, [], None)
    assert await ledger(buyer, month="2020-02") == await exported(buyer, month="2020-02") == []
    for path in ("", "/events", "/events.csv"):
        for month in ("2020-13", "2020-1", "٢٠٢٠-01"):
            assert (await buyer.http.get(f"/api/v1/usage{path}", params={"month": month})).status_code == 422


async def test_a_call_that_came_to_nothing_is_listed_and_not_counted(talker: User, provider: ScriptedProvider) -> None:
    provider.reset()
    provider.script(Fault.cut_after(3))

    await talker.ask("Say hello.", use_rag=False)

    usage, lines = await talker.settled_usage(), await ledger(talker)
    assert [line["outcome"] for line in lines] == ["delivered", "retried"]
    assert usage["by_purpose"][0]["calls"] == 1
    assert usage["tokens_used"] == lines[0]["prompt_tokens"] + lines[0]["completion_tokens"]


async def test_a_usage_that_cannot_be_is_an_estimate(talker: User, provider: ScriptedProvider) -> None:
    """M10."""
    provider.reset()
    provider.script(Fault.absurd_usage())

    answer = await talker.ask("Say hello.", use_rag=False)

    (line,) = await ledger(talker)
    assert (line["outcome"], answer["usage"]["estimated"]) == ("estimated", True)
    assert line["prompt_tokens"] + line["completion_tokens"] == answer["tokens_used"] > 0
    assert (await talker.settled_usage())["tokens_used"] == answer["tokens_used"]


async def test_fifty_questions_of_a_new_user_at_once_are_all_in_the_ledger(
    talker: User, provider: ScriptedProvider
) -> None:
    """M14."""
    provider.reset()
    answers = await asyncio.gather(*(insisting(talker, f"Question {number}?") for number in range(50)))

    usage, lines = await talker.settled_usage(), await ledger(talker)
    assert len({line["op_id"] for line in lines}) == 50
    assert usage["tokens_used"] == sum(answer["tokens_used"] for answer in answers)


async def insisting(user: User, message: str) -> dict[str, Any]:
    """The answer, asked for with one key until it is there: a slow machine may say 503 to some of fifty at once."""
    body, headers = {"message": message, "use_rag": False, "max_tokens": 50}, {"Idempotency-Key": new_id()}
    async with asyncio.timeout(90):
        while True:
            response = await user.http.post("/api/v1/chat", json=body, headers={**headers, "Prefer": "wait=30"})
            if response.status_code == 200:
                return dict(response.json())
            assert response.status_code in (202, 503), response.text
            await asyncio.sleep(0.5)


async def test_with_a_price_list_usage_comes_with_money(
    start_platform: StartPlatform, provider: ScriptedProvider, tmp_path: Path, unlimited: None
) -> None:
    provider.reset()
    (tmp_path / "prices.toml").write_text(PRICES)
    model = {"openai_base_url": provider.base_url, "openai_api_key": "key", "prices": tmp_path / "prices.toml"}
    provider.script(Fault.none(), Fault(model="unheard-of"))
    async with start_platform("priced", **model) as priced:
        user = await priced.user()
        for _ in range(2):
            await user.ask("Say hello.", use_rag=False)
        usage, lines = await user.settled_usage(), await ledger(user)

    unpriced, line = lines
    cost = (0.15 * line["prompt_tokens"] + 0.60 * line["completion_tokens"]) / 1_000_000
    assert line["cost"] == usage["cost"] == pytest.approx(cost, abs=1e-9)
    assert (usage["currency"], usage["unpriced_calls"], unpriced["cost"]) == ("USD", 1, None)
    costs = {one["model"]: one["cost"] for one in usage["by_model"]}
    assert costs == {"gpt-4o-mini": line["cost"], "unheard-of": None}


async def test_without_a_price_list_there_is_no_money(talker: User, provider: ScriptedProvider) -> None:
    provider.reset()
    await talker.ask("Say hello.", use_rag=False)

    usage = await talker.settled_usage()

    assert (usage["cost"], usage["currency"], usage["unpriced_calls"]) == (None, None, 1)


async def test_an_owner_sees_what_members_use_and_nobody_else_does(
    talking: Platform, talker: User, provider: ScriptedProvider
) -> None:
    provider.reset()
    member, stranger = await joined(talking, talker), await talking.user()
    await talker.http.patch(f"/api/v1/auth/users/{talker.account}", json={"token_limit": 50_000})
    await talker.http.patch(f"/api/v1/auth/users/{member.account}", json={"token_limit": 50_000})
    answer = await member.ask("Say hello.", use_rag=False)

    seen = await talker.settled_usage(f"/api/v1/usage/{member.account}")

    assert (seen["user_id"], seen["tokens_used"]) == (member.account, answer["tokens_used"])
    assert seen == await member.settled_usage()
    for who, account, status in [
        (talker, stranger.account, 404),
        (talker, new_id(), 404),
        (stranger, member.account, 404),
        (member, talker.account, 403),
        (member, new_id(), 403),
    ]:
        assert (await who.http.get(f"/api/v1/usage/{account}")).status_code == status


async def test_an_export_is_whole_and_safe_to_open(talking: Platform, talker: User) -> None:
    principal = (await talking.services.accounts.credentials(await name_of(talker))).account.principal  # type: ignore[union-attr]
    lines = [line(model="=HYPERLINK(0)") for _ in range(2_500)]
    await talking.services.usage.record(principal, lines)

    response = await talker.http.get("/api/v1/usage/events.csv")
    rows = list(csv.DictReader(io.StringIO(response.text)))

    assert {row["op_id"] for row in rows} == {one.op_id for one in lines}
    assert {row["model"] for row in rows} == {"'=HYPERLINK(0)"}
    month = f"{lines[0].at:%Y-%m}"
    assert response.headers["content-disposition"] == f'attachment; filename="usage-{month}.csv"'
    assert (await talker.http.head("/api/v1/usage/events.csv")).status_code == 200


async def name_of(user: User) -> str:
    return str((await user.http.get("/api/v1/auth/me")).json()["username"])


def line(**fields: Any) -> ProviderCall:
    class Search:
        workflow_id = None

    return a_call(Search(), delivery=Delivery.DELIVERED, **fields)  # type: ignore[arg-type]
