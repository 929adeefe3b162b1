"""The one trainer: transformers' loop with our batches, loss, checkpoints; knows no method."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import Trainer
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from swiftbox import run_folder
from swiftbox.core import checkpoint
from swiftbox.core.rows import EpochSampler, Units
from swiftbox.diagnosis import DISK_FULL, kind_of
from swiftbox.errors import RunError
from swiftbox.language import text

Loss = Callable[[Any, dict[str, Any]], tuple[Any, Any]]
Collate = Callable[[Sequence[Any]], dict[str, Any]]


@dataclass(frozen=True)
class Work:
    """What a method brings to the trainer, and the folder that keeps the record."""

    folder: Path
    training: Units
    held_out: Units | None
    collate: Collate
    loss: Loss
    save_total_limit: int
    emit: Callable[..., None]
    optimizer: Callable[..., Any] | None = None
    """What makes the optimizer, where transformers does not."""


class SwiftTrainer(Trainer):
    """transformers.Trainer with a summed loss, an order per epoch, and whole checkpoints."""

    def __init__(self, work: Work, **arguments: Any) -> None:
        super().__init__(
            train_dataset=work.training,
            eval_dataset=work.held_out,
            data_collator=work.collate,
            **arguments,
        )
        self.work = work
        self.sampler = EpochSampler(len(work.training), self.args.seed)
        self.tokens_seen = 0
        self.model_accepts_loss_kwargs = True
        self.saving_in: Path | None = None

    # ---- data

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        return self.sampler

    def _held_out_batches(self) -> Iterator[tuple[dict[str, Any], bool]]:
        """Yield this process's share of the held-out rows, and whether each batch counts.

        Every process gets as many batches, since sharded models work together on each; those
        that have no row left compute one that does not count.
        """
        if self.work.held_out is None:
            return
        units, size = self.work.held_out.units, self.args.per_device_train_batch_size
        own = units[self.args.process_index :: self.args.world_size]
        longest = math.ceil(len(units) / self.args.world_size)
        for at in range(0, longest, size):
            yield self.work.collate(own[at : at + size] or units[:1]), at < len(own)

    def create_optimizer(self, model: Any = None) -> Any:
        """Make the optimizer: the tuner's own, else the one that optim names."""
        if self.work.optimizer is not None and getattr(self, "optimizer", None) is None:
            self.optimizer: Any = self.work.optimizer(model or self.model, self.args)
        return super().create_optimizer(model)

    # ---- loss

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Divide the summed loss by the learned tokens of the whole update, on all devices."""
        mask = inputs.get("attention_mask")
        self.tokens_seen += int(mask.sum()) if mask is not None else inputs["input_ids"].numel()
        total, count = self.work.loss(model, inputs)
        loss = total / (count if num_items_in_batch is None else num_items_in_batch)
        if num_items_in_batch is not None and self.args.average_tokens_across_devices:
            loss = loss * self.accelerator.num_processes  # DDP averages gradients
        return (loss, None) if return_outputs else loss

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        """Take a step of Trainer's, and refuse to go on with a loss that is no number."""
        loss = super().training_step(model, inputs, num_items_in_batch)
        if not math.isfinite(loss.item()):
            step = self.state.global_step + 1
            raise RunError(
                text(
                    f"the loss is {loss.item()} at step {step}",
                    f"第 {step} 步的损失为 {loss.item()}",
                ),
                hint=text(
                    "lower learning_rate, or set dtype: float32 (or bfloat16 instead of float16); "
                    "the last checkpoint is from before",
                    "减小 learning_rate，或设 dtype: float32（或用 bfloat16 代替 float16）；"
                    "最后的检查点在此之前",
                ),
            )
        return loss

    @torch.no_grad()  # type: ignore[untyped-decorator]  # torch is not read by mypy
    def evaluate(
        self,
        eval_dataset: Any = None,
        ignore_keys: Any = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """Measure the loss per learned token on the held-out rows."""
        was_training = self.model.training
        self.model.eval()
        sums = [0.0, 0.0]
        for batch, counts in self._held_out_batches():
            with self.compute_loss_context_manager(), self.accelerator.autocast():
                total, count = self.work.loss(self.model, self._prepare_inputs(batch))
            if counts:
                sums = [sums[0] + float(total), sums[1] + float(count)]
        self.model.train(was_training)
        if self.args.world_size > 1:
            everyone: list[Any] = [None] * self.args.world_size
            torch.distributed.all_gather_object(everyone, sums)
            sums = [sum(one[place] for one in everyone) for place in (0, 1)]
        metrics = {f"{metric_key_prefix}_loss": sums[0] / sums[1]}
        self.log(metrics)
        self.control: Any = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics

    # ---- checkpoints

    def _get_output_dir(self, trial: Any) -> str:
        return str(self.saving_in) if self.saving_in else super()._get_output_dir(trial)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Write the checkpoint aside, mark it complete, rename it, then drop the oldest."""
        folder = Path(self.args.output_dir)
        aside = folder / checkpoint.ASIDE
        name = f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
        kept = run_folder.checkpoints(self.work.folder)
        needed = checkpoint.bytes_needed(self.model, self.optimizer)
        newest = kept[-1] if kept else None
        if self.args.should_save:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(aside, ignore_errors=True)
            checkpoint.require_room(folder, needed, kept=newest)
        self._barrier()
        self.saving_in = aside
        try:
            super()._save_checkpoint(model, trial)
            self._barrier()
            if self.args.should_save:
                settled = self.work.folder / run_folder.SETTLED
                checkpoint.seal(aside / name, folder / name, settled, self.state.global_step)
        except (OSError, RuntimeError, SafetensorError) as error:
            if kind_of(error) != DISK_FULL:
                raise
            free = shutil.disk_usage(folder).free
            shutil.rmtree(aside, ignore_errors=True)
            raise checkpoint.full_disk(folder, needed, free, newest) from error
        finally:
            self.saving_in = None
        if self.args.should_save:
            shutil.rmtree(aside, ignore_errors=True)
            checkpoint.keep_newest(self.work.folder, self.work.save_total_limit)
            self.work.emit("checkpoint", step=self.state.global_step, path=str(folder / name))
        self._barrier()

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        super()._save(output_dir, state_dict)
        # A pickle of the arguments; settled.yaml says the same and cannot run code.
        Path(output_dir or self.args.output_dir, "training_args.bin").unlink(missing_ok=True)

    def _barrier(self) -> None:
        if self.args.world_size > 1:
            self.accelerator.wait_for_everyone()
