"""The trainer: transformers' loop with our batches, loss and checkpoints, for any method."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import Trainer

from swiftbox.core.data.rows import EpochSampler, UnitDataset
from swiftbox.core.training.atomic_checkpoints import AtomicCheckpoints, RunRecorder
from swiftbox.core.training.infinite_loss import infinite_loss

Loss = Callable[[Any, dict[str, Any]], Any]
"""Takes a model and a batch; returns core.losses.terms.LossTerms."""
Collate = Callable[[Sequence[Any]], dict[str, Any]]


@dataclass(frozen=True)
class TrainingSetup:
    """The data, loss and optimizer of a training, and the recorder of its run."""

    record: RunRecorder
    training: UnitDataset
    held_out: UnitDataset | None
    collate: Collate
    loss: Loss
    count: Callable[[Mapping[str, Any]], int]
    optimizer: Callable[..., Any] | None = None
    """Creates the optimizer; None if transformers does."""


class SwiftTrainer(AtomicCheckpoints, Trainer):
    """transformers.Trainer with a summed loss, a seeded order per epoch, and atomic checkpoints."""

    def __init__(self, setup: TrainingSetup, **arguments: Any) -> None:
        super().__init__(
            train_dataset=setup.training,
            eval_dataset=setup.held_out,
            data_collator=setup.collate,
            **arguments,
        )
        self.setup = setup
        self.record = setup.record
        self.sampler = EpochSampler(len(setup.training), self.args.seed)
        self.tokens_seen = 0
        self._first_step: int | None = None
        self.metric_sums: Counter[str] = Counter()
        self.model_accepts_loss_kwargs = True

    # ---- data

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        return self.sampler

    def _held_out_batches(self) -> Iterator[tuple[dict[str, Any], bool]]:
        """Yield this process's share of the held-out batches, and whether each one counts.

        Sharded models need all processes for each batch, so every process gets equally many. A
        process without rows left computes a batch that does not count.
        """
        if self.setup.held_out is None:
            return
        units, size = self.setup.held_out.units, self.args.per_device_train_batch_size
        share = units[self.args.process_index :: self.args.world_size]
        longest = math.ceil(len(units) / self.args.world_size)
        for start in range(0, longest, size):
            counts = start < len(share)
            yield self.setup.collate(share[start : start + size] if counts else units[:1]), counts

    def create_optimizer(self, model: Any = None) -> Any:
        """Create the optimizer: the one of the setup, otherwise the one named by `optim`."""
        if self.setup.optimizer is not None and getattr(self, "optimizer", None) is None:
            self.optimizer: Any = self.setup.optimizer(model or self.model, self.args)
        return super().create_optimizer(model)

    # ---- loss

    def compute_loss(
        self,
        model: Any,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Any = None,
    ) -> Any:
        """Divide the summed loss by the terms of the entire update over all devices."""
        self.tokens_seen += inputs["input_ids"].numel()
        terms = self.setup.loss(model, inputs)
        self._add_metrics(terms)
        loss = terms.total / (terms.count if num_items_in_batch is None else num_items_in_batch)
        if num_items_in_batch is not None and self.args.average_tokens_across_devices:
            loss = loss * self.accelerator.num_processes  # DDP averages gradients
        return (loss, None) if return_outputs else loss

    def _get_num_items_in_batch(self, batch_samples: list[Any], device: Any) -> Any:
        """Count the terms of an update: learned tokens, pairs, or answers."""
        if not batch_samples:
            return None
        count = torch.tensor(sum(map(self.setup.count, batch_samples)), device=device)
        if self.args.average_tokens_across_devices and self.args.world_size > 1:
            return self.accelerator.gather(count).sum()
        return count

    # ---- metrics

    def _add_metrics(self, terms: Any) -> None:
        for name, value in terms.metrics.items():
            self.metric_sums[name] += value
        if terms.metrics:
            self.metric_sums["terms"] += terms.count

    def take_metrics(self) -> dict[str, float]:
        """Return the mean metrics over all devices since the last call, and reset them."""
        local = {name: float(value) for name, value in self.metric_sums.items()}
        self.metric_sums.clear()
        per_process: list[Any] = [local]
        if self.args.world_size > 1:
            per_process = [None] * self.args.world_size
            torch.distributed.all_gather_object(per_process, local)
        sums: Counter[str] = Counter()
        for metrics in per_process:
            sums.update(metrics)
        terms = sums.pop("terms", 0.0)
        counts = {name: sums.get(f"{name}#", terms) for name in sums if not name.endswith("#")}
        return {name: sums[name] / count for name, count in counts.items() if count}

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log a step or an evaluation together with the method's metrics."""
        evaluates = "eval_loss" in logs
        if "loss" in logs or evaluates:
            prefix = "eval_" if evaluates else ""
            logs |= {f"{prefix}{name}": value for name, value in self.take_metrics().items()}
        super().log(logs, start_time)

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        """Train on a batch; raise RunError if the loss is not finite."""
        if self._first_step is None:
            self._first_step = self.state.global_step
        loss = super().training_step(model, inputs, num_items_in_batch)
        if not math.isfinite(loss.item()):
            raise infinite_loss(model, loss.item(), self.state.global_step, self._first_step)
        return loss

    @torch.no_grad()  # type: ignore[untyped-decorator]  # torch is not read by mypy
    def evaluate(
        self,
        eval_dataset: Any = None,
        ignore_keys: Any = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """Compute the loss per term on the held-out rows."""
        was_training = self.model.training
        self.model.eval()
        training_sums, self.metric_sums = self.metric_sums, Counter()
        sums = [0.0, 0.0]
        for batch, counts in self._held_out_batches():
            with self.compute_loss_context_manager(), self.accelerator.autocast():
                terms = self.setup.loss(self.model, self._prepare_inputs(batch))
            if counts:
                sums = [sums[0] + float(terms.total), sums[1] + terms.count]
                self._add_metrics(terms)
        self.model.train(was_training)
        if self.args.world_size > 1:
            per_process: list[Any] = [None] * self.args.world_size
            torch.distributed.all_gather_object(per_process, sums)
            sums = [sum(column) for column in zip(*per_process, strict=True)]
        metrics = {f"{metric_key_prefix}_loss": sums[0] / sums[1]}
        self.log(metrics)
        self.metric_sums = training_sums
        self.control: Any = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics
