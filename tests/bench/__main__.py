"""`make bench`: latency and throughput of whole stacks on this machine, as a table for docs/benchmarks.md.

Every figure is measured several times in one run, and what is compared with each other takes turns: the machines
are noisy.
"""

import argparse
import asyncio
import os
import platform
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

from infra.telemetry import configure_logging
from tests.bench import chat, documents, hops, metering, overhead, search, streams, usage
from tests.bench.stack import launched, provider
from tests.bench.table import Figure, show


async def bench(repeats: int) -> AsyncIterator[list[Figure]]:
    with tempfile.TemporaryDirectory(prefix="moorage-bench-") as scratch:
        homes = Path(scratch)
        async with provider() as base_url:
            model = {"OPENAI_BASE_URL": base_url, "OPENAI_API_KEY": "bench"}
            async with launched(homes / "talking", **model) as stack:
                yield await overhead.measure(stack, repeats)
                yield await streams.measure_idle(stack, base_url)
                yield await hops.measure(stack, repeats)
                yield await chat.measure(stack, repeats)
                yield await streams.measure_first_word(stack, base_url, repeats)
                yield await search.measure(stack, repeats)
                yield await documents.measure_one(stack, repeats)
                yield await usage.measure(stack, homes / "talking", repeats)
            bought = {"MOORAGE_EMBEDDER": "openai", "MOORAGE_EMBEDDING_DIMENSIONS": "384"}
            async with launched(homes / "stub-embeddings", **model, **bought) as stack:
                yield await documents.measure_many(stack, repeats)
            yield await metering.measure(base_url, homes / "metering", repeats)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    configure_logging("WARNING", "bench")
    os.environ |= {"MOORAGE_RATE_LIMIT": "0", "MOORAGE_RATE_LIMIT_ANONYMOUS": "0"}  # of the platforms in this process
    print(f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, ", end="")
    print(f"load {os.getloadavg()[0]:.1f} at the start, {options.repeats} repeats\n", flush=True)
    asyncio.run(show(bench(options.repeats)))


if __name__ == "__main__":
    main()
