"""The catalogue of faults names tests that exist, and forgets none."""

import ast
import re
from pathlib import Path

import pytest

from tests.faults.catalogue import CATALOGUE, ELSEWHERE, REASONS

TESTS = Path(__file__).parents[1]
SUITES = TESTS / "faults"
FAULT = r"[AM]\d\d"


def proven() -> dict[tuple[str, str], str]:
    """Every scenario -> its docstring."""
    return {
        (file.stem, function.name): ast.get_docstring(function) or ""
        for file in SUITES.glob("test_*.py")
        for function in ast.parse(file.read_text()).body
        if isinstance(function, ast.AsyncFunctionDef) and function.name.startswith("test_")
    }


@pytest.mark.parametrize("fault", CATALOGUE)
def test_every_fault_has_tests_that_name_it(fault: str) -> None:
    assert CATALOGUE[fault]
    for test in CATALOGUE[fault]:
        first, last = re.findall(FAULT, proven()[test])[0], re.findall(FAULT, proven()[test])[-1]
        assert first <= fault <= last


@pytest.mark.parametrize(("file", "test"), [place for places in ELSEWHERE.values() for place in places])
def test_what_is_proven_elsewhere_is_there(file: str, test: str) -> None:
    assert re.search(rf"^(?:async )?def {test}\(", (TESTS / f"{file}.py").read_text(), re.MULTILINE)


def test_every_injection_has_tests_or_a_reason() -> None:
    assert {fault for fault in [*ELSEWHERE, *REASONS] if fault[0] == "E"} == {f"E{n:02}" for n in range(1, 14)}


def test_every_scenario_is_in_the_catalogue() -> None:
    named = {test for tests in CATALOGUE.values() for test in tests}

    assert {test for test, docstring in proven().items() if re.match(FAULT, docstring)} == named
