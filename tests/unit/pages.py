"""Pages of the documentation whose rows name the tests that prove them."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text()


def named_tests(text: str) -> list[tuple[str, str]]:
    """(file under `tests`, name of the test)"""
    return re.findall(r"`(\S+\.py)::(test_\w+)`", text)


def missing_tests(text: str) -> list[str]:
    return [
        f"{path}::{name}"
        for path, name in named_tests(text)
        if not re.search(rf"^(?:async )?def {name}\(", (ROOT / "tests" / path).read_text(), re.MULTILINE)
    ]
