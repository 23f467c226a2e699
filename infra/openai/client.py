"""Connections to a provider: one pool per address, no redirects, no retries (Temporal retries)."""

import re
from collections.abc import AsyncIterator

import httpx2
import openai
from openai import DefaultAsyncHttpxClient

from domain.errors import ProviderMalformed

OPENAI = "https://api.openai.com/v1"
LARGEST_REPLY = 64_000_000  # bytes; 256 vectors of 8,192 numbers in words are 25 million
NO_KEY = "none"  # endpoints of one's own often want no key, the SDK always does

# A backstop only: each call has deadlines of its own. `read` is the longest of them and some.
TIMEOUT = openai.Timeout(connect=5.0, read=90.0, write=30.0, pool=5.0)

_VENDOR = re.compile(r"https://([\w.-]+\.)?(api\.openai\.com|azure\.com|azure\.us|azure\.cn)(:\d+)?(/|$)")


class _Bounded(httpx2.AsyncByteStream):
    """A reply's body; one without an end would fill the memory, since the SDK reads whole lines."""

    def __init__(self, body: httpx2.AsyncByteStream, largest: int) -> None:
        self._body = body
        self._left = largest

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self._body:
            self._left -= len(piece)
            if self._left < 0:
                raise ProviderMalformed("too large: the model provider's reply does not end.")
            yield piece

    async def aclose(self) -> None:
        await self._body.aclose()


def connections(largest: int = LARGEST_REPLY) -> DefaultAsyncHttpxClient:
    """Whoever made it closes it. A redirect would carry prompts to where nobody configured. `largest`: bytes."""

    async def bound(response: httpx2.Response) -> None:
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        response.stream = _Bounded(response.stream, largest)

    return DefaultAsyncHttpxClient(timeout=TIMEOUT, follow_redirects=False, event_hooks={"response": [bound]})


def is_openai(base_url: str) -> bool:
    """OpenAI itself or Azure, which want `max_completion_tokens`; Ollama and llama-cpp-python ignore that name."""
    return _VENDOR.match(base_url) is not None
