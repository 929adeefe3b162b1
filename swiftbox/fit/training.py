"""From a settled training config to a recipe: what the trainer keeps in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from swiftbox.config.train import TrainConfig
from swiftbox.config.tuners import FULL_TUNERS
from swiftbox.devices.choices import pages_states
from swiftbox.fit.adapters import ATTENTION, EVERY, adapted_width, lora_parameters
from swiftbox.fit.memory import OPTIMIZER_BYTES, Checkpointing, Recipe
from swiftbox.fit.micro_batch import worst_micro_batch
from swiftbox.fit.profile import ModelProfile
from swiftbox.fit.row_sizes import RowSizes
from swiftbox.fit.shape import ModelShape
from swiftbox.fit.teacher import generation_work, teacher_bytes, teacher_work

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
CHUNK_BYTES = {"cpu": 2.0**26}
"""The chunk size of the head in the core's losses; a test compares the two."""

ACCELERATOR_CHUNK_BYTES = 2.0**28


CHECKPOINTING: Mapping[str, Checkpointing] = {"true": "full", "selective": "selective"}

PAGED_BYTES = 2.0
"""Bytes per weight that a paged 8-bit optimizer can move; the scales of its blocks stay."""

UPDATED_AT_ONCE = 2**22
"""Weights that an update with stochastic rounding takes; a test compares it with the core's."""

ROUNDED_UPDATE_BYTES = 6 * 4.0 * UPDATED_AT_ONCE
"""Its temporary memory: the weights, gradients, two moments, sum and random bits of a piece."""


def recipe_of(
    config: TrainConfig, profile: ModelProfile, sizes: RowSizes, *, backend: str
) -> Recipe:
    """Return a settled config's recipe on a backend, for the micro-batch with the longest rows."""
    shape, is_full = profile.shape, config.tuner_type in FULL_TUNERS
    numbers = 4 if config.dtype == "float32" else 2
    is_pure = is_full and config.pure_bf16
    batch = worst_micro_batch(config, sizes)
    has_float32 = numbers == 4 or (is_full and not is_pure)
    return Recipe(
        tokens=round(batch.tokens),
        length=round(batch.line),
        weights=_storage(config, profile, is_full=is_full),
        experts=_number_type(config) if quantizes(config, profile) else None,
        outside="float32" if has_float32 else "bfloat16",
        trained=trained_parameters(config, shape),
        is_adapter=not is_full,
        master_bytes=2.0 if is_pure else 4.0,
        gradient_bytes=2.0 if is_pure else 4.0,
        has_buckets=config.distributed == "ddp" and (config.num_devices or 1) > 1,
        state_bytes=OPTIMIZER_BYTES[OPTIMIZERS.get(config.optim, "adamw")],
        paged_bytes=_paged_bytes(config, backend, is_full=is_full),
        update_bytes=0.0 if is_pure or "fused" in config.optim else 4.0,
        extra_bytes=_extra_bytes(config, profile, is_pure=is_pure),
        cast_bytes=2.0 if is_full and numbers == 2 and not is_pure else 0.0,
        compute_bytes=numbers,
        stream_bytes=4 if has_float32 else numbers,
        checkpointing=CHECKPOINTING.get(config.gradient_checkpointing, "none"),
        offloads=config.activation_offload,
        attention="eager" if config.attn_implementation == "eager" else "fused",
        mask_entries=batch.mask_entries,
        chunk_bytes=CHUNK_BYTES.get(backend, ACCELERATOR_CHUNK_BYTES),
        adapted=0 if is_full else adapted_width(shape, targets_of(config), shared=numbers == 4),
        copies=_reference_copies(config, is_full=is_full),
        teacher_bytes=teacher_bytes(config),
        apart_bytes=max(teacher_work(config, batch), generation_work(config, shape)),
        shards=_shards(config, max(1, config.num_devices or 1)),
        accumulates=config.gradient_accumulation_steps > 1,
    )


def _extra_bytes(config: TrainConfig, profile: ModelProfile, *, is_pure: bool) -> float:
    """Return the memory of a stochastic update, or of trained rows beside an adapter.

    For the rows, peft copies the embeddings and the head at each pass, and their gradients are
    complete tables.
    """
    rounding = ROUNDED_UPDATE_BYTES if is_pure else 0.0
    if config.tuner_type in FULL_TUNERS or not config.adds_tokens:
        return rounding
    numbers = 4 if config.dtype == "float32" else 2
    return rounding + COPIES_FOR_ROWS * numbers * profile.shape.table


COPIES_FOR_ROWS = 4


def trained_parameters(config: TrainConfig, shape: ModelShape) -> float:
    """Count the trained parameters; llamapro trains added blocks, IA3 and VeRA very few."""
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
    tables = [name for name in config.modules_to_save if "embed" in name or "head" in name]
    return trained + len(tables) * shape.table


def targets_of(config: TrainConfig) -> Sequence[str]:
    """Return the targeted layers of a block; unknown names count as all of them."""
    names = config.target_modules
    if isinstance(names, str):
        names = [names]
    targets = [NAMED[name] for name in names if name in NAMED]
    if len(targets) == len(names):
        return targets
    return ATTENTION if names == ["attention"] else EVERY


def tuning_kind(config: TrainConfig) -> str:
    """Return the kind of tuning by which speeds are tabulated."""
    if config.tuner_type in FULL_TUNERS:
        return "full"
    return "quantized" if config.tuner_type == "qlora" else "adapter"


def _storage(config: TrainConfig, profile: ModelProfile, *, is_full: bool) -> str:
    quantized = profile.quantized
    if is_full:
        return "bfloat16" if config.pure_bf16 else "float32"
    if "gptq" in quantized.lower() or "awq" in quantized.lower():
        return "int4"
    if "fp8" in quantized.lower() or "int8" in quantized.lower():
        return "int8"
    if config.tuner_type == "qlora":
        if config.quant_bits == 8:
            return "int8"
        return "nf4-dq" if config.bnb_4bit_use_double_quant else "nf4"
    return _number_type(config)


def _number_type(config: TrainConfig) -> str:
    return config.dtype if config.dtype != "auto" else "bfloat16"


def _paged_bytes(config: TrainConfig, backend: str, *, is_full: bool) -> float:
    """Return the bytes of states that move; those of small weights, as of adapters, do not."""
    pages = is_full and config.optim == "paged_adamw_8bit" and pages_states(backend)
    return PAGED_BYTES if pages else 0.0


def quantizes(config: TrainConfig, profile: ModelProfile) -> bool:
    """Whether loading quantizes the base, by bitsandbytes; experts then keep the number type."""
    return config.tuner_type == "qlora" and not profile.quantized


def _reference_copies(config: TrainConfig, *, is_full: bool) -> float:
    """Return additional copies of the base: full tuning keeps a separate reference model."""
    if not is_full or not config.compares_with_reference:
        return 0.0
    return 0.0 if getattr(config, "precompute_ref_log_probs", "false") == "true" else 1.0


def _shards(config: TrainConfig, count: int) -> Mapping[str, int]:
    kind = config.distributed
    if count == 1 or kind in ("none", "ddp", "auto"):
        return {}
    if kind == "zero1":
        return {"states": count}
    keeps_weights = kind == "zero2" or (
        kind == "fsdp" and config.sharding_strategy == "SHARD_GRAD_OP"
    )
    if keeps_weights:
        return {"gradients": count, "states": count}
    return {"weights": count, "gradients": count, "states": count}
