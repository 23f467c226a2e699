"""What a server of others gets to see of our environment: no setting and no secret of ours."""

import os
from collections.abc import Mapping

PASSED_ON = ("PATH", "HOME", "USER", "TMPDIR", "TZ", "LANG", "LC_ALL", "SSL_CERT_FILE", "SSL_CERT_DIR")


def plain(values: Mapping[str, str] | None = None) -> dict[str, str]:
    """The few variables every program needs, and these."""
    return {name: os.environ[name] for name in PASSED_ON if name in os.environ} | dict(values or {})
