"""What a server refuses: caches that the builtin one does not have, and longer conversations."""

from __future__ import annotations

from collections.abc import Iterable

from swiftbox.errors import MachineError
from swiftbox.language import text


def uncached_error(kinds: Iterable[str]) -> MachineError:
    """Return the refusal of a model by the kinds of its caches."""
    listed = ", ".join(kinds)
    return MachineError(
        text(
            f"engine: builtin: the model caches more than keys and values ({listed})",
            f"engine: builtin：该模型的缓存不只是键和值（{listed}）",
        ),
        hint=text(
            "deploy it with engine: vllm on a machine that vLLM supports; to chat, give its "
            "address as endpoint",
            "请在 vLLM 支持的机器上以 engine: vllm 部署；如需对话，以其地址作为 endpoint",
        ),
    )


def too_long_error(why: str, length: int) -> MachineError:
    """Return the refusal of a `max_model_len`."""
    return MachineError(
        f"max_model_len: {length}: {why}",
        hint=text("set a smaller max_model_len", "请减小 max_model_len"),
    )


def beyond_positions_error(known: int, length: int) -> MachineError:
    """Return the refusal of a `max_model_len` beyond the positions of the model."""
    return too_long_error(
        text(f"the model supports {known} tokens", f"模型最多读取 {known} 个 token"), length
    )
