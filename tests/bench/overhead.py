"""(a) What a chat turn costs beyond one bare activity on the same server: the ratio of their medians."""

import time

from temporalio.client import Client
from temporalio.worker import Worker

from domain.names import new_id
from tests.bench.bare import Bare, work
from tests.bench.questions import question
from tests.bench.stack import Stack
from tests.bench.table import Figure, p
from workflows.worker import RUNNER

QUEUE = "bench"
RUNS = 20  # of each kind a repeat
WARM_UP = 10


async def measure(stack: Stack, repeats: int) -> list[Figure]:
    client = await Client.connect(stack.temporal_address)
    chats, bare = [], []
    async with Worker(client, task_queue=QUEUE, workflows=[Bare], workflow_runner=RUNNER, activities=[work]):
        for _ in range(WARM_UP):
            await _chat(stack)
            await _bare(client)
        for _ in range(repeats):  # one of each in turn, so that noise meets both
            pairs = [(await _chat(stack), await _bare(client)) for _ in range(RUNS)]
            chats.append(p([chat for chat, _ in pairs], 0.5))
            bare.append(p([one for _, one in pairs], 0.5))
    ratios = [chat / one for chat, one in zip(chats, bare, strict=True)]
    return [
        Figure("(a) chat overhead: RAG chat ÷ bare workflow", "ratio of p50", ratios, "≤ 2.5", digits=2),
        Figure("— RAG chat over HTTP, provider at zero latency", "ms, p50", chats, digits=0),
        Figure("— bare one-activity workflow", "ms, p50", bare, digits=0),
    ]


async def _chat(stack: Stack) -> float:
    began = time.perf_counter()
    await stack.ask(question())
    return 1000 * (time.perf_counter() - began)


async def _bare(client: Client) -> float:
    began = time.perf_counter()
    await client.execute_workflow(Bare.run, "question", id=f"bench:{new_id()}", task_queue=QUEUE)
    return 1000 * (time.perf_counter() - began)
