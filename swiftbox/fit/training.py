"""From a settled training config to a recipe: what our trainer keeps in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from swiftbox.config.train import TrainConfig
from swiftbox.config.tuners import FULL_TUNERS
from swiftbox.fit.adapters import ATTENTION, EVERY, adapted_width, lora_parameters
from swiftbox.fit.memory import OPTIMIZER_BYTES, Recipe
from swiftbox.fit.shape import ModelShape

OPTIMIZERS: Mapping[str, str] = {
    "adamw_8bit": "adamw_8bit",
    "paged_adamw_8bit": "adamw_8bit",
    "adafactor": "adafactor",
    "sgd": "sgd",
}
NAMED: Mapping[str, str] = {
    "q_proj": "q",
    "k_proj": "k",
    "v_proj": "v",
    "o_proj": "o",
    "gate_proj": "gate",
    "up_proj": "up",
    "down_proj": "down",
}
PAIRED = ("dpo", "orpo", "simpo", "cpo", "reward")
"""Stages whose rows are pairs: two answers of up to max_length each."""

CHUNK_BYTES = {"cpu": 2.0**26}
"""As core/chunked.py takes the head; a test holds the two together."""

CHUNK_BYTES_ELSEWHERE = 2.0**28


def recipe_of(
    config: TrainConfig, shape: ModelShape, *, backend: str, quantized: str = ""
) -> Recipe:
    """Return the recipe of a settled config on a backend; `quantized` is how the base comes."""
    values = config.model_dump()
    whole = config.tuner_type in FULL_TUNERS
    numbers = 4 if config.dtype == "float32" else 2
    storage = _storage(config, whole=whole, quantized=quantized)
    prepared = storage not in ("float32", "bfloat16", "float16")
    tokens = config.per_device_train_batch_size * config.max_length
    tokens *= 2 if values["stage"] in PAIRED else 1
    trained = trained_parameters(config, shape)
    state = OPTIMIZER_BYTES[OPTIMIZERS.get(config.optim, "adamw")]
    count = max(1, config.num_devices or 1)
    return Recipe(
        tokens=tokens,
        length=config.max_length,
        weights=storage,
        outside="float32" if prepared or whole or numbers == 4 else "bfloat16",
        trained=trained,
        beside=not whole,
        state_bytes=state,
        update_bytes=0.0 if "fused" in config.optim else 4.0,
        cast_bytes=2.0 if whole and numbers == 2 else 0.0,
        compute_bytes=numbers,
        stream_bytes=4 if prepared or whole else numbers,
        checkpointing=config.gradient_checkpointing == "true",
        attention="eager" if config.attn_implementation == "eager" else "fused",
        chunk_bytes=CHUNK_BYTES.get(backend, CHUNK_BYTES_ELSEWHERE),
        adapted=0 if whole else adapted_width(shape, targets_of(config), shared=numbers == 4),
        copies=_reference_copies(values, whole=whole),
        shards=_shards(config, count),
        accumulates=config.gradient_accumulation_steps > 1,
    )


def trained_parameters(config: TrainConfig, shape: ModelShape) -> float:
    """Count what is trained; llamapro trains its added blocks, IA3 and VeRA next to nothing."""
    kind = config.tuner_type
    if kind == "full":
        return shape.params
    if kind == "llamapro":
        blocks = int(getattr(config, "llamapro_num_new_blocks", 4) or 4)
        return shape.inside / shape.layers * blocks
    if kind in ("ia3", "vera"):
        return shape.layers * 4.0 * shape.hidden
    rank = config.lora_rank * (2 if kind == "adalora" else 1)
    trained = lora_parameters(shape, rank, targets_of(config))
    tables = [one for one in config.modules_to_save if "embed" in one or "head" in one]
    return trained + len(tables) * shape.table


def targets_of(config: TrainConfig) -> Sequence[str]:
    """Return which linears of a block are meant; names not known here count as all of them."""
    named = config.target_modules
    if isinstance(named, str):
        named = [named]
    found = [NAMED[name] for name in named if name in NAMED]
    if len(found) == len(named):
        return found
    return ATTENTION if named == ["attention"] else EVERY


def tuning_kind(config: TrainConfig) -> str:
    """Return the kind whose speed is tabulated."""
    if config.tuner_type in FULL_TUNERS:
        return "full"
    return "quantized" if config.tuner_type == "qlora" else "adapter"


def _storage(config: TrainConfig, *, whole: bool, quantized: str) -> str:
    if whole:
        return "float32"
    if "gptq" in quantized.lower() or "awq" in quantized.lower():
        return "int4"
    if "fp8" in quantized.lower() or "int8" in quantized.lower():
        return "int8"
    if config.tuner_type == "qlora":
        if config.quant_bits == 8:
            return "int8"
        return "nf4-dq" if config.bnb_4bit_use_double_quant else "nf4"
    return config.dtype if config.dtype != "auto" else "bfloat16"


def _reference_copies(values: Mapping[str, Any], *, whole: bool) -> float:
    """Return further copies of the base: a reference model of full tuning that is kept beside."""
    if not whole or values["stage"] not in ("dpo", "kto") or values.get("reference_free"):
        return 0.0
    return 0.0 if values.get("precompute_ref_log_probs") == "true" else 1.0


def _shards(config: TrainConfig, count: int) -> Mapping[str, int]:
    kind = config.distributed
    if count == 1 or kind in ("none", "ddp", "auto"):
        return {}
    if kind == "zero1":
        return {"states": count}
    part = kind == "zero2" or (kind == "fsdp" and config.sharding_strategy == "SHARD_GRAD_OP")
    if part:
        return {"gradients": count, "states": count}
    return {"weights": count, "gradients": count, "states": count}
