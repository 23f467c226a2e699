"""Prices: which one a call has, what it comes to, and what is wrong with a list."""

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from domain.prices import Price, Prices, money
from infra.prices import price_list

LIST = """
currency = "USD"

[[price]]
model = "gpt-4o*"
prompt = 2.50
completion = 10

[[price]]
model = "gpt-4o-mini*"
since = 2024-07-18
prompt = 0.15
completion = 0.60

[[price]]
model = "gpt-4o-mini*"
since = 2026-02-01
prompt = 0.10
completion = 0.40

[[price]]
model = "text-embedding-3-small"
prompt = 0.02
"""


@pytest.fixture
def prices(tmp_path: Path) -> Prices:
    (tmp_path / "prices.toml").write_text(LIST)
    return price_list(tmp_path / "prices.toml")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("model", "moment", "cost"),
    [
        ("gpt-4o-mini-2024-07-18", "2026-01-31T23:59:59", 750_000_000),
        ("gpt-4o-mini-2024-07-18", "2026-02-01T00:00:00", 500_000_000),
        ("gpt-4o-mini", "2024-07-17T12:00:00", 12_500_000_000),
        ("gpt-4o", "2026-02-01T00:00:00", 12_500_000_000),
        ("text-embedding-3-small", "2026-02-01T00:00:00", 20_000_000),
        ("text-embedding-3-small-2", "2026-02-01T00:00:00", None),
        ("llama", "2026-02-01T00:00:00", None),
    ],
)
def test_the_closest_name_and_the_latest_day_decide(prices: Prices, model: str, moment: str, cost: int | None) -> None:
    assert prices.cost(model, 1_000_000, 1_000_000, at(moment)) == cost


def test_a_cost_is_exact_to_a_billionth_and_rounded_to_even() -> None:
    prices = Prices("EUR", [Price("m", at("2026-01-01"), Decimal("0.0125"), Decimal("0.0005"))])

    costs = [prices.cost("m", *tokens, at("2026-01-01")) for tokens in [(1, 0), (0, 1), (0, 3), (3, 0)]]

    assert costs == [12, 0, 2, 38]
    assert money(12) == 0.000000012


def test_without_a_list_nothing_has_a_price() -> None:
    assert price_list(None).cost("gpt-4o", 1, 1, at("2026-01-01")) is None


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "currency: Field required"),
        ('currency = "dollars"\nprice = []', "currency"),
        ('currency = "USD"\n[[price]]\nmodel = "m"\nprompt = -1', "price.0.prompt"),
        ('currency = "USD"\n[[price]]\nmodel = "m"\nprompt = nan', "price.0.prompt"),
        ('currency = "USD"\n[[price]]\nmodel = "m"\nprompt = 1\nfrom = 2026-01-01', "price.0.from"),
        ('currency = "USD', "Unterminated string"),
    ],
)
def test_a_list_that_cannot_be_meant_says_where(tmp_path: Path, text: str, named: str) -> None:
    (tmp_path / "prices.toml").write_text(text)

    with pytest.raises(ValueError, match="MOORAGE_PRICES") as error:
        price_list(tmp_path / "prices.toml")

    assert named in str(error.value)


def test_a_list_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"nowhere\.toml"):
        price_list(tmp_path / "nowhere.toml")
