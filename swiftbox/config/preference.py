"""Groups of fields that preference methods share: small mixins without behaviour."""

from __future__ import annotations

from typing import Literal

from swiftbox.config.fields import setting
from swiftbox.config.groups import Frozen


class BetaField(Frozen):
    """How strongly the loss follows preferences or the reference policy."""

    beta: float = setting(
        0.1,
        label_zh="偏好强度",
        en="how closely the model stays to its reference; a smaller value lets it move further",
        zh="模型与参考模型的贴近程度；越小偏离越大",
        section="method",
        essential=True,
        gt=0,
        le=100,
    )


class SmoothingField(Frozen):
    """The assumed rate of wrong labels."""

    label_smoothing: float = setting(
        0.0,
        label_zh="标签平滑",
        en="share of pairs assumed to be mislabelled",
        zh="假定标注颠倒的样本对所占比例",
        section="method",
        ge=0,
        lt=0.5,
    )


class SharingField(Frozen):
    """How the shared prompt of a pair is computed."""

    prefix_sharing: Literal["auto", "true", "false"] = setting(
        "auto",
        label_zh="前缀共享",
        en="compute the shared prompt of a pair only once; auto: wherever the result is exact",
        zh="同一对回答的公共提示只计算一次；auto：只要结果精确就启用",
        section="method",
    )


class ReferenceField(Frozen):
    """Where the reference policy's log-probabilities come from."""

    precompute_ref_log_probs: Literal["auto", "true", "false"] = setting(
        "auto",
        label_zh="预计算参考概率",
        en="compute the reference's log-probabilities once before training and cache them for "
        "later epochs and runs; auto decides by cost",
        zh="训练前一次性计算参考模型的对数概率，供后续轮次与运行复用；auto 按开销决定",
        section="method",
    )
