"""Settings of tuners that exclude each other, found before anything starts; pure."""

from __future__ import annotations

from collections.abc import Iterator

from swiftbox.config.teacher import teacher_conflicts
from swiftbox.config.train import TrainConfig
from swiftbox.config.tuners import FULL_TUNERS
from swiftbox.errors import ConfigError
from swiftbox.language import text

SHARDED = ("fsdp", "zero1", "zero2", "zero3")
DATA_DRIVEN = ("eva", "lora_ga")
PLAIN = ("true", "gaussian")
ROUNDING_OPTIMIZERS = ("auto", "adamw_torch", "adamw_torch_fused", "adamw_8bit")
"""Optimizers that pure_bf16 has with stochastic rounding."""

BITSANDBYTES_OPTIMIZERS = ("adamw_8bit", "paged_adamw_8bit")

Conflict = tuple[str, str]
"""What is wrong, and how to fix it."""


def require_compatible(config: TrainConfig) -> None:
    """Raise ConfigError with every pair of settings that exclude each other, and the fix."""
    problems = list(conflicts(config))
    if problems:
        hints = "\n".join(dict.fromkeys(fix for _, fix in problems))
        raise ConfigError("\n".join(what for what, _ in problems), hint=hints)


def conflicts(config: TrainConfig) -> Iterator[Conflict]:
    """Yield what is in conflict, and the fix."""
    if _is_low_rank(config):
        yield from _lora_conflicts(config)
    yield from _lora_fa_conflicts(config)
    if config.optim == "galore_adamw" and config.tuner_type not in FULL_TUNERS:
        yield _galore_without_full_training(config)
    if config.distributed in SHARDED:
        yield from _sharding_conflicts(config)
    if config.tuner_type == "adalora" and config.adalora_target_r > config.adalora_init_r:
        yield _growing_ranks(config)
    if config.keeps_bfloat16_weights:
        yield from _pure_bf16_conflicts(config)
    if config.torch_compile:
        yield from _compile_conflicts(config)
    yield from teacher_conflicts(config)


def _is_low_rank(config: TrainConfig) -> bool:
    return config.tuner_type in ("lora", "qlora")


def _lora_conflicts(config: TrainConfig) -> Iterator[Conflict]:
    initial = config.init_lora_weights
    if config.tuner_type == "qlora" and initial not in (*PLAIN, "eva"):
        yield _changed_quantized_base(initial)
    if not config.target_parameters:
        return
    if initial not in PLAIN:
        yield _excluded_by_target_parameters(config, "init_lora_weights", "true")
    if config.use_dora:
        yield _excluded_by_target_parameters(config, "use_dora", "false")
    if config.lora_dropout > 0:
        yield _excluded_by_target_parameters(config, "lora_dropout", "0")


def _lora_fa_conflicts(config: TrainConfig) -> Iterator[Conflict]:
    if config.optim != "lora_fa":
        return
    automatic = _set("optim: auto")
    if not _is_low_rank(config):
        yield (
            text(
                f"optim: lora_fa is for lora and qlora, not {config.tuner_type}",
                f"optim：lora_fa 只用于 lora 与 qlora，而不是 {config.tuner_type}",
            ),
            automatic,
        )
        return
    if config.use_dora:
        fix = text("set use_dora: false, or optim: auto", "设 use_dora: false 或 optim: auto")
        yield _not_supported_by_lora_fa("use_dora"), fix
    if config.target_parameters:
        yield _not_supported_by_lora_fa("target_parameters"), automatic
    if config.lora_plus_lr_ratio is not None:
        yield (
            text(
                "lora_plus_lr_ratio: has no effect with optim: lora_fa, which freezes the A "
                "matrices",
                "lora_plus_lr_ratio：optim: lora_fa 冻结 A 矩阵，该比值无意义",
            ),
            text("remove one of the two", "去掉其中之一"),
        )


def _pure_bf16_conflicts(config: TrainConfig) -> Iterator[Conflict]:
    if config.dtype not in ("auto", "bfloat16"):
        yield (
            text(
                f"pure_bf16: computes in bfloat16, but dtype is {config.dtype}",
                f"pure_bf16：以 bfloat16 计算，而 dtype 为 {config.dtype}",
            ),
            _set("dtype: bfloat16"),
        )
    if config.optim not in ROUNDING_OPTIMIZERS:
        yield (
            text(
                f"pure_bf16: optim: {config.optim} rounds small updates of bfloat16 weights away",
                f"pure_bf16：optim: {config.optim} 会把 bfloat16 权重的微小更新舍入掉",
            ),
            _set("optim: adamw_8bit"),
        )


def _compile_conflicts(config: TrainConfig) -> Iterator[Conflict]:
    for key, value, applies in (
        ("tuner_type", config.tuner_type, config.tuner_type == "qlora"),
        ("gradient_checkpointing", "selective", config.gradient_checkpointing == "selective"),
        ("activation_offload", "true", config.activation_offload),
    ):
        if applies:
            yield (
                text(
                    f"torch_compile: has not been verified with {key}: {value}",
                    f"torch_compile：与 {key}: {value} 的组合未经验证",
                ),
                _set("torch_compile: false"),
            )


def _sharding_conflicts(config: TrainConfig) -> Iterator[Conflict]:
    data_driven = _is_low_rank(config) and config.init_lora_weights in DATA_DRIVEN
    needing_full_weights = (
        ("optim", config.optim in ("lora_fa", "galore_adamw")),
        ("init_lora_weights", data_driven),
        ("tuner_type", config.tuner_type in ("adalora", "llamapro")),
    )
    for key, applies in needing_full_weights:
        if applies:
            yield _split_weights(config, key)
    if config.tuner_type == "qlora" and config.distributed in ("fsdp", "zero3"):
        yield (
            text(
                f"tuner_type: qlora with distributed: {config.distributed} has not been verified",
                f"tuner_type：qlora 与 distributed: {config.distributed} 的组合未经验证",
            ),
            _replicated(),
        )
    if config.keeps_bfloat16_weights:
        yield _split_weights(config, "pure_bf16")
    if config.optim in BITSANDBYTES_OPTIMIZERS:
        yield _bitsandbytes_when_sharded(config)
    for key, applies in (
        ("activation_offload", config.activation_offload),
        ("use_liger_kernel", config.use_liger_kernel),
        ("torch_compile", config.torch_compile),
        ("gradient_checkpointing", config.gradient_checkpointing == "selective"),
    ):
        if applies:
            yield _unverified_when_sharded(config, key)


# ---- messages


def _set(setting: str) -> str:
    return text(f"set {setting}", f"设 {setting}")


def _replicated() -> str:
    return text("set distributed: ddp or none", "设 distributed: ddp 或 none")


def _changed_quantized_base(initial: str) -> Conflict:
    return (
        text(
            f"init_lora_weights: {initial} changes the base, which is not possible with a "
            "quantized base",
            f"init_lora_weights：{initial} 会改动基座，而量化的基座无法改动",
        ),
        text(
            "set init_lora_weights: true, gaussian or eva; or tuner_type: lora without quant_bits",
            "设 init_lora_weights 为 true、gaussian 或 eva；或用 tuner_type: lora 且不设 "
            "quant_bits",
        ),
    )


def _excluded_by_target_parameters(config: TrainConfig, key: str, value: str) -> Conflict:
    current = getattr(config, key)
    return (
        text(
            f"target_parameters: cannot be combined with {key}: {current}",
            f"target_parameters：不能与 {key}: {current} 同用",
        ),
        _set(f"{key}: {value}"),
    )


def _not_supported_by_lora_fa(key: str) -> str:
    return text(f"optim: lora_fa does not support {key}", f"optim：lora_fa 不支持 {key}")


def _galore_without_full_training(config: TrainConfig) -> Conflict:
    return (
        text(
            f"optim: galore_adamw is for full training; the gradients of {config.tuner_type} "
            "are already small",
            f"optim：galore_adamw 用于全参数训练；{config.tuner_type} 的梯度本来就小",
        ),
        text("set tuner_type: full, or optim: auto", "设 tuner_type: full 或 optim: auto"),
    )


def _split_weights(config: TrainConfig, key: str) -> Conflict:
    value = getattr(config, key)
    value = str(value).lower() if isinstance(value, bool) else value
    return (
        text(
            f"{key}: {value} needs complete weights, which distributed: {config.distributed} "
            "splits",
            f"{key}：{value} 需要完整权重，而 distributed: {config.distributed} 会切分权重",
        ),
        _replicated(),
    )


def _unverified_when_sharded(config: TrainConfig, key: str) -> Conflict:
    value = str(getattr(config, key)).lower()
    return (
        text(
            f"{key}: {value} with distributed: {config.distributed} has not been verified",
            f"{key}：{value} 与 distributed: {config.distributed} 的组合未经验证",
        ),
        _replicated(),
    )


def _bitsandbytes_when_sharded(config: TrainConfig) -> Conflict:
    """Return why an optimizer cannot run: its kernels take no DTensor, the weights of FSDP2."""
    setting, strategy = f"optim: {config.optim}", f"distributed: {config.distributed}"
    why = text(
        f"{setting} with {strategy} has not been verified",
        f"{setting} 与 {strategy} 的组合未经验证",
    )
    if config.distributed == "fsdp":
        why = text(
            f"{setting}: bitsandbytes cannot update weights that {strategy} splits",
            f"{setting}：bitsandbytes 无法更新被 {strategy} 切分的权重",
        )
    fix = text(
        "set optim: auto, or distributed: ddp or none",
        "设 optim: auto，或 distributed: ddp 或 none",
    )
    return why, fix


def _growing_ranks(config: TrainConfig) -> Conflict:
    target, initial = config.adalora_target_r, config.adalora_init_r
    return (
        text(
            f"adalora_target_r: {target} is above adalora_init_r: {initial}",
            f"adalora_target_r：{target} 大于 adalora_init_r：{initial}",
        ),
        text(
            "ranks can only shrink: lower adalora_target_r", "秩只会减小：请减小 adalora_target_r"
        ),
    )
