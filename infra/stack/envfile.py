"""HOME/env: the secrets that were generated for a home, and where its parts are; readable by its owner only."""

import os
import secrets
from collections.abc import Mapping
from pathlib import Path


class EnvFile:
    """`NAME=value` lines, mode 0600. Values that were written once stay until they are written again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.values: dict[str, str] = _parse(path.read_text()) if path.exists() else {}

    def secret(self, name: str) -> str:
        """The secret of this name, generated (256 bits) when the home has none yet."""
        if name not in self.values:
            self.write({name: secrets.token_urlsafe(32)})
        return self.values[name]

    def write(self, values: Mapping[str, str]) -> None:
        """Add or replace; the file is never half-written and never readable by others."""
        self.values.update(values)
        draft = self.path.with_suffix(".new")
        draft.unlink(missing_ok=True)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.writelines(f"{name}={value}\n" for name, value in sorted(self.values.items()))
        draft.replace(self.path)

    def forget(self, *names: str) -> None:
        if present := set(names) & set(self.values):
            self.values = {name: value for name, value in self.values.items() if name not in present}
            self.write({})


def _parse(text: str) -> dict[str, str]:
    lines = (line for line in text.splitlines() if "=" in line and not line.startswith("#"))
    return dict(line.split("=", 1) for line in lines)
