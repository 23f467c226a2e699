"""Each row of the providers page names tests that exist, and no fault is forgotten."""

import tomllib
from pathlib import Path

import pytest

from infra.models import model_list
from infra.settings import Settings
from tests.unit.pages import missing_tests, named_tests, page

PAGE = page("providers.md")
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| fault")]
FAULTS = """first token, gap, 120 s, with `Retry-After`, without `Retry-After`, out of credit, 503, refused, TLS, 400,
401, 403, 404, no JSON, HTML, no choices, null content, wrong types, huge body, bad UTF-8, lone surrogate, NaN,
negative, absent, tool call, reset half-way, doubled chunks, no `[DONE]`, content filter, context overflow"""


def test_every_test_that_the_page_names_exists() -> None:
    assert len(named_tests(PAGE)) > 30
    assert missing_tests(PAGE) == []


def test_every_row_names_a_test() -> None:
    assert [row for row in ROWS if "::test_" not in row] == []


@pytest.mark.parametrize("fault", [" ".join(fault.split()) for fault in FAULTS.split(",")])
def test_every_fault_has_a_row(fault: str) -> None:
    assert [row for row in ROWS if fault in row.split(" | ")[0]]


def test_the_file_that_the_page_shows_is_a_good_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk")
    shown = PAGE.partition("```toml\n")[2].partition("```")[0]
    (tmp_path / "models.toml").write_text(shown)

    offered = [endpoint.model.name for endpoint in model_list(Settings(models=tmp_path / "models.toml"))]

    assert offered == [model["name"] for model in tomllib.loads(shown)["model"]]
