"""What a `task: train` YAML says at every stage; each method adds its options."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import field_validator

from swiftbox.config.best_model import BestModelFields
from swiftbox.config.conversations import ConversationFields
from swiftbox.config.fields import setting
from swiftbox.config.groups import (
    DataFields,
    ModelFields,
    RunFields,
    as_list,
)
from swiftbox.config.optimization import BatchFields, OptimizerFields
from swiftbox.config.schedule import MEASURED, ScheduleFields
from swiftbox.config.task import TaskConfig
from swiftbox.config.tuners import FULL_TUNERS, TunerFields
from swiftbox.config.vocabulary import VocabularyFields
from swiftbox.language import text

REPORTERS = ("tensorboard", "wandb", "swanlab", "none")


class TrainConfig(
    BestModelFields,
    RunFields,
    OptimizerFields,
    ScheduleFields,
    BatchFields,
    ConversationFields,
    DataFields,
    TunerFields,
    VocabularyFields,
    ModelFields,
    TaskConfig,
):
    """Fields of every training method, and what an estimate needs to know of the method."""

    sequences_per_row: ClassVar[int] = 1
    """Two if a row is a pair of answers, each of up to max_length tokens."""
    has_reference: ClassVar[bool] = False
    """Whether the loss compares the policy with a reference policy."""
    generates_answers: ClassVar[bool] = False
    has_teacher: ClassVar[bool] = False
    """Whether the loss compares the distributions of a teacher model."""
    splits_long_rows: ClassVar[bool] = False
    """Whether a row longer than max_length is split instead of cut."""
    can_pack: ClassVar[bool] = False
    """Whether several rows can share one line of a batch."""

    task: Literal["train"] = setting(
        "train",
        label_zh="任务",
        en="task of this file",
        zh="本文件的任务",
        section="task",
    )

    @property
    def holds_out_rows(self) -> bool:
        """Return whether rows are held out, on which the model is evaluated."""
        return self.val_dataset is not None or self.val_size > 0

    @property
    def judges_evaluations(self) -> bool:
        """Return whether the result depends on when the model is evaluated."""
        return self.best_of_evaluations or self.lr_scheduler_type in MEASURED

    @property
    def compares_with_reference(self) -> bool:
        """Return whether this training computes log-probabilities of a reference policy."""
        return self.has_reference and not getattr(self, "reference_free", False)

    @property
    def samples_answers(self) -> bool:
        """Return whether a distillation generates answers to the prompts of its rows."""
        return False

    @property
    def answer_length(self) -> int:
        """Return the most tokens of an answer that is generated to a prompt; 0 if none is."""
        if not (self.generates_answers or self.samples_answers):
            return 0
        return int(self.model_dump()["max_completion_length"])

    @property
    def keeps_bfloat16_weights(self) -> bool:
        """Return whether a full training keeps its weights in bfloat16, not in float32."""
        return self.pure_bf16 and self.tuner_type in FULL_TUNERS

    @field_validator("report_to")
    @classmethod
    def _known_reporters(cls, value: str | list[str]) -> str | list[str]:
        for name in as_list(value):
            if name not in REPORTERS:
                known = ", ".join(REPORTERS)
                raise ValueError(text(f"should be one of {known}", f"应为其中之一：{known}"))
        return value

    @property
    def smoothing(self) -> float:
        """Return the share of each label that is spread over the vocabulary."""
        return 0.0

    @property
    def smallest_micro_batch(self) -> int:
        """Return the fewest rows per forward pass that the method can learn from."""
        return 1

    @property
    def usual_micro_batch(self) -> int | None:
        """Return the usual rows per forward pass if the loss depends on them; None if not."""
        return None

    def require_valid_batch_size(self) -> None:
        """Raise ConfigError if the method cannot learn from batches of this size."""
