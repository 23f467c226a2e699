"""A user of the platform under faults: repeats what got no answer, and remembers what was acknowledged."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

import httpx

from domain.names import new_id
from tests.faults.oplog import OpLog
from tests.platform import PASSWORD

AGAIN = 0.3  # seconds before an unanswered request is repeated with its key
SENTENCE = "Berth {berth} belongs to the vessel {vessel}. "
FILLER = "The harbour office keeps the tide tables, and every pilot reads them before the lock opens in the morning. "


@dataclass(slots=True)
class Upload:
    """A document that was acknowledged with 202."""

    name: str
    probe: str
    workflow_id: str
    document_id: str


@dataclass(slots=True)
class Question:
    """A turn that was acknowledged; `answer` once it was given."""

    text: str
    workflow_id: str
    conversation_id: str
    answer: str | None = None


@dataclass
class Client:
    """`canary` is in everything that is written, and may be read by nobody else."""

    http: httpx.AsyncClient
    log: OpLog
    tenant: str
    account: str
    username: str
    canary: str
    uploads: list[Upload] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)

    async def send(self, method: str, path: str, *, key: str | None = None, **request: Any) -> httpx.Response | None:
        """One request; None when no answer came."""
        operation = self.log.invoke(f"{method} {path}", key)
        headers = {**request.pop("headers", {}), **({"Idempotency-Key": key} if key else {})}
        try:
            response = await self.http.request(method, path, headers=headers, **request)
        except httpx.HTTPError as error:
            self.log.end(operation, "unknown", code=type(error).__name__)
            return None
        kind = response.headers.get("content-type", "")
        code = response.json().get("code", "") if "problem" in kind else ""
        outcome = "ok" if response.status_code < 400 else "unknown" if response.status_code >= 500 else "fail"
        again = response.headers.get("retry-after", "")
        self.log.end(operation, outcome, status=response.status_code, kind=kind, code=code, retry_after=again)
        return response

    async def surely(self, method: str, path: str, *, seconds: float = 90.0, **request: Any) -> httpx.Response:
        """Repeat with one key until there is an answer that is none of 5xx."""
        key = request.pop("key", None) or new_id()
        until = time.monotonic() + seconds
        while True:
            response = await self.send(method, path, key=key, **request)
            if response is not None and response.status_code < 500:
                return response
            assert time.monotonic() < until, f"{method} {path}: no answer within {seconds} s"
            await asyncio.sleep(AGAIN)

    async def upload(self, *, sentences: int = 4, key: str | None = None, seconds: float = 90.0) -> Upload:
        """A new document of about so many sentences, acknowledged."""
        name, probe, text = document(self.canary, sentences)
        response = await self.surely(
            "POST", "/api/v1/documents", files={"file": (name, text)}, key=key or new_id(), seconds=seconds
        )
        assert response.status_code == 202, response.text
        return self.keep(name, probe, response.json())

    def keep(self, name: str, probe: str, run: dict[str, Any]) -> Upload:
        """Remember that this was acknowledged."""
        self.uploads.append(Upload(name, probe, run["workflow_id"], run["document_id"]))
        return self.uploads[-1]

    async def ask(
        self, text: str, conversation: str | None = None, *, use_rag: bool = False, key: str | None = None
    ) -> Question:
        """A question, acknowledged."""
        body = {"message": f"{text} {self.canary}", "use_rag": use_rag}
        if conversation:
            body["conversation_id"] = conversation
        response = await self.surely("POST", "/api/v1/chat", json=body, key=key or new_id())
        assert response.status_code == 202, response.text
        run = response.json()
        self.questions.append(Question(body["message"], run["workflow_id"], run["conversation_id"]))
        return self.questions[-1]

    async def finished(self, workflow_id: str, seconds: float = 60.0) -> dict[str, Any]:
        """The run, as soon as it has ended."""
        until = time.monotonic() + seconds
        run: dict[str, Any] = {}
        while time.monotonic() < until:
            wait = max(1, min(10, int(until - time.monotonic())))
            response = await self.send("GET", f"/api/v1/runs/{workflow_id}", params={"wait": wait})
            if response is not None and response.status_code == 200:
                run = response.json()
                if run["finished_at"]:
                    return run
            else:
                await asyncio.sleep(AGAIN)
        raise AssertionError(f"{workflow_id} has not ended within {seconds} s: {run}")

    async def run(self, workflow_id: str) -> dict[str, Any]:
        response = await self.send("GET", f"/api/v1/runs/{workflow_id}")
        assert response is not None
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.json()
        return found

    async def ready(self, upload: Upload, seconds: float = 60.0) -> None:
        run = await self.finished(upload.workflow_id, seconds)
        assert run["state"] == "succeeded", run

    async def answered(self, question: Question, seconds: float = 60.0) -> None:
        run = await self.finished(question.workflow_id, seconds)
        assert run["state"] == "succeeded", run

    async def get(self, path: str, **params: Any) -> Any:
        response = await self.surely("GET", path, params=params)
        assert response.status_code == 200, response.text
        return response.json()

    async def search(self, text: str) -> httpx.Response | None:
        return await self.send("POST", "/api/v1/search", json={"query": text, "k": 5})


def document(canary: str, sentences: int) -> tuple[str, str, bytes]:
    """(file name, a sentence that no other document has, bytes)."""
    berth, vessel = new_id()[:10], new_id()[:10]
    probe = SENTENCE.format(berth=berth, vessel=vessel)
    filler = "".join(f"Entry {number}. {FILLER}" for number in range(sentences))
    return f"{berth}.txt", probe.strip(), f"{probe}{canary}. {filler}".encode()


async def joined(api_url: str, log: OpLog) -> Client:
    """A new account in a tenant of its own."""
    username = f"fault-{new_id()[:12]}"
    http = httpx.AsyncClient(base_url=api_url, timeout=75, trust_env=False)
    client = Client(http, log, "", "", username, f"kanarie{new_id()[:16]}")
    body = {"username": username, "email": f"{username}@example.com", "password": PASSWORD}
    account = (await client.surely("POST", "/api/v1/auth/register", json=body)).json()
    client.tenant, client.account = account["tenant_id"], account["user_id"]
    await login(client)
    return client


async def login(client: Client) -> None:
    response = await client.surely(
        "POST", "/api/v1/auth/login", json={"username": client.username, "password": PASSWORD}
    )
    assert response.status_code == 200, response.text
    client.http.headers["Authorization"] = f"Bearer {response.json()['access_token']}"
