"""The operator's price list: a TOML file, read once.

currency = "USD"

[[price]]
model = "gpt-4o-mini*"     # a name, or its beginning and *
since = 2024-07-18         # this day on, UTC; without it: always
prompt = 0.15              # for a million tokens
completion = 0.60
"""

import tomllib
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from domain.prices import Price, Prices

LONGEST = 1_000  # entries

Amount = Annotated[Decimal, Field(ge=0, le=1_000_000, allow_inf_nan=False)]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    model: Annotated[str, Field(min_length=1, max_length=255)]
    since: date = date.min
    prompt: Amount
    completion: Amount = Decimal(0)


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
    price: Annotated[list[_Entry], Field(max_length=LONGEST)]


def price_list(path: Path | None) -> Prices:
    """No path: no prices. Raises ValueError that names the file and what is wrong in it."""
    if path is None:
        return Prices()
    try:
        found = _File.model_validate(tomllib.loads(path.read_text(encoding="utf-8"), parse_float=Decimal))
    except (OSError, ValueError) as error:
        raise ValueError(f"MOORAGE_PRICES: {path}: {_told(error)}") from None
    return Prices(found.currency, tuple(_price(entry) for entry in found.price))


def _price(entry: _Entry) -> Price:
    since = datetime(entry.since.year, entry.since.month, entry.since.day, tzinfo=UTC)
    return Price(entry.model, since, entry.prompt, entry.completion)


def _told(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors(include_input=False))
    return str(error) or type(error).__name__
