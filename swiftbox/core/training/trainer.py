"""The trainer: transformers' schedule and optimizer with our updates, for any method.

An update is computed by this class: forward and backward passes of micro-batches that are
collated ahead (loader.py), repeated in smaller ones if the memory runs out (memory_recovery.py).
Nothing in it waits for the device: losses, norms and metrics stay there until they are logged.
transformers' own loop counts terms on the device, and a failed pass ends it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau
from transformers import Trainer
from transformers.optimization import GreedyLR

from swiftbox.core.data.batches import to_device
from swiftbox.core.data.rows import EpochSampler, UnitDataset
from swiftbox.core.training.atomic_checkpoints import AtomicCheckpoints, RunRecorder
from swiftbox.core.training.generated_answers import AnswerWriter
from swiftbox.core.training.held_out import HeldOutLoss
from swiftbox.core.training.infinite_loss import UnreadLosses
from swiftbox.core.training.loader import (
    EpochUpdates,
    MicroBatch,
    TrainingLoader,
    UpdateShape,
)
from swiftbox.core.training.memory_recovery import UNLIMITED, SplitLimits
from swiftbox.core.training.metric_sums import MetricSums
from swiftbox.core.training.schedules import PlannedSchedule
from swiftbox.core.training.split_changes import SplitChanges
from swiftbox.core.training.stop_votes import StopVotes

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
    count: Callable[[Sequence[Any]], int]
    """Returns the number of terms of units, as methods.method.Method.count does."""
    optimizer: Callable[..., Any] | None = None
    """Creates the optimizer; None if transformers does."""
    limits: SplitLimits = UNLIMITED
    measure: Callable[[Any, Any], dict[str, float]] | None = None
    """Returns metrics from the outputs of all held-out rows and what they should be."""
    answers: AnswerWriter | None = None
    """Replaces the rows of an update by generated answers; None if none are generated."""


@dataclass
class UpdateSums:
    """What an update adds to the log; replaced only by an update that is complete."""

    loss: torch.Tensor
    """Since the last log.  # ()"""
    metrics: MetricSums
    tokens: int


class SwiftTrainer(AtomicCheckpoints, PlannedSchedule, Trainer):
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
        self.tokens_seen = 0
        self.metrics = MetricSums()
        self.unread = UnreadLosses()
        self.votes = StopVotes(self.accelerator)
        self._first_step: int | None = None
        self.loader = self._training_loader()
        self.split = SplitChanges(setup.record, setup.limits, self.args)
        self.loader.micro_units = self.split.units
        self.held_out_loss = HeldOutLoss(self, setup)

    # ---- data

    def _training_loader(self) -> TrainingLoader:
        arguments = self.args
        micro_units = arguments.per_device_train_batch_size
        shape = UpdateShape(
            micro_units * arguments.gradient_accumulation_steps,
            arguments.process_index,
            arguments.world_size,
        )
        training = self.setup.training
        sampler = EpochSampler(len(training), arguments.seed)
        functions = (self.setup.collate, self.setup.count)
        loader = TrainingLoader(training, sampler, shape, micro_units, functions)
        loader.answers = self.setup.answers
        return loader

    def get_train_dataloader(self) -> Any:
        """Return the loader, of which transformers reads the length and the dataset."""
        return self.loader

    def create_optimizer(self, model: Any = None) -> Any:
        """Create the optimizer: the one of the setup, otherwise the one named by `optim`."""
        if self.setup.optimizer is not None and getattr(self, "optimizer", None) is None:
            self.optimizer: Any = self.setup.optimizer(model or self.model, self.args)
        return super().create_optimizer(model)

    # ---- the loop

    def _run_epoch(self, **state: Any) -> None:
        """Train the updates of an epoch that are left."""
        if self.state.global_step >= self.state.max_steps or self.control.should_training_stop:
            self.control.should_training_stop = True  # the checkpoint was that of the last step
            return
        epoch, checkpoint, first = state["epoch"], state["resume_from_checkpoint"], 0
        if checkpoint is not None and epoch == state["epochs_trained"]:
            first = state["steps_trained_in_current_epoch"] // self.args.gradient_accumulation_steps
            self._load_rng_state(checkpoint)
        report = _Report(state["trial"], state["ignore_keys_for_eval"], state["start_time"])
        with self.loader.epoch(epoch, first) as updates:
            for number in range(first, self.loader.updates):
                self.control = self.callback_handler.on_step_begin(
                    self.args, self.state, self.control
                )
                self._train_update(state["model"], updates)
                micro_batches = (number + 1) * self.args.gradient_accumulation_steps
                self.state.epoch = epoch + min(1.0, micro_batches / len(self.loader))
                self.control = self.callback_handler.on_step_end(
                    self.args, self.state, self.control
                )
                self._report(state["model"], epoch, report)
                if self.control.should_epoch_stop or self.control.should_training_stop:
                    break
        self._require_finite()
        self.control = self.callback_handler.on_epoch_end(self.args, self.state, self.control)
        self._report(state["model"], epoch, report)

    def _train_update(self, model: Any, updates: EpochUpdates) -> None:
        """Train on an update; transformers logs, evaluates and saves after it."""
        step = self.state.global_step
        is_first = self._first_step is None
        if self._first_step is None:
            self._first_step = step
        model.train()
        terms = self._terms_of_all_processes(updates.terms())
        sums = self.split.repeat_until_it_fits(
            updates, lambda: self._accumulate(model, updates, terms), step=step, model=model
        )
        self._tr_loss, self.metrics, self.tokens_seen = sums.loss, sums.metrics, sums.tokens
        if is_first:  # its loss tells broken weights from a learning rate that is too high
            self.unread.add(step, sums.loss)
            self._require_finite()
        with self.split.noting_failure(step):
            self.grad_norm = self._clipped_norm(model)
            self.unread.add(step, sums.loss, self._norm_that_must_be_finite())
            self._optimize(model)
        self.state.global_step += 1

    def _accumulate(self, model: Any, updates: EpochUpdates, terms: Any) -> UpdateSums:
        """Add the gradients of an update's micro-batches; return the sums with its own."""
        sums = UpdateSums(self._tr_loss.clone(), self.metrics.copy(), self.tokens_seen)
        for batch in updates.micro_batches():
            self.split.current = batch
            self.accelerator.gradient_state._set_sync_gradients(batch.is_last)
            with self._gradients_apart(model, batch):
                sums.loss += self._backward(model, batch, terms, sums)
            sums.tokens += batch.tokens
        return sums

    def _backward(
        self, model: Any, batch: MicroBatch, terms: Any, sums: UpdateSums
    ) -> torch.Tensor:
        """Compute the gradient of the micro-batch's share of the update's mean loss."""
        # From the forward pass on: it tells the reducer to average at the next backward pass.
        self.split.averages_gradients = batch.is_last and self.args.world_size > 1
        with self.compute_loss_context_manager():
            result = self.setup.loss(model, to_device(batch.inputs, self.args.device))
        sums.metrics.add(result)
        loss = result.total / terms
        if self.args.world_size > 1:
            loss = loss * self.accelerator.num_processes  # gradients are averaged over processes
        if self.is_deepspeed_enabled:
            self.accelerator.backward(loss, scale_wrt_gas=False)
        else:
            self.accelerator.backward(loss)
        return loss.detach()

    def _gradients_apart(self, model: Any, batch: MicroBatch) -> Any:
        """Return the context in which gradients are not yet averaged over the processes."""
        if batch.is_last or self.is_deepspeed_enabled:
            return contextlib.nullcontext()
        return self.accelerator.no_sync(model)

    def _terms_of_all_processes(self, terms: int) -> Any:
        """Return the terms of the entire update; also count the votes to stop."""
        if self.args.world_size == 1:
            return terms
        return self.votes.gathered_with(terms)

    def _clipped_norm(self, model: Any) -> Any:
        norm = self._clip_grad_norm(model) if self.args.max_grad_norm > 0 else None
        return self._get_grad_norm(model, grad_norm=norm)

    def _norm_that_must_be_finite(self) -> torch.Tensor | None:
        """Return the norm unless it may be infinite: float16 skips such updates."""
        plain = type(self.grad_norm) is torch.Tensor and self.accelerator.scaler is None
        return self.grad_norm if plain else None

    def _optimize(self, model: Any) -> None:
        """Change the weights and the learning rate, and forget the gradients."""
        self.control = self.callback_handler.on_pre_optimizer_step(
            self.args, self.state, self.control
        )
        self.optimizer.step()
        self.control = self.callback_handler.on_optimizer_step(self.args, self.state, self.control)
        self.learning_rate = self._get_learning_rate()  # that of this update
        follows_loss = isinstance(self.lr_scheduler, (ReduceLROnPlateau, GreedyLR))
        if not follows_loss and not self.accelerator.optimizer_step_was_skipped:
            self.lr_scheduler.step()
        model.zero_grad()

    # ---- reports

    def _report(self, model: Any, epoch: int, report: _Report) -> None:
        """Log, evaluate and save where it is due; transformers reads the loss and the norm."""
        control = self.control
        needs_loss = control.should_log or control.should_evaluate or control.should_save
        if needs_loss or self.unread.are_many:
            self._require_finite()
        self._maybe_log_save_evaluate(
            self._tr_loss,
            self.grad_norm,
            model,
            report.trial,
            epoch,
            report.ignored_keys,
            report.start_time,
            learning_rate=self.learning_rate,
        )

    def _require_finite(self) -> None:
        self.unread.require_finite(self.model, self._first_step)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Log a step or an evaluation together with the method's metrics."""
        evaluates = "eval_loss" in logs
        if "loss" in logs:
            self.split.announce()
        if "loss" in logs or evaluates:
            prefix = "eval_" if evaluates else ""
            means = self.metrics.take(self.args.world_size)
            logs |= {f"{prefix}{name}": value for name, value in means.items()}
        super().log(logs, start_time)

    def evaluate(
        self,
        eval_dataset: Any = None,
        ignore_keys: Any = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """Compute the loss per term on the held-out rows."""
        training_metrics, self.metrics = self.metrics, MetricSums()
        metrics = {f"{metric_key_prefix}_loss": self.held_out_loss.compute()}
        measured = self.held_out_loss.measured
        metrics |= {f"{metric_key_prefix}_{name}": value for name, value in measured.items()}
        self.log(metrics)
        self.metrics = training_metrics
        self.control: Any = self.callback_handler.on_evaluate(
            self.args, self.state, self.control, metrics
        )
        return metrics


@dataclass(frozen=True)
class _Report:
    """Arguments that transformers passes through its loop."""

    trial: Any
    ignored_keys: Any
    start_time: float
