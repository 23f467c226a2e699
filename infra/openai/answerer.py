"""Answers from a language model behind any endpoint that speaks the OpenAI protocol, through langchain-openai."""

import asyncio
import re
import warnings
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from langchain_core.messages import AIMessageChunk
from langchain_openai import ChatOpenAI
from langsmith import tracing_context
from openai import DefaultAsyncHttpxClient

from agents import prompts
from agents.prompts import Message
from domain.chat import Completion, Line, Prompt
from domain.errors import MoorageError, ProviderMalformed, ProviderUnavailable, UnknownModel
from domain.ports import Tokenizer
from infra.openai.client import NO_KEY, OPENAI, TIMEOUT, connections, is_openai
from infra.openai.errors import translated
from infra.openai.replies import believable, estimate, finish_of, name_of, scrub

CONDENSED_TOKENS = 200  # of a rewritten question; admission reserves as many
SUMMARIZED_TOKENS = 400  # by the provider's count; domain.window.SUMMARY_TOKENS by ours, with caution
LONGEST_TOKEN = 8  # characters per token of any text worth reading: beyond, a model ignores `max_tokens`

# langchain dumps replies of any shape through pydantic, which then warns with the provider's words in full.
warnings.filterwarnings("ignore", message="Pydantic serializer warnings", category=UserWarning)

_FIXED_TEMPERATURE = re.compile(r"o\d|gpt-[5-9](?!.*chat)")  # reasoning models answer 400 to any but their own


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds of silence before the provider counts as unavailable; how long a reply may last is Temporal's to say.

    `brief`: before the first token of what a turn can do without, a rewritten question or a summary.
    """

    first: float = 30.0
    gap: float = 15.0
    brief: float = 18.0


@dataclass(slots=True)
class _Call:
    """One request and what has come back so far."""

    model: str
    messages: list[Message]
    temperature: float
    max_tokens: int
    pieces: list[str] = field(default_factory=list)
    room: int = field(init=False)
    usage: dict[str, Any] | None = None
    finish: str = ""
    answered_by: object = None

    def __post_init__(self) -> None:
        self.room = self.max_tokens * LONGEST_TOKEN

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    def add(self, chunk: AIMessageChunk) -> str:
        """The clean text of a chunk; usage, end and model are taken where the provider says them last."""
        self.usage = dict(chunk.usage_metadata) if chunk.usage_metadata else self.usage
        self.finish = chunk.response_metadata.get("finish_reason") or self.finish
        self.answered_by = chunk.response_metadata.get("model_name") or self.answered_by
        said = str(chunk.text)
        piece = scrub(said)[: max(self.room, 0)]
        self.room -= len(said)  # what is scrubbed counts: it can be endless too
        self.pieces.append(piece)
        return piece

    def overrun(self) -> bool:
        """Too long by far. Then the end is ours, and a usage told so far is no longer the whole."""
        if self.room > 0:
            return False
        self.finish, self.usage = "length", None
        return True


class OpenAIAnswerer:
    """Answerer. Every model is built once and never changed: what belongs to one question goes with its call.

    All verbs raise UnknownModel, ProviderAuth, ProviderRateLimited, ProviderRefused, ProviderUnavailable,
    ProviderMalformed or ContextTooLong, and never try twice.
    """

    billable = True
    talks = True

    def __init__(
        self,
        *,
        base_url: str,
        api_key: str,
        model: str,
        tokenizer: Tokenizer,
        patience: Patience | None = None,
        shared: DefaultAsyncHttpxClient | None = None,
    ) -> None:
        """`shared` connections are closed by whoever made them; without them it has its own."""
        self.models = (model,)
        self._base_url = base_url or OPENAI
        self._api_key = api_key or NO_KEY
        self._tokenizer = tokenizer
        self._patience = patience or Patience()
        self._own = None if shared else connections()
        self._pool = shared or self._own
        self._built = {name: self._build(name) for name in self.models}

    async def answer(self, prompt: Prompt) -> AsyncIterator[str | Completion]:
        """Pieces, then one Completion. Closing the iterator or cancelling its reader ends the provider's call."""
        messages = prompts.answer(prompt, prompt.marker or prompts.marker())
        call = _Call(self._name(prompt.model), messages, prompt.temperature, prompt.max_tokens)
        async with aclosing(self._pieces(call, self._patience.first)) as pieces:
            async for piece in pieces:
                yield piece
        yield await self._completion(call, call.text)

    async def condense(
        self, question: str, history: Sequence[Line], model: str | None, *, summary: str = ""
    ) -> Completion:
        """The question in one line that stands alone."""
        messages = prompts.condense(question, history, prompts.marker(), summary=summary)
        call = _Call(self._name(model), messages, 0.0, CONDENSED_TOKENS)
        await self._read(call)
        return await self._completion(call, " ".join(call.text.split()))

    async def summarize(self, summary: str, lines: Sequence[Line], model: str | None) -> Completion:
        """One summary of a summary and what was said after it."""
        messages = prompts.summarize(summary, lines, prompts.marker())
        call = _Call(self._name(model), messages, 0.0, SUMMARIZED_TOKENS)
        await self._read(call)
        return await self._completion(call, call.text.strip())

    async def aclose(self) -> None:
        if self._own is not None:
            await self._own.aclose()

    async def _read(self, call: _Call) -> None:
        """All of it, for nobody who waits for words."""
        wait = min(self._patience.brief, self._patience.first)
        async with aclosing(self._pieces(call, wait)) as pieces:
            async for _ in pieces:
                pass

    async def _pieces(self, call: _Call, wait: float) -> AsyncGenerator[str, None]:
        """`wait`: seconds for the first of them."""
        said = [(message["role"], message["content"]) for message in call.messages]
        chunks = self._built[call.model].astream(said, **self._options(call))
        async with aclosing(chunks):  # type: ignore[type-var]
            with tracing_context(
                enabled=False
            ):  # LANGSMITH_TRACING would send prompts away; decided at the first chunk
                chunk = await _next(chunks, wait)
            while chunk is not None:
                if piece := call.add(chunk):
                    wait = self._patience.gap
                    yield piece
                if call.overrun():
                    return
                chunk = await _next(chunks, wait, ended=bool(call.finish))

    async def _completion(self, call: _Call, text: str) -> Completion:
        if not call.finish:
            raise ProviderUnavailable("cut: the model provider's reply broke off.")
        finish = finish_of(call.finish)
        if not text.strip():
            raise ProviderMalformed("empty: the model provider's reply held no text.")
        exact = believable(call.usage, prompt=call.messages, text=call.text, max_tokens=call.max_tokens)
        read, written = exact or await estimate(self._tokenizer, call.messages, call.text)
        return Completion(
            text=text,
            model=name_of(call.answered_by, call.model),
            finish=finish,
            prompt_tokens=read,
            completion_tokens=written,
            estimated=exact is None,
            billable=self.billable,
            prompt_digest=prompts.digest(call.messages),
        )

    def _options(self, call: _Call) -> dict[str, Any]:
        """What belongs to this question alone."""
        options: dict[str, Any] = {"extra_body": {"max_tokens": call.max_tokens}}
        if is_openai(self._base_url):
            options = {"max_tokens": call.max_tokens}  # langchain sends it as `max_completion_tokens`
        if not _FIXED_TEMPERATURE.match(call.model):
            options["temperature"] = call.temperature
        return options

    def _name(self, asked: str | None) -> str:
        name = asked or self.models[0]
        if name not in self._built:
            raise UnknownModel
        return name

    def _build(self, model: str) -> ChatOpenAI:
        """About 47 ms. Everything that the environment could change otherwise is said."""
        return ChatOpenAI(
            model=model,
            base_url=self._base_url,
            api_key=self._key,
            http_async_client=self._pool,
            timeout=TIMEOUT,
            max_retries=0,
            stream_usage=True,
            stream_chunk_timeout=None,
            use_responses_api=False,
            output_version="v0",
            cache=False,
        )

    async def _key(self) -> str:
        """A coroutine function, because langchain builds a second, synchronous client for a plain key."""
        return self._api_key


async def _next(chunks: AsyncIterator[AIMessageChunk], seconds: float, *, ended: bool = False) -> AIMessageChunk | None:
    """The next chunk, None after the last one. All of the text is there once a reply has `ended`: what comes then can
    only say what it cost, and no fault of it is a reason to take the text back.
    """
    try:
        with translated():
            async with asyncio.timeout(seconds):
                return await anext(chunks, None)
    except MoorageError:
        if ended:
            return None
        raise
