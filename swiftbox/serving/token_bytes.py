"""The bytes that each token adds to a text, as the decoder of its tokenizer writes them.

A character may be spread over several tokens, so the text of a single token is not what it adds:
byte-level tokenizers write bytes in an alphabet of 256 characters, others have tokens like <0xE4>.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

BYTE_TOKEN = re.compile(r"<0x([0-9A-Fa-f]{2})>")
SPACE_MARK = "\u2581"
"""What sentencepiece writes for a space."""


CHARACTER_BYTES = 4
"""The most bytes of a character."""


@functools.lru_cache(maxsize=32)
def token_bytes(tokenizer: Any) -> TokenBytes:
    """Return the bytes of the tokens of a tokenizer."""
    return TokenBytes(tokenizer)


class TokenBytes:
    """Looks up the bytes of tokens."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._added = {
            number: (str(token), bool(token.special))
            for number, token in getattr(tokenizer, "added_tokens_decoder", {}).items()
        }
        self._decoders = {str(step["type"]): step for step in _decoder_steps(tokenizer)}

    def of(self, token: int, *, is_first: bool = False) -> bytes | None:
        """Return what a token adds to a text; None for a special token, which adds nothing.

        `is_first`: at the beginning, where some decoders leave out a space.
        """
        if token in self._added:
            content, is_special = self._added[token]
            return None if is_special else content.encode()
        piece = self._tokenizer.convert_ids_to_tokens(token)
        if piece is None:
            return None
        if not self._decoders:
            return str(self._tokenizer.decode([token])).encode()
        raw = self._bytes_of(piece)
        is_cut = is_first and self._cuts_first_space() and raw.startswith(b" ")
        return raw[1:] if is_cut else raw

    def _bytes_of(self, piece: str) -> bytes:
        if "ByteLevel" in self._decoders:
            return b"".join(_byte_of(character) for character in piece)
        if "ByteFallback" in self._decoders and (match := BYTE_TOKEN.fullmatch(piece)):
            return bytes.fromhex(match[1])
        if step := self._decoders.get("WordPiece"):
            prefix = str(step["prefix"])
            return (
                piece.removeprefix(prefix) if piece.startswith(prefix) else f" {piece}"
            ).encode()
        if step := self._decoders.get("BPEDecoder"):
            return piece.replace(str(step["suffix"]), " ").encode()
        return piece.replace(SPACE_MARK, " ").encode()

    def _cuts_first_space(self) -> bool:
        metaspace = self._decoders.get("Metaspace")
        if metaspace is not None:
            return bool(metaspace.get("prepend_scheme", "always") != "never")
        strip = self._decoders.get("Strip")
        return "WordPiece" in self._decoders or bool(strip and strip.get("start"))

    @functools.cached_property
    def longest(self) -> int:
        """Return the length of the longest token in bytes.

        Only pieces of many characters are looked at: Python's lock is not held for long.
        """
        added = max((len(content.encode()) for content, _ in self._added.values()), default=1)
        longest = max(added, 1)
        for piece in sorted(self._pieces(), key=len, reverse=True):
            if CHARACTER_BYTES * len(piece) + 1 <= longest:  # the decoder may add a space
                break
            longest = max(longest, len(self._bytes_of(piece)))
        return longest

    def _pieces(self) -> Iterator[str]:
        for piece, number in self._tokenizer.get_vocab().items():
            if number not in self._added:
                yield str(piece)


def _decoder_steps(tokenizer: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the steps of the decoder of a tokenizer; none for one without a Rust backend."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    decoder = getattr(backend, "decoder", None)
    if decoder is not None:
        steps = [json.loads(decoder.__getstate__())]
        for step in steps:
            steps += step.get("decoders", [])
            yield step


@functools.cache
def _byte_alphabet() -> Mapping[str, bytes]:
    """Return the bytes that the characters of byte-level tokens stand for (as in GPT-2)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    letters = {chr(byte): bytes([byte]) for byte in printable}
    return letters | {chr(256 + rank): bytes([byte]) for rank, byte in enumerate(others)}


def _byte_of(character: str) -> bytes:
    """Return the byte of a character of the alphabet; other characters stand for themselves."""
    return _byte_alphabet().get(character) or character.encode()
