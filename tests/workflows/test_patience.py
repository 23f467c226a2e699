"""What an attempt leaves to the next one: how many died while they read a document, and when a fault is given up."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput

from activities.heartbeat import heartbeating, survived
from agents.options import FAULTS, PARSE_DEATHS
from domain.accounts import Principal
from domain.errors import DatabaseUnavailable, ResourceLimit
from domain.names import new_id
from domain.ports import UsageRecords
from domain.usage import Delivery, ProviderCall, Purpose, month_of
from infra.boundary import Boundary
from tests.platform import Platform, User
from tests.provider.script import Fault
from tests.provider.server import ScriptedProvider
from workflows.worker import document_activities


def environment(**facts: Any) -> ActivityEnvironment:
    made = ActivityEnvironment()
    made.info = replace(made.info, **facts)
    return made


class Reluctant:
    """A ledger whose database is away when the first bill comes."""

    def __init__(self, usage: UsageRecords) -> None:
        self._usage = usage
        self._away = True

    async def record(self, principal: Principal, calls: Sequence[ProviderCall]) -> None:
        if self._away and calls[0].delivery is not Delivery.OPEN:
            self._away = False
            raise DatabaseUnavailable
        await self._usage.record(principal, calls)


@pytest.mark.parametrize(
    ("reply", "delivery"), [(Fault.none(), Delivery.DELIVERED), (Fault.absurd_usage(), Delivery.ESTIMATED)]
)
async def test_what_was_bought_and_not_written_down_is_written_down_later_and_not_bought_again(
    buying: Platform, buyer: User, provider: ScriptedProvider, reply: Fault, delivery: Delivery
) -> None:
    provider.script(Fault(status=401, kind="embedding"))
    parked = await buyer.upload("lock.txt", b"The lock opens at six.")
    state = {"tenant": buyer.tenant, "account": buyer.account, "document": parked["document_id"], "version": 1}
    activities = document_activities(buying.services)
    activities = replace(activities, meter=replace(activities.meter, usage=Reluctant(buying.services.usage)))
    provider.reset()
    provider.script(reply)
    run = {"workflow_run_id": new_id()}

    with pytest.raises(DatabaseUnavailable):
        await environment(**run).run(activities.embed, state)
    done = await environment(**run, attempt=2).run(activities.embed, state)
    await environment(**run, attempt=3).run(activities.embed, state)

    me, month = Principal(buyer.tenant, buyer.account), month_of(datetime.now(UTC))
    lines = await buying.services.usage.lines(me, month, limit=10, cursor=None)
    assert done == {"chunks": 1, "billed": 1}
    assert len(provider.calls) == 1
    assert [(line.purpose, line.delivery) for line in lines.items] == [(Purpose.EMBEDDING, delivery)]


async def test_a_document_that_let_three_workers_die_is_the_one_to_blame(quiet: Platform, user: User) -> None:
    run = await user.upload("lock.txt", b"The lock opens at six.")
    state = {"tenant": user.tenant, "account": user.account, "document": run["document_id"], "version": 1}
    activities = document_activities(quiet.services)

    again = await environment(heartbeat_details=[PARSE_DEATHS - 1]).run(activities.parse, state)
    with pytest.raises(ResourceLimit):
        await environment(heartbeat_details=[PARSE_DEATHS]).run(activities.parse, state)

    assert again["characters"] == 22


async def test_who_gets_out_alive_takes_its_last_words_back() -> None:
    heard: list[tuple[Any, ...]] = []
    attempt = environment()
    attempt.on_heartbeat = lambda *details: heard.append(details)

    async def work() -> None:
        async with heartbeating(lambda: 2):
            while not heard:
                await asyncio.sleep(0)
        survived()

    await attempt.run(work)

    assert heard == [(2,), ()]


class Faulty(ActivityInboundInterceptor):
    def __init__(self) -> None:
        pass

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:  # noqa: A002
        raise KeyError("words of somebody")


@pytest.mark.parametrize(
    ("activity_type", "attempt", "gives_up"),
    [
        ("documents.embed", FAULTS - 1, False),
        ("documents.embed", FAULTS, True),
        ("turn.answer", FAULTS, True),
        ("runs.report", FAULTS, False),
        ("usage.settle", 100, False),
    ],
)
async def test_a_fault_in_a_step_is_given_up_after_some_attempts_and_its_words_stay_here(
    activity_type: str, attempt: int, gives_up: bool
) -> None:
    inner = Boundary().intercept_activity(Faulty())

    with pytest.raises(ApplicationError) as caught:
        await environment(activity_type=activity_type, attempt=attempt).run(inner.execute_activity, None)

    assert caught.value.non_retryable is gives_up
    assert (caught.value.message, caught.value.type) == ("internal", "KeyError")
