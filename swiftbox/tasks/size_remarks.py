"""Remarks on the size of a model: one that is not known, and weights that stay unquantized."""

from __future__ import annotations

from swiftbox.config.train import TrainConfig
from swiftbox.fit.profile import profile_model
from swiftbox.fit.shape import ModelShape
from swiftbox.fit.training import quantizes
from swiftbox.language import text
from swiftbox.models.requirements import NOTE, Remark
from swiftbox.tasks.checks import OnRemark


def remark_on_size(config: TrainConfig, on_remark: OnRemark, *, is_here: bool) -> None:
    """Remark on experts that stay unquantized, and on a model of unknown size."""
    profile = profile_model(config.model)
    if profile is not None and quantizes(config, profile) and profile.shape.in_experts:
        on_remark(_unquantized_experts(profile.shape))
    if not is_here and profile is None:
        on_remark(_unknown_size(config.model))


def _unknown_size(name: str) -> Remark:
    message = text(
        f"memory, disk and time of {name} cannot be estimated: it has no config.json here, no row "
        "in the catalogue, and no size in its name",
        f"无法估计 {name} 所需的内存、磁盘与时间：本机没有 config.json，模型表中没有，"
        "名称也不含规模",
    )
    hint = text(
        f"run `swiftbox download {name}`, then check again",
        f"请先运行 `swiftbox download {name}`，再检查",
    )
    return Remark(NOTE, "fit", message, hint)


def _unquantized_experts(shape: ModelShape) -> Remark:
    share = f"{shape.in_experts / shape.params:.0%}"
    message = text(
        f"tuner_type: qlora does not quantize the experts, {share} of the weights: transformers "
        "keeps those of a layer in one tensor, and bitsandbytes quantizes linear layers",
        f"tuner_type：qlora 不会量化占权重 {share} 的专家：transformers 把每层的专家存为一个张量，"
        "而 bitsandbytes 只量化线性层",
    )
    hint = text(
        "lora takes about as much memory; the estimate counts the experts in dtype",
        "lora 所需内存相近；估计已按 dtype 计入专家",
    )
    return Remark(NOTE, "tuner_type", message, hint)
