"""The secrets of a home are made once, for its owner only, and never replace what the operator gave."""

from pathlib import Path

import pytest

from infra.settings import Settings
from infra.stack.addresses import without_password
from infra.stack.envfile import EnvFile
from infra.stack.platform import own_secret
from infra.stack.ports import Ports
from infra.stack.stores import external, plan_stores


@pytest.fixture
def env(tmp_path: Path) -> EnvFile:
    return EnvFile(tmp_path / "env")


def test_a_secret_is_generated_once_per_home(env: EnvFile) -> None:
    first = env.secret("MOORAGE_SECRET_KEY")

    again = EnvFile(env.path).secret("MOORAGE_SECRET_KEY")

    assert again == first
    assert len(first) >= 32


def test_only_the_owner_may_read_the_file(env: EnvFile) -> None:
    env.path.write_text("OLD=1\n")
    env.path.chmod(0o644)

    env.secret("MOORAGE_SECRET_KEY")

    assert env.path.stat().st_mode & 0o777 == 0o600


def test_what_is_forgotten_is_no_longer_in_the_file(env: EnvFile) -> None:
    env.write({"REDIS_URL": "redis://here", "OTHER": "stays"})

    env.forget("REDIS_URL")

    assert EnvFile(env.path).values == {"OTHER": "stays"}


def test_the_operators_key_is_used_and_not_written_down(env: EnvFile) -> None:
    settings = Settings(secret_key="a key that the operator chose, long enough")

    assert own_secret(settings, env) == {}
    assert not env.path.exists()


def test_without_a_key_the_home_gets_its_own(env: EnvFile) -> None:
    given = own_secret(Settings(secret_key=""), env)

    assert given == {"MOORAGE_SECRET_KEY": EnvFile(env.path).values["MOORAGE_SECRET_KEY"]}


def test_a_server_that_the_settings_name_is_external(env: EnvFile) -> None:
    addresses, given = external(Settings(redis_url="redis://elsewhere:6379/0"), env)

    assert given == {"redis_url"}
    assert addresses.redis_url == "redis://elsewhere:6379/0"


def test_a_blank_address_names_no_server(env: EnvFile) -> None:
    _, given = external(Settings(redis_url=""), env)

    assert given == set()


def test_an_address_that_the_launcher_wrote_itself_names_no_other_server(env: EnvFile) -> None:
    env.write({"REDIS_URL": "redis://:secret@127.0.0.1:20000/0"})

    _, given = external(Settings(redis_url="redis://:secret@127.0.0.1:20000/0"), env)

    assert given == set()


async def test_nothing_is_started_where_everything_is_given(env: EnvFile, tmp_path: Path) -> None:
    settings = Settings(
        redis_url="redis://elsewhere:6379/0", weaviate_url="http://elsewhere:8080", temporal_address="elsewhere:7233"
    )

    plan = await plan_stores(tmp_path, tmp_path, settings, Ports(tmp_path / "ports.json"), env)

    assert plan.processes == []
    assert plan.given == set(plan.addresses.environment())


def test_a_printed_address_shows_no_password() -> None:
    assert without_password("redis://:secret@127.0.0.1:20000/0") == "redis://127.0.0.1:20000/0"
