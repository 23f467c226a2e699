"""Several language models over HTTP: listed, asked for by name, and standing in for each other."""

from pathlib import Path

from domain.models import FALLBACK
from tests.platform import Platform, StartPlatform, User
from tests.provider.script import Fault
from tests.provider.server import ScriptedProvider

FILE = """
[[model]]
name = "own"
base_url = "{url}"
context = 4096
max_tokens = 500

[[model]]
name = "quick"
called = "gpt-4o-mini"
base_url = "{url}"
key_file = "{key}"
context = 128000
default = true
fallback = ["own"]
"""
PRICES = """
currency = "USD"

[[price]]
model = "gpt-4o-mini*"
prompt = 0.15
completion = 0.60
"""


async def test_without_a_token_models_are_not_listed(quiet: Platform) -> None:
    response = await quiet.http.get("/api/v1/models")

    assert (response.status_code, response.json()["code"]) == (401, "unauthenticated")


async def test_without_a_language_model_quotes_are_what_there_is(user: User) -> None:
    listed = (await user.http.get("/api/v1/models")).json()

    extractive = {"model": "extractive", "default": True, "language_model": False, "price": None}
    unlimited = {"context_tokens": None, "max_tokens": None, "fallback": []}
    assert listed == {"items": [{**extractive, **unlimited}], "next_cursor": None}
    assert (await user.ask("When does the lock open?", model="extractive"))["finish_reason"] == "not_found"


async def test_the_one_model_of_the_settings_is_listed_with_its_context(talker: User) -> None:
    (only,) = (await talker.http.get("/api/v1/models")).json()["items"]

    assert (only["model"], only["default"], only["context_tokens"]) == ("gpt-4o-mini", True, 8192)


async def test_models_of_a_file_are_listed_asked_for_and_stand_in_for_each_other(
    start_platform: StartPlatform, provider: ScriptedProvider, tmp_path: Path, unlimited: None
) -> None:
    (tmp_path / "key").write_text("sk-quick\n")
    (tmp_path / "models.toml").write_text(FILE.format(url=provider.base_url, key=tmp_path / "key"))
    (tmp_path / "prices.toml").write_text(PRICES)
    provider.reset()
    files = {"models": tmp_path / "models.toml", "prices": tmp_path / "prices.toml"}
    async with start_platform("several", **files) as several:
        user = await several.user()
        items = (await user.http.get("/api/v1/models")).json()["items"]
        usual = await user.ask("Say hello.", use_rag=False)
        named = await user.ask("Say hello.", use_rag=False, model="own")
        provider.script(Fault(status=401, fits=lambda ask: ask.model == "gpt-4o-mini"))
        instead = await user.ask("Say hello.", use_rag=False, model="quick")
        unknown = await user.http.post("/api/v1/chat", json={"message": "Hello", "model": "gpt-4o-mini"})
        usage = await user.settled_usage()
        kept = await several.services.turns.turn_of_run(
            several.services.tokens.verify(user.http.headers["authorization"].removeprefix("Bearer ")).principal,
            instead["workflow_id"],
        )

    price = {"currency": "USD", "prompt": 0.15, "completion": 0.6}
    assert [(one["model"], one["default"], one["fallback"], one["price"]) for one in items] == [
        ("quick", True, ["own"], price),
        ("own", False, [], None),
    ]
    assert [answer["model_used"] for answer in (usual, named, instead)] == ["gpt-4o-mini", "own", "own"]
    assert kept.flags == (FALLBACK,)
    assert (unknown.status_code, unknown.json()["code"]) == (422, "unknown_model")
    assert [call.api_key for call in provider.calls] == ["sk-quick", "none", "sk-quick", "none"]
    assert usage["tokens_used"] == sum(answer["tokens_used"] for answer in (usual, named, instead))
    assert {one["model"]: one["calls"] for one in usage["by_model"]} == {"gpt-4o-mini": 1, "own": 2}
