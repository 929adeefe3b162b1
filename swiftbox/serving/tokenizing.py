"""Texts of requests to tokens: refused before if they are too long for the model.

Tokenizing takes seconds for megabytes. It runs in Rust without the lock of the interpreter, and
only as much of the result as is used becomes Python's: other requests continue meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from swiftbox.serving.api_errors import ApiError
from swiftbox.serving.token_bytes import token_bytes

SURELY_SHORT = 4
"""Bytes per token of the context; only for longer texts the longest token is looked up."""


def tokenize(tokenizer: Any, text: str, limit: int, *, special: bool) -> list[int]:
    """Return the tokens of a text, of which there must be fewer than `limit`.

    Raises ApiError for a longer text; where its bytes tell, before it is tokenized.
    """
    require_few_bytes(tokenizer, len(text.encode()), limit)
    if not _is_plain(tokenizer):
        ids = list(tokenizer(text, add_special_tokens=special).input_ids)
        require_few_tokens(len(ids), limit)
        return ids
    backend = _without_padding(tokenizer)
    (encoding,) = backend.encode_batch_fast([text], add_special_tokens=special)
    require_few_tokens(len(encoding), limit)
    return list(encoding.ids)


def _is_plain(tokenizer: Any) -> bool:
    """Return whether a tokenizer only calls its Rust backend: some classes add steps."""
    from transformers.tokenization_utils_tokenizers import TokenizersBackend

    kind: Any = type(tokenizer)
    is_backend = issubclass(kind, TokenizersBackend)
    return is_backend and all(
        getattr(kind, name) is getattr(TokenizersBackend, name)
        for name in ("__call__", "_encode_plus")
    )


def require_few_bytes(tokenizer: Any, count: int, limit: int) -> None:
    """Raise ApiError for bytes that are too many tokens even if all are the longest token."""
    if count <= SURELY_SHORT * limit:
        return
    largest = token_bytes(tokenizer).longest * limit
    if count > largest:
        raise _too_long(
            f"the prompt has {count:,} bytes, but the limit of {limit} tokens including the "
            f"answer holds at most {largest:,} bytes"
        )


def require_few_tokens(count: int, limit: int) -> None:
    """Raise ApiError unless there is room for an answer after that many tokens."""
    if count >= limit:
        raise _too_long(
            f"the prompt has {count} tokens, but the limit including the answer is {limit}"
        )


def _too_long(message: str) -> ApiError:
    return ApiError(400, message, param="prompt", code="context_length_exceeded")


def _without_padding(tokenizer: Any) -> Any:
    """Return the Rust tokenizer, with the truncation and padding of its file turned off."""
    backend = tokenizer.backend_tokenizer
    if backend.truncation is not None:
        backend.no_truncation()
    if backend.padding is not None:
        backend.no_padding()
    if backend.encode_special_tokens != tokenizer.split_special_tokens:
        backend.encode_special_tokens = tokenizer.split_special_tokens
    return backend


def require_known_tokens(ids: Sequence[int], vocabulary: int) -> None:
    """Raise ApiError for no tokens, or for one that the model does not have."""
    if not ids:
        raise ApiError(400, "prompt: should not be empty", param="prompt")
    if max(ids) >= vocabulary:
        raise ApiError(400, f"prompt: token ids range from 0 to {vocabulary - 1}", param="prompt")
