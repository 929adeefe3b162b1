"""What preference methods settle and refuse before anything runs; pure."""

from __future__ import annotations

from typing import Any

from swiftbox.config.train import TrainConfig
from swiftbox.errors import ConfigError
from swiftbox.language import text
from swiftbox.tasks.task import Reason


def resolve(config: TrainConfig, settled: dict[str, Any]) -> list[Reason]:
    """Settle what pairs and references need into `settled`; return the reasons.

    Raises ConfigError for settings that contradict the method.
    """
    values = config.model_dump()
    stage = values["stage"]
    if config.packing and stage not in ("pt", "sft"):
        raise ConfigError(
            text(
                f"packing: stage: {stage} does not pack; its batches have no padding anyway",
                f"packing：stage: {stage} 不打包；其批次本来就没有填充",
            ),
            hint=text("set packing: false", "设 packing: false"),
        )
    if stage == "kto":
        _require_others(config, values)
    if values.get("precompute_ref_log_probs") != "auto":
        return []
    found = _precompute(config, values, settled["distributed"])
    settled["precompute_ref_log_probs"] = found.value
    return [found]


def _require_others(config: TrainConfig, values: dict[str, Any]) -> None:
    if values["loss_type"] == "kto" and config.per_device_train_batch_size < 2:
        raise ConfigError(
            text(
                "per_device_train_batch_size: KTO compares prompts with the answers of others in "
                f"the batch (got {config.per_device_train_batch_size})",
                "per_device_train_batch_size：KTO 需要与同批其他回答作比较"
                f"（当前为 {config.per_device_train_batch_size}）",
            ),
            hint=text(
                "set it to 2 or more, or loss_type: apo_zero_unpaired",
                "设为 2 或更大，或设 loss_type: apo_zero_unpaired",
            ),
        )


def _precompute(config: TrainConfig, values: dict[str, Any], distributed: str) -> Reason:
    """Decide by cost whether the reference is computed before training."""
    key = "precompute_ref_log_probs"
    if values["reference_free"]:
        return Reason(key, "false", text("reference_free", "reference_free"))
    if config.tuner_type == "full":
        why = text(
            "a second copy of all weights would have to be kept otherwise",
            "否则需要保留全部权重的第二份副本",
        )
        return Reason(key, "true", why)
    if distributed not in ("none", "ddp"):
        why = text("the adapter is switched off instead", "改为关闭适配器得到参考模型")
        return Reason(key, "false", why)
    if config.num_train_epochs > 1 and config.max_steps is None:
        why = text(
            f"once instead of in each of {config.num_train_epochs:g} epochs; kept for later runs",
            f"只算一次，而不是 {config.num_train_epochs:g} 轮各算一次；供以后的运行复用",
        )
        return Reason(key, "true", why)
    why = text(
        "every pair is seen once: beside the policy it costs the same and training starts sooner",
        "每对样本只用一次：与策略模型一同计算开销相同，且更早开始训练",
    )
    return Reason(key, "false", why)
