"""The export of a month: read as it is made, and never half of one that passes for a whole one."""

import asyncio
import csv
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from io import StringIO

import httpx
import pytest
from structlog.testing import capture_logs

from api.routes.usage import A_PAGE
from domain.accounts import Principal
from domain.errors import DatabaseUnavailable
from domain.ports import UsageRecords
from domain.runs import Page
from domain.usage import ProviderCall, month_of
from tests.api.serving import serving
from tests.api.test_usage import LINE, exported, ledger, line, written
from tests.platform import Platform, User
from tests.provider.script import Fault
from tests.provider.server import ScriptedProvider

EXPORT = "/api/v1/usage/events.csv"


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(StringIO(text, newline="")))


async def test_an_export_is_an_attachment_of_text(quiet: Platform, user: User) -> None:
    await written(quiet, user, [line(model="모델, klein")])

    response = await user.http.get(EXPORT)

    month = month_of(datetime.now(UTC))
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    assert response.headers["content-disposition"] == f'attachment; filename="usage-{month}.csv"'
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["cache-control"] == "no-store"
    assert next(csv.reader(StringIO(response.text, newline=""))) == LINE
    assert [row["model"] for row in read(response.text)] == ["모델, klein"]


async def test_an_export_has_the_fields_of_the_lines(buyer: User) -> None:
    await buyer.upload("lock.txt", b"The harbour master opens the lock at six in the morning.")
    await buyer.http.post("/api/v1/search", json={"query": "lock"})

    lines, rows = await ledger(buyer), await exported(buyer)

    plain = {"True": "true", "False": "false", "None": ""}
    assert rows == [{name: plain.get(str(value), str(value)) for name, value in one.items()} for one in lines]


async def test_a_month_without_lines_is_a_header(user: User) -> None:
    assert (await user.http.get(EXPORT, params={"month": "2020-02"})).text == ",".join(LINE) + "\r\n"


async def test_a_model_that_is_named_like_a_formula_is_a_text_in_the_export(
    talker: User, provider: ScriptedProvider
) -> None:
    provider.reset()
    name = '=HYPERLINK("http://evil.example","x")'
    provider.script(Fault(model=name, kind="chat"))

    await talker.ask("Say hello.", use_rag=False)

    assert [one["model"] for one in await ledger(talker)] == [name]
    assert [row["model"] for row in await exported(talker)] == [f"'{name}"]


class Watched:
    """The ledger; what `lines` is asked for is noted, and its later pages may be held up or fail."""

    def __init__(self, usage: UsageRecords, *, fails_at: int = 0, held_up: asyncio.Event | None = None) -> None:
        self._usage = usage
        self._fails_at = fails_at
        self._held_up = held_up
        self.pages: list[int] = []

    async def lines(self, principal: Principal, month: str, *, limit: int, cursor: str | None) -> Page[ProviderCall]:
        self.pages.append(limit)
        if len(self.pages) == self._fails_at:
            raise DatabaseUnavailable
        if self._held_up is not None and cursor is not None:
            await self._held_up.wait()
        return await self._usage.lines(principal, month, limit=limit, cursor=cursor)


@asynccontextmanager
async def reading(quiet: Platform, usage: Watched, user: User) -> AsyncIterator[httpx.AsyncClient]:
    """Over a socket: the application without one gives no answer before it is whole."""
    watched = replace(quiet, services=replace(quiet.services, usage=usage))  # type: ignore[arg-type]
    headers = {"Authorization": user.http.headers["authorization"]}
    async with serving(watched) as server:
        async with httpx.AsyncClient(base_url=server.url, headers=headers, trust_env=False, timeout=20) as http:
            yield http


@pytest.fixture
async def long_ledger(quiet: Platform, user: User) -> list[str]:
    """Two full pages of the export and one line more, newest first."""
    now = datetime.now(UTC)
    count = 2 * A_PAGE + 1
    calls = [line(at=now - timedelta(microseconds=number)) for number in range(count)]
    await written(quiet, user, calls)
    return [call.op_id for call in calls]


async def test_an_export_of_many_pages_begins_before_its_end_is_read(
    quiet: Platform, user: User, long_ledger: list[str]
) -> None:
    held_up = asyncio.Event()
    usage = Watched(quiet.services.usage, held_up=held_up)

    async with reading(quiet, usage, user) as http, http.stream("GET", EXPORT) as response:
        pieces = response.aiter_text()
        text = await anext(pieces)
        while text.count("\r\n") < 1 + A_PAGE:
            text += await anext(pieces)
        before = len(usage.pages)
        held_up.set()
        text += "".join([piece async for piece in pieces])

    assert before <= 2
    assert usage.pages == [A_PAGE] * 3
    assert [row["op_id"] for row in read(text)] == long_ledger


async def test_an_export_that_breaks_off_is_not_taken_for_a_whole_one(
    quiet: Platform, user: User, long_ledger: list[str]
) -> None:
    usage, seen = Watched(quiet.services.usage, fails_at=2), list[str]()

    async with reading(quiet, usage, user) as http:
        with capture_logs() as logs:
            async with http.stream("GET", EXPORT) as response:
                with pytest.raises(httpx.RemoteProtocolError):
                    await listen(response.aiter_text(), seen)
            again = await http.get(EXPORT)

    assert response.status_code == 200
    assert [row["op_id"] for row in read("".join(seen))] == long_ledger[:A_PAGE]
    assert [(log["event"], log["code"]) for log in logs if log["log_level"] != "info"] == [
        ("broken_off", DatabaseUnavailable.code)
    ]
    assert len(again.text.splitlines()) == 1 + len(long_ledger)


async def listen(pieces: AsyncIterator[str], into: list[str]) -> None:
    """What has come is kept when the rest does not come."""
    async for piece in pieces:
        into.append(piece)  # noqa: PERF401


async def test_an_export_that_cannot_begin_is_a_problem(quiet: Platform, user: User) -> None:
    async with reading(quiet, Watched(quiet.services.usage, fails_at=1), user) as http:
        response = await http.get(EXPORT)

    assert (response.status_code, response.json()["code"]) == (503, "dependency_unavailable")
    assert response.headers["content-type"] == "application/problem+json"
    assert "content-disposition" not in response.headers
