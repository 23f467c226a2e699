"""How often one may ask: a bucket per account, and one per address for those without a token."""

from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address

from domain.accounts import Principal


@dataclass(frozen=True, slots=True)
class Rate:
    """What is left of this minute: `remaining` requests, and `reset` seconds until there are `limit` again."""

    limit: int
    remaining: int
    reset: int
    exceeded: bool = False


def of_account(principal: Principal) -> str:
    return f"{principal.tenant}:rate:{principal.account}"


def of_address(address: str) -> str:
    """An IPv6 subscriber has 2^64 addresses; they count as one."""
    try:
        found = ip_address(address)
    except ValueError:
        return "address:unknown"
    if isinstance(found, IPv6Address):
        found = found.ipv4_mapped or IPv6Address(int(found) >> 64 << 64)
    return f"address:{found}"
