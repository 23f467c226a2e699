"""Random operations of many users against a model of who may see what: nothing of one tenant reaches another."""

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import httpx
import pytest

from domain.names import new_id
from tests.api.test_access import joined
from tests.platform import PASSWORD, Platform, User

OPERATIONS = int(os.environ.get("MOORAGE_APART_OPERATIONS", "1500"))
SEED = int(os.environ.get("MOORAGE_APART_SEED", "0")) or random.SystemRandom().randrange(1, 10**6)
TENANTS, USERS, AT_ONCE = 5, 4, 8  # users of each tenant
OPEN = 24  # runs: more of them in one process are a load test
RELOGIN = 600  # seconds

pytestmark = pytest.mark.timeout(120 + OPERATIONS // 15)


@dataclass
class Person:
    user: User
    canary: str  # the tenant's: in everything its people write
    conversations: list[str] = field(default_factory=list)
    turns: list[str] = field(default_factory=list)
    since: float = field(default_factory=time.monotonic)

    async def stay_logged_in(self) -> None:
        """Access tokens live for a quarter of an hour."""
        if time.monotonic() - self.since > RELOGIN:
            self.since = time.monotonic()
            username = (await self.user.http.get("/api/v1/auth/me")).json()["username"]
            tokens = await self.user.http.post("/api/v1/auth/login", json={"username": username, "password": PASSWORD})
            self.user.http.headers["Authorization"] = f"Bearer {tokens.json()['access_token']}"


@dataclass
class Model:
    """What exists and whose it is; `documents`, `ingestions`: id to tenant, `private`: id to account."""

    people: list[Person]
    canaries: dict[str, str]
    documents: dict[str, str] = field(default_factory=dict)
    ingestions: dict[str, str] = field(default_factory=dict)
    private: dict[str, str] = field(default_factory=dict)
    done: Counter[str] = field(default_factory=Counter)
    room: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(OPEN))
    watched: set[asyncio.Task[None]] = field(default_factory=set)

    def watch(self, person: Person, run: str) -> None:
        """Give its room back when the run has ended."""
        task = asyncio.create_task(self._ended(person, run))
        self.watched.add(task)
        task.add_done_callback(self.watched.discard)

    async def _ended(self, person: Person, run: str) -> None:
        try:
            await person.user.finished(run)
        finally:
            self.room.release()

    def check(self, person: Person, response: httpx.Response, *allowed: int) -> None:
        """No other tenant's words, and the answer that the model expects."""
        assert response.status_code in allowed, (response.request.url.path, response.status_code, response.text)
        for tenant, canary in self.canaries.items():
            assert tenant == person.user.tenant or canary not in response.text, (tenant, response.request.url.path)


@pytest.fixture
async def model(quiet: Platform) -> Model:
    people, canaries = [], {}
    for _ in range(TENANTS):
        owner = await quiet.user()
        canaries[owner.tenant] = f"kanarie{new_id()[:16]}"
        members = [owner, *[await joined(quiet, owner) for _ in range(USERS - 1)]]
        people += [Person(member, canaries[owner.tenant]) for member in members]
    return Model(people, canaries)


class Actor:
    """One random operation at a time."""

    def __init__(self, model: Model, dice: random.Random) -> None:
        self.model = model
        self.dice = dice
        self.deeds: list[tuple[int, Callable[[Person], Awaitable[None]]]] = [
            (5, self.upload),
            (4, self.ask),
            (20, self.search),
            (12, self.read_document),
            (12, self.read_run),
            (10, self.read_history),
            (6, self.look_back),
            (12, self.list_something),
            (8, self.ask_about_documents),
            (6, self.touch_a_run),
            (2, self.forget),
        ]

    async def act(self) -> None:
        person = self.dice.choice(self.model.people)
        await person.stay_logged_in()
        (deed,) = self.dice.choices([deed for _, deed in self.deeds], [weight for weight, _ in self.deeds])
        await deed(person)
        self.model.done[deed.__name__] += 1

    def any_of(self, ids: dict[str, str]) -> str:
        return self.dice.choice(list(ids)) if ids else new_id()

    async def upload(self, person: Person) -> None:
        text = f"Berth {new_id()[:8]} of {person.canary} lies east of the old mole.".encode()
        await self.model.room.acquire()
        response = await person.user.http.post("/api/v1/documents", files={"file": ("berth.txt", text)})
        self.model.check(person, response, 202)
        run = response.json()
        self.model.watch(person, run["workflow_id"])
        self.model.documents[run["document_id"]] = person.user.tenant
        self.model.ingestions[run["workflow_id"]] = person.user.tenant

    async def ask(self, person: Person) -> None:
        known = {"conversation_id": self.dice.choice(person.conversations)} if person.conversations else {}
        body = {"message": f"Where is the berth of {person.canary}?", **known}
        await self.model.room.acquire()
        response = await person.user.http.post("/api/v1/chat", json=body)
        self.model.check(person, response, 202, *([404] if known else []))  # forgotten at the same time
        if response.status_code == 404:
            self.model.room.release()
        else:
            run = response.json()
            self.model.watch(person, run["workflow_id"])
            person.conversations.append(run["conversation_id"])
            self.model.private |= {run[name]: person.user.account for name in ("conversation_id", "workflow_id")}

    async def search(self, person: Person) -> None:
        words = self.dice.choice([*self.model.canaries.values(), "berth", "old mole"])
        response = await person.user.http.post("/api/v1/search", json={"query": words, "k": 20})
        self.model.check(person, response, 200)

    async def read_document(self, person: Person) -> None:
        document = self.any_of(self.model.documents)
        part = self.dice.choice(["", "/text", "/content"])
        response = await person.user.http.get(f"/api/v1/documents/{document}{part}")
        mine = self.model.documents.get(document) == person.user.tenant
        self.model.check(person, response, *((200, 404) if mine and part == "/text" else (200,) if mine else (404,)))

    async def read_run(self, person: Person) -> None:
        run = self.any_of(self.model.ingestions | {id_: who for id_, who in self.model.private.items() if ":" in id_})
        response = await person.user.http.get(f"/api/v1/runs/{run}")
        self.model.check(person, response, 200 if self._may(person, run) else 404)

    async def read_history(self, person: Person) -> None:
        conversation = self.any_of({id_: who for id_, who in self.model.private.items() if ":" not in id_})
        response = await person.user.http.get(f"/api/v1/chat/conversations/{conversation}/history")
        mine = self.model.private.get(conversation) == person.user.account
        self.model.check(person, response, *((200, 404) if mine else (404,)))

    async def look_back(self, person: Person) -> None:
        """The record of an answer, or a conversation to be taken away."""
        one = self.any_of(self.model.private)
        path = f"answers/{one}" if ":" in one else f"chat/conversations/{one}/export"
        response = await person.user.http.get(f"/api/v1/{path}")
        mine = self.model.private.get(one) == person.user.account
        self.model.check(person, response, *((200, 404) if mine else (404,)))

    async def list_something(self, person: Person) -> None:
        usage = ["usage", "usage/events", "usage/events.csv"]
        path = self.dice.choice(["documents", "runs", "chat/conversations", "collections", *usage, "auth/keys"])
        response = await person.user.http.get(f"/api/v1/{path}")
        self.model.check(person, response, 200)

    async def ask_about_documents(self, person: Person) -> None:
        """One foreign id among those to search in: refused whole."""
        documents = [self.any_of(self.model.documents) for _ in range(2)]
        body = {"query": "berth", "document_ids": documents}
        response = await person.user.http.post("/api/v1/search", json=body)
        mine = all(self.model.documents.get(one) == person.user.tenant for one in documents)
        self.model.check(person, response, 200 if mine else 404)

    async def touch_a_run(self, person: Person) -> None:
        """Cancel, replay and abort of a run that is a stranger's change nothing."""
        run = self.any_of(self.model.ingestions)
        if self._may(person, run):
            return
        verb = self.dice.choice(["cancel", "replay", "abort"])
        response = await person.user.http.post(f"/api/v1/runs/{run}/{verb}")
        self.model.check(person, response, 404)

    async def forget(self, person: Person) -> None:
        conversation = self.any_of({id_: who for id_, who in self.model.private.items() if ":" not in id_})
        response = await person.user.http.delete(f"/api/v1/chat/conversations/{conversation}")
        mine = self.model.private.get(conversation) == person.user.account
        self.model.check(person, response, *((204, 404) if mine else (404,)))

    def _may(self, person: Person, run: str) -> bool:
        if run in self.model.ingestions:
            return self.model.ingestions[run] == person.user.tenant
        return self.model.private.get(run) == person.user.account


def test_a_strangers_word_in_an_answer_is_noticed() -> None:
    """E09: what the next test rests on."""
    person = Person(User(httpx.AsyncClient(), tenant="ours", account="a"), "zymurgy")
    model = Model([person], {"ours": "zymurgy", "theirs": "quixotry"})
    answer = httpx.Response(200, text="It is quixotry [1].", request=httpx.Request("GET", "http://moorage.test/"))

    with pytest.raises(AssertionError, match="theirs"):
        model.check(person, answer, 200)


async def test_nothing_of_one_tenant_reaches_another(
    quiet: Platform, model: Model, capsys: pytest.CaptureFixture[str]
) -> None:
    """D11-D14; the seed is printed."""
    dice = random.Random(SEED)
    actor, left = Actor(model, dice), iter(range(OPERATIONS))

    async def work() -> None:
        for _ in left:
            await actor.act()

    async with asyncio.TaskGroup() as actors:  # one that fails ends the others
        for _ in range(AT_ONCE):
            actors.create_task(work())
    await asyncio.gather(*model.watched)
    await settled(quiet, model)
    await no_words_in_histories(quiet, model)
    logged = capsys.readouterr()

    assert not any(canary in logged.out + logged.err for canary in model.canaries.values())
    print(f"{sum(model.done.values())} operations, seed {SEED}: {dict(model.done)}")
    assert sum(model.done.values()) == OPERATIONS
    assert min(model.done.values()) > OPERATIONS // 200


async def settled(quiet: Platform, model: Model) -> None:
    """Every document is found by its own people, and by nobody else."""
    for run, tenant in model.ingestions.items():
        person = next(person for person in model.people if person.user.tenant == tenant)
        await person.stay_logged_in()
        assert (await person.user.finished(run))["state"] == "succeeded"
    for person in model.people[::USERS]:
        await person.stay_logged_in()
        for tenant, canary in model.canaries.items():
            response = await person.user.http.post("/api/v1/search", json={"query": canary, "k": 50})
            model.check(person, response, 200)
            assert (canary in response.text) is (tenant == person.user.tenant)


async def no_words_in_histories(quiet: Platform, model: Model) -> None:
    for tenant in model.canaries:
        async for run in quiet.client.list_workflows(f"TenantId = '{tenant}'", limit=60):
            history = await quiet.client.get_workflow_handle(run.id, run_id=run.run_id).fetch_history()
            written = history.to_json()
            assert not any(canary in written for canary in model.canaries.values())
