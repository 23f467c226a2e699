"""Each row of the security page names tests that exist."""

import re

from tests.unit.pages import missing_tests, named_tests, page

PAGE = page("security.md")


def test_every_test_that_the_page_names_exists() -> None:
    assert len(named_tests(PAGE)) > 10
    assert missing_tests(PAGE) == []


def test_every_hole_has_a_row() -> None:
    named = set(re.findall(r"^\| (H\d\d) \|", PAGE, re.MULTILINE))

    assert named == {f"H{number:02}" for number in range(1, 35)}


def test_every_row_names_a_test_or_a_reason() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| id")]

    assert [row for row in rows if "::test_" not in row and "reason:" not in row] == []
