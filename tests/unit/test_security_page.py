"""Each row of the security page names tests that exist."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/security.md").read_text()


def test_every_test_that_the_page_names_exists() -> None:
    named = re.findall(r"`(\S+\.py)::(test_\w+)`", PAGE)

    missing = [
        f"{path}::{name}"
        for path, name in named
        if not re.search(rf"^(?:async )?def {name}\(", (ROOT / "tests" / path).read_text(), re.MULTILINE)
    ]
    assert len(named) > 10
    assert missing == []


def test_every_hole_has_a_row() -> None:
    named = set(re.findall(r"^\| (H\d\d) \|", PAGE, re.MULTILINE))

    assert named == {f"H{number:02}" for number in range(1, 35)}


def test_every_row_names_a_test_or_a_reason() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| id")]

    assert [row for row in rows if "::test_" not in row and "reason:" not in row] == []
