"""Where the three servers are: one frozen value, and the environment variables that say the same."""

from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Addresses:
    """Reach all three. `redis_url` carries the password."""

    temporal_address: str
    temporal_namespace: str
    temporal_ui_url: str
    weaviate_url: str
    weaviate_grpc_port: int
    weaviate_api_key: str = field(repr=False)
    redis_url: str = field(repr=False)

    def environment(self) -> dict[str, str]:
        """The same under the names that `infra.settings` reads."""
        return {
            "MOORAGE_TEMPORAL_ADDRESS": self.temporal_address,
            "MOORAGE_TEMPORAL_NAMESPACE": self.temporal_namespace,
            "MOORAGE_TEMPORAL_UI_URL": self.temporal_ui_url,
            "WEAVIATE_URL": self.weaviate_url,
            "WEAVIATE_GRPC_PORT": str(self.weaviate_grpc_port),
            "WEAVIATE_API_KEY": self.weaviate_api_key,
            "REDIS_URL": self.redis_url,
        }


def without_password(url: str) -> str:
    """The URL as it may be printed."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
