"""(d) One text from its upload until it can be found; (e) many small ones from many clients."""

import asyncio
import time
from collections.abc import Iterable

from domain.names import new_id
from tests.bench.stack import Stack
from tests.bench.table import Figure, p

ONE_BY_ONE = 10  # documents a repeat
CHUNKS = 3
CLIENTS = 16
MANY = 200  # documents a repeat


async def measure_one(stack: Stack, repeats: int) -> list[Figure]:
    await _ready_after(stack)
    runs = [[await _ready_after(stack) for _ in range(ONE_BY_ONE)] for _ in range(repeats)]
    seconds = [p(run, 0.5) for run in runs]
    return [Figure(f"(d) upload → ready, {CHUNKS}-chunk text, local embedding", "s, p50", seconds, "≤ 1", digits=2)]


async def measure_many(stack: Stack, repeats: int) -> list[Figure]:
    """The clock stops when the last one is ready; embeddings come from the scripted provider."""
    rates = []
    for _ in range(repeats):
        texts = iter([_small() for _ in range(MANY)])
        began = time.perf_counter()
        await asyncio.gather(*(_client(stack, texts) for _ in range(CLIENTS)))
        rates.append(MANY / (time.perf_counter() - began))
    return [Figure(f"(e) {MANY} small texts from {CLIENTS} clients, stub embeddings", "documents/s", rates, "≥ 10")]


async def _ready_after(stack: Stack) -> float:
    began = time.perf_counter()
    run = await stack.ready(await stack.upload("three.txt", _three_chunks()))
    assert run["result"]["chunks"] == CHUNKS, run
    return time.perf_counter() - began


async def _client(stack: Stack, texts: Iterable[bytes]) -> None:
    runs = [await stack.upload("small.txt", text) for text in texts]
    for run in runs:
        await stack.ready(run)


def _small() -> bytes:
    return f"Berth {new_id()} lies east of the old mole. Ships of up to ninety metres moor there.\n".encode()


def _three_chunks() -> bytes:
    """Three paragraphs of some 150 tokens each: a blank line ends a chunk that is well begun."""
    sentence = "The harbour master opens the lock at six in the morning and closes it when the tide turns."
    return "\n\n".join(f"Order {new_id()}. " + " ".join([sentence] * 7) for _ in range(CHUNKS)).encode()
