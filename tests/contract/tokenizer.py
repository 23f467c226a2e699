"""A tokenizer that can be counted by hand."""

from collections.abc import Sequence


class WordTokenizer:
    """A word is a token."""

    async def counts(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]

    async def cuts(self, text: str, limit: int) -> list[int]:
        return []
