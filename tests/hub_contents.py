"""Contents of files on the fake hub, made while they are read."""

from __future__ import annotations

import functools
import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass

BLOCK = 4 * 2**20 + 7
"""Of no round length: a byte at a wrong offset shows."""


@functools.cache
def block(seed: int) -> memoryview:
    return memoryview(random.Random(seed).randbytes(BLOCK))


@dataclass(frozen=True)
class Made:
    """Contents of a given size, the same for the same seed."""

    size: int
    seed: int = 0

    def pieces(self, begin: int = 0) -> Iterator[memoryview]:
        at, source = begin, block(self.seed)
        while at < self.size:
            offset = at % BLOCK
            piece = source[offset : offset + min(BLOCK - offset, self.size - at)]
            yield piece
            at += len(piece)

    @functools.cached_property
    def sha256(self) -> str:
        digest = hashlib.sha256()
        for piece in self.pieces():
            digest.update(piece)
        return digest.hexdigest()

    @functools.cached_property
    def blob(self) -> str:
        digest = hashlib.sha1(f"blob {self.size}\0".encode())
        for piece in self.pieces():
            digest.update(piece)
        return digest.hexdigest()

    def data(self) -> bytes:
        return b"".join(bytes(piece) for piece in self.pieces())


@dataclass(frozen=True)
class Given(Made):
    """Contents as they are given."""

    content: bytes = b""

    def pieces(self, begin: int = 0) -> Iterator[memoryview]:
        if begin < self.size:
            yield memoryview(self.content)[begin:]


def contents(content: bytes | Made) -> Made:
    return content if isinstance(content, Made) else Given(len(content), 0, content)
