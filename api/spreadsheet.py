"""Rows as CSV (RFC 4180) in which no spreadsheet finds a formula, whoever chose the words in them."""

import csv
import re
from collections.abc import Iterable
from io import StringIO
from typing import TypeAlias

Cell: TypeAlias = str | int | float | None

# After a separator too: a spreadsheet of another country splits at semicolons, whatever is quoted.
FORMULA = re.compile(r"((?:^|[;,|\t\r\n])\s*)(?=[=+\-@＝＋－＠])")


def lines(rows: Iterable[Iterable[Cell]]) -> str:
    """None is an empty cell, a truth value `true` or `false`."""
    buffer = StringIO(newline="")
    csv.writer(buffer).writerows(map(_cell, row) for row in rows)
    return buffer.getvalue()


def _cell(value: Cell) -> Cell:
    if isinstance(value, bool):
        return str(value).lower()
    return FORMULA.sub(r"\1'", value) if isinstance(value, str) else value
