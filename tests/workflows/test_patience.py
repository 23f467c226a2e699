"""What an attempt leaves to the next one: how many died while they read a document, and when a fault is given up."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment
from temporalio.worker import ActivityInboundInterceptor, ExecuteActivityInput

from activities.documents import DocumentActivities
from activities.heartbeat import heartbeating, survived
from agents.options import FAULTS, PARSE_DEATHS
from domain.errors import ResourceLimit
from infra.boundary import Boundary
from tests.platform import Platform, User


def environment(**facts: Any) -> ActivityEnvironment:
    made = ActivityEnvironment()
    made.info = replace(made.info, **facts)
    return made


async def test_a_document_that_let_three_workers_die_is_the_one_to_blame(quiet: Platform, user: User) -> None:
    run = await user.upload("lock.txt", b"The lock opens at six.")
    state = {"tenant": user.tenant, "account": user.account, "document": run["document_id"], "version": 1}
    services = quiet.services
    activities = DocumentActivities(
        services.documents,
        services.blobs,
        services.parser,
        services.tokenizer,
        services.embedder,
        services.store,
        services.usage,
        services.events,
    )

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
        ("chat.answer", FAULTS, True),
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
