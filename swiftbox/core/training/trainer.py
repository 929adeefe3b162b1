"""The one trainer: transformers' loop with our batches, loss, checkpoints; knows no method."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import Trainer

from swiftbox.core.data.rows import EpochSampler, Units
from swiftbox.core.training.sealed_checkpoints import Record, WholeCheckpoints
from swiftbox.errors import RunError
from swiftbox.language import text

Loss = Callable[[Any, dict[str, Any]], Any]
"""Of a model and a batch; gives methods.method.Terms, which the core does not import."""
Collate = Callable[[Sequence[Any]], dict[str, Any]]


@dataclass(frozen=True)
class Work:
    """What a method brings to the trainer, and what keeps the record."""

    record: Record
    training: Units
    held_out: Units | None
    collate: Collate
    loss: Loss
    count: Callable[[Mapping[str, Any]], int]
    optimizer: Callable[..., Any] | None = None
    """What makes the optimizer, where transformers does not."""


class SwiftTrainer(WholeCheckpoints, Trainer):
    """transformers.Trainer with a summed loss, an order per epoch, and whole checkpoints."""

    def __init__(self, work: Work, **arguments: Any) -> None:
        super().__init__(
            train_dataset=work.training,
            eval_dataset=work.held_out,
            data_collator=work.collate,
            **arguments,
        )
        self.work = work
        self.record = work.record
        self.sampler = EpochSampler(len(work.training), self.args.seed)
        self.tokens_seen = 0
        self.watched: Counter[str] = Counter()
        self.model_accepts_loss_kwargs = True

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
            taken = own[at : at + size] if at < len(own) else units[:1]
            yield self.work.collate(taken), at < len(own)

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
        """Divide the summed loss by the terms of the whole update, on all devices."""
        self.tokens_seen += inputs["input_ids"].numel()
        terms = self.work.loss(model, inputs)
        self._watch(terms)
        loss = terms.total / (terms.count if num_items_in_batch is None else num_items_in_batch)
        if num_items_in_batch is not None and self.args.average_tokens_across_devices:
            loss = loss * self.accelerator.num_processes  # DDP averages gradients
        return (loss, None) if return_outputs else loss

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: Any) -> Any:
        """Count the terms of an update: learned tokens, or pairs, or answers."""
        if not batch_samples:
            return None
        count = torch.tensor(sum(map(self.work.count, batch_samples)), device=device)
        if self.args.average_tokens_across_devices and self.args.world_size > 1:
            return self.accelerator.gather(count).sum()
        return count

    # ---- what is worth watching

    def _watch(self, terms: Any) -> None:
        for name, value in terms.metrics.items():
            self.watched[name] += value
        if terms.metrics:
            self.watched["terms"] += terms.count

    def take_watched(self) -> dict[str, float]:
        """Return the means over all devices since the last call, and begin anew."""
        mine = {name: float(value) for name, value in self.watched.items()}
        self.watched.clear()
        everyone: list[Any] = [mine]
        if self.args.world_size > 1:
            everyone = [None] * self.args.world_size
            torch.distributed.all_gather_object(everyone, mine)
        found: Counter[str] = Counter()
        for one in everyone:
            found.update(one)
        terms = found.pop("terms", 0.0)
        counts = {name: found.get(f"{name}#", terms) for name in found if not name.endswith("#")}
        return {name: found[name] / count for name, count in counts.items() if count}

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log a step or a measurement with the means of what is watched."""
        evaluates = "eval_loss" in logs
        if "loss" in logs or evaluates:
            prefix = "eval_" if evaluates else ""
            logs |= {f"{prefix}{name}": value for name, value in self.take_watched().items()}
        super().log(logs, start_time)

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
        """Measure the loss per term on the held-out rows."""
        was_training = self.model.training
        self.model.eval()
        kept, self.watched = self.watched, Counter()
        sums = [0.0, 0.0]
        for batch, counts in self._held_out_batches():
            with self.compute_loss_context_manager(), self.accelerator.autocast():
                terms = self.work.loss(self.model, self._prepare_inputs(batch))
            if counts:
                sums = [sums[0] + float(terms.total), sums[1] + terms.count]
                self._watch(terms)
        self.model.train(was_training)
        if self.args.world_size > 1:
            everyone: list[Any] = [None] * self.args.world_size
            torch.distributed.all_gather_object(everyone, sums)
            sums = [sum(one[place] for one in everyone) for place in (0, 1)]
        metrics = {f"{metric_key_prefix}_loss": sums[0] / sums[1]}
        self.log(metrics)
        self.watched = kept
        self.control: Any = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics
