"""The settings among which the planner chooses; all train the same, some round differently.

A key that the config gives stays as it is. Rows per forward pass x passes is kept. What changes the
result, an optimizer with less state, is a later tier: it is considered if nothing before it fits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from swiftbox.config.combinations import ROUNDING_OPTIMIZERS, SHARDED
from swiftbox.config.train import TrainConfig
from swiftbox.devices.backends import OPTIMIZERS
from swiftbox.devices.choices import lacks
from swiftbox.devices.machine import Machine
from swiftbox.fit.micro_batch import MASKLESS

MOST_ROWS = 512
"""More rows in a forward pass win nothing on any device."""

BATCH, PASSES = "per_device_train_batch_size", "gradient_accumulation_steps"
CHECKPOINTING, OFFLOAD = "gradient_checkpointing", "activation_offload"
LAYOUT, ATTENTION_KEY, OPTIMIZER = "padding_free", "attn_implementation", "optim"

SMALLER_OPTIMIZERS = ("adamw_8bit", "paged_adamw_8bit")
"""Optimizers with less state than AdamW, in the order in which they are considered."""

OPTIMIZER_TIERS = {name: number for number, name in enumerate(SMALLER_OPTIMIZERS, start=1)}


@dataclass(frozen=True)
class PlanCandidate:
    """Values of the keys that the planner settles."""

    batch: int
    passes: int
    checkpointing: str
    layout: str
    attention: str
    optimizer: str
    offload: bool

    @property
    def tier(self) -> tuple[int, bool]:
        """Return the order of preference: first what is exact, then what copies nothing."""
        return OPTIMIZER_TIERS.get(self.optimizer, 0), self.offload

    @property
    def settings(self) -> Mapping[str, Any]:
        """Return the keys of the config with their values."""
        return {
            BATCH: self.batch,
            PASSES: self.passes,
            CHECKPOINTING: self.checkpointing,
            LAYOUT: self.layout,
            ATTENTION_KEY: self.attention,
            OPTIMIZER: self.optimizer,
            OFFLOAD: self.offload,
        }


def candidates(
    requested: TrainConfig, settled: TrainConfig, machine: Machine, attention: Sequence[str]
) -> Iterator[PlanCandidate]:
    """Yield every combination of what the request leaves open.

    `settled` has the values that the other decisions give these keys; `attention` are the exact
    kinds, the one that it has first.
    """
    is_open = requested.padding_free == "auto"
    axes = (
        list(batches(requested, settled)),
        list(_checkpointings(requested, settled)),
        list(_layouts(requested, settled, attention)),
        list(_optimizers(requested, settled, machine)),
        list(_offloads(requested, settled, machine)),
    )
    for (batch, passes), checkpointing, layout, optimizer, offload in product(*axes):
        is_added = (
            requested.gradient_checkpointing == "auto" or offload != settled.activation_offload
        )
        if offload and checkpointing == "selective" and is_added:
            continue  # the kept products stay on the device
        is_single = batch * settled.sequences_per_row == 1
        if is_single and is_open and layout[0] == "false":
            continue  # a row alone is the same in both layouts
        yield PlanCandidate(batch, passes, checkpointing, *layout, optimizer, offload)


def batches(requested: TrainConfig, settled: TrainConfig) -> Iterator[tuple[int, int]]:
    """Yield rows per pass and passes per update."""
    if requested.per_device_train_batch_size != "auto":
        yield settled.micro_batch, settled.gradient_accumulation_steps
        return
    rows = requested.gradient_accumulation_steps
    for batch in range(1, min(rows, MOST_ROWS) + 1):
        if rows % batch == 0:
            yield batch, rows // batch


def _checkpointings(requested: TrainConfig, settled: TrainConfig) -> Iterator[str]:
    if requested.gradient_checkpointing != "auto":
        yield settled.gradient_checkpointing
        return
    yield from ("false", "true")
    if settled.distributed not in SHARDED and not settled.torch_compile:
        yield "selective"


def _layouts(
    requested: TrainConfig, settled: TrainConfig, attention: Sequence[str]
) -> Iterator[tuple[str, str]]:
    """Yield the layout and the attention; what needs no mask joins rows.

    `attention` has eager only where nothing else is exact: it computes the products of sdpa, and
    writes and reads every score besides. Attention that needs no mask is never offered padded
    rows: it computes the same rows without their padding.
    """
    kinds = attention if requested.attn_implementation == "auto" else ()
    for name in dict.fromkeys((settled.attn_implementation, *kinds)):
        yield settled.padding_free, name
        is_open = requested.padding_free == "auto" and settled.padding_free == "true"
        if is_open and name not in MASKLESS and not requested.packing:
            yield "false", name


def _optimizers(requested: TrainConfig, settled: TrainConfig, machine: Machine) -> Iterator[str]:
    yield settled.optim
    if requested.optim != "auto" or settled.distributed in SHARDED:
        return  # bitsandbytes cannot update split weights
    for name in SMALLER_OPTIMIZERS:
        if settled.keeps_bfloat16_weights and name not in ROUNDING_OPTIMIZERS:
            continue
        if "bitsandbytes" in machine.versions and not lacks(machine, OPTIMIZERS[name]):
            yield name


def _offloads(requested: TrainConfig, settled: TrainConfig, machine: Machine) -> Iterator[bool]:
    yield settled.activation_offload
    is_open = OFFLOAD not in requested.model_fields_set and not settled.activation_offload
    if not is_open or settled.distributed in SHARDED or settled.torch_compile:
        return
    if not lacks(machine, "activation_offload"):
        yield True
