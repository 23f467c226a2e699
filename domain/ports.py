"""What the platform asks of the outside world: every port is the few verbs we use, with their promise.

Every port that touches a tenant's data takes a Principal first and sees that tenant only; what is foreign is
absent. Adapters raise domain.errors and nothing else.
"""

from collections.abc import AsyncIterator, Mapping, Sequence, Set
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from datetime import datetime, timedelta
from typing import Any, Protocol

from domain.accounts import Account, Credentials, Login, LoginState, Newcomer, Principal, Refreshed
from domain.answers import AnswerRecord, Rating, Rerun
from domain.chat import Answer, Ask, Completion, Conversation, Line, Prompt, TranscriptEntry, Turn, Utterance
from domain.documents import Collection, Document, Live, MediaType, Parsed, Upload, Version
from domain.errors import ProviderRateLimited, ProviderUnavailable
from domain.events import Event, EventKind
from domain.ledger import ClosedRun, MonthSums, OpenCall
from domain.load import Backlog, Share
from domain.pace import Lane
from domain.rates import Rate
from domain.reconcile import BlobFolder, LiveVersion, Standing, StoredChunk
from domain.runs import (
    Command,
    Kind,
    Launch,
    LiveRun,
    Outcome,
    Page,
    Parked,
    Progress,
    Replay,
    Replayed,
    State,
)
from domain.search import Embedded, Generation, Hit, IndexedChunk, Passage, Query, Relevance
from domain.usage import Month, ProviderCall
from domain.window import Past

# --- records: what must never be lost ---------------------------------------------------------------------


class AccountRecords(Protocol):
    async def register(self, newcomer: Newcomer) -> Account:
        """A new tenant with its first account and the collection `default`. Raises UsernameTaken."""

    async def join(self, newcomer: Newcomer, invite: str) -> Account:
        """An account in the tenant of the invite, which is used up by it. Raises InvalidInvite, UsernameTaken."""

    async def credentials(self, username: str) -> Credentials | None:
        """For login only: the one look-up that happens before there is a principal."""

    async def account(self, principal: Principal) -> Account:
        """Raises NotFound."""

    async def login_state(self, principal: Principal, family: str) -> LoginState:
        """The account and what is noted of this log-in, in one statement. Raises NotFound."""

    async def end(self, login: Login) -> None:
        """Every token of this log-in is void; the account's others are not. Once more changes nothing."""

    async def end_all(self, principal: Principal) -> None:
        """Every token of the account is void."""

    async def change_password(self, login: Login, old_hash: str, new_hash: str) -> None:
        """Every token of the account but those of this log-in is void. Raises Conflict when `old_hash` is not it."""

    async def rehash(self, principal: Principal, old_hash: str, new_hash: str) -> None:
        """The same password, hashed with newer parameters; nothing if it was changed meanwhile."""


class Admissions(Protocol):
    """One transaction before any work: the command, its subject and its reservation, or nothing at all.

    `key` is the caller's Idempotency-Key; a known key with the same digest gives the stored command again,
    with another digest it raises IdempotencyKeyReused. It is looked at before anything else.
    """

    async def known(self, principal: Principal, key: str, digest: str) -> Command | None:
        """What was admitted with this key. Raises IdempotencyKeyReused."""

    async def admit_turn(self, principal: Principal, ask: Ask, key: str | None, digest: str) -> Command:
        """Raises NotFound (conversation, collection or a document), QuotaExhausted, IdempotencyKeyReused."""

    async def admit_rerun(self, principal: Principal, rerun: Rerun, key: str | None, digest: str) -> Command:
        """An answer made again, in a conversation of its own; it takes from the original's row what is fixed.

        Raises NotFound, what `Rerun.ask` raises, QuotaExhausted, IdempotencyKeyReused.
        """

    async def admit_replay(
        self, principal: Principal, states: Sequence[State], since: datetime | None, key: str | None, digest: str
    ) -> Command:
        """A run that replays every ingestion of the tenant in one of these states. Raises IdempotencyKeyReused."""

    async def admit_upload(
        self, principal: Principal, upload: Upload, generation: Generation, key: str | None, digest: str
    ) -> tuple[Command | None, str]:
        """(command, document id); no command when the collection already holds the same bytes in a document.

        Raises DuplicateDocument when `on_duplicate` says so, IdempotencyKeyReused.
        """


class RunRecords(Protocol):
    """The registry of runs. Chat runs belong to the account that asked, ingestions to the tenant."""

    async def command(self, principal: Principal, workflow_id: str) -> Command:
        """Raises NotFound."""

    async def commands(
        self,
        principal: Principal,
        *,
        kind: Kind | None = None,
        state: State | None = None,
        since: datetime | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[Command]:
        """Newest first. `state` filters by outcome; a state that is not final selects open commands."""

    async def share(self, principal: Principal) -> Share:
        """Of the questions that are open at the moment."""

    async def close(self, principal: Principal, workflow_id: str, outcome: Outcome) -> bool:
        """Write the outcome to the command and its subject, once: False when there already is one."""

    async def park(self, principal: Principal, workflow_id: str, step: str, code: str) -> bool:
        """The open run waits for somebody to decide; False when it has an outcome."""

    async def resume(self, principal: Principal, workflow_id: str, parked: Parked | None = None) -> bool:
        """It is parked no more; False when it was not. With `parked`, only if it still stands there since then."""

    async def reopen(self, principal: Principal, workflow_id: str, closed_run: str) -> bool:
        """Take back the outcome of a failed or cancelled ingestion, so that it can be replayed; once.

        `closed_run` is Temporal's run that ended so (empty: forgotten): as long as it is the latest one, the
        sweeper knows that the replay is still to come.
        """

    async def replayable(self, principal: Principal, replay: Replay, limit: int, cursor: str | None) -> Page[Command]:
        """Newest first: ingestions that this replay is about and that were not set going since."""

    async def note_progress(self, principal: Principal, workflow_id: str, progress: Progress) -> None: ...


class Registry(Protocol):
    """The operator's view over all tenants; only the sweeper and the launcher's tools may hold it."""

    async def open_commands(self, older_than: timedelta, limit: int) -> list[Command]:
        """Commands without an outcome, those looked at longest ago first; being listed counts as being looked at."""

    async def unsettled(self, older_than: timedelta, limit: int) -> list[Command]:
        """Commands that ended longer ago than this and still hold a reservation, or calls that were not counted."""


class Inventory(Protocol):
    """The operator's view for reconciling; only activities/reconcile.py and `moorage verify` may hold it.

    A principal stands for its whole tenant here.
    """

    async def tenants(self, after: str, limit: int) -> list[str]:
        """Ids greater than `after`, in order."""

    async def generations(self, principal: Principal) -> list[str]:
        """Every generation that a collection or a version names."""

    async def live(self, principal: Principal, *, limit: int, cursor: str | None) -> Page[LiveVersion]: ...

    async def standings(self, principal: Principal, version_keys: Set[str]) -> dict[str, Standing]:
        """What is known of these versions; one without a row is missing."""


class Ledger(Protocol):
    """The same for the ledger and what is derived from it; only activities/ledger.py may hold it.

    A principal stands for its whole tenant: every account's runs, calls and months are listed. What is compared with
    each other is read in one statement, so that a settlement under way makes no difference.
    """

    async def closed(
        self, principal: Principal, before: datetime, *, limit: int, cursor: str | None
    ) -> Page[ClosedRun]:
        """Runs that ended before that moment, newest first."""

    async def open_calls(
        self, principal: Principal, before: datetime, *, limit: int, cursor: str | None
    ) -> Page[OpenCall]:
        """Calls that were begun before that moment, are open, and whose run has ended or never was; newest first."""

    async def months(self, principal: Principal, *, limit: int, cursor: str | None) -> Page[MonthSums]:
        """Every month of every account that has a row, a call or a reservation, in order."""

    async def give_up(self, principal: Principal, account: str, op_id: str) -> None:
        """An open call becomes `retried`; one that has ended stays as it is."""

    async def rebuild(self, principal: Principal, account: str, month: str) -> None:
        """Make the month's row what its calls and runs add up to. Who settles or reserves meanwhile is not lost."""


class DocumentRecords(Protocol):
    async def collections(self, principal: Principal) -> list[Collection]: ...

    async def collection(self, principal: Principal, name: str) -> Collection:
        """Raises NotFound."""

    async def generation(self, principal: Principal, collection_id: str) -> str:
        """Which generation its chunks belong to; empty before the first upload. Raises NotFound."""

    async def documents(
        self,
        principal: Principal,
        *,
        collection: str | None = None,
        state: State | str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[Document]:
        """Newest first; `state` is `ready` or the state of a pending version."""

    async def document(self, principal: Principal, document_id: str) -> Document:
        """Raises NotFound."""

    async def require(self, principal: Principal, document_ids: Sequence[str]) -> None:
        """Raises NotFound unless every one of them is the tenant's."""

    async def version(self, principal: Principal, document_id: str, version: int) -> Version:
        """Raises NotFound."""

    async def parsed(self, principal: Principal, document_id: str, version: int, *, pages: int | None) -> None:
        """Note what the parser found."""

    async def stage(self, principal: Principal, document_id: str, version: int) -> None:
        """From now on chunks of this version may be in the index, though it is not live."""

    async def unstage(self, principal: Principal, document_id: str, version: int) -> None:
        """No chunk of this version is in the index any more; a live one stays as it is."""

    async def publish(self, principal: Principal, document_id: str, version: int, *, chunks: int) -> bool:
        """One update makes this version live and closes its command. False when that was done before."""

    async def staged(self, principal: Principal, collection_id: str, limit: int) -> list[str]:
        """Version keys of the collection that may be in the index without being live."""

    async def live(self, principal: Principal, document_ids: Sequence[str]) -> dict[str, Live]:
        """The live versions among these documents; a document without one is missing."""


class TurnRecords(Protocol):
    """Conversations and turns belong to the account: a colleague's are absent."""

    async def turn(self, principal: Principal, conversation_id: str, seq: int) -> Turn:
        """Raises NotFound."""

    async def turn_of_run(self, principal: Principal, workflow_id: str) -> Turn:
        """Raises NotFound."""

    async def past(self, principal: Principal, conversation_id: str, before: int) -> Past:
        """Of the turn `before`: its conversation's summary, and the newest answered turns with a smaller seq."""

    async def note_summary(
        self,
        principal: Principal,
        turn: Turn,
        summary: str,
        until: int,
        *,
        after: int,
        calls: Sequence[ProviderCall],
        prompts: Mapping[str, str] | None = None,
        timings: Mapping[str, float] | None = None,
    ) -> None:
        """What `summarize` made of the turns up to `until`, and its provider calls, in one transaction.

        It takes the place of a summary up to `after`; where there is another one by now, that stays and nobody pays.
        `prompts`, here and below: digests of the prompt files that were used, by name. `timings`: milliseconds per
        stage. Both are merged with what is there.
        """

    async def note_flag(self, principal: Principal, turn: Turn, flag: str) -> None:
        """What an open turn had to go without."""

    async def note_query(
        self,
        principal: Principal,
        turn: Turn,
        query: str,
        *,
        flags: Sequence[str],
        calls: Sequence[ProviderCall] = (),
        prompts: Mapping[str, str] | None = None,
        timings: Mapping[str, float] | None = None,
    ) -> None:
        """What `condense` made of the question, and its provider calls, in one transaction."""

    async def note_passages(
        self,
        principal: Principal,
        turn: Turn,
        passages: Sequence[Passage],
        *,
        relevant: bool,
        found: Sequence[Hit] | None = None,
        timings: Mapping[str, float] | None = None,
    ) -> None:
        """What `retrieve` chose, and all that it `found` (None: just that), both best first."""

    async def commit_answer(
        self,
        principal: Principal,
        turn: Turn,
        answer: Answer,
        calls: Sequence[ProviderCall],
        *,
        timings: Mapping[str, float] | None = None,
    ) -> Turn:
        """The answer, its provider calls and the run's outcome in one transaction; the stored turn if there is one."""

    async def keep_said(self, principal: Principal, turn: Turn, answer: Answer, calls: Sequence[ProviderCall]) -> None:
        """What was said until somebody stopped it, and the outcome `cancelled`; nothing where there is an answer."""

    async def conversations(self, principal: Principal, *, limit: int, cursor: str | None) -> Page[Conversation]:
        """Newest first; those of reruns are not listed."""

    async def conversation(self, principal: Principal, conversation_id: str) -> Conversation:
        """Raises NotFound."""

    async def history(self, principal: Principal, conversation_id: str, limit: int) -> list[Utterance]:
        """The newest messages, oldest first. Raises NotFound."""

    async def told(self, principal: Principal, conversation_id: str) -> list[str]:
        """The workflow ids of its turns and of their reruns. Raises NotFound."""

    async def forget(self, principal: Principal, conversation_id: str) -> list[str]:
        """Delete conversation, turns and reruns, keep the ledger; the workflow ids of all of them. Raises NotFound."""


class AnswerRecords(Protocol):
    """Answers looked back on; they belong to the account, as their turns do."""

    async def record(self, principal: Principal, workflow_id: str) -> AnswerRecord:
        """Raises NotFound."""

    async def rate(self, principal: Principal, workflow_id: str, rating: Rating, comment: str | None) -> None:
        """The last one counts. Raises NotFound."""

    async def exchanges(
        self, principal: Principal, conversation_id: str, *, limit: int, cursor: str | None
    ) -> Page[TranscriptEntry]:
        """In the order in which they were asked. Raises NotFound, also where they were deleted between two pages."""


class UsageRecords(Protocol):
    async def record(self, principal: Principal, calls: Sequence[ProviderCall]) -> None:
        """Write to the ledger. An open or retried call takes what is said of it later; a delivered or estimated one
        stays as it is."""

    async def drop(self, principal: Principal, op_id: str) -> None:
        """The provider refused the call: forget that it was opened."""

    async def settle(self, principal: Principal, workflow_id: str) -> int:
        """Move what the run really cost into the month and release its reservation; the tokens counted.

        Idempotent: every call counts once, the reservation is released once. A call that is still open was made by
        an attempt that died: it becomes `retried`.
        """

    async def is_open(self, principal: Principal, workflow_id: str) -> bool:
        """A call of this run is being made, or its worker died."""

    async def month(self, principal: Principal, month: str) -> Month:
        """Raises NotFound when there is no such account in the tenant."""

    async def lines(self, principal: Principal, month: str, *, limit: int, cursor: str | None) -> Page[ProviderCall]:
        """The account's ledger of a month, newest first; calls that are being made are no lines yet."""


# --- the other stores ---------------------------------------------------------------------------------------


class Blobs(Protocol):
    """Bytes by path; paths are relative to the tenant."""

    async def put(self, principal: Principal, path: str, data: bytes) -> None: ...

    async def get(self, principal: Principal, path: str) -> bytes:
        """Raises NotFound."""

    async def exists(self, principal: Principal, path: str) -> bool: ...

    def writer(self, principal: Principal, path: str) -> AbstractAsyncContextManager["BlobWriter"]:
        """Write piece by piece; leaving with an error leaves no blob behind."""

    def stream(self, principal: Principal, path: str) -> AsyncIterator[bytes]:
        """Raises NotFound before the first piece."""

    async def delete(self, principal: Principal, prefix: str) -> None:
        """The blob of this name, and everything under it."""

    def folders(self, principal: Principal) -> AsyncIterator[BlobFolder]:
        """The folders of versions, in no order; what lies elsewhere is not listed."""

    async def total(self, principal: Principal) -> int:
        """How many blobs the tenant has."""

    async def erase(self, principal: Principal) -> None:
        """All of them."""

    async def ping(self) -> None: ...


class BlobWriter(Protocol):
    async def write(self, piece: bytes) -> None: ...


class VectorStore(Protocol):
    """The search index: one class per generation, one native tenant per tenant of ours."""

    async def prepare(self, generation: Generation) -> None:
        """Make the class if it is missing; safe to call from many processes."""

    async def insert(self, principal: Principal, generation: Generation, chunks: Sequence[IndexedChunk]) -> None:
        """Write chunks under their ids; the same ids again change nothing. Every object's result is checked."""

    async def count(self, principal: Principal, generation: Generation, version_key: str) -> int:
        """Chunks of this version in the index, read from the index."""

    async def search(self, principal: Principal, query: Query) -> list[Hit]:
        """Best first, with cosine (when the query has a vector) and term coverage. Empty for a new tenant."""

    async def delete(self, principal: Principal, generation: Generation, version_key: str) -> None:
        """Every chunk of this version; ends when none is left."""

    async def walk(
        self, principal: Principal, generation: Generation, after: str | None, limit: int
    ) -> list[StoredChunk]:
        """The chunks whose ids follow `after`, in the order of ids; empty at the end."""

    async def total(self, principal: Principal) -> int:
        """Chunks of the tenant over all generations, those included that the database does not name."""

    async def erase(self, principal: Principal) -> None:
        """The tenant, out of every generation."""

    async def ping(self) -> None: ...


class Tokenizer(Protocol):
    """The local embedding model's tokens: the measure of chunks and, times 1.5, of budgets."""

    async def counts(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, without the model's prefix and end marks."""

    async def cuts(self, text: str, limit: int) -> list[int]:
        """Offsets (code points) that cut a text into pieces of at most `limit` tokens, ends excluded."""


class Embedder(Protocol):
    @property
    def model(self) -> str: ...

    @property
    def generation(self) -> Generation:
        """Model, dimensions, analyser and chunker: the identity of the index it can serve."""

    @property
    def relevance(self) -> Relevance | None:
        """None where nobody measured the constants for this model: then every hit counts."""

    @property
    def billable(self) -> bool: ...

    async def query(self, text: str) -> Embedded: ...

    async def passages(self, texts: Sequence[str]) -> Embedded: ...


class Parser(Protocol):
    async def parse(self, data: bytes, media_type: MediaType) -> Parsed:
        """Raises BadDocument for what the bytes are to blame for."""


class Answerer(Protocol):
    """Reads a prompt, yields pieces of text and at the end one Completion whose text is their concatenation."""

    @property
    def billable(self) -> bool:
        """A paid provider answers."""

    @property
    def models(self) -> tuple[str, ...]:
        """What can be asked for, the default first."""

    @property
    def talks(self) -> bool:
        """Can answer without passages."""

    def answer(self, prompt: Prompt) -> AsyncIterator[str | Completion]: ...

    async def condense(
        self, question: str, history: Sequence[Line], model: str | None, *, summary: str = ""
    ) -> Completion | None:
        """A question that stands alone; None where there is no language model to write one."""

    async def summarize(self, summary: str, lines: Sequence[Line], model: str | None) -> Completion | None:
        """One summary of a summary and what was said after it; None where there is no language model to write one."""


class Limiter(Protocol):
    """A provider's pace, learned from its refusals by all processes together.

    Nothing sleeps in it: whoever may not call is told when to come back, everyone another time. It never makes a call
    fail by being away itself.
    """

    async def enter(self, lane: Lane) -> None:
        """Before a call. Raises what the lane pauses for: ProviderRateLimited or ProviderUnavailable, with
        `retry_after`, so that no call is made."""

    async def refused(self, lane: Lane, error: ProviderRateLimited | ProviderUnavailable) -> timedelta | None:
        """When this caller should come back; None where one failure does not make a pause."""

    async def answered(self, lane: Lane) -> None:
        """The pace recovers."""


class Rates(Protocol):
    """Counts requests by the minute, for all processes together while Redis answers; else each counts for itself."""

    async def take(self, bucket: str, limit: int) -> Rate:
        """Counts one request; `exceeded` when it was one too many."""


class Windows(Protocol):
    """The past of a conversation's next turn, kept at hand for 7 days. A cache: losing it costs a read."""

    async def get(self, principal: Principal, conversation_id: str, before: int) -> Past | None:
        """None when it is not there or does not end at turn `before - 1`."""

    async def put(self, principal: Principal, conversation_id: str, before: int, past: Past) -> None: ...

    async def drop(self, principal: Principal, conversation_id: str) -> None: ...


class Events(Protocol):
    """What a run tells, kept for an hour after its last event. Telling it never fails a run: what cannot be told is
    found in the row.
    """

    async def publish(self, principal: Principal, workflow_id: str, event: EventKind) -> None:
        """An end, or `resumed` after a parked one."""

    async def note(
        self, principal: Principal, workflow_id: str, kind: EventKind, data: Mapping[str, Any], attempt: int = 1
    ) -> None:
        """What happens on the way."""

    def speak(self, principal: Principal, workflow_id: str, attempt: int) -> AbstractAsyncContextManager["Voice"]:
        """Say an answer while it comes; leaving waits until all of it is told."""

    def follow(self, principal: Principal, workflow_id: str) -> AbstractAsyncContextManager["Waiter"]:
        """Wait for an end; one that is already there counts."""

    def listen(self, principal: Principal, workflow_id: str) -> AbstractAsyncContextManager["Listener"]:
        """Read everything, from the first event that is kept."""

    async def drop(self, principal: Principal, workflow_ids: Sequence[str]) -> None: ...


class Waiter(Protocol):
    async def closed(self, seconds: float) -> bool:
        """True as soon as a closing event is there that it has not told of, False after that many seconds."""


class Voice(Protocol):
    """One attempt's words. Nothing here waits for Redis or for a reader."""

    def show(self, sources: Sequence[Mapping[str, Any]]) -> None:
        """What the answer will stand on; told with the first words."""

    def say(self, text: str) -> None: ...


class Listener(Protocol):
    async def news(self, seconds: float) -> list[Event]:
        """The events since the last call, as soon as there is one; none after that many seconds."""

    def unread(self) -> list[Event]:
        """Those that are there already."""


class LoginStates(Protocol):
    """What every request asks: the state of its log-in, at most half a second old."""

    async def login_state(self, principal: Principal, family: str) -> LoginState:
        """Raises NotFound."""

    def forget(self, principal: Principal) -> None:
        """The account has changed: this process need not wait half a second to know."""


class Sessions(Protocol):
    """Refresh tokens: one family per log-in, of which the newest token alone is good."""

    async def begin(self, login: Login) -> str:
        """The family's first token. Raises RedisUnavailable."""

    def whose(self, token: str) -> tuple[Principal, str]:
        """Account and family as the token claims, unproven. Raises Unauthenticated."""

    async def refresh(self, token: str) -> Refreshed:
        """Its successor; the token dies. Shown once more, it ends its family: REUSED.

        Except that within 10 s, and as long as the successor was not used, the answer is the same successor again:
        it may have been lost on its way, or asked for by several at once. Raises RedisUnavailable.
        """

    async def end(self, login: Login) -> None:
        """Raises RedisUnavailable."""

    async def ping(self) -> None: ...


class Throttle(Protocol):
    """Failed log-ins per username and address, and per address. Without Redis each process counts for itself."""

    def attempt(self, username: str, address: str) -> AbstractAsyncContextManager[None]:
        """Around the check of a password. Raises LoginThrottled before it begins.

        Leaving with InvalidCredentials is a failure, leaving without an error forgives those before. Attempts at the
        same name from the same address take turns, so that those under way are not taken for failures.
        """


class Passwords(Protocol):
    @property
    def common(self) -> Set[str]:
        """The most common passwords, in lower case."""

    def place(self) -> AbstractContextManager[None]:
        """A place in the queue for the hashers, held while any of the below is called. Raises LoginThrottled when
        the queue is full."""

    async def hash(self, password: str) -> str: ...

    async def verify(self, password_hash: str | None, password: str) -> bool:
        """None takes as long as a real one and is False."""

    def outdated(self, password_hash: str) -> bool:
        """It was made with other parameters than today's."""


class Tokens(Protocol):
    def issue(self, login: Login) -> tuple[str, int]:
        """(access token, seconds it lives)."""

    def verify(self, token: str) -> Login:
        """Who it was issued to. Raises Unauthenticated or TokenExpired."""


class Engine(Protocol):
    """Temporal, as far as the platform needs it."""

    async def start(self, principal: Principal, launch: Launch) -> str:
        """The run id. Started already, or finished, is success. Raises TemporalUnavailable."""

    async def describe(self, principal: Principal, workflow_id: str) -> LiveRun | None:
        """None when Temporal does not know it (yet, or any more)."""

    async def cancel(self, principal: Principal, workflow_id: str) -> None:
        """Raises NotFound when nothing is open under this id."""

    async def retry(self, principal: Principal, workflow_id: str) -> None:
        """Tell a parked run to try its step again; harmless to one that is not. Raises NotFound as `cancel`."""

    async def abort(self, principal: Principal, workflow_id: str) -> None:
        """Tell a parked run to give up. Raises NotFound as `cancel`."""

    async def terminate(self, principal: Principal, workflow_id: str) -> None:
        """End a run on the spot, whatever it leaves: only where the tenant goes. Raises NotFound as `cancel`."""

    async def replay(self, principal: Principal, launch: Launch, closed_run: str) -> Replayed:
        """Run a closed run again, under the same workflow id, from the step that failed; once per `closed_run`.

        From the beginning when no step failed in it, when it was cancelled (what it had made is gone), or when
        Temporal forgot it.
        """

    async def backlog(self, queue: str) -> Backlog:
        """Raises TemporalUnavailable."""

    async def ping(self) -> None: ...
