"""A real server on loopback: who sends nothing is closed, who moves is served, and others do not notice."""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from contextlib import suppress

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from api.protocol import KEEP_ALIVE, SILENCE, DeadlineProtocol
from api.serve import config
from tests.api.serving import Server, serving
from tests.platform import Platform, User

BRIEF = 1.0  # seconds, instead of 15


class Hasty(DeadlineProtocol):
    silence = BRIEF


@pytest.fixture
async def server(quiet: Platform) -> AsyncIterator[Server]:
    async with serving(quiet, Hasty) as running:
        yield running


@pytest.fixture
async def http(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", trust_env=False, timeout=10) as client:
        yield client


def request(path: str, *headers: str, body: bytes = b"", method: str = "GET") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


HALF_HEADER = b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: "
HALF_BODY = request(
    "/api/v1/auth/login", "Content-Type: application/json", "Content-Length: 100", body=b'{"a', method="POST"
)


def test_the_deadline_is_15_seconds() -> None:
    assert SILENCE == 15


@pytest.mark.parametrize("started", [HALF_HEADER, HALF_BODY])
async def test_a_request_that_stops_halfway_is_told_so_and_closed(server: Server, started: bytes) -> None:
    began = time.monotonic()
    answer = await server.ask(started)
    took = time.monotonic() - began

    head, _, body = answer.partition(b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert json.loads(body)["code"] == "deadline_exceeded"
    assert json.loads(body)["request_id"].encode() in head
    assert BRIEF * 0.9 <= took <= BRIEF + 1


async def test_a_connection_that_never_speaks_is_closed_without_a_word(server: Server) -> None:
    assert await server.ask(b"") == b""


async def test_headers_that_drip_are_closed_all_the_same(server: Server) -> None:
    reader, writer = await server.open(HALF_HEADER)
    began = time.monotonic()

    with suppress(ConnectionError):
        while not reader.at_eof() and time.monotonic() - began < 10:
            writer.write(b"a")
            with suppress(TimeoutError):
                await asyncio.wait_for(reader.read(1000), 0.1)

    assert time.monotonic() - began <= BRIEF + 1
    writer.close()


async def test_a_slow_upload_that_moves_is_served(server: Server, user: User) -> None:
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="slow.txt"\r\n\r\n'
    pieces = [head, *[b"A slow boat still arrives. "] * 8, b"\r\n--x--\r\n"]
    authorization = f"Authorization: {user.http.headers['authorization']}"
    framing = (f"Content-Length: {sum(map(len, pieces))}", "Content-Type: multipart/form-data; boundary=x")
    reader, writer = await server.open(
        request("/api/v1/documents", authorization, *framing, "Connection: close", method="POST")
    )
    for piece in pieces:
        await asyncio.sleep(BRIEF / 3)
        writer.write(piece)

    assert (await reader.read()).startswith(b"HTTP/1.1 202 ")
    writer.close()


async def test_waiting_for_an_answer_is_not_silence(server: Server, user: User, http: httpx.AsyncClient) -> None:
    workflow_id = (await user.http.post("/api/v1/chat", json={"message": "What floats?"})).json()["workflow_id"]
    await user.finished(workflow_id)
    slow = asyncio.Event()

    async def after_a_while(*_: object) -> None:
        await asyncio.sleep(BRIEF * 2.5)
        slow.set()

    server.uvicorn.config.loaded_app = _delayed(server.uvicorn.config.loaded_app, after_a_while)
    response = await http.get(f"/api/v1/runs/{workflow_id}", headers=dict(user.http.headers))

    assert slow.is_set()
    assert response.status_code == 200


def _delayed(app, wait):
    async def delayed(scope, receive, send) -> None:
        await wait()
        await app(scope, receive, send)

    return delayed


async def test_who_does_not_read_is_cut_and_fills_nobodys_memory(server: Server) -> None:
    piece, sent, ended = b"x" * 10_000, 0, asyncio.Event()

    async def endless(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal sent
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while server.uvicorn.server_state.connections:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            sent += len(piece)
        ended.set()

    server.uvicorn.config.loaded_app = endless
    _, writer = await server.open(request("/"))
    await asyncio.wait_for(ended.wait(), 10)

    assert sent < 2_000_000  # four, left alone
    writer.close()


async def test_a_connection_is_kept_alive_longer_than_clients_reuse_it(server: Server) -> None:
    """httpx, and with it the official OpenAI client, reuses one that was idle for up to 5 s."""
    reader, writer = await server.open(request("/healthz"))
    for pause in (BRIEF * 1.5, 5.5):
        await reader.readuntil(b'{"status":"ok"}')
        await asyncio.sleep(pause)
        writer.write(request("/healthz"))
    await reader.readuntil(b'{"status":"ok"}')

    assert KEEP_ALIVE > 60
    writer.close()


async def test_the_next_request_on_a_kept_connection_has_the_same_deadline(server: Server) -> None:
    reader, writer = await server.open(request("/healthz"))
    await reader.readuntil(b'{"status":"ok"}')
    await asyncio.sleep(BRIEF * 1.5)
    writer.write(HALF_HEADER)
    began = time.monotonic()

    answer = await asyncio.wait_for(reader.read(), 10)

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert BRIEF * 0.5 <= time.monotonic() - began <= BRIEF + 1
    writer.close()


async def test_500_half_headers_and_200_half_bodies_are_closed_and_keep_nobody_out(
    server: Server, http: httpx.AsyncClient, user: User
) -> None:
    began = time.monotonic()
    slow = [await server.open(HALF_HEADER) for _ in range(500)] + [await server.open(HALF_BODY) for _ in range(200)]
    opened = time.monotonic() - began

    answers = [await http.get("/api/v1/documents", headers=dict(user.http.headers)) for _ in range(20)]
    left = await asyncio.gather(*(asyncio.wait_for(reader.read(), 15) for reader, _ in slow))
    took = time.monotonic() - began

    assert {answer.status_code for answer in answers} == {200}
    assert max(answer.elapsed.total_seconds() for answer in answers) < 2
    assert {data[:12] for data in left} == {b"HTTP/1.1 408"}
    assert len(server.uvicorn.server_state.connections) <= 1
    print(f"700 connections opened in {opened:.1f} s, all closed after {took:.1f} s")
    for _, writer in slow:
        writer.close()


async def test_a_server_that_stops_does_not_wait_for_half_a_header(server: Server) -> None:
    reader, writer = await server.open(HALF_HEADER)
    await asyncio.sleep(0.1)
    began = time.monotonic()

    server.uvicorn.should_exit = True
    await asyncio.wait_for(asyncio.shield(server.task), 10)

    assert time.monotonic() - began < BRIEF
    assert await reader.read() == b""
    writer.close()


# --- the parser -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "raw",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/9.9\r\nConnection: close\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: a\x00b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 20_000,
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 20_000 + b"\r\nConnection: close\r\n\r\n",
        request("/", *[f"X-{n}: a" for n in range(10_000)], "Connection: close"),
        request("/", "Content-Length: 5", "Content-Length: 6", "Connection: close"),
        request("/", "Content-Length: -1", "Connection: close"),
        request("/", "Transfer-Encoding: chunked", "Content-Length: 5", "Connection: close", body=b"0\r\n\r\n"),
        request("/", "Transfer-Encoding: gzip", "Connection: close"),
        request("/", "Authorization: Bearer a", "Authorization: Bearer a", "Connection: close"),
        request("/a%00b", "Connection: close"),
        request("/api/v1/auth/login", "Transfer-Encoding: chunked", "Connection: close", body=b"zz\r\n", method="POST"),
    ],
)
async def test_what_is_no_proper_http_is_a_problem_with_an_id(server: Server, raw: bytes) -> None:
    answer = await server.ask(raw)

    head, _, body = answer.partition(b"\r\n\r\n")
    problem = json.loads(body)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert (problem["status"], problem["code"]) == (400, "malformed_request")
    assert f"x-request-id: {problem['request_id']}".encode() in head.lower()
    assert b"content-type: application/problem+json" in head.lower()
    assert b"nosniff" in head


@pytest.mark.parametrize("size", [100_000, 5_000_000])
async def test_a_header_of_megabytes_is_not_read_to_its_end(server: Server, size: int) -> None:
    reader, writer = await server.open(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * size)

    with suppress(ConnectionError):
        answer = await asyncio.wait_for(reader.read(), 5)
        assert answer == b"" or answer.startswith(b"HTTP/1.1 400 ")
    writer.close()


async def test_pipelined_requests_are_answered_in_order(server: Server) -> None:
    answer = await server.ask(request("/healthz") + request("/nowhere") + request("/healthz", "Connection: close"))

    assert re.findall(rb"HTTP/1.1 (\d+)", answer) == [b"200", b"404", b"200"]


@pytest.mark.parametrize("header", ["Upgrade: websocket", "Upgrade: h2c"])
async def test_an_upgrade_is_not_taken(server: Server, header: str) -> None:
    answer = await server.ask(request("/healthz", "Connection: upgrade, close", header))

    assert answer.startswith(b"HTTP/1.1 200 ")


async def test_head_sends_no_body(server: Server) -> None:
    answer = await server.ask(request("/healthz", "Connection: close", method="HEAD"))

    assert answer.endswith(b"\r\n\r\n")
    assert b"content-length: 15" in answer


async def test_a_forwarded_address_is_believed_from_a_named_proxy_only(quiet: Platform) -> None:
    for proxies, expected in (((), "127.0.0.1"), (("127.0.0.1",), "203.0.113.9"), (("10.0.0.0/8",), "127.0.0.1")):
        seen = []

        async def app(scope, receive, send, seen=seen) -> None:
            seen.append(scope["client"][0])
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body", "body": b""})

        chosen = config(app, quiet.services.settings.model_copy(update={"proxies": proxies}))
        chosen.load()
        transport = httpx.ASGITransport(chosen.loaded_app, client=("127.0.0.1", 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
            await http.get("/", headers={"X-Forwarded-For": "203.0.113.9"})

        assert seen == [expected]
