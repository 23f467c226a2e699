"""What settings decide by themselves."""

from pathlib import Path

import pytest

from infra.settings import Environment, Settings

KEY = "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize(("env", "mode"), [(Environment.DEV, "open"), (Environment.PRODUCTION, "invite")])
def test_registration_is_open_by_default_only_in_dev(
    env: Environment, mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # no .env
    monkeypatch.delenv("MOORAGE_REGISTRATION", raising=False)

    assert Settings(env=env, secret_key=KEY).registration == mode
    assert Settings(env=env, secret_key=KEY, registration="closed").registration == "closed"
