"""`python -m tests.provider --port N`: the scripted provider as a process, for benchmarks and launched stacks.

Prints one JSON line with its address and ends by a signal, or by itself after `--seconds`.
"""

import argparse
import asyncio
import contextlib
import json
import signal

from tests.provider.server import ScriptedProvider


async def serve(options: argparse.Namespace) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    provider = ScriptedProvider(
        port=options.port, latency=options.latency, pace=options.pace, dimensions=options.dimensions
    )
    async with provider:
        print(json.dumps({"base_url": provider.base_url}), flush=True)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stopped.wait(), options.seconds)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.provider", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 picks a free one")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before the first byte")
    parser.add_argument("--pace", type=float, default=0.0, help="seconds before each token of a stream")
    parser.add_argument("--dimensions", type=int, default=384)
    parser.add_argument("--seconds", type=float, default=3600.0, help="end after this long")
    asyncio.run(serve(parser.parse_args()))


if __name__ == "__main__":
    main()
