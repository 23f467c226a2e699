"""CSV that a spreadsheet reads as it was written, and in which it finds nothing to execute."""

import csv
from io import StringIO

import pytest

from api import spreadsheet


@pytest.mark.parametrize(
    ("text", "defused"),
    [
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("＝1", "'＝1"),
        ("  =1", "  '=1"),
        ("\t=1", "\t'=1"),
        ("\r\n=1", "\r\n'=1"),
        ("name;=1", "name;'=1"),
        ("name, -1", "name, '-1"),
        ("name\n@x", "name\n'@x"),
        (";;=1", ";;'=1"),
    ],
)
def test_a_cell_that_would_be_a_formula_is_a_text(text: str, defused: str) -> None:
    (row,) = csv.reader(StringIO(spreadsheet.lines([["id", text]]), newline=""))

    assert row == ["id", defused]


@pytest.mark.parametrize("text", ["gpt-4o-mini", "org/model:1+2", "a=b", "x@y", "모델", 'a "quoted", name', "'=1", ""])
def test_any_other_text_stays_as_it_is(text: str) -> None:
    (row,) = csv.reader(StringIO(spreadsheet.lines([["id", text]]), newline=""))

    assert row == ["id", text]


def test_numbers_truth_and_nothing_have_their_plain_form() -> None:
    assert spreadsheet.lines([[12, 0.25, -1.5, True, False, None]]) == "12,0.25,-1.5,true,false,\r\n"
