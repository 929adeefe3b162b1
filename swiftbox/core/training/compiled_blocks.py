"""Compile the blocks of a network while it trains.

Each block is compiled on its own for rows of any length: blocks of one kind share their code, so
the compiler runs once for all of them instead of once per layer, and what surrounds them (the
embeddings, our head, hooks) stays plain Python. Probes before training and answers after it, which
would each need other code, run the plain blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from transformers import TrainerCallback
from transformers.modeling_layers import GradientCheckpointingLayer

from swiftbox.core.losses.log_prob_reader import unwrapped
from swiftbox.language import text
from swiftbox.runs import events
from swiftbox.runs.events import Emit

COMPILER = "inductor"
"""torch's compiler: Triton on GPUs, C++ on CPUs."""

MOST_VERSIONS = 64
"""Versions of a block's code: with and without gradients, a mask, one line or several. torch would
stop at 8 and run the plain code without a word."""


class CompiledBlocks(TrainerCallback):
    """Compiles the blocks when training starts, and restores them when it ends."""

    def __init__(self, blocks: Sequence[Any], backend: str = COMPILER) -> None:
        self.blocks = blocks
        self.backend = backend
        self._versions = MOST_VERSIONS

    def on_train_begin(self, _args: Any, _state: Any, _control: Any, **_: Any) -> None:
        """Let every block compile itself at its next call."""
        import torch._dynamo.config as compiler  # takes a second, and nobody else needs it

        self._versions, compiler.recompile_limit = compiler.recompile_limit, MOST_VERSIONS
        for block in self.blocks:
            block.compile(dynamic=True, backend=self.backend)

    def on_train_end(self, _args: Any, _state: Any, _control: Any, **_: Any) -> None:
        """Return to the plain blocks."""
        import torch._dynamo.config as compiler

        compiler.recompile_limit = self._versions
        for block in self.blocks:
            block._compiled_call_impl = None


def blocks_of(network: Any) -> list[Any]:
    """Return the blocks of a network that its class marks; empty if it marks none."""
    return [
        block
        for block in unwrapped(network).modules()
        if isinstance(block, GradientCheckpointingLayer)
    ]


def compile_callbacks(network: Any, emit: Emit) -> list[TrainerCallback]:
    """Return the callback that compiles; none, with a warning, if the blocks are not marked."""
    if blocks := blocks_of(network):
        return [CompiledBlocks(blocks)]
    name = type(unwrapped(network)).__name__
    message = text(
        f"torch_compile: {name} does not mark its blocks; the run continues without compilation",
        f"torch_compile：{name} 没有标明各层；将不编译而继续训练",
    )
    emit(events.WARNING, message=message)
    return []
