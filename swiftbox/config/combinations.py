"""Settings of tuners that exclude each other, found before anything starts; pure."""

from __future__ import annotations

from collections.abc import Iterator

from swiftbox.config.train import TrainConfig
from swiftbox.config.tuners import WHOLE
from swiftbox.errors import ConfigError
from swiftbox.language import text

SHARDED = ("fsdp", "zero1", "zero2", "zero3")
DATA_DRIVEN = ("eva", "lora_ga")
PLAIN = ("true", "gaussian")


def require_compatible(config: TrainConfig) -> None:
    """Raise ConfigError with every pair of settings that cannot go together, and the cure."""
    found = list(clashes(config))
    if found:
        hints = "\n".join(dict.fromkeys(cure for _, cure in found))
        raise ConfigError("\n".join(what for what, _ in found), hint=hints)


def clashes(config: TrainConfig) -> Iterator[tuple[str, str]]:
    """Yield what clashes, and what to do."""
    if config.tuner_type in ("lora", "qlora"):
        yield from _of_lora(config)
    yield from _of_optimizers(config)
    if config.distributed in SHARDED:
        yield from _of_sharding(config)
    if config.tuner_type == "adalora" and config.adalora_target_r > config.adalora_init_r:
        yield (
            text(
                f"adalora_target_r: {config.adalora_target_r} is above adalora_init_r: "
                f"{config.adalora_init_r}",
                f"adalora_target_r：{config.adalora_target_r} 大于 "
                f"adalora_init_r：{config.adalora_init_r}",
            ),
            text(
                "ranks only shrink: lower adalora_target_r", "秩只会减小：请减小 adalora_target_r"
            ),
        )


def _of_lora(config: TrainConfig) -> Iterator[tuple[str, str]]:
    begin = config.init_lora_weights
    plain = text("set init_lora_weights: true", "设 init_lora_weights: true")
    if config.tuner_type == "qlora" and begin not in (*PLAIN, "eva"):
        yield (
            text(
                f"init_lora_weights: {begin} changes the base, which a quantized one cannot follow",
                f"init_lora_weights：{begin} 会改动基座，量化的基座无法相应改动",
            ),
            text(
                "set init_lora_weights: true, gaussian or eva; or tuner_type: lora without "
                "quant_bits",
                "设 init_lora_weights 为 true、gaussian 或 eva；"
                "或用 tuner_type: lora 且不设 quant_bits",
            ),
        )
    if not config.target_parameters:
        return
    named = [
        ("init_lora_weights", begin not in PLAIN, plain),
        ("use_dora", config.use_dora, text("set use_dora: false", "设 use_dora: false")),
        (
            "lora_dropout",
            config.lora_dropout > 0,
            text("set lora_dropout: 0", "设 lora_dropout: 0"),
        ),
    ]
    for key, clashing, cure in named:
        if clashing:
            yield (
                text(
                    f"target_parameters: does not go with {key}: {getattr(config, key)}",
                    f"target_parameters：不能与 {key}: {getattr(config, key)} 同用",
                ),
                cure,
            )


def _of_optimizers(config: TrainConfig) -> Iterator[tuple[str, str]]:
    automatic = text("set optim: auto", "设 optim: auto")
    low_rank = config.tuner_type in ("lora", "qlora")
    if config.optim == "lora_fa" and not low_rank:
        yield (
            text(
                f"optim: lora_fa is for lora and qlora, not {config.tuner_type}",
                f"optim：lora_fa 只用于 lora 与 qlora，而不是 {config.tuner_type}",
            ),
            automatic,
        )
    if config.optim == "lora_fa" and low_rank:
        if config.use_dora:
            yield (
                text("optim: lora_fa does not know use_dora", "optim：lora_fa 不支持 use_dora"),
                text("set use_dora: false, or optim: auto", "设 use_dora: false 或 optim: auto"),
            )
        if config.target_parameters:
            yield (
                text(
                    "optim: lora_fa does not know target_parameters",
                    "optim：lora_fa 不支持 target_parameters",
                ),
                automatic,
            )
    if low_rank and config.lora_plus_lr_ratio is not None and config.optim == "lora_fa":
        yield (
            text(
                "lora_plus_lr_ratio: LoRA-FA keeps the A matrices frozen, there is no ratio",
                "lora_plus_lr_ratio：LoRA-FA 冻结 A 矩阵，没有倍数可言",
            ),
            text("drop one of them", "去掉其中之一"),
        )
    if config.optim == "galore_adamw" and config.tuner_type not in WHOLE:
        yield (
            text(
                f"optim: galore_adamw is for full tuning; gradients of {config.tuner_type} "
                "are small already",
                f"optim：galore_adamw 用于全参数训练；{config.tuner_type} 的梯度本来就小",
            ),
            text("set tuner_type: full, or optim: auto", "设 tuner_type: full 或 optim: auto"),
        )


def _of_sharding(config: TrainConfig) -> Iterator[tuple[str, str]]:
    replicated = text("set distributed: ddp, or none", "设 distributed: ddp 或 none")
    low_rank = config.tuner_type in ("lora", "qlora")
    named = [
        ("optim", config.optim in ("lora_fa", "galore_adamw")),
        ("init_lora_weights", low_rank and config.init_lora_weights in DATA_DRIVEN),
        ("tuner_type", config.tuner_type in ("adalora", "llamapro")),
    ]
    for key, clashing in named:
        if clashing:
            yield (
                text(
                    f"{key}: {getattr(config, key)} needs whole weights; "
                    f"distributed: {config.distributed} splits them",
                    f"{key}：{getattr(config, key)} 需要完整权重，"
                    f"而 distributed: {config.distributed} 会切分权重",
                ),
                replicated,
            )
    if config.tuner_type == "qlora" and config.distributed in ("fsdp", "zero3"):
        yield (
            text(
                f"tuner_type: qlora with distributed: {config.distributed} has not been verified",
                f"tuner_type：qlora 与 distributed: {config.distributed} 的组合未经验证",
            ),
            replicated,
        )
