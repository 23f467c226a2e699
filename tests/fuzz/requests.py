"""Requests made from the OpenAPI: valid and broken ones, real ids mixed in, in an order that a seed decides."""

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode

LANES = 1  # at once: hypothesis reads sources, which Python 3.11 cannot do in two threads (cpython issue 106905)
ROUND = 30  # examples of each operation, of each kind, per round
PATIENCE = 30  # seconds; a request that takes longer is a finding
ENDING = {"/api/v1/auth/logout", "/api/v1/auth/logout-all"}  # would end the login that everything else is sent with
CALM = {"wait": 1}  # nobody works on what is admitted here: waiting for it would only take time


@dataclass
class Seen:
    """What came of it."""

    statuses: Counter[str] = field(default_factory=Counter)
    operations: Counter[str] = field(default_factory=Counter)
    slowest: float = 0.0
    findings: list[str] = field(default_factory=list)

    def add(self, other: "Seen") -> None:
        self.statuses += other.statuses
        self.operations += other.operations
        self.slowest = max(self.slowest, other.slowest)
        self.findings += other.findings


@dataclass(frozen=True)
class Fuzz:
    """`known` are ids that exist, by the name of the path parameter."""

    base_url: str
    schema: dict[str, Any]
    token: str
    known: Mapping[str, str]
    seed: int

    def run(self, wanted: int, check: Callable[[requests.Response], str | None]) -> Seen:
        """At least so many requests, each answer checked; `check` says what is wrong with it."""
        lanes = [replace(self, seed=self.seed + 1_000_000 * lane) for lane in range(LANES)]
        with ThreadPoolExecutor(LANES) as pool:
            parts = list(pool.map(lambda lane: lane._lane(-(-wanted // LANES), check), lanes))
        for part in parts[1:]:
            parts[0].add(part)
        return parts[0]

    def _lane(self, wanted: int, check: Callable[[requests.Response], str | None]) -> Seen:
        seen, chance = Seen(), random.Random(self.seed)
        with requests.Session() as session:
            session.trust_env = False
            for number, (operation, mode) in enumerate(self._rounds()):
                if seen.statuses.total() >= wanted:
                    return seen
                self._some(
                    operation, mode, self.seed + number, lambda case: self._send(case, session, chance, seen, check)
                )
        return seen

    def _rounds(self) -> Iterator[tuple[Any, GenerationMode]]:
        operations = [found.ok() for found in schemathesis.openapi.from_dict(self.schema).get_all_operations()]
        while True:
            for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                for operation in operations:
                    yield operation, mode

    def _some(self, operation: Any, mode: GenerationMode, number: int, send: Callable[[Case], None]) -> None:
        @seed(number)
        @settings(
            max_examples=ROUND,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(operation.as_strategy(generation_mode=mode))
        def examples(case: Case) -> None:
            send(case)

        with suppress(Unsatisfiable):  # nothing to break: no parameters and no body
            examples()

    def _send(
        self,
        case: Case,
        session: requests.Session,
        chance: random.Random,
        seen: Seen,
        check: Callable[[requests.Response], str | None],
    ) -> None:
        if chance.random() < 0.5:
            for name in case.path_parameters or {}:
                case.path_parameters[name] = self.known.get(name, case.path_parameters[name])
        if isinstance(case.query, dict) and "wait" in case.query:
            case.query = {**case.query, **CALM}
        headers = {"Authorization": f"Bearer {self.token}"} if chance.random() < 0.95 else {}
        headers = {} if case.path in ENDING else headers
        given = case.as_transport_kwargs(base_url=self.base_url, headers=headers)
        began = time.monotonic()
        try:
            response = session.request(**given, timeout=PATIENCE, allow_redirects=False, stream=True)
            read(response)
        except requests.RequestException as error:
            seen.findings.append(f"{case.operation.label}: {type(error).__name__}: {given!r:.600}")
            seen.statuses["none"] += 1
            return
        seen.slowest = max(seen.slowest, time.monotonic() - began)
        seen.statuses[str(response.status_code)] += 1
        seen.operations[case.operation.label] += 1
        if wrong := check(response):
            seen.findings.append(f"{case.operation.label}: {wrong}: {response.text[:300]} for {given!r:.600}")


def read(response: requests.Response) -> None:
    """All of it; of an event stream, which may never end, its beginning."""
    if response.headers.get("content-type", "").startswith("text/event-stream"):
        next(response.iter_content(None), b"")
        response.close()
    else:
        _ = response.content
