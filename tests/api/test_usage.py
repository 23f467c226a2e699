"""What people are told of their tokens: equal everywhere, and to the provider's own log."""

import asyncio
import csv
import io
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from domain.accounts import Principal
from domain.names import new_id
from domain.usage import Delivery, ProviderCall
from tests.api.test_access import a_key, bearing, joined
from tests.contract.records import a_call
from tests.platform import Platform, StartPlatform, User
from tests.provider.script import USAGE_ERROR, Fault
from tests.provider.server import ScriptedProvider

LOCK = b"The harbour master opens the lock at six in the morning."
QUESTION = "When does the lock open?"
PRICES = """
currency = "USD"
[[price]]
model = "gpt-4o-mini*"
prompt = 0.15
completion = 0.60
[[price]]
model = "text-embedding-3-small"
prompt = 0.02
"""
MONTH = [
    "user_id",
    "month",
    "tokens_used",
    "tokens_reserved",
    "token_limit",
    "cost",
    "currency",
    "unpriced_calls",
    "by_model",
    "by_purpose",
]
LINE = [
    "op_id",
    "workflow_id",
    "purpose",
    "model",
    "prompt_tokens",
    "completion_tokens",
    "outcome",
    "billable",
    "cost",
    "at",
]
NO_MONTHS = ["", "2020-13", "2020-00", "2020-1", "20-01", "2020-01-01", "2020-01\n", "٢٠٢٠-01", "2020/01", "../etc"]
TOO_MUCH = {"prompt_tokens": 10**12, "completion_tokens": 10**12, "total_tokens": 2 * 10**12}


async def written(platform: Platform, user: User, lines: Sequence[ProviderCall]) -> None:
    """Into the user's ledger, few at a time: a transaction has 2.5 s."""
    for at in range(0, len(lines), 100):
        await platform.services.usage.record(Principal(user.tenant, user.account), lines[at : at + 100])


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


@pytest.mark.parametrize("path", ["", "/events", "/events.csv", "/me"])
@pytest.mark.parametrize("month", NO_MONTHS)
async def test_what_is_no_month_is_refused(user: User, path: str, month: str) -> None:
    response = await user.http.get(f"/api/v1/usage{path}", params={"month": month})

    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")


async def test_a_month_begins_and_ends_at_midnight_utc(quiet: Platform, user: User) -> None:
    at = datetime(2024, 2, 29, 23, 59, 59, tzinfo=UTC)
    await written(quiet, user, [line(at=at), line(at=at + timedelta(seconds=1))])

    listed = [[one["at"] for one in await ledger(user, month=month)] for month in ("2024-02", "2024-03")]

    assert listed == [["2024-02-29T23:59:59Z"], ["2024-03-01T00:00:00Z"]]
    assert await ledger(user) == []


async def test_a_month_and_its_lines_have_their_official_shape(buyer: User) -> None:
    await buyer.upload("lock.txt", LOCK)
    await buyer.http.post("/api/v1/search", json={"query": "lock"})

    usage, (search, document) = await buyer.settled_usage(), await ledger(buyer)

    assert list(usage) == MONTH
    assert list(search) == list(document) == LINE
    assert [list(one) for one in usage["by_model"]] == [["model", "tokens", "calls", "billable", "cost"]]
    assert [list(one) for one in usage["by_purpose"]] == [["purpose", "tokens", "calls", "billable", "cost"]]
    assert search["workflow_id"] is None
    assert document["workflow_id"].startswith(f"ingest:{buyer.tenant}:")
    assert search["at"] > document["at"]
    assert search["at"].endswith("Z")


async def test_a_call_that_came_to_nothing_is_listed_and_not_counted(talker: User, provider: ScriptedProvider) -> None:
    provider.reset()
    provider.script(Fault.cut_after(3))

    await talker.ask("Say hello.", use_rag=False)

    usage, lines = await talker.settled_usage(), await ledger(talker)
    assert [line["outcome"] for line in lines] == ["delivered", "retried"]
    assert usage["by_purpose"][0]["calls"] == 1
    assert usage["tokens_used"] == lines[0]["prompt_tokens"] + lines[0]["completion_tokens"]


async def test_a_cancelled_answer_is_an_estimate_and_counts(talker: User, provider: ScriptedProvider) -> None:
    provider.reset()
    provider.script(Fault.hang(3))
    asked = (await talker.http.post("/api/v1/chat", json={"message": "Say hello.", "use_rag": False})).json()
    await provider.until(lambda calls: len(calls) == 1)

    await talker.http.post(f"/api/v1/runs/{asked['workflow_id']}/cancel")

    assert (await talker.finished(asked["workflow_id"]))["state"] == "cancelled"
    usage = await counted(talker)
    (line,), (call,) = await ledger(talker), await provider.idle()
    assert (line["outcome"], line["workflow_id"]) == ("estimated", asked["workflow_id"])
    assert line["prompt_tokens"] >= call.prompt_tokens
    assert usage["tokens_used"] == line["prompt_tokens"] + line["completion_tokens"]
    assert [(one["purpose"], one["calls"]) for one in usage["by_purpose"]] == [("chat", 1)]


async def counted(user: User) -> dict[str, Any]:
    """The month, once something has been counted into it."""
    async with asyncio.timeout(20):
        while not (usage := await user.settled_usage())["tokens_used"]:
            await asyncio.sleep(0.05)
    return usage


@pytest.mark.parametrize("told", [USAGE_ERROR, TOO_MUCH, {}], ids=["negative", "too much", "nothing"])
async def test_a_usage_that_cannot_be_is_an_estimate(
    buyer: User, provider: ScriptedProvider, told: dict[str, Any]
) -> None:
    """M10, of every purpose."""
    provider.script(Fault(usage=told, times=100))
    await buyer.upload("lock.txt", LOCK)
    first = await buyer.ask(QUESTION)
    await buyer.ask("And who does?", conversation_id=first["conversation_id"])
    await buyer.http.post("/api/v1/search", json={"query": "lock"})

    usage, lines = await buyer.settled_usage(), await ledger(buyer)

    purposes = Counter((line["purpose"], line["outcome"]) for line in lines)
    assert purposes == {("chat", "estimated"): 2, ("condense", "estimated"): 1, ("embedding", "estimated"): 4}
    really = sum(call.prompt_tokens + call.completion_tokens for call in provider.calls)
    assert really <= sum(one["tokens"] for one in usage["by_model"]) < 20 * really


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
    async with start_platform("priced", **model, embedder="openai", embedding_dimensions=384) as priced:
        user = await priced.user()
        await user.upload("lock.txt", LOCK)
        await user.ask(QUESTION)
        provider.script(Fault(model="unheard-of", kind="chat"), Fault(cut_at=3, kind="chat"))
        for _ in range(2):
            await user.ask("Say hello.", use_rag=False)
        usage, lines, rows = await user.settled_usage(), await ledger(user), await exported(user)

    costs = [cost_of(line) for line in lines]
    counted = [(line, cost) for line, cost in zip(lines, costs, strict=True) if line["outcome"] != "retried"]
    assert Counter(line["outcome"] for line in lines) == {"delivered": 5, "retried": 1}
    assert [line["cost"] for line in lines] == [as_float(cost) for cost in costs]
    assert [row["cost"] for row in rows] == ["" if cost is None else str(float(cost)) for cost in costs]
    assert (usage["currency"], usage["unpriced_calls"]) == ("USD", 1)
    assert usage["cost"] == as_float(total(counted)) > 0
    for field in ("model", "purpose"):
        for one in usage[f"by_{field}"]:
            assert one["cost"] == as_float(total(counted, **{field: one[field]})), one


def cost_of(line: dict[str, Any]) -> Decimal | None:
    """Exact to a billionth: what a token costs here is a whole number of them."""
    prices = {"gpt-4o-mini": ("0.15", "0.60"), "text-embedding-3-small": ("0.02", "0"), "unheard-of": None}
    if (price := prices[line["model"]]) is None:
        return None
    prompt, completion = map(Decimal, price)
    return (line["prompt_tokens"] * prompt + line["completion_tokens"] * completion) / 1_000_000


def total(counted: list[tuple[dict[str, Any], Decimal | None]], **of: str) -> Decimal | None:
    costs = [cost for line, cost in counted if of.items() <= line.items() and cost is not None]
    return sum(costs, Decimal(0)) if costs else None


def as_float(cost: Decimal | None) -> float | None:
    return None if cost is None else float(cost)


async def test_many_small_costs_add_up_exactly(quiet: Platform, user: User) -> None:
    """A tenth and two tenths of a coin, as floats, are more than three."""
    costs = [100_000_000, 200_000_000, *[1] * 997]
    await written(quiet, user, [line(cost=cost) for cost in costs])

    usage = (await user.http.get("/api/v1/usage")).json()

    assert usage["cost"] == usage["by_model"][0]["cost"] == usage["by_purpose"][0]["cost"] == 0.300000997


async def test_a_local_model_is_listed_and_costs_nothing(user: User) -> None:
    await user.upload("lock.txt", LOCK)
    await user.ask(QUESTION)

    usage, lines = (await user.http.get("/api/v1/usage")).json(), await ledger(user)

    assert [(one["billable"], one["cost"], one["outcome"]) for one in lines] == [(False, None, "delivered")]
    assert (usage["tokens_used"], usage["cost"], usage["unpriced_calls"]) == (0, None, 0)
    assert [(one["calls"], one["billable"], one["cost"]) for one in usage["by_model"]] == [(1, False, None)]


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
    by_key = bearing(talking, (await a_key(talker))["key"])
    assert (await by_key.get(f"/api/v1/usage/{member.account}")).json() == seen
    for who, account, status in [
        (talker, stranger.account, 404),
        (talker, new_id(), 404),
        (talker, "x", 404),
        (stranger, member.account, 404),
        (member, talker.account, 403),
        (member, member.account, 403),
        (member, new_id(), 403),
        (member, "x", 403),
    ]:
        assert (await who.http.get(f"/api/v1/usage/{account}")).status_code == status


async def test_an_owner_who_was_demoted_looks_no_more(quiet: Platform, user: User) -> None:
    second = await joined(quiet, user, "owner")
    by_key = bearing(quiet, (await a_key(second))["key"])
    assert (await by_key.get(f"/api/v1/usage/{user.account}")).status_code == 200

    await user.http.patch(f"/api/v1/auth/users/{second.account}", json={"role": "member"})

    assert (await by_key.get(f"/api/v1/usage/{user.account}")).status_code == 403


async def test_an_export_is_whole_and_safe_to_open(talking: Platform, talker: User) -> None:
    lines = [line(model="=HYPERLINK(0)") for _ in range(2_500)]
    await written(talking, talker, lines)

    response = await talker.http.get("/api/v1/usage/events.csv")
    rows = list(csv.DictReader(io.StringIO(response.text)))

    assert {row["op_id"] for row in rows} == {one.op_id for one in lines}
    assert {row["model"] for row in rows} == {"'=HYPERLINK(0)"}
    month = f"{lines[0].at:%Y-%m}"
    assert response.headers["content-disposition"] == f'attachment; filename="usage-{month}.csv"'
    assert (await talker.http.head("/api/v1/usage/events.csv")).status_code == 200


def line(**fields: Any) -> ProviderCall:
    class Search:
        workflow_id = None

    return a_call(Search(), delivery=Delivery.DELIVERED, **fields)  # type: ignore[arg-type]
