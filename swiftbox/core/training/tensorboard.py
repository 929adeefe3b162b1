"""Write TensorBoard logs, importing tensorboard only when there is something to log."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback
from transformers.integrations import TensorBoardCallback

from swiftbox.config.groups import as_list
from swiftbox.config.train import TrainConfig

TENSORBOARD = "tensorboard"
"""The value of report_to; TrainingArguments does not get it, since transformers would import
tensorboard before the first step."""


def defer_tensorboard(trainer: Any, config: TrainConfig) -> None:
    """Add the callback if the config reports to TensorBoard, after those that emit events."""
    if TENSORBOARD in as_list(config.report_to):
        trainer.add_callback(DeferredTensorBoard())


class DeferredTensorBoard(TrainerCallback):
    """Starts transformers' TensorBoardCallback at the first log."""

    def __init__(self) -> None:
        self.callback: TensorBoardCallback | None = None

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Pass the log on, from the main process."""
        if not state.is_world_process_zero:
            return
        if self.callback is None:
            self.callback = TensorBoardCallback()
            self.callback.on_train_begin(args, state, control, **kwargs)
        self.callback.on_log(args, state, control, **kwargs)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Close the log."""
        if self.callback is not None:
            self.callback.on_train_end(args, state, control, **kwargs)
