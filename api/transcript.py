"""A conversation with its sources, to be taken away: piece by piece, so that none is ever held as a whole."""

from collections.abc import AsyncIterator, Iterator
from datetime import datetime
from enum import StrEnum

from api import markdown, views
from domain import search
from domain.chat import Conversation, TranscriptEntry
from domain.runs import Page


class Format(StrEnum):
    MARKDOWN = "markdown"
    JSON = "json"


MEDIA_TYPES = {Format.MARKDOWN: "text/markdown", Format.JSON: "application/json"}
SUFFIXES = {Format.MARKDOWN: "md", Format.JSON: "json"}

Pages = AsyncIterator[Page[TranscriptEntry]]


async def written(form: Format, conversation: Conversation, pages: Pages) -> AsyncIterator[str]:
    pieces = _json(conversation, pages) if form is Format.JSON else _markdown(conversation, pages)
    async for piece in pieces:
        yield piece


async def _json(conversation: Conversation, pages: Pages) -> AsyncIterator[str]:
    """What breaks off lacks its end, and cannot be read as a whole one."""
    head = views.conversation(conversation).model_dump_json()
    yield f'{head.removesuffix("}")},"messages":['
    separator = "\n"
    async for page in pages:
        for message in (message for one in page.items for message in views.exported(one)):
            yield separator + message.model_dump_json()
            separator = ",\n"
    yield "\n]}\n"


async def _markdown(conversation: Conversation, pages: Pages) -> AsyncIterator[str]:
    yield f"# {markdown.inline(conversation.title)}\n\nConversation {conversation.conversation_id}\n"
    async for page in pages:
        for one in page.items:
            yield "\n".join(["", *_entry(one), ""])


def _entry(one: TranscriptEntry) -> Iterator[str]:
    yield from (f"## Question, {_moment(one.asked_at)}", "", *markdown.quoted(one.question), "")
    if one.answer is None or one.answered_at is None:
        yield f"No answer ({one.outcome or 'not yet'})."
        return
    by = f" by {markdown.inline(one.model_used)}" if one.model_used else ""
    yield from (f"### Answer{by}, {_moment(one.answered_at)}", "", *markdown.quoted(one.answer))
    if one.sources:
        yield from ("", "### Sources", "", *(line for source in one.sources for line in _source(source)))


def _source(source: search.Source) -> Iterator[str]:
    number = f"{source.index}. "
    name = markdown.inline(source.title or source.filename)
    page = "" if source.page is None else f", page {source.page}"
    cited = "" if source.cited else ", not cited"
    yield f"{number}{name}{page}, characters {source.start} to {source.end}{cited}"
    indent = " " * len(number)
    yield f"{indent}(document {source.document_id}, version {source.version})"
    yield from ("", *markdown.quoted(source.quote, indent), "")


def _moment(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S UTC")
