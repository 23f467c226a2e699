"""`make load`: what a stack does with more than it can do, and for whom: ramps, floods, readers that never read."""

import asyncio
import socket
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from domain.names import new_id
from tests.bench import saturation
from tests.bench.chat import EACH, rate
from tests.bench.questions import question
from tests.bench.stack import Stack, launched, provider, scripted
from tests.bench.table import Figure, p, show

RAMP = (1, 8, 32, 128)  # in flight
WARM = 8
REPEATS = 2
MODEL = {"latency": 0.05, "pace": 0.0, "answer": " ".join(f"word{number}" for number in range(20))}
STALLED, SLOW = 200, 20  # readers that never read, and that read a byte a second
LONG = {"pace": 0.001, "answer": " ".join(f"word{number}" for number in range(40_000))}
LOOKS = 400  # requests of somebody else
UPLOADS, CHATS = 1000, 200  # of the tenant that floods
SECONDS = 30  # for which the other tenant asks once a second


async def measure_ramp(stack: Stack, base_url: str) -> AsyncIterator[list[Figure]]:
    """An error would end it."""
    async with scripted(base_url, **MODEL):
        await rate(stack, 1, WARM, "")  # models and prompts are loaded once
        before = stack.memory("api"), stack.memory("worker-chat")
        for in_flight in RAMP:
            yield await rate(stack, REPEATS, in_flight, "")
        grown = [stack.memory(name) - earlier for name, earlier in zip(("api", "worker-chat"), before, strict=True)]
    chats = REPEATS * EACH * sum(RAMP)
    yield [
        Figure(f"(n) memory that {chats} conversations left: API", "MB", [grown[0]]),
        Figure("— chat workers", "MB", [grown[1]]),
    ]


async def measure_stalled(stack: Stack, base_url: str) -> list[Figure]:
    """Readers that never read, or a byte a second."""
    alone = await _looks(stack)
    before = stack.memory("api")
    async with scripted(base_url, **LONG):
        run = await stack.start(question())
        await asyncio.sleep(5)
        async with _stalled(stack, run, STALLED), _stalled(stack, run, SLOW) as slow:
            reading = asyncio.create_task(_byte_by_byte(slow))
            beside = await _looks(stack)
            grown = stack.memory("api") - before
            reading.cancel()
            await stack.ready(run)
    return [
        Figure(
            f"(m) memory of the API for {STALLED} readers that never read, {SLOW} at a byte a second",
            "MB",
            [grown],
            "≤ 50",
        ),
        Figure("— others' requests beside them ÷ alone", "ratio of p95", [beside / alone], "≤ 1.2", digits=2),
    ]


async def measure_flood(stack: Stack) -> list[Figure]:
    """The other tenant asks once a second while this one floods."""
    async with stack.stranger() as other:
        alone = await _once_a_second(other)
        uploads = await _beside(stack, other, UPLOADS, 0)
        flood = await _beside(stack, other, UPLOADS, CHATS)
    return [
        Figure(
            "(l) a question of one tenant while another floods ÷ alone",
            "ratio of p95",
            [flood / alone],
            "≤ 2",
            digits=2,
        ),
        Figure("— the same beside its uploads only", "ratio of p95", [uploads / alone], digits=2),
        Figure("— alone", "ms, p95", [1000 * alone], digits=0),
        Figure("— beside the flood", "ms, p95", [1000 * flood], digits=0),
    ]


async def _beside(stack: Stack, other: Stack, uploads: int, chats: int) -> float:
    """Seconds, p95, of the other's questions; what was let in is finished when this returns."""
    flooding = asyncio.create_task(_flood(stack, uploads, chats))
    await asyncio.sleep(2)
    beside = await _once_a_second(other)
    if flooding.done():
        flooding.result()
    flooding.cancel()
    await asyncio.gather(flooding, return_exceptions=True)
    async with asyncio.timeout(600):
        while await _unfinished(stack):
            await asyncio.sleep(1)
    return beside


async def _unfinished(stack: Stack) -> bool:
    for state in ("queued", "running"):
        page = (await stack.http.get("/api/v1/runs", params={"state": state})).raise_for_status().json()
        if page["items"] or page.get("next_cursor"):
            return True
    return False


async def _looks(stack: Stack) -> float:
    """Seconds, p95, of somebody's requests one after the other."""
    took = []
    for _ in range(LOOKS):
        began = time.perf_counter()
        (await stack.http.get("/api/v1/auth/me")).raise_for_status()
        took.append(time.perf_counter() - began)
    return p(took, 0.95)


@asynccontextmanager
async def _stalled(stack: Stack, run: str, many: int) -> AsyncIterator[list[socket.socket]]:
    """Connections that ask for the events of a run, with as little room for them as the kernel allows."""
    address = urlsplit(str(stack.http.base_url))
    request = (
        f"GET /api/v1/runs/{run}/events HTTP/1.1\r\nHost: {address.netloc}\r\n"
        f"Authorization: {stack.http.headers['Authorization']}\r\n\r\n"
    ).encode()
    loop, sockets = asyncio.get_running_loop(), []
    for _ in range(many):
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        connection.setblocking(False)
        await loop.sock_connect(connection, (address.hostname, address.port))
        await loop.sock_sendall(connection, request)
        sockets.append(connection)
    try:
        yield sockets
    finally:
        for connection in sockets:
            connection.close()


async def _byte_by_byte(sockets: list[socket.socket]) -> None:
    loop = asyncio.get_running_loop()
    while True:
        for connection in sockets:
            try:
                await asyncio.wait_for(loop.sock_recv(connection, 1), 0.01)
            except OSError:
                continue
        await asyncio.sleep(1)


async def _once_a_second(stack: Stack) -> float:
    """Seconds, p95. Nobody is sent away for what others do."""

    async def ask(second: int) -> float:
        await asyncio.sleep(second)
        began = time.perf_counter()
        await stack.ask(question())
        return time.perf_counter() - began

    return p(await asyncio.gather(*map(ask, range(SECONDS))), 0.95)


async def _flood(stack: Stack, many: int, chats: int) -> None:
    """Sixteen clients upload as fast as they are let in; so many chats are kept open meanwhile."""
    numbers = count()
    waiting = {"Prefer": "wait=60"}

    async def uploads() -> None:
        while next(numbers) < many:
            text = f"Berth {new_id()} lies east of the old mole.\n".encode()
            await _until_let_in(partial(stack.http.post, "/api/v1/documents", files={"file": ("small.txt", text)}))

    async def chat() -> None:
        asked = {"message": question()}
        await _until_let_in(partial(stack.http.post, "/api/v1/chat", json=asked, headers=waiting))

    await asyncio.gather(*(uploads() for _ in range(16)), *(chat() for _ in range(chats)))


async def _until_let_in(request: Callable[[], Awaitable[httpx.Response]]) -> None:
    """Who is told to come back does, when it is told to."""
    while (response := await request()).status_code == 503:
        await asyncio.sleep(float(response.headers["retry-after"]))
    assert response.is_success, response.text


async def load() -> AsyncIterator[list[Figure]]:
    with tempfile.TemporaryDirectory(prefix="moorage-load-") as scratch:
        async with (
            provider() as base_url,
            launched(Path(scratch) / "home", OPENAI_BASE_URL=base_url, OPENAI_API_KEY="load") as stack,
        ):
            peak = 0.0
            async for figures in measure_ramp(stack, base_url):
                yield figures
                peak = max([peak, *(p(one.values, 0.5) for one in figures if one.unit == "1/s")])
            yield await measure_stalled(stack, base_url)
            yield await saturation.measure(stack, peak)
            yield await measure_flood(stack)


if __name__ == "__main__":
    asyncio.run(show(load()))
