"""`attn_implementation: varlen`: rows joined in one line, kept apart without a mask.

The collator puts the bounds of the rows into the batch (`cu_seq_lens_q`, `cu_seq_lens_k`,
`max_length_q`, `max_length_k`), and transformers passes them through the model to the attention
function that is registered here. transformers makes no mask for a function without an entry among
its mask functions, so nothing of T x T exists and the device is never waited for. Two answers may
share a prompt: `key_indices` then repeats the prompt's keys for the second one.

The name is set on a loaded model and never saved: transformers leaves it out of config.json.
Shapes: T tokens of the line, S keys, H heads, G key and value heads, D head dimension.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from swiftbox.core.attention.kernels import (
    HeadShape,
    Rows,
    kernel_for,
    kernel_problem,
    last_rows_mask,
)
from swiftbox.core.losses.log_prob_reader import unwrapped
from swiftbox.language import text

VARLEN = "swiftbox_varlen"
"""The name among transformers' attention functions."""

UNSUPPORTED = ("softcap", "s_aux", "position_bias")
"""Arguments of attention functions that variable-length kernels do not have."""


class UnsupportedAttentionError(RuntimeError):
    """A model's attention needs what variable-length kernels do not have."""


def varlen_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Attend within the rows of a line; without their bounds, as sdpa does.

    The signature is that of transformers' attention functions; the option `kernels` has the kernel
    of each type of device. (1,H,T,D), 2x (1,G,T,D) -> (1,T,H,D). Raises UnsupportedAttentionError
    for soft caps, sinks, biases and dropout.
    """
    require_supported(options)
    if options.get("cu_seq_lens_q") is None:
        return _as_sdpa(module, query, key, value, attention_mask, **options)
    if len(query) != 1:
        raise ValueError(f"rows with bounds are joined in one line, not in {len(query)}")
    window, causal = options.get("sliding_window"), options.get("is_causal")
    rows = Rows(
        options["cu_seq_lens_q"],
        options["cu_seq_lens_k"],
        options["max_length_q"],
        options["max_length_k"],
        scale=options.get("scaling"),
        window=window,
        causal=getattr(module, "is_causal", True) if causal is None else causal,
    )
    query, key, value = (part[0].transpose(0, 1) for part in (query, key, value))
    indices = options.get("key_indices")
    if indices is not None:
        # Its gradient adds in place; that of key[indices] would sort the indices in every layer.
        key, value = (part.index_select(0, indices) for part in (key, value))  # (S,G,D)
    kernel = options["kernels"][query.device.type]
    return kernel(query, key, value, rows)[None], None


def require_supported(options: dict[str, Any]) -> None:
    """Raise UnsupportedAttentionError for arguments that variable-length kernels do not have."""
    for name in UNSUPPORTED:
        if options.get(name) is not None:
            raise UnsupportedAttentionError(
                text(f"its attention needs {name}", f"其注意力需要 {name}")
            )
    if options.get("dropout"):
        raise UnsupportedAttentionError(text("its attention uses dropout", "其注意力使用 dropout"))


def _as_sdpa(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Attend by sdpa; transformers made no mask for a sliding window, so it is made here."""
    window, keys = options.get("sliding_window"), key.shape[2]
    if attention_mask is None and window is not None and window < keys:
        attention_mask = last_rows_mask(query.shape[2], keys, window, query.device)[None, None]
    result: tuple[torch.Tensor, None] = sdpa_attention_forward(
        module, query, key, value, attention_mask, **options
    )
    return result


def use_varlen(model: Any, dtype: torch.dtype, device: torch.device) -> str:
    """Switch a loaded model to variable-length attention; return why not, empty if done.

    `device` is where it will be trained; the weights may still be elsewhere.
    """
    network = unwrapped(model)
    reason = _why_not(network, dtype, device)
    if reason:
        return reason
    register(device)
    network.set_attn_implementation(VARLEN)
    if network.config._attn_implementation != VARLEN:
        return _outside_interface(network)
    return ""


def register(device: torch.device) -> None:
    """Register variable-length attention with transformers, for a CPU and another device.

    The kernels are bound here, so that nothing is looked up or imported in a compiled layer.
    """
    kernels = {kind.type: kernel_for(kind) for kind in (torch.device("cpu"), device)}
    registered = AttentionInterface().get(VARLEN)
    if registered is not None:
        kernels = registered.keywords["kernels"] | kernels
    AttentionInterface.register(VARLEN, partial(varlen_attention, kernels=kernels))


def _why_not(network: Any, dtype: torch.dtype, device: torch.device) -> str:
    config = network.config.get_text_config()
    accepts = inspect.signature(network.forward).parameters.values()
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in accepts):
        return _outside_interface(network)
    # Models with flash attention pass their window on, and rely on no mask for anything else.
    if not (network._supports_flash_attn and network._can_set_attn_implementation()):
        return _outside_interface(network)
    if getattr(config, "attn_logit_softcapping", None):
        return text("its attention scores are capped", "其注意力分数带有软上限")
    if getattr(config, "attention_chunk_size", None):
        return text("it attends in chunks", "其注意力按块计算")
    heads = head_shape(config)
    return kernel_problem(heads, dtype, device)


def _outside_interface(network: Any) -> str:
    name = type(network).__name__
    return text(
        f"{name} does not pass the bounds of rows to its attention",
        f"{name} 不向注意力传递样本边界",
    )


def head_shape(config: Any) -> HeadShape:
    """Return the attention heads of a text config."""
    heads = int(config.num_attention_heads)
    kv_heads = int(getattr(config, "num_key_value_heads", None) or heads)
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    rotated = getattr(config, "qk_head_dim", None)  # multi-head latent attention
    return HeadShape(heads, heads if rotated else kv_heads, int(rotated or width))


def implementation(model: Any) -> str:
    """Return the attention that a loaded model computes with."""
    return str(unwrapped(model).config._attn_implementation)


def implementations(model: Any) -> list[tuple[Any, str]]:
    """Return the config of each part of a loaded model, with its attention."""
    modules = unwrapped(model).modules()
    configs = {
        id(part.config): part.config for part in modules if isinstance(part, PreTrainedModel)
    }
    for config in list(configs.values()):
        nested = (getattr(config, name, None) for name in config.sub_configs)
        configs |= {id(part): part for part in nested if part is not None}
    return [(config, config._attn_implementation) for config in configs.values()]


def restore(before: list[tuple[Any, str]]) -> None:
    """Switch every part of a model back to the attention that `implementations` returned.

    transformers' own switch would refuse flash attention for weights that are still on a CPU.
    """
    for config, name in before:
        config._attn_implementation_internal = name


@contextlib.contextmanager
def with_masks(model: Any) -> Iterator[None]:
    """Compute with masks inside the block: for generation, and for weights on a CPU.

    Variable-length attention knows the bounds of rows only; flash attention has no CPU kernel.
    """
    name, before = implementation(model), implementations(model)
    on_cpu = next(model.parameters()).device.type == "cpu"
    if name == VARLEN or (on_cpu and name.startswith("flash")):
        unwrapped(model).set_attn_implementation("sdpa")
    try:
        yield
    finally:
        restore(before)
