"""Write TensorBoard logs, importing tensorboard only when there is something to log."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback
from transformers.integrations import TensorBoardCallback

from swiftbox.config.groups import as_list
from swiftbox.config.train import TrainConfig
from swiftbox.language import text
from swiftbox.runs import events
from swiftbox.runs.diagnosis import first_line
from swiftbox.runs.events import Emit

TENSORBOARD = "tensorboard"
"""The value of report_to; TrainingArguments does not get it, since transformers would import
tensorboard before the first step."""


def defer_tensorboard(trainer: Any, config: TrainConfig, emit: Emit) -> None:
    """Add the callback if the config reports to TensorBoard, after those that emit events."""
    if TENSORBOARD in as_list(config.report_to):
        trainer.add_callback(DeferredTensorBoard(emit))


class DeferredTensorBoard(TrainerCallback):
    """Starts transformers' TensorBoardCallback at the first log.

    That may be after hours, so a tensorboard that cannot be imported must not end the training:
    its metrics are also recorded as events.
    """

    def __init__(self, emit: Emit) -> None:
        self.emit = emit
        self.callback: TensorBoardCallback | None = None
        self.is_missing = False

    def on_log(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Pass the log on, from the main process."""
        if not state.is_world_process_zero or self.is_missing:
            return
        if self.callback is None:
            try:
                self.callback = TensorBoardCallback()
            except Exception as error:  # noqa: BLE001 - whatever the import of the package raises
                self.is_missing = True
                self.emit(events.NOTE, key="report_to", message=_not_importable(error))
                return
            self.callback.on_train_begin(args, state, control, **kwargs)
        self.callback.on_log(args, state, control, **kwargs)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Close the log."""
        if self.callback is not None:
            self.callback.on_train_end(args, state, control, **kwargs)


def _not_importable(error: Exception) -> str:
    cause = first_line(error)
    return text(
        f"no TensorBoard log: tensorboard cannot be imported ({cause}); "
        "the metrics are in events.jsonl",
        f"不写 TensorBoard 日志：无法导入 tensorboard（{cause}）；指标见 events.jsonl",
    )
