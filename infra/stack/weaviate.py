"""One Weaviate node on one machine, reachable with its API key only."""

from collections.abc import Mapping
from pathlib import Path

from infra.stack.environment import plain
from infra.stack.ports import Ports
from infra.stack.probes import answers, listens
from infra.stack.process import Process

MEMORY = "2GiB"  # soft limit of the Go runtime; 20,000 objects take 0.5 GB


class WeaviateServer:
    """The ports and the process of one home's server."""

    def __init__(self, home: Path, ports: Ports, api_key: str, cluster_password: str) -> None:
        self._home = home
        self._port = ports.port("weaviate")
        raft = ports.port("weaviate-raft", following=1)
        self._inner = {
            "GRPC_PORT": ports.port("weaviate-grpc"),
            "CLUSTER_GOSSIP_BIND_PORT": ports.port("weaviate-gossip"),
            "CLUSTER_DATA_BIND_PORT": ports.port("weaviate-data"),
            "RAFT_PORT": raft,
            "RAFT_INTERNAL_RPC_PORT": raft + 1,  # with CLUSTER_IN_LOCALHOST it looks for itself there, whatever is set
        }
        self._cluster_password = cluster_password
        self.api_key = api_key
        self.url = f"http://127.0.0.1:{self._port}"
        self.grpc_port = self._inner["GRPC_PORT"]

    def process(self, binary: Path) -> Process:
        return Process(
            name="weaviate",
            command=[str(binary), "--scheme", "http", "--host", "127.0.0.1", "--port", str(self._port)],
            environment=plain(self._environment()),
            ready=self._ready,
            patience=120,
            grace=30,
        )

    async def _ready(self) -> bool:
        return await listens(self.grpc_port) and await answers(f"{self.url}/v1/.well-known/ready")

    def _environment(self) -> Mapping[str, str]:
        """gRPC and the cluster's own port listen on every interface: nobody gets in without a key, in dev either."""
        return {
            "PERSISTENCE_DATA_PATH": str(self._home / "weaviate"),
            "AUTHENTICATION_ANONYMOUS_ACCESS_ENABLED": "false",
            "AUTHENTICATION_APIKEY_ENABLED": "true",
            "AUTHENTICATION_APIKEY_ALLOWED_KEYS": self.api_key,
            "AUTHENTICATION_APIKEY_USERS": "moorage",
            "CLUSTER_BASIC_AUTH_USERNAME": "moorage",
            "CLUSTER_BASIC_AUTH_PASSWORD": self._cluster_password,
            **{name: str(port) for name, port in self._inner.items()},
            **ONE_NODE,
        }


ONE_NODE = {
    "CLUSTER_HOSTNAME": "node1",
    "CLUSTER_BIND_ADDR": "127.0.0.1",
    "CLUSTER_ADVERTISE_ADDR": "127.0.0.1",
    "CLUSTER_IN_LOCALHOST": "true",
    "RAFT_BOOTSTRAP_EXPECT": "1",
    "RAFT_HEARTBEAT_TIMEOUT": "1",
    "RAFT_ELECTION_TIMEOUT": "1",
    "RAFT_TIMEOUTS_MULTIPLIER": "1",
    "DISABLE_TELEMETRY": "true",
    "GO_PROFILING_DISABLE": "true",
    "GOMEMLIMIT": MEMORY,
    "DEFAULT_VECTORIZER_MODULE": "none",
    "AUTOSCHEMA_ENABLED": "false",
    "API_BASED_MODULES_DISABLED": "true",
    "LOG_LEVEL": "warning",
}
