"""The production shape names nothing that the code does not have: settings, commands, ports, queues, attributes."""

import json
import re
import secrets
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from pydantic import AliasChoices
from typer.core import TyperGroup

from cli.main import app
from domain import names
from infra.settings import Environment, Settings
from infra.stack.platform import USUAL
from infra.stack.temporal import DYNAMIC_CONFIG, RETENTION
from infra.stack.weaviate import ONE_NODE
from infra.stack.weaviate_binary import VERSION as WEAVIATE_VERSION
from workflows.worker import GRACE

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "infra/deploy/Dockerfile").read_text()
COMPOSE = yaml.safe_load((ROOT / "temporal-compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = [name for name, service in SERVICES.items() if service["image"].startswith("moorage:")]
JOBS = ["weaviate-volume", "temporal-schema", "temporal-namespace", "migrate"]

REFERENCE = re.compile(r"\$\{(?P<name>\w+)(?::(?P<kind>[-?])(?P<rest>[^}]*))?\}")
SECRET = re.compile(r"(PASSWORD|PWD|SECRET_KEY|API_KEY|ALLOWED_KEYS)$")
OURS_TO_SET = re.compile(r"^(MOORAGE|OPENAI|WEAVIATE|REDIS)_")
CHOSEN = {
    "MOORAGE_REGISTRATION": "closed",
    "MOORAGE_HOSTS": "rag.example.org",
}  # what the operator must choose and is no secret


def variables() -> dict[str, str]:
    """Every name that sets something -> the setting's field."""
    found = {}
    for field, info in Settings.model_fields.items():
        alias = info.validation_alias
        choices = alias.choices if isinstance(alias, AliasChoices) else [f"MOORAGE_{field.upper()}"]
        found |= {str(choice): field for choice in choices}
    return found


def listed(path: str) -> dict[str, str]:
    """`NAME=value` lines, those that are commented out too."""
    lines = (ROOT / path).read_text().splitlines()
    return dict(re.findall(r"^#?([A-Z_]+)=(.*)$", "\n".join(lines), re.MULTILINE))


def default(value: str) -> str:
    """What a value becomes where nothing but the required variables is set."""
    return REFERENCE.sub(_set_or_default, value)


def _set_or_default(match: re.Match[str]) -> str:
    return match["rest"] if match["kind"] == "-" else CHOSEN.get(match["name"], secrets.token_hex(32))


def references() -> dict[str, str]:
    """Each variable that the file wants -> `?` when it is required, `-` when it has a default."""
    text = "\n".join(json.dumps(service) for service in SERVICES.values()).replace("$$", "")
    return {match["name"]: match["kind"] for match in REFERENCE.finditer(text)}


def commands() -> dict[str, Any]:
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    return dict(group.commands)


def seconds(duration: str) -> int:
    assert duration.endswith("s")
    return int(duration[:-1])


@pytest.mark.parametrize("name", OURS)
def test_every_variable_of_our_services_is_a_setting(name: str) -> None:
    given = {variable for variable in SERVICES[name]["environment"] if OURS_TO_SET.match(variable)}

    assert given
    assert given <= variables().keys()


def test_every_variable_of_the_image_is_a_setting() -> None:
    given = set(re.findall(r"\b(MOORAGE_\w+)=", DOCKERFILE))

    assert given
    assert given <= variables().keys()


@pytest.mark.parametrize("name", OURS)
def test_the_settings_of_our_services_are_accepted_in_production(name: str, tmp_path: Path) -> None:
    lines = [f"{key}={default(value)}" for key, value in SERVICES[name]["environment"].items()]
    file = tmp_path / "service.env"
    file.write_text("\n".join(lines))

    assert Settings(_env_file=file).env is Environment.PRODUCTION


@pytest.mark.parametrize("name", OURS)
def test_every_command_of_our_services_exists_with_its_options(name: str) -> None:
    command, *arguments = SERVICES[name]["command"]

    commands()[command].make_context(command, list(arguments))


def test_the_command_of_the_image_exists() -> None:
    words = re.findall(r"^(?:ENTRYPOINT|CMD) (\[.*\])$", DOCKERFILE, re.MULTILINE)
    entry, command = map(json.loads, words)

    assert entry == ["moorage"]
    assert command[0] in commands()


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", "docs/operations.md", "docs/architecture.md", "Makefile"]
)
def test_every_command_in_the_documentation_exists(page: str) -> None:
    named = set(re.findall(r"(?:`|\$\(RUN\) |^)moorage ([a-z]+)", (ROOT / page).read_text(), re.MULTILINE))

    assert named <= commands().keys()


def test_each_queue_has_its_worker() -> None:
    queues = [SERVICES[name]["command"][-1] for name in OURS if SERVICES[name]["command"][0] == "worker"]

    assert sorted(queues) == sorted(names.QUEUES)


@pytest.mark.parametrize(("queue", "graceful"), GRACE.items())
def test_a_worker_gets_longer_to_stop_than_it_takes(queue: str, graceful: timedelta) -> None:
    assert seconds(SERVICES[f"worker-{queue}"]["stop_grace_period"]) > graceful.total_seconds()


def test_the_api_listens_where_it_is_published_and_probed() -> None:
    port = str(Settings.model_fields["port"].default)

    assert SERVICES["api"]["environment"]["MOORAGE_PORT"] == port
    assert SERVICES["api"]["ports"][0].endswith(f":{port}")
    assert f"EXPOSE {port}\n" in DOCKERFILE
    assert f"http://127.0.0.1:{port}/healthz" in DOCKERFILE


def test_as_many_chat_workers_run_as_on_one_machine() -> None:
    assert SERVICES["worker-chat"]["scale"] == USUAL[names.CHAT_QUEUE]


@pytest.mark.parametrize("name", ["worker-chat", "worker-documents"])
def test_a_worker_is_probed_where_it_serves_its_metrics(name: str) -> None:
    port = SERVICES[name]["environment"]["MOORAGE_METRICS_PORT"]

    assert f"http://127.0.0.1:{port}/metrics" in SERVICES[name]["healthcheck"]["test"][-1]


def test_the_stores_listen_where_our_services_look_for_them() -> None:
    environment = SERVICES["api"]["environment"]
    weaviate = SERVICES["weaviate"]

    port = weaviate["command"][weaviate["command"].index("--port") + 1]
    assert environment["WEAVIATE_URL"] == f"http://weaviate:{port}"
    assert environment["WEAVIATE_GRPC_PORT"] == weaviate["environment"]["GRPC_PORT"]
    assert environment["MOORAGE_TEMPORAL_ADDRESS"] == SERVICES["temporal-ui"]["environment"]["TEMPORAL_ADDRESS"]
    assert default(environment["REDIS_URL"]).endswith("@redis:6379/0")
    assert default(environment["MOORAGE_DATABASE_URL"]).endswith("@postgres:5432/moorage")
    assert SERVICES["temporal-ui"]["ports"] == [
        Settings.model_fields["temporal_ui_url"].default.removeprefix("http://") + ":8080"
    ]


def test_only_the_api_can_be_published_beyond_loopback() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}

    assert published.keys() == {"api", "temporal-ui"}
    assert published["temporal-ui"][0].startswith("127.0.0.1:")
    assert default(published["api"][0]).startswith("127.0.0.1:")


def test_every_image_is_pinned_to_a_version() -> None:
    images = [service["image"] for service in SERVICES.values()]
    images += [line.split()[1] for line in DOCKERFILE.splitlines() if line.startswith("FROM ")]

    assert [image for image in images if not re.search(r":\d+\.\d+(\.\d+)?(-[\w.]+)*$", image)] == []


def test_weaviate_is_the_one_that_the_launcher_starts() -> None:
    assert SERVICES["weaviate"]["image"].endswith(f":{WEAVIATE_VERSION}")
    assert ONE_NODE.items() <= SERVICES["weaviate"]["environment"].items()


def test_weaviate_lets_nobody_in_without_a_key() -> None:
    environment = SERVICES["weaviate"]["environment"]

    assert environment["AUTHENTICATION_ANONYMOUS_ACCESS_ENABLED"] == "false"
    assert environment["AUTHENTICATION_APIKEY_ALLOWED_KEYS"] == SERVICES["api"]["environment"]["WEAVIATE_API_KEY"]


@pytest.mark.parametrize("name", SERVICES)
def test_no_secret_is_written_down(name: str) -> None:
    given = SERVICES[name].get("environment", {})
    secret = {key: value for key, value in given.items() if SECRET.search(key) and key != "OPENAI_API_KEY"}

    assert [key for key, value in secret.items() if not re.fullmatch(r"\$\{\w+:\?[^}]+\}", value)] == []
    assert [value for value in given.values() if re.search(r"://[^/@]*:[^/@]+@", REFERENCE.sub("", value))] == []


def test_redis_keeps_an_append_only_file_behind_a_password() -> None:
    script = SERVICES["redis"]["command"][0]

    assert "--appendonly yes" in script
    assert "requirepass" in script


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_is_confined(name: str) -> None:
    service = SERVICES[name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"]
    assert service["pids_limit"] <= 512
    assert service["restart"] == ("on-failure:5" if name in JOBS else "unless-stopped")


def test_no_container_runs_as_root_but_the_job_that_hands_a_volume_over() -> None:
    unnamed = {name for name, service in SERVICES.items() if service.get("user") is None}
    theirs = {name for name in unnamed if SERVICES[name]["image"].startswith("temporalio/")}  # uid 1000 in the image

    assert unnamed - theirs == set(OURS)
    assert re.findall(r"^USER (\w+)$", DOCKERFILE, re.MULTILINE) == ["moorage"]
    assert [name for name, service in SERVICES.items() if service.get("user") == "root"] == ["weaviate-volume"]
    assert SERVICES["weaviate-volume"]["network_mode"] == "none"


def test_the_stores_cannot_reach_the_outside() -> None:
    outside = {name for name, service in SERVICES.items() if "edge" in service.get("networks", [])}

    assert COMPOSE["networks"]["stores"]["internal"] is True
    assert outside == {*OURS, "temporal-ui"}


@pytest.mark.parametrize("name", [name for name in SERVICES if name not in JOBS and name != "api"])
def test_every_service_says_when_it_is_healthy(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")


@pytest.mark.parametrize("name", SERVICES)
def test_jobs_are_waited_for_until_they_end_and_services_until_they_are_healthy(name: str) -> None:
    for needed, how in SERVICES[name].get("depends_on", {}).items():
        expected = "service_completed_successfully" if needed in JOBS else "service_healthy"
        assert how == {"condition": expected}


def test_the_namespace_job_makes_our_namespace_and_search_attributes() -> None:
    environment = SERVICES["temporal-namespace"]["environment"]

    assert tuple(environment["KEYWORD_ATTRIBUTES"].split()) == names.KEYWORD_ATTRIBUTES
    assert tuple(environment["DATETIME_ATTRIBUTES"].split()) == names.DATETIME_ATTRIBUTES
    assert environment["RETENTION"] == RETENTION
    assert environment["TEMPORAL_NAMESPACE"] == SERVICES["api"]["environment"]["MOORAGE_TEMPORAL_NAMESPACE"]


def test_temporal_runs_with_the_dynamic_configuration_of_the_launcher() -> None:
    file = yaml.safe_load((ROOT / "infra/deploy/temporal-dynamicconfig.yaml").read_text())

    expected = {key: yaml.safe_load(value) for key, _, value in (flag.partition("=") for flag in DYNAMIC_CONFIG)}
    assert {key: rules[0]["value"] for key, rules in file.items()} == expected


@pytest.mark.parametrize("name", SERVICES)
def test_every_file_that_is_mounted_exists(name: str) -> None:
    mounted = [volume.split(":")[0] for volume in SERVICES[name].get("volumes", []) if volume.startswith("./")]

    assert [path for path in mounted if not (ROOT / path).is_file()] == []


def test_the_compose_example_lists_exactly_the_variables_that_are_read() -> None:
    assert listed("infra/deploy/compose.env.example").keys() == references().keys()


def test_the_compose_example_leaves_required_variables_to_fill_in_and_shows_the_other_defaults() -> None:
    text = (ROOT / "infra/deploy/compose.env.example").read_text()
    required = {name for name, kind in references().items() if kind == "?"}

    assert set(re.findall(r"^([A-Z_]+)=$", text, re.MULTILINE)) == required
    for service in SERVICES.values():
        for match in REFERENCE.finditer(json.dumps(service)):
            if match["kind"] == "-":
                assert listed("infra/deploy/compose.env.example")[match["name"]] == match["rest"]


def test_the_example_lists_every_setting_once_with_its_default(tmp_path: Path) -> None:
    lines = re.findall(r"^#([A-Z_]+=.*)$", (ROOT / ".env.example").read_text(), re.MULTILINE)
    (tmp_path / "env").write_text("\n".join(lines))

    assert sorted(variables()[line.partition("=")[0]] for line in lines) == sorted(Settings.model_fields)
    assert Settings(_env_file=tmp_path / "env") == Settings(_env_file=None)


def test_a_copy_of_the_example_changes_nothing() -> None:
    assert Settings(_env_file=ROOT / ".env.example").model_fields_set == Settings(_env_file=None).model_fields_set


def test_the_operations_page_names_every_setting() -> None:
    page = (ROOT / "docs/operations.md").read_text()

    assert [name for name in listed(".env.example") if f"`{name}`" not in page] == []
