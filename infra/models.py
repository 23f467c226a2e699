"""The operator's list of language models: a TOML file, read once. Without it, the one model of OPENAI_*.

[[model]]
name = "quick"                        # what people ask for
called = "gpt-4o-mini"                # what the provider calls it; without it: the name
base_url = "https://api.openai.com/v1"
key_env = "OPENAI_API_KEY"            # the variable that holds the key, or key_file; without both: no key
context = 128000                      # tokens of prompt and reply together
max_tokens = 4000                     # of its longest reply; without it: what is asked for
default = true                        # without one: the first
fallback = ["own"]                    # who answers when it is not available, in order
"""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator

from agents.options import BRIEF
from domain.models import Model
from infra.settings import Settings, variable

LONGEST = 50  # entries
FALLBACKS = 3  # of one model
LEFT = timedelta(seconds=2)  # of a brief step, for what is done before and after
STEP = 110  # seconds of a step's 120 that may go by in waiting for first tokens

Name = Annotated[str, Field(min_length=1, max_length=200)]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A model and where it is. `purpose` names its pace at that address."""

    model: Model
    base_url: str
    key: SecretStr
    purpose: str


def _address(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("give a whole address: https://api.example.org/v1")
    if parts.username or parts.password or parts.query:
        raise ValueError("leave user, password and query out: a key is named in key_env or key_file")
    return url


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, strict=True)

    name: Name
    called: Name = ""
    base_url: Annotated[str, AfterValidator(_address)]
    key_env: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] | None = None
    key_file: str | None = None
    context: Annotated[int, Field(ge=1024, le=10_000_000)]
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    default: bool = False
    fallback: Annotated[list[Name], Field(max_length=FALLBACKS)] = []

    @model_validator(mode="before")
    @classmethod
    def _no_key(cls, given: Any) -> Any:
        if isinstance(given, dict) and not given.keys().isdisjoint(("key", "api_key")):
            raise ValueError("no key belongs into this file: name its variable in key_env, or its file in key_file")
        return given

    @model_validator(mode="after")
    def _one_key(self) -> Self:
        if self.key_env and self.key_file:
            raise ValueError("name the key in key_env or in key_file, not in both")
        if self.max_tokens and self.max_tokens >= self.context:
            raise ValueError("max_tokens must be smaller than context: the prompt needs room as well")
        return self


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, strict=True)

    model: Annotated[list[_Entry], Field(min_length=1, max_length=LONGEST)]

    @model_validator(mode="after")
    def _names(self) -> Self:
        names = [entry.name for entry in self.model]
        if len(set(names)) < len(names):
            raise ValueError("each name may be given once")
        if sum(entry.default for entry in self.model) > 1:
            raise ValueError("only one model can be the default")
        for entry in self.model:
            others = set(names) - {entry.name}
            if len(set(entry.fallback)) < len(entry.fallback) or not others.issuperset(entry.fallback):
                raise ValueError(f'fallback of "{entry.name}": name other models of this file, each once')
        return self


def model_list(settings: Settings) -> Sequence[Endpoint]:
    """The default first; none where answers are quotes. Raises ValueError that names the file and what to mend."""
    if settings.models is None:
        return [_plain(settings)] if settings.talks else []
    try:
        found = _File.model_validate(tomllib.loads(settings.models.read_text(encoding="utf-8"))).model
        _in_time(found, settings)
        endpoints = [_endpoint(entry) for entry in sorted(found, key=lambda entry: not entry.default)]
    except (OSError, ValueError) as error:
        raise ValueError(f"MOORAGE_MODELS: {settings.models}: {_told(error)}") from None
    return endpoints


def _plain(settings: Settings) -> Endpoint:
    model = Model(settings.chat_model, settings.chat_model, settings.context_tokens)
    return Endpoint(model, settings.openai_base_url, settings.openai_api_key, "chat")


def _endpoint(entry: _Entry) -> Endpoint:
    model = Model(entry.name, entry.called or entry.name, entry.context, entry.max_tokens, tuple(entry.fallback))
    return Endpoint(model, entry.base_url, SecretStr(_key(entry)), f"chat:{entry.name}")


def _key(entry: _Entry) -> str:
    if entry.key_file:
        held, where = Path(entry.key_file).read_text(encoding="utf-8").strip(), f"file {entry.key_file}"
    elif entry.key_env:
        held, where = variable(entry.key_env), f"variable {entry.key_env}"
    else:
        return ""
    if not held:
        raise ValueError(f'key of "{entry.name}": the {where} is empty; put the key there, or take the line out')
    return held


def brief_patience(endpoints: Sequence[Endpoint]) -> float:
    """Seconds for the first token of a brief call, so that the last model of a chain is asked before its step ends."""
    longest = max(len(endpoint.model.fallback) for endpoint in endpoints) + 1
    return (BRIEF - LEFT).total_seconds() / longest


def _in_time(entries: Sequence[_Entry], settings: Settings) -> None:
    """A step that waits for all of a chain to say nothing would be over before the last one is asked."""
    most = max(len(entry.fallback) for entry in entries) + 1
    if most > 1 and most * settings.first_token_seconds > STEP:
        raise ValueError(
            f"with {most - 1} fallbacks MOORAGE_FIRST_TOKEN_SECONDS may be at most {STEP // most}: "
            "lower it, or shorten the list"
        )


def _told(error: Exception) -> str:
    if isinstance(error, ValidationError):
        problems = error.errors(include_input=False)
        return "; ".join(": ".join(filter(None, (".".join(map(str, one["loc"])), one["msg"]))) for one in problems)
    return str(error) or type(error).__name__
