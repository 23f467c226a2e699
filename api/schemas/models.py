"""Bodies of models."""

from api.schemas.body import Response


class Price(Response):
    """In `currency` for a million tokens."""

    currency: str
    prompt: float
    completion: float


class Model(Response):
    """`model` is what a question may ask for. `context_tokens` hold prompt and reply; null: nothing is sent anywhere.

    `max_tokens` is its longest reply, null as long as is asked for; `fallback` who answers when it is not available.
    """

    model: str
    default: bool
    language_model: bool
    context_tokens: int | None
    max_tokens: int | None
    fallback: list[str]
    price: Price | None
