"""Failpoints strike where and as often as they are told, and never in production."""

import asyncio
import secrets
from pathlib import Path

import pytest
from pydantic import ValidationError

from domain.errors import DependencyUnavailable, TemporalUnavailable
from infra.failpoints import NAMES, Failpoints, configured, parse
from infra.settings import Settings

STRUCK = "runs.report"


async def struck(points: Failpoints, name: str = STRUCK) -> bool:
    try:
        async with points.around(name):
            pass
    except DependencyUnavailable:
        return True
    return False


def test_a_rule_names_a_point_an_action_and_how_often() -> None:
    kill, delay = parse("documents.index.during:30=kill*2; turn.answer.before=delay:0.5")

    assert (kill.name, kill.moment, kill.after_ms, kill.action, kill.times) == (
        "documents.index",
        "during",
        30,
        "kill",
        2,
    )
    assert (delay.action, delay.seconds, delay.times) == ("delay", 0.5, None)


@pytest.mark.parametrize("name", sorted(NAMES))
@pytest.mark.parametrize("moment", ["before", "after", "during"])
def test_every_name_has_its_three_moments(name: str, moment: str) -> None:
    assert parse(f"{name}.{moment}=kill")


@pytest.mark.parametrize(
    "rule",
    [
        "documents.embed=kill",
        "documents.ember.after=kill",
        "documents.embed.after=explode",
        "documents.embed.after:5=kill",
        "documents.embed.during=raise",
        "documents.embed.after=delay",
        "documents.embed.after=kill:3",
        "documents.embed.after=raise%",
        "documents.embed.after=raise#7",
    ],
)
def test_what_is_no_rule_is_refused(rule: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="MOORAGE_FAILPOINTS"):
        Failpoints(rule, tmp_path)


async def test_a_limited_fault_strikes_that_often_whoever_asks(tmp_path: Path) -> None:
    rule = f"{STRUCK}.after=raise*2"

    found = [await struck(Failpoints(rule, tmp_path)) for _ in range(4)]

    assert found == [True, True, False, False]


async def test_a_fault_strikes_at_its_own_point_only(tmp_path: Path) -> None:
    points = Failpoints(f"{STRUCK}.before=raise", tmp_path)

    assert await struck(points)
    assert not await struck(points, "usage.settle")


async def test_a_fault_by_chance_strikes_about_that_often_and_the_same_passages_again(tmp_path: Path) -> None:
    rule = f"{STRUCK}.after=raise%20#7"

    found = [[await struck(points) for _ in range(500)] for points in (Failpoints(rule, tmp_path) for _ in range(2))]

    assert 70 < found[0].count(True) < 130
    assert found[0] == found[1]
    other = Failpoints(f"{STRUCK}.after=raise%20#8", tmp_path)
    assert [await struck(other) for _ in range(500)] != found[0]


async def test_a_fault_by_chance_is_limited_as_any_other(tmp_path: Path) -> None:
    points = Failpoints(f"{STRUCK}.after=raise%20*3", tmp_path)

    assert [await struck(points) for _ in range(200)].count(True) == 3


async def test_rules_in_a_file_can_be_changed_at_any_time(tmp_path: Path) -> None:
    file = tmp_path / "rules"
    points = Failpoints(f"@{file}", tmp_path / "tokens")
    assert not await struck(points)

    file.write_text(f"{STRUCK}.before=raise")

    assert await struck(points)


async def test_a_point_can_fail_with_the_error_of_its_place(tmp_path: Path) -> None:
    points = Failpoints("engine.start.before=raise", tmp_path)

    with pytest.raises(TemporalUnavailable):
        await points.reach("engine.start", "before", TemporalUnavailable)


async def test_what_ends_sooner_is_not_struck_during(tmp_path: Path) -> None:
    points = Failpoints(f"{STRUCK}.during:20=kill*1", tmp_path)

    async with points.around(STRUCK):
        pass
    await asyncio.sleep(0.05)

    assert list(tmp_path.iterdir()) == []


def test_nothing_is_hooked_in_unless_asked_for() -> None:
    assert configured(Settings(_env_file=None)) is None


def test_production_refuses_failpoints() -> None:
    with pytest.raises(ValidationError, match="MOORAGE_FAILPOINTS"):
        Settings(
            _env_file=None, env="production", secret_key=secrets.token_hex(32), failpoints="runs.report.after=kill"
        )
