"""A conversation that is taken away: piece by piece, and never half of one that passes for a whole one."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from api.transcript import Format, written
from domain.chat import Conversation, Finish, TranscriptEntry
from domain.errors import DatabaseUnavailable
from domain.runs import Page, State
from domain.search import Source

NOW = datetime(2026, 1, 31, 23, 59, 58, tzinfo=UTC)
CONVERSATION = Conversation("c0ffee", "When? <b>", 2, NOW, NOW)
SOURCE = Source(
    1, "d1", 2, "k1", "lock.txt", "The [lock](x)", 3, 10, 44, 0.9, 'Opens at "six"\nin the <i>morning</i>.', True
)
EXCHANGE = TranscriptEntry(
    workflow_id="chat:t:c0ffee:1",
    question="When does it open?\n![](https://evil.example)",
    asked_at=NOW,
    outcome=State.SUCCEEDED,
    answer="At six [1].",
    answered_at=NOW,
    finish=Finish.STOP,
    model_used="model-1",
    sources=(SOURCE, replace(SOURCE, index=2, page=None, cited=False)),
)
OPEN = replace(EXCHANGE, outcome=None, answer=None, answered_at=None, finish=None, model_used=None, sources=())


class Pages:
    """Counts the pages that were asked for; the last one may fail."""

    def __init__(self, *pages: list[TranscriptEntry], fails: bool = False) -> None:
        self._pages = pages
        self._fails = fails
        self.read = 0

    async def __aiter__(self) -> AsyncIterator[Page[TranscriptEntry]]:
        for items in self._pages:
            self.read += 1
            yield Page(items)
        if self._fails:
            raise DatabaseUnavailable


async def whole(form: Format, pages: Pages) -> str:
    return "".join([piece async for piece in written(form, CONVERSATION, aiter(pages))])


async def test_json_holds_every_message_with_its_sources() -> None:
    told = json.loads(await whole(Format.JSON, Pages([EXCHANGE], [OPEN])))

    assert (told["conversation_id"], told["title"], told["turns"]) == ("c0ffee", "When? <b>", 2)
    assert [(message["role"], message["content"]) for message in told["messages"]] == [
        ("user", EXCHANGE.question),
        ("assistant", "At six [1]."),
        ("user", OPEN.question),
    ]
    source = told["messages"][1]["sources"][0]
    assert (source["quote"], source["start"], source["end"], source["page"]) == (SOURCE.quote, 10, 44, 3)
    assert (source["document_id"], source["version"], source["title"]) == ("d1", 2, "The [lock](x)")


async def test_markdown_names_every_source_and_quotes_it() -> None:
    told = await whole(Format.MARKDOWN, Pages([EXCHANGE], [OPEN]))

    assert told.startswith("# When? &lt;b&gt;\n\nConversation c0ffee\n")
    assert "> \\!\\[\\]\\(https\\://evil\\.example\\)\n" in told
    assert "### Answer by model\\-1, 2026-01-31 23:59:58 UTC\n\n> At six \\[1\\].\n" in told
    assert "1. The \\[lock\\]\\(x\\), page 3, characters 10 to 44\n   (document d1, version 2)\n" in told
    assert '   > Opens at \\"six\\"  \n   > in the &lt;i&gt;morning&lt;/i&gt;.\n' in told
    assert "2. The \\[lock\\]\\(x\\), characters 10 to 44, not cited\n" in told
    assert told.endswith("No answer (not yet).\n")


@pytest.mark.parametrize("form", list(Format))
async def test_what_is_told_does_not_wait_for_the_next_page(form: Format) -> None:
    pages = Pages([EXCHANGE], [OPEN])
    pieces = written(form, CONVERSATION, aiter(pages))

    told = [await anext(pieces), await anext(pieces)]

    assert "When does it open?" in "".join(told)
    assert pages.read == 1


async def test_json_that_breaks_off_is_no_json() -> None:
    pieces = written(Format.JSON, CONVERSATION, aiter(Pages([EXCHANGE], fails=True)))

    told = [await anext(pieces) for _ in range(3)]

    with pytest.raises(DatabaseUnavailable):
        await anext(pieces)
    with pytest.raises(json.JSONDecodeError):
        json.loads("".join(told))
