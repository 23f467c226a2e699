"""The local embedder: multilingual-e5-small on ONNX Runtime, one text a call, two calls at once.

On two cores that beats every padded batch, and it is more exact: int8 activations get a scale of their own.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

import numpy as np
import onnxruntime
from tokenizers import Encoding, Tokenizer

from domain import analysis, chunking
from domain.search import Embedded, Generation, Relevance, Vector
from infra.e5.files import FORMAT, MODEL, folder, is_whole

DIMENSIONS = 384
MAX_TOKENS = 512
MAX_CHARACTERS = 16_384  # far more than 512 tokens; tokenising is linear, a megabyte would take a second
SLACK = 8  # a piece cut inside a word is spelled anew and may need some tokens more
WORD_START = "\u2581"

T = TypeVar("T")


class LocalEmbedder:
    """Embedder and Tokenizer. Loads on first use, in a thread, once in a process: 0.43 GB, of which 0.28 are the
    tokenizer."""

    model = MODEL
    billable = False

    def __init__(self, cache: Path, callers: int = 2) -> None:
        self._cache = cache
        self._callers = callers
        self._threads = ThreadPoolExecutor(callers, thread_name_prefix="embed")
        self._loading = Lock()
        self._loaded_tokenizer: Tokenizer | None = None
        self._loaded_session: onnxruntime.InferenceSession | None = None

    @property
    def generation(self) -> Generation:
        conversion = f"-f{FORMAT}" if FORMAT > 1 else ""
        name = f"{MODEL}-{DIMENSIONS}-a{analysis.VERSION}-c{chunking.VERSION}{conversion}"
        return Generation(name, DIMENSIONS)

    @property
    def relevance(self) -> Relevance:
        return Relevance(floor=0.75, span=0.4, threshold=0.376, korean_threshold=0.48)

    async def warm(self) -> None:
        """Load now rather than at the first question."""
        await self.query("warm")

    async def query(self, text: str) -> Embedded:
        return await self._embedded([f"query: {text}"])

    async def passages(self, texts: Sequence[str]) -> Embedded:
        """A text beyond 512 tokens is cut, so chunks must be shorter."""
        return await self._embedded([f"passage: {text}" for text in texts])

    async def counts(self, texts: Sequence[str]) -> list[int]:
        return await self._run(self._counts, texts)

    async def cuts(self, text: str, limit: int) -> list[int]:
        return await self._run(self._cuts, text, limit)

    def close(self) -> None:
        self._threads.shutdown()

    async def _embedded(self, texts: Sequence[str]) -> Embedded:
        """Texts are handed out one by one: a question that arrives meanwhile waits for one text, not for all."""
        waiting = iter(enumerate(texts))
        vectors = np.empty((len(texts), DIMENSIONS), np.float32)
        tokens = 0

        async def caller() -> None:
            nonlocal tokens
            for row, text in waiting:
                vectors[row], count = await self._run(self._embed, text)
                tokens += count

        await asyncio.gather(*(caller() for _ in range(self._callers)))
        return Embedded(vectors, tokens, MODEL)

    async def _run(self, work: Callable[..., T], *args: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *args)

    def _embed(self, text: str) -> tuple[Vector, int]:
        ids = self._tokenizer().encode(text[:MAX_CHARACTERS].rstrip()).ids
        if len(ids) > MAX_TOKENS:
            ids = [*ids[: MAX_TOKENS - 1], ids[-1]]
        (vectors,) = self._session().run(["embedding"], {"input_ids": np.array([ids])})
        vector: Vector = vectors[0]
        return vector, len(ids)

    def _counts(self, texts: Sequence[str]) -> list[int]:
        encodings = self._tokenizer().encode_batch_fast(list(texts), add_special_tokens=False)
        return [len(encoding.ids) for encoding in encodings]

    def _cuts(self, text: str, limit: int) -> list[int]:
        """A piece that needs more tokens once it stands alone is cut again."""
        cuts = [at for at in _cuts(self._tokenizer().encode(text, add_special_tokens=False), limit) if at]
        edges = [0, *cuts, len(text)] if cuts else []
        counts = self._counts([text[first:last] for first, last in pairwise(edges)])
        too_long = [first for first, count in zip(edges, counts, strict=False) if count > limit]
        again = [first + at for first in too_long for at in self._cuts(text[first : _after(edges, first)], limit)]
        return sorted({*cuts, *again})

    def _tokenizer(self) -> Tokenizer:
        with self._loading:
            if self._loaded_tokenizer is None:
                self._loaded_tokenizer = _load_tokenizer(self._files())
            return self._loaded_tokenizer

    def _session(self) -> onnxruntime.InferenceSession:
        with self._loading:
            if self._loaded_session is None:
                self._loaded_session = _load_session(self._files())
            return self._loaded_session

    def _files(self) -> Path:
        if is_whole(model := folder(self._cache)):
            return model
        from infra.e5.build import build  # with onnx, which no process needs once the model is there

        return build(self._cache)


def _after(edges: Sequence[int], first: int) -> int:
    return edges[edges.index(first) + 1]


def _cuts(encoding: Encoding, limit: int) -> Iterator[int]:
    """Offsets before the tokens where a new piece begins: at the last start of a word in reach, else in the word."""
    tokens, offsets = encoding.tokens, encoding.offsets
    begin = 0
    while begin + limit < len(tokens):
        last = begin
        reach = range(begin + limit, begin + limit // 2, -1)
        inside = begin + limit - min(SLACK, limit // 4)
        begin = next((at for at in reach if tokens[at].startswith(WORD_START)), inside)
        while begin > last + 1 and offsets[begin - 1][0] == offsets[begin][0]:
            begin -= 1  # the tokens of one character (a ligature has many) go to the next piece together
        yield offsets[begin][0]


@cache
def _load_tokenizer(model: Path) -> Tokenizer:
    return Tokenizer.from_file(str(model / "tokenizer.json"))


@cache
def _load_session(model: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(model / "model.onnx", _options(), providers=["CPUExecutionProvider"])


def _options() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options
