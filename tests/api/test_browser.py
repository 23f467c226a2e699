"""A browser's own EventSource reads a run: cut in the middle it comes back by itself, and at the end it stays away."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.api.serving import running_on, serving
from tests.platform import Platform, User
from tests.provider.server import ScriptedProvider

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
WORDS = " ".join(f"word{number}" for number in range(40))
CUT_AFTER = 6  # events of the first connection
PAGE = """
<script>
const seen = {kinds: [], text: ""};
const source = new EventSource("/events");
for (const kind of ["run", "step", "sources", "token", "reset", "done", "error", "cancelled"])
  source.addEventListener(kind, event => {
    if (!event.data) return;  // the connection's own errors
    seen.kinds.push(kind);
    const data = JSON.parse(event.data);
    if (kind == "reset") seen.text = "";
    if (kind == "token") seen.text += data.text;
    if (kind == "done") seen.answer = data.response.content;
  });
source.onerror = () => {
  if (source.readyState == EventSource.CLOSED)
    fetch("/report", {method: "POST", body: JSON.stringify(seen)});
};
</script>
"""

pytestmark = [
    pytest.mark.timeout(90),
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (apt-get install chromium)"),
]


class Page:
    """A page on an origin of its own, and what a product's server does for it: it adds the user's token."""

    def __init__(self, api_url: str, run: str, authorization: str) -> None:
        self._events = f"{api_url}/api/v1/runs/{run}/events"
        self._authorization = authorization
        self.asked: list[str] = []  # Last-Event-ID of each connection
        self.statuses: list[int] = []
        self.report: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self.app = Starlette(
            routes=[
                Route("/", self._page),
                Route("/events", self._proxied),
                Route("/report", self._reported, methods=["POST"]),
            ]
        )

    async def _page(self, request: Request) -> Response:
        return HTMLResponse(PAGE)

    async def _proxied(self, request: Request) -> Response:
        self.asked.append(request.headers.get("last-event-id", ""))
        headers = {"Authorization": self._authorization, "Accept": "text/event-stream"}
        if self.asked[-1]:
            headers["Last-Event-ID"] = self.asked[-1]
        http = httpx.AsyncClient(timeout=30, trust_env=False)
        response = await http.send(http.build_request("GET", self._events, headers=headers), stream=True)
        self.statuses.append(response.status_code)
        if response.status_code == 204:
            await http.aclose()
            return Response(None, 204)
        most = CUT_AFTER if len(self.asked) == 1 else None
        return StreamingResponse(_passed_on(http, response, most), media_type="text/event-stream")

    async def _reported(self, request: Request) -> Response:
        self.report.set_result(await request.json())
        return Response(None, 204)


async def _passed_on(http: httpx.AsyncClient, response: httpx.Response, most: int | None) -> AsyncIterator[bytes]:
    events = 0
    async for line in response.aiter_lines():
        yield f"{line}\n".encode()
        events += not line
        if events == most:
            break
    await http.aclose()


@asynccontextmanager
async def browser(url: str) -> AsyncIterator[None]:
    assert CHROMIUM is not None
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        quiet = ["--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", f"--user-data-dir={profile}"]
        nowhere = asyncio.subprocess.DEVNULL
        process = await asyncio.create_subprocess_exec(CHROMIUM, *quiet, url, stdout=nowhere, stderr=nowhere)
        try:
            yield
        finally:
            process.terminate()
            await process.wait()


@pytest.fixture
def slowly(provider: ScriptedProvider) -> Iterator[None]:
    provider.reset()
    provider.manners.pace = 0.1
    provider.manners.answer = lambda _: WORDS
    yield
    provider.reset()


async def test_a_browser_resumes_what_was_cut_and_stays_away_after_the_end(
    talking: Platform, talker: User, slowly: None
) -> None:
    asked = (await talker.http.post("/api/v1/chat", json={"message": "Say it.", "use_rag": False})).json()

    async with serving(talking) as server:
        page = Page(server.url, asked["workflow_id"], talker.http.headers["Authorization"])
        own = uvicorn.Config(page.app, port=0, log_level="warning")
        async with running_on(own) as shown, browser(shown.url), asyncio.timeout(60):
            seen = await page.report

    assert seen["text"] == seen["answer"] == WORDS
    assert (seen["kinds"][-1], seen["kinds"].count("done")) == ("done", 1)
    assert page.statuses == [200, 200, 204]
    assert page.asked[0] == ""
    assert page.asked[1] < page.asked[2]
