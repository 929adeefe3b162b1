"""llama.cpp's server: its limits, command line and environment as pure functions."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from swiftbox.architectures.served_limits import beyond_positions_error
from swiftbox.config.deploy import DeployConfig
from swiftbox.errors import ConfigError, MachineError, raise_together
from swiftbox.formatting import size
from swiftbox.language import text

FOREIGN = ("LLAMA_", "AIP_")
"""Beginnings of variables by which llama.cpp's server takes options; a user's own could open tools
that run commands, or another port."""

CACHE_BYTES = 2
"""Bytes of a value of the key-value cache."""

CACHE_SHARE = 0.6
"""Of the memory that the weights leave free, for the caches of all answers."""

SAMPLING: Mapping[str, tuple[str, str, float]] = {
    "temperature": ("--temp", "temp", 0.0),
    "top_k": ("--top-k", "top_k", 0),
    "top_p": ("--top-p", "top_p", 1.0),
    "min_p": ("--min-p", "min_p", 0.0),
    "repetition_penalty": ("--repeat-penalty", "penalty_repeat", 1.0),
}
"""By setting of generation_config.json: llama.cpp's option, the name in a file's metadata, and the
value where neither says anything."""

USEFUL_LENGTH = 4096
"""Rather fewer answers at the same time than a shorter context than this."""

SHORTEST = 256
"""Memory for less than this is too little, unless the user wants it so short."""

SEPARATORS = frozenset(',"\n')
"""Signs that separate names in llama.cpp's options."""


@dataclass(frozen=True)
class ServerLimits:
    """Tokens of prompt and answer together, and answers at the same time."""

    length: int
    slots: int


@dataclass(frozen=True)
class LlamaTarget:
    """What llama.cpp serves on this machine."""

    executable: Path
    file: Path
    name: str
    socket: Path
    limits: ServerLimits
    threads: int
    variables: Mapping[str, Any] = field(default_factory=dict)
    """Variables of the chat template that a request may change."""
    sampling: Sequence[str] = ()
    """Options from `sampling_options`."""


def server_limits(
    metadata: Mapping[str, Any], config: DeployConfig, cache_bytes: float
) -> ServerLimits:
    """Return how long and how many answers fit in `cache_bytes` of memory.

    Raises MachineError if not even one fits, or if the model supports less than `max_model_len`.
    """
    require_length(metadata, config)
    longest = _value(metadata, "context_length") or USEFUL_LENGTH
    tokens = int(cache_bytes // max(1, token_bytes(metadata)))
    if config.max_model_len is not None:
        length = shortest = config.max_model_len
        slots = min(config.max_concurrency, tokens // length)
    else:
        shortest = min(SHORTEST, longest)
        slots = config.max_concurrency
        while slots > 1 and tokens // slots < min(longest, USEFUL_LENGTH):
            slots //= 2
        length = min(longest, tokens // slots)
    if slots < 1 or length < shortest:
        raise _too_little_memory(cache_bytes)
    return ServerLimits(length, slots)


def require_length(metadata: Mapping[str, Any], config: DeployConfig) -> None:
    """Raise MachineError for a `max_model_len` beyond the positions of the model."""
    known, length = _value(metadata, "context_length"), config.max_model_len or 0
    if 0 < known < length:
        raise beyond_positions_error(known, length)


def _too_little_memory(cache_bytes: float) -> MachineError:
    return MachineError(
        text(
            f"the memory leaves {size(int(cache_bytes))} for the cache of answers: too little",
            f"内存只剩 {size(int(cache_bytes))} 可用于缓存回答，不够",
        ),
        hint=text(
            "set a smaller max_model_len, or end other programs",
            "请减小 max_model_len，或关闭其他程序",
        ),
    )


def token_bytes(metadata: Mapping[str, Any]) -> float:
    """Return the key-value cache per token in bytes."""
    layers, heads = (_value(metadata, key) or 1 for key in ("block_count", "attention.head_count"))
    groups = _value(metadata, "attention.head_count_kv") or heads
    width = _value(metadata, "embedding_length") // heads
    keys = _value(metadata, "attention.key_length") or width
    values = _value(metadata, "attention.value_length") or width
    return float(layers * groups * (keys + values) * CACHE_BYTES)


def _value(metadata: Mapping[str, Any], key: str) -> int:
    """Return a positive number of the metadata; 0 if it has none, or something else."""
    value = metadata.get(f"{metadata.get('general.architecture')}.{key}")
    return value if type(value) is int and value > 0 else 0


def command(target: LlamaTarget) -> list[str]:
    """Return the command that serves on the socket.

    Access is not its matter: our listener checks requests before it passes them on.
    """
    limits = target.limits
    arguments = [str(target.executable), "--model", str(target.file), "--alias", target.name]
    arguments += ["--host", str(target.socket), "--offline"]
    # Each answer has a part of the context for itself: none can take the room of another.
    arguments += ["--ctx-size", str(limits.length * limits.slots), "--no-kv-unified"]
    arguments += ["--parallel", str(limits.slots), "--cache-ram", "0"]
    arguments += ["--threads", str(target.threads), "--jinja"]
    # It shows the prompts of others by default.
    arguments += ["--no-slots", "--no-ui"]
    # A penalty counts the whole context, not only the last 64 tokens.
    arguments += [*target.sampling, "--repeat-last-n", str(limits.length)]
    if target.variables:
        variables = json.dumps(dict(target.variables), ensure_ascii=False)
        arguments += ["--chat-template-kwargs", variables]
    return arguments


def sampling_options(generation: Mapping[str, Any], metadata: Mapping[str, Any]) -> list[str]:
    """Return how answers are sampled if a request does not say so: as by the builtin server.

    What only the metadata of the file says is left to llama.cpp, which reads it itself.
    """
    options = []
    for key, (option, name, default) in SAMPLING.items():
        value = generation.get(key)
        if isinstance(value, (int, float)) and math.isfinite(value):
            options += [option, f"{value:g}"]
        elif f"general.sampling.{name}" not in metadata:
            is_sampled = key == "temperature" and generation.get("do_sample") is True
            options += [option, f"{1.0 if is_sampled else default:g}"]
    return options


def environment(inherited: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the server, without options for it."""
    return {name: value for name, value in inherited.items() if not name.startswith(FOREIGN)}


def require_servable(config: DeployConfig) -> None:
    """Raise ConfigError for settings that llama.cpp's server does not have."""
    raise_together(
        [
            ConfigError(f"engine: llama_cpp: {problem}", hint=hint)
            for problem, hint in _unsupported(config)
        ]
    )


def _unsupported(config: DeployConfig) -> Iterator[tuple[str, str]]:
    """Yield what the server does not have, and what to do without it."""
    if config.adapter or config.adapters:
        yield (
            text("it serves a GGUF file without adapters", "它只部署 GGUF 文件，不支持适配器"),
            text(
                "merge adapters into the file: task: quantize with method: gguf and adapter; "
                "or serve the model before it is quantized",
                "请将适配器并入文件：task: quantize，设 method: gguf 与 adapter；"
                "或部署量化前的模型",
            ),
        )
    if config.adapter_loading:
        yield (
            text("adapter_loading: it loads no adapters", "adapter_loading：它不加载适配器"),
            text("remove adapter_loading", "请去掉 adapter_loading"),
        )
    if config.tensor_parallel_size > 1:
        size = config.tensor_parallel_size
        yield (
            text(
                f"tensor_parallel_size: {size}: it divides a model by layers",
                f"tensor_parallel_size：{size}：它按层切分模型",
            ),
            text("set tensor_parallel_size: 1", "请设 tensor_parallel_size: 1"),
        )


def require_plain_name(name: str) -> None:
    """Raise ConfigError for a name that llama.cpp would take for several."""
    if not set(name) & SEPARATORS:
        return
    raise ConfigError(
        text(
            f"served_model_name: engine: llama_cpp takes {name!r} for several names",
            f"served_model_name：engine: llama_cpp 会把 {name!r} 当作多个名称",
        ),
        hint=text("use a name without commas", "请使用不含逗号的名称"),
    )
