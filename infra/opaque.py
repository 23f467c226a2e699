"""Opaque secrets: 256 random bits behind a prefix that names the kind. What is kept is their SHA-256."""

import hashlib
import hmac
import re
import secrets

KEY, INVITE = "mk_", "mi_"
SHAPE = re.compile("m[ki]_[A-Za-z0-9_-]{43}")


def mint(prefix: str) -> tuple[str, str]:
    """(secret to hand out once, hash to keep)."""
    secret = prefix + secrets.token_urlsafe(32)
    return secret, digest(secret)


def digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def looks_like(prefix: str, secret: str) -> bool:
    """What cannot be one of ours is not worth a look into the database."""
    return secret.startswith(prefix) and SHAPE.fullmatch(secret) is not None


def same(kept: str, given: str) -> bool:
    """Of two hashes, in constant time."""
    return hmac.compare_digest(kept, given)
