"""Failpoints: faults at named points of the work, so that suites can prove what survives them. Never in production.

    RULES  = RULE[;RULE...] | @FILE            a file may be absent, and is read anew at every point
    RULE   = POINT=ACTION[%PERCENT[#SEED]][*TIMES]    documents.embed.after=kill*1    answer.commit.before=raise%5#7
    POINT  = NAME.before | NAME.after | NAME.during[:MILLISECONDS since it began]
    ACTION = kill | stop | raise | delay:SECONDS

TIMES counts across restarts and processes: a worker that was killed at a point gets past it the next time.
PERCENT is thrown at every passage; each process throws the same row of dice from SEED.
"""

import asyncio
import os
import random
import re
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from temporalio import activity
from temporalio.client import Client
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput, Interceptor

from domain.accounts import Principal
from domain.chat import Answer, Turn
from domain.errors import DatabaseUnavailable, DependencyUnavailable, TemporalUnavailable
from domain.runs import Launch
from domain.usage import ProviderCall
from infra.settings import Settings
from infra.sql.chat import SqlTurns
from infra.sql.database import Database
from infra.temporal import TemporalEngine

GRAPHS = {
    "turn": ("recall", "summarize", "condense", "retrieve", "answer"),
    "documents": ("parse", "embed", "index", "publish"),
}
START = "engine.start"  # between the commit of an admission and the answer to the caller
COMMIT = "answer.commit"  # before: the reply is there and its worker fails; after: committed, and nobody hears of it
NAMES = {f"{graph}.{node}" for graph, nodes in GRAPHS.items() for node in nodes} | {
    "usage.settle",
    "runs.report",
    START,
    COMMIT,
}
RULE = re.compile(
    r"(?P<name>[a-z.]+)\.(?P<moment>before|after|during)(:(?P<ms>\d+))?"
    r"=(?P<action>kill|stop|raise|delay)(:(?P<seconds>[\d.]+))?"
    r"(%(?P<percent>\d{1,2})(#(?P<seed>\d+))?)?(\*(?P<times>\d+))?"
)
SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}


@dataclass(frozen=True, slots=True)
class Rule:
    """What happens at one point; without `times` at every passage."""

    text: str
    name: str
    moment: str
    action: str
    seconds: float = 0.0
    after_ms: int = 0
    times: int | None = None
    percent: int = 100
    seed: int = 0


def parse(rules: str) -> list[Rule]:
    """Raises ValueError for what is no rule, and for a point that does not exist."""
    return [_rule(text.strip()) for text in rules.split(";") if text.strip()]


def _rule(text: str) -> Rule:
    match = RULE.fullmatch(text)
    if match is None or match["name"] not in NAMES:
        raise ValueError(f"MOORAGE_FAILPOINTS: {text!r} is no rule; see infra/failpoints.py for points and actions.")
    during = match["moment"] == "during"
    if (during and match["action"] not in SIGNALS) or (match["ms"] and not during):
        raise ValueError(
            f"MOORAGE_FAILPOINTS: {text!r}: only kill and stop can happen during, and only there after ms."
        )
    if (match["action"] == "delay") is not bool(match["seconds"]):
        raise ValueError(f"MOORAGE_FAILPOINTS: {text!r}: delay, and nothing else, takes seconds.")
    return Rule(
        text=text,
        name=match["name"],
        moment=match["moment"],
        action=match["action"],
        seconds=float(match["seconds"] or 0),
        after_ms=int(match["ms"] or 0),
        times=int(match["times"]) if match["times"] else None,
        percent=int(match["percent"] or 100),
        seed=int(match["seed"] or 0),
    )


class Failpoints:
    """`tokens` is a folder in which each limited fault leaves a file, before it strikes. Raises ValueError."""

    def __init__(self, rules: str, tokens: Path) -> None:
        self._file = Path(rules[1:]) if rules.startswith("@") else None
        self._fixed = [] if self._file else parse(rules)
        self._tokens = tokens
        self._dice: dict[str, random.Random] = {}

    async def reach(self, name: str, moment: str, failure: type[Exception] = DependencyUnavailable) -> None:
        for rule in self._rules(name, moment):
            if not self._take(rule):
                continue
            if rule.action in SIGNALS:
                os.kill(os.getpid(), SIGNALS[rule.action])
            elif rule.action == "raise":
                raise failure
            else:
                await asyncio.sleep(rule.seconds)

    @asynccontextmanager
    async def around(self, name: str, failure: type[Exception] = DependencyUnavailable) -> AsyncIterator[None]:
        """All three moments of the block inside."""
        await self.reach(name, "before", failure)
        timers = [asyncio.create_task(self._later(rule)) for rule in self._rules(name, "during")]
        try:
            yield
        finally:
            for timer in timers:
                timer.cancel()
        await self.reach(name, "after", failure)

    async def _later(self, rule: Rule) -> None:
        await asyncio.sleep(rule.after_ms / 1000)
        if self._take(rule):
            os.kill(os.getpid(), SIGNALS[rule.action])

    def _rules(self, name: str, moment: str) -> list[Rule]:
        return [rule for rule in self._all() if (rule.name, rule.moment) == (name, moment)]

    def _all(self) -> list[Rule]:
        if self._file is None:
            return self._fixed
        return parse(self._file.read_text()) if self._file.exists() else []

    def _take(self, rule: Rule) -> bool:
        """One of the times this rule may still strike."""
        if rule.percent < 100 and self._thrown(rule) >= rule.percent:
            return False
        if rule.times is None:
            return True
        self._tokens.mkdir(parents=True, exist_ok=True)
        return any(self._claim(f"{rule.text.replace('/', '_')}#{number}") for number in range(rule.times))

    def _thrown(self, rule: Rule) -> float:
        """0 up to 100."""
        dice = self._dice.setdefault(rule.text, random.Random(f"{rule.seed} {rule.text}"))
        return 100 * dice.random()

    def _claim(self, token: str) -> bool:
        try:
            os.close(os.open(self._tokens / token, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return False
        return True


def configured(settings: Settings) -> Failpoints | None:
    """None, and nothing is hooked in anywhere, unless the setting asks for it."""
    return Failpoints(settings.failpoints, settings.home / "failpoints") if settings.failpoints else None


def interceptors(settings: Settings) -> list[Interceptor]:
    points = configured(settings)
    return [ActivityFailpoints(points)] if points else []


def engine(settings: Settings, client: Client) -> TemporalEngine:
    points = configured(settings)
    return FailingEngine(client, points) if points else TemporalEngine(client)


def turns(settings: Settings, database: Database) -> SqlTurns:
    points = configured(settings)
    return FailingTurns(database, points) if points else SqlTurns(database)


class ActivityFailpoints(Interceptor):
    def __init__(self, points: Failpoints) -> None:
        self._points = points

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return _FailingActivity(next, self._points)


class _FailingActivity(ActivityInboundInterceptor):
    def __init__(self, next: ActivityInboundInterceptor, points: Failpoints) -> None:
        super().__init__(next)
        self._points = points

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        async with self._points.around(activity.info().activity_type):
            return await self.next.execute_activity(input)


class FailingEngine(TemporalEngine):
    """The API's points: after the commit and before the start, after the start and before the reply."""

    def __init__(self, client: Client, points: Failpoints) -> None:
        super().__init__(client)
        self._points = points

    async def start(self, principal: Principal, launch: Launch) -> str:
        async with self._points.around(START, TemporalUnavailable):
            return await super().start(principal, launch)


class FailingTurns(SqlTurns):
    """Points inside a step: between a reply and its commit, and between the commit and who waits for it."""

    def __init__(self, database: Database, points: Failpoints) -> None:
        super().__init__(database)
        self._points = points

    async def commit_answer(
        self,
        principal: Principal,
        turn: Turn,
        answer: Answer,
        calls: Sequence[ProviderCall],
        *,
        timings: Mapping[str, float] | None = None,
    ) -> Turn:
        async with self._points.around(COMMIT, DatabaseUnavailable):
            return await super().commit_answer(principal, turn, answer, calls, timings=timings)
