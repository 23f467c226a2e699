"""Connections to a provider: one pool per adapter, no redirects, no retries (Temporal retries)."""

import re

import openai
from openai import DefaultAsyncHttpxClient

OPENAI = "https://api.openai.com/v1"
NO_KEY = "none"  # endpoints of one's own often want no key, the SDK always does

# A backstop only: each call has deadlines of its own. `read` is the longest of them and some.
TIMEOUT = openai.Timeout(connect=5.0, read=90.0, write=30.0, pool=5.0)

_VENDOR = re.compile(r"https://([\w.-]+\.)?(api\.openai\.com|azure\.com|azure\.us|azure\.cn)(:\d+)?(/|$)")


def pool() -> DefaultAsyncHttpxClient:
    """Whoever made it closes it. A redirect would carry prompts to where nobody configured."""
    return DefaultAsyncHttpxClient(timeout=TIMEOUT, follow_redirects=False)


def is_openai(base_url: str) -> bool:
    """OpenAI itself or Azure, which want `max_completion_tokens`; Ollama and llama-cpp-python ignore that name."""
    return _VENDOR.match(base_url) is not None
