"""What the suites of the records share: accounts, questions, uploads and answers, made in one line."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from domain.accounts import Account, Newcomer, Principal, Role
from domain.answers import Rerun
from domain.chat import Answer, Ask, AsOf, Finish, Turn
from domain.documents import MediaType, OnDuplicate, Upload
from domain.models import Model, Models
from domain.names import new_id
from domain.runs import Command
from domain.search import Generation, Hit, Passage, Source
from domain.usage import Delivery, ProviderCall, Purpose
from infra.sql.accounts import SqlAccounts
from infra.sql.admission import SqlAdmissions
from infra.sql.answers import SqlAnswers
from infra.sql.audit import SqlAudit
from infra.sql.chat import SqlTurns
from infra.sql.database import Database, utc_now
from infra.sql.documents import SqlDocuments
from infra.sql.invites import SqlInvites
from infra.sql.keys import SqlKeys
from infra.sql.runs import SqlRuns
from infra.sql.tenants import SqlTenants
from infra.sql.usage import SqlUsage
from infra.sql.users import SqlUsers

NOW = datetime(2026, 1, 31, 23, 59, 58, 123456, tzinfo=UTC)

GENERATION = Generation("stub-8-v1", 8)
OTHER_GENERATION = Generation("stub-16-v1", 16)

ASK = Ask(
    message="What is a moorage?",
    conversation_id=None,
    model=None,
    temperature=0.7,
    max_tokens=1000,
    use_rag=True,
    collection="default",
    document_ids=(),
    filters={},
    k=5,
    question_tokens=10,
    billable=False,
)

HIT = Hit("chunk", "document", 1, 0, "A moorage is a place.", 3, 24, None, 0.75, 0.9, 0.5)
PASSAGE = Passage(HIT, "harbour.txt", "Harbours, 항구")
SOURCE = Source(1, "document", 1, "chunk", "harbour.txt", "Harbours", 2, 3, 24, 0.75, "A moorage is a place.", True)

ANSWER = Answer(
    text="A place [1].",
    finish=Finish.STOP,
    model="model-1",
    prompt_tokens=90,
    completion_tokens=10,
    estimated=False,
    answer_tokens=8,
    sources=(SOURCE,),
    prompt_digest="digest",
)


@dataclass(frozen=True)
class Records:
    """Every record over one database."""

    database: Database
    accounts: SqlAccounts
    admissions: SqlAdmissions
    runs: SqlRuns
    documents: SqlDocuments
    turns: SqlTurns
    answers: SqlAnswers
    usage: SqlUsage
    keys: SqlKeys
    invites: SqlInvites
    users: SqlUsers
    tenants: SqlTenants
    audit: SqlAudit

    @classmethod
    def over(cls, database: Database, clock: Callable[[], datetime] | None = None) -> "Records":
        return cls(
            database=database,
            accounts=SqlAccounts(database, clock or utc_now),
            admissions=SqlAdmissions(database, clock or utc_now),
            runs=SqlRuns(database),
            documents=SqlDocuments(database),
            turns=SqlTurns(database),
            answers=SqlAnswers(database),
            usage=SqlUsage(database),
            keys=SqlKeys(database, clock or utc_now),
            invites=SqlInvites(database, clock or utc_now),
            users=SqlUsers(database),
            tenants=SqlTenants(database, clock or utc_now),
            audit=SqlAudit(database),
        )

    async def newcomer(self, token_limit: int = 100_000) -> Account:
        return await self.accounts.register(a_newcomer(token_limit))

    async def colleague(self, owner: Principal, role: Role = Role.MEMBER, token_limit: int = 100_000) -> Account:
        """Another account of the owner's tenant, by invite."""
        invite, _ = await self.invites.create(owner, role)
        return await self.accounts.join(a_newcomer(token_limit), invite)

    async def ask(self, principal: Principal, key: str | None = None, digest: str = "d", **fields: Any) -> Command:
        return await self.admissions.admit_turn(principal, replace(ASK, **fields), key, digest)

    async def upload(self, principal: Principal, key: str | None = None, **fields: Any) -> Command:
        """Admitted for certain."""
        command, _ = await self.offer(principal, key, **fields)
        assert command is not None
        return command

    async def offer(
        self, principal: Principal, key: str | None = None, digest: str = "d", **fields: Any
    ) -> tuple[Command | None, str]:
        return await self.admissions.admit_upload(principal, a_file(**fields), GENERATION, key, digest)

    async def publish(self, principal: Principal, command: Command, chunks: int = 3) -> bool:
        assert command.document_id and command.version
        return await self.documents.publish(principal, command.document_id, command.version, chunks=chunks)

    async def turn(self, principal: Principal, command: Command) -> Turn:
        return await self.turns.turn_of_run(principal, command.workflow_id)

    async def answer(self, principal: Principal, command: Command, *calls: ProviderCall, **fields: Any) -> Turn:
        turn = await self.turn(principal, command)
        return await self.turns.commit_answer(principal, turn, replace(ANSWER, **fields), calls)


def a_newcomer(token_limit: int = 100_000) -> Newcomer:
    name = new_id()
    return Newcomer(name, f"{name}@example.org", "hash", token_limit)


def a_file(**fields: Any) -> Upload:
    """Other bytes every time, unless `sha256` is given."""
    upload = Upload(
        document_id=new_id(),
        collection="default",
        filename="harbour.txt",
        title="Harbours",
        media_type=MediaType.TEXT,
        size=1234,
        sha256=new_id() + new_id(),
        metadata={"year": 1999, "open": True, "depth": 2.5, "kind": "항구"},
        on_duplicate=OnDuplicate.SKIP,
    )
    return replace(upload, **fields)


def a_call(command: Command, **fields: Any) -> ProviderCall:
    """100 tokens bought for an answer."""
    call = ProviderCall(
        op_id=new_id(),
        workflow_id=command.workflow_id,
        purpose=Purpose.CHAT,
        model="model-1",
        prompt_tokens=90,
        completion_tokens=10,
        delivery=Delivery.DELIVERED,
        billable=True,
        at=datetime.now(UTC),
    )
    return replace(call, **fields)


def a_rerun(command: Command, **fields: Any) -> Rerun:
    """As of then, nothing bought."""
    rerun = Rerun(
        command.workflow_id, AsOf.THEN, None, Models([Model("model-1", "model-1", None)]), talks=True, billable=False
    )
    return replace(rerun, **fields)


def a_tenant(**fields: object) -> dict[str, object]:
    """A row."""
    return {"id": new_id(), "token_limit": 1, "created_at": NOW, **fields}


def a_colleague(account: Account) -> Principal:
    """Of the same tenant; knows its own rows only by having none."""
    return Principal(account.tenant_id, new_id())
