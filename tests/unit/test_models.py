"""Language models by configuration: what a file offers, what is wrong with one, and who stands in for whom."""

from dataclasses import replace
from pathlib import Path

import pytest

from cli.doctor import examine
from domain.errors import UnknownModel
from domain.models import QUOTING, Model, Models
from infra.models import brief_patience, model_list
from infra.settings import Settings
from infra.stack.errors import StackError
from infra.stack.stack import Stack

FILE = """
[[model]]
name = "own"
base_url = "http://127.0.0.1:11434/v1"
context = 4096

[[model]]
name = "quick"
called = "gpt-4o-mini"
base_url = "https://api.openai.com/v1"
key_env = "ACME_KEY"
context = 128000
max_tokens = 4000
default = true
fallback = ["own"]
"""


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # no .env
    monkeypatch.setenv("ACME_KEY", "sk-acme")


def settings(text: str | None, **fields: object) -> Settings:
    if text is not None:
        Path("models.toml").write_text(text)
        fields["models"] = Path("models.toml")
    return Settings(**fields)  # type: ignore[arg-type]


def test_a_file_offers_its_models_the_default_first() -> None:
    quick, own = model_list(settings(FILE))

    assert quick.model == Model("quick", "gpt-4o-mini", 128_000, 4000, ("own",))
    assert own.model == Model("own", "own", 4096)
    assert (quick.base_url, quick.key.get_secret_value()) == ("https://api.openai.com/v1", "sk-acme")
    assert own.key.get_secret_value() == ""
    assert quick.purpose != own.purpose


def test_a_key_may_be_in_the_env_file_or_in_a_file_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ACME_KEY")
    Path(".env").write_text("ACME_KEY=sk-from-env-file\n")
    Path("secret").write_text("sk-from-file\n")

    keys = [
        model_list(settings(text))[0].key
        for text in (FILE, FILE.replace('key_env = "ACME_KEY"', 'key_file = "secret"'))
    ]

    assert [key.get_secret_value() for key in keys] == ["sk-from-env-file", "sk-from-file"]


def test_without_a_file_there_is_the_one_model_of_the_settings() -> None:
    (only,) = model_list(settings(None, openai_api_key="sk", chat_model="gpt-4o", context_tokens=16_000))

    assert only.model == Model("gpt-4o", "gpt-4o", 16_000)
    assert (only.base_url, only.key.get_secret_value(), only.purpose) == ("", "sk", "chat")


def test_without_a_model_there_is_none() -> None:
    assert model_list(settings(None)) == []


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        (FILE, "", "model: Field required"),
        (FILE, "model = []", "model: List should have at least 1 item"),
        (FILE, "[[model]", "Expected ']]'"),
        ('name = "own"\n', "", "model.0.name: Field required"),
        ("context = 4096", 'context = "4096"', "model.0.context"),
        ("context = 4096", "context = 512", "model.0.context"),
        ("context = 4096", "context = 4096\nmax_tokens = 4096", "max_tokens must be smaller than context"),
        ("context = 4096", "context = 4096\nprompt = 1", "model.0.prompt"),
        ("context = 4096", 'context = 4096\napi_key = "sk-secret"', "no key belongs into this file"),
        ("context = 4096", 'context = 4096\nkey_env = "sk-secret"', "model.0.key_env"),
        ('key_env = "ACME_KEY"', 'key_env = "NO_KEY_HERE"', 'key of "quick": the variable NO_KEY_HERE is empty'),
        ('key_env = "ACME_KEY"', 'key_env = "ACME_KEY"\nkey_file = "secret"', "not in both"),
        ('key_env = "ACME_KEY"', 'key_file = "nowhere"', "nowhere"),
        ("http://127.0.0.1:11434/v1", "127.0.0.1:11434", "model.0.base_url: Value error, give a whole address"),
        ("http://127.0.0.1:11434/v1", "http://me:sk-secret@127.0.0.1/v1", "leave user, password and query out"),
        ('name = "own"', 'name = "quick"', "each name may be given once"),
        ("context = 4096", "context = 4096\ndefault = true", "only one model can be the default"),
        ('fallback = ["own"]', 'fallback = ["other"]', 'fallback of "quick": name other models'),
        ('fallback = ["own"]', 'fallback = ["quick"]', 'fallback of "quick": name other models'),
        ('fallback = ["own"]', 'fallback = ["own", "own"]', 'fallback of "quick": name other models'),
    ],
)
def test_a_file_that_cannot_be_meant_says_what_to_mend(before: str, after: str, told: str) -> None:
    with pytest.raises(ValueError, match=r"MOORAGE_MODELS: models\.toml: ") as error:
        model_list(settings(FILE.replace(before, after)))

    assert told in str(error.value)
    assert "sk-" not in str(error.value)


def test_the_doctor_says_what_there_is_and_what_to_mend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOORAGE_MODELS", "models.toml")
    found = []

    for text in (FILE, FILE.replace("4096", "1")):
        Path("models.toml").write_text(text)
        found += [finding for finding in examine(tmp_path) if finding.name == "answers"]

    good, bad = found
    assert (good.found, good.fatal) == ("quick, own", False)
    assert bad.fatal
    assert "model.0.context" in bad.remedy


async def test_nothing_is_started_with_a_file_that_cannot_be_meant(tmp_path: Path) -> None:
    said: list[str] = []

    with pytest.raises(StackError, match="MOORAGE_MODELS"):
        await Stack(settings(""), tmp_path, said.append).start()

    assert said == []


def test_a_list_that_waits_longer_than_a_step_lasts_is_refused() -> None:
    with pytest.raises(ValueError, match="MOORAGE_FIRST_TOKEN_SECONDS may be at most 55"):
        model_list(settings(FILE, first_token_seconds=60))


def test_a_model_is_followed_by_those_that_stand_in_for_it() -> None:
    models = Models(
        [Model("a", "a", 1024, fallback=("c", "b")), Model("b", "b", 1024, fallback=("a",)), Model("c", "c", 1024)]
    )

    chains = [[model.name for model in models.chain(name)] for name in (None, "b", "c")]

    assert chains == [["a", "c", "b"], ["b", "a"], ["c"]]
    with pytest.raises(UnknownModel):
        models.chain("d")


def test_without_a_language_model_quotes_can_be_asked_for_by_name() -> None:
    assert Models().named("extractive") is QUOTING


def test_the_last_of_a_chain_is_asked_before_a_brief_step_ends(tmp_path: Path) -> None:
    alone = model_list(Settings(openai_base_url="http://127.0.0.1:1/v1", _env_file=None))
    three = [replace(alone[0], model=replace(alone[0].model, fallback=("b", "c"))), alone[0]]

    assert [brief_patience(alone), brief_patience(three)] == [18.0, 6.0]
