"""Fields of the methods whose loss is the likelihood of tokens."""

from __future__ import annotations

from swiftbox.config.fields import setting
from swiftbox.config.groups import Frozen


class LabelSmoothingField(Frozen):
    """How sure the loss is of each token."""

    label_smoothing_factor: float = setting(
        0.0,
        label_zh="标签平滑系数",
        en="share of each label that is spread evenly over the vocabulary; 0: none",
        zh="每个标签中平均分给整个词表的份额；0 表示不平滑",
        section="train",
        ge=0,
        lt=1,
    )

    @property
    def smoothing(self) -> float:
        """Return the share of each label that is spread over the vocabulary."""
        return self.label_smoothing_factor
