"""Markdown in which nobody's words become anything but words: rendered, it is the text that went in."""

import html
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from api import markdown

RENDERERS = [MarkdownIt("commonmark"), MarkdownIt("default", {"html": True, "typographer": False})]
HARMLESS = {"p", "blockquote", "br", "code", "h1"}

ATTACKS = [
    "![beacon](https://evil.example/a.png)",
    "[a link](https://evil.example)",
    "[a link]: https://evil.example",
    "<img src=x onerror=alert(1)>",
    "<https://evil.example>",
    "https://evil.example/path?q=1",
    "www.evil.example",
    "somebody@evil.example and @everybody",
    "&lt;b&gt; &#60;b&#62;",
    "# A heading",
    "A heading\n===",
    "- a list\n- of two",
    "1. one\n2) two",
    "> a quote",
    "```\ncode\n```",
    "    code",
    "\tcode",
    "`code` ``and more``",
    "*so* **so** _so_ ~~so~~",
    "a | b\n--|--\n1 | 2",
    "***\n___\n---",
    "[^1] and\n\n[^1]: a note",
    "$x$ :smile: {{ template }} <!-- comment -->",
    "back\\slash \\[1\\] and the end\\",
    "two\n\n\nblank lines",
    "@@`@",
]


def tags(rendered: str) -> set[str]:
    return set(re.findall(r"</?([^ >]*)", rendered))


def words(rendered: str) -> list[str]:
    return html.unescape(re.sub("<[^>]*>", " ", rendered)).split()


@pytest.mark.parametrize("text", ATTACKS)
@pytest.mark.parametrize("renderer", RENDERERS)
def test_words_stay_words(renderer: MarkdownIt, text: str) -> None:
    rendered = renderer.render("\n".join(markdown.quoted(text)))

    assert tags(rendered) <= HARMLESS
    assert "".join(words(rendered)) == "".join(text.split())


@pytest.mark.parametrize("text", [text for text in ATTACKS if "\n" not in text])
def test_a_heading_of_anybodys_words_is_a_heading(text: str) -> None:
    rendered = MarkdownIt("commonmark").render(f"# {markdown.inline(text)}")

    assert tags(rendered) <= HARMLESS
    assert rendered.startswith("<h1>")
    assert "".join(words(rendered)) == "".join(text.split())


@given(st.text(alphabet=st.sampled_from("ab1 \n\t\r\\`*_{}[]()#+-.!|~:/<>&@=$^\"'"), max_size=60))
def test_no_row_of_signs_becomes_anything(text: str) -> None:
    for renderer in RENDERERS:
        rendered = renderer.render("\n".join(markdown.quoted(text)))

        assert tags(rendered) <= HARMLESS
        assert "".join(words(rendered)) == "".join(text.split())


def test_lines_stay_lines() -> None:
    rendered = MarkdownIt("commonmark").render("\n".join(markdown.quoted("one\ntwo\r\n\r\nthree")))

    assert rendered == "<blockquote>\n<p>one<br />\ntwo</p>\n<p>three</p>\n</blockquote>\n"


def test_what_a_terminal_may_obey_is_replaced() -> None:
    assert list(markdown.quoted("\x1b[31mred\x07")) == ["> \N{REPLACEMENT CHARACTER}\\[31mred\N{REPLACEMENT CHARACTER}"]


def test_ordinary_words_stay_as_they_are() -> None:
    text = "The lock opens at six; a mooring costs 14 euros, 부두에서는 9 euros. Who opens it?"

    assert list(markdown.quoted(text)) == [f"> {text}"]
