"""Every knob, read once from the environment (`MOORAGE_*`, then `.env`) by the entry points and passed down."""

import os
import re
from enum import StrEnum
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeAlias

from dotenv import dotenv_values
from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from domain.context import CONTEXT_TOKENS
from domain.window import HISTORY_TOKENS

ENV_FILE = ".env"
DEV_KEY = "moorage-development-key-never-use-in-production"
MEGABYTE = 1_000_000
PLACEHOLDER = re.compile(r"change.?(me|this|it)|secret|password|example|default|development|moorage", re.IGNORECASE)

Registration: TypeAlias = Literal["open", "invite", "closed"]

# In dev: names that no resolver outside this machine gives to anybody, so that no web page can borrow one of them.
LOCAL_HOSTS = ("localhost", "*.localhost", "*.test", "127.0.0.1", "[::1]")
PER_MINUTE, PER_MINUTE_ANONYMOUS = 600, 120
DEV_PATIENCE = 10  # times the rate limits, in dev


class Environment(StrEnum):
    DEV = "dev"
    PRODUCTION = "production"


def _plain(name: str) -> AliasChoices:
    """A setting that the rest of the world knows by another name; ours wins."""
    return AliasChoices(f"MOORAGE_{name}", name)


def _registration(chosen: dict[str, Any]) -> Registration:
    """Open where somebody tries it out; elsewhere nobody gets in unless they were asked."""
    return "open" if chosen.get("env") is Environment.DEV else "invite"


def _words(value: Any) -> Any:
    """`a, b` as it stands in an environment."""
    return tuple(word.strip() for word in value.split(",") if word.strip()) if isinstance(value, str) else value


def _origins(origins: tuple[str, ...]) -> tuple[str, ...]:
    if any("*" in origin or not origin.startswith(("http://", "https://")) for origin in origins):
        raise ValueError("name each origin: https://app.example.org, without `*`")
    return origins


def _networks(networks: tuple[str, ...]) -> tuple[str, ...]:
    for network in networks:
        ip_network(network, strict=False)
    return networks


Words = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_words)]
Unset = BeforeValidator(lambda value: None if value == "" else value)  # NAME= is as good as no line at all


class Settings(BaseSettings):
    """One frozen value; nothing reads the environment after this."""

    model_config = SettingsConfigDict(
        env_prefix="MOORAGE_",
        env_file=ENV_FILE,
        env_file_encoding="utf-8",
        extra="ignore",
        frozen=True,
        populate_by_name=True,
        hide_input_in_errors=True,  # a refused value may be a secret
    )

    env: Environment = Environment.DEV
    home: Path = Path(".moorage")
    host: str = "127.0.0.1"
    port: int = Field(8080, ge=0, le=65535)
    metrics_port: int = Field(0, ge=0, le=65535, description="Of a worker, or of one of several APIs on one port")
    workers: Annotated[int | None, Field(ge=1, le=16), Unset] = Field(
        None, description="What the launcher starts of each: APIs and workers of each queue; None: what fills two cores"
    )
    secret_key: SecretStr = SecretStr(DEV_KEY)
    secret_key_previous: SecretStr = SecretStr("")
    docs: Annotated[bool | None, Unset] = Field(None, description="None: in dev only")
    metrics: Annotated[bool | None, Unset] = Field(None, description="None: in dev only")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    registration: Registration = Field(default_factory=_registration)
    token_limit: int = Field(100_000, ge=0, description="Monthly tokens of a new tenant")
    access_token_seconds: int = Field(900, ge=60, le=900)
    refresh_token_days: int = Field(14, ge=1, le=30)
    password_length: int = Field(15, ge=8, le=64)
    max_upload_bytes: int = Field(10 * MEGABYTE, ge=1)

    hosts: Words = ()
    cors_origins: Annotated[Words, AfterValidator(_origins)] = ()
    proxies: Annotated[Words, AfterValidator(_networks)] = ()
    rate_limit: Annotated[int | None, Field(ge=0), Unset] = None
    rate_limit_anonymous: Annotated[int | None, Field(ge=0), Unset] = None
    chat_backlog: int = Field(128, ge=0, description="Questions that may wait for a worker; 0 lets everybody in")

    database_url: SecretStr = SecretStr("")
    blobs_url: str = ""

    temporal_address: str = "127.0.0.1:7233"
    temporal_namespace: str = "default"
    temporal_ui_url: str = "http://127.0.0.1:8233"

    weaviate_url: str = Field("http://127.0.0.1:8088", validation_alias=_plain("WEAVIATE_URL"))
    weaviate_grpc_port: int = Field(50051, validation_alias=_plain("WEAVIATE_GRPC_PORT"))
    weaviate_api_key: SecretStr = Field(SecretStr(""), validation_alias=_plain("WEAVIATE_API_KEY"))
    redis_url: SecretStr = Field(SecretStr("redis://127.0.0.1:6379/0"), validation_alias=_plain("REDIS_URL"))

    openai_api_key: SecretStr = Field(SecretStr(""), validation_alias=_plain("OPENAI_API_KEY"))
    openai_base_url: str = Field("", validation_alias=_plain("OPENAI_BASE_URL"))
    chat_model: str = "gpt-4o-mini"
    models: Annotated[Path | None, Unset] = Field(None, description="A TOML file, see docs/providers.md")
    context_tokens: int = Field(CONTEXT_TOKENS, ge=1024, le=10_000_000, description="Of the model above")
    first_token_seconds: float = Field(30.0, gt=0, le=110, description="A step of a turn ends after 120")
    token_gap_seconds: float = Field(15.0, gt=0, le=110)
    history_tokens: int = Field(HISTORY_TOKENS, ge=200, le=100_000, description="Of earlier messages, word for word")
    embedder: Literal["local", "openai"] = "local"
    embedding_model: str = "text-embedding-3-small"
    embedding_dimensions: int = Field(1536, ge=1, le=8192)
    passage_tokens: int = Field(2500, ge=1, description="For the passages of an answer, counted cautiously")
    cache_dir: Path = Path("~/.cache/moorage")
    prices: Annotated[Path | None, Unset] = Field(None, description="A TOML file, see docs/operations.md")
    failpoints: str = Field("", description="Faults for tests, see infra/failpoints.py")

    @model_validator(mode="after")
    def _refuse_weak_secrets(self) -> Self:
        if self.env is Environment.DEV:
            return self
        if weak(self.secret_key.get_secret_value()):
            raise ValueError("MOORAGE_SECRET_KEY: production needs a random key of at least 32 characters")
        previous = self.secret_key_previous.get_secret_value()
        if previous and weak(previous):
            raise ValueError("MOORAGE_SECRET_KEY_PREVIOUS: leave it empty, or give the random key that was in use")
        return self

    @model_validator(mode="after")
    def _refuse_faults(self) -> Self:
        if self.failpoints and self.env is not Environment.DEV:
            raise ValueError("MOORAGE_FAILPOINTS: faults are for tests; leave it empty outside MOORAGE_ENV=dev")
        return self

    @property
    def is_dev(self) -> bool:
        return self.env is Environment.DEV

    @property
    def shows_docs(self) -> bool:
        return self.is_dev if self.docs is None else self.docs

    @property
    def shows_metrics(self) -> bool:
        return self.is_dev if self.metrics is None else self.metrics

    @property
    def trusted_hosts(self) -> tuple[str, ...]:
        """What `Host` may say; empty is none at all, which the API process refuses to start with."""
        return self.hosts or ((*LOCAL_HOSTS, self.host) if self.is_dev else ())

    @property
    def per_minute(self) -> int:
        """Requests of an account; 0 is no limit."""
        return self._patient(self.rate_limit, PER_MINUTE)

    @property
    def per_minute_anonymous(self) -> int:
        """Requests of an address without a token."""
        return self._patient(self.rate_limit_anonymous, PER_MINUTE_ANONYMOUS)

    def _patient(self, given: int | None, default: int) -> int:
        return given if given is not None else default * (DEV_PATIENCE if self.is_dev else 1)

    @property
    def talks(self) -> bool:
        """A language model is configured."""
        return bool(self.models or self.openai_api_key.get_secret_value() or self.openai_base_url)

    @property
    def database(self) -> str:
        """SQLAlchemy URL of the database; a file under the home unless set."""
        return self.database_url.get_secret_value() or f"sqlite+aiosqlite:///{self.home.absolute() / 'moorage.db'}"

    @property
    def blobs(self) -> str:
        """URL of the blob store; a folder under the home unless set."""
        return self.blobs_url or (self.home.absolute() / "blobs").as_uri()

    @property
    def cache(self) -> Path:
        """Per-user folder of things built once: embedding model, Weaviate binary."""
        return self.cache_dir.expanduser()


def variable(name: str) -> str:
    """What the operator's file names instead of holding it; from the environment, then from `.env`, else empty."""
    return os.environ.get(name) or dotenv_values(ENV_FILE).get(name) or ""


def weak(key: str) -> bool:
    """Short, repetitive, ours, or somebody's placeholder."""
    return len(key) < 32 or len(set(key)) < 8 or key == DEV_KEY or bool(PLACEHOLDER.search(key))
