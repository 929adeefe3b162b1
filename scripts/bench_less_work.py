"""Each setting that saves work against the same step without it, in turns: time and memory.

On an accelerator with --hidden 4096 --layers 8 --tokens 4096; on a CPU small shapes show the
direction. A gain is 3 % of the time, or 10 % of the memory; anything else is "no gain, left out".
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from live_tensors import LiveTensors

GAIN = 0.97
MEMORY_GAIN = 0.9
VOCABULARY = 32_000

Step = Callable[[], Any]


@dataclass(frozen=True)
class Comparison:
    """A step without and with one setting."""

    name: str
    without: Step
    within: Step
    note: str = ""
    standing: tuple[Callable[[], int], Callable[[], int]] = (int, int)
    """Bytes of weights and states between steps, where they differ."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--hidden", type=int, default=512, help="width of the model (default 512)")
    parser.add_argument("--layers", type=int, default=4, help="blocks of the model (default 4)")
    parser.add_argument("--tokens", type=int, default=512, help="tokens of a step (default 512)")
    parser.add_argument("--runs", type=int, default=7, help="pairs of each comparison (default 7)")
    parser.add_argument(
        "--compile", action="store_true", help="also torch_compile; minutes on CPUs"
    )


def run(options: argparse.Namespace) -> int:
    """Print one line for each setting."""
    bench = Bench(options)
    print(f"{'':34}{'without':>11}{'with':>11}{'time':>8}{'memory':>9}   ({bench.title()})")
    for comparison in bench.comparisons():
        bench.report(comparison)
    for name in bench.absent():
        print(f"{name:34}not on this machine")
    return 0


class Bench:
    """Builds the two sides of every comparison, and measures them."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        available = torch.accelerator.is_available()
        self.device = torch.accelerator.current_accelerator() if available else torch.device("cpu")
        self.on_cpu = not available

    def title(self) -> str:
        """Describe the device and the shape."""
        name = self.device.type if self.on_cpu else torch.get_device_module().get_device_name()
        options = self.options
        return (
            f"{name}; {options.layers} blocks of {options.hidden}, {options.tokens} tokens; "
            f"medians of {options.runs} pairs"
        )

    def comparisons(self) -> Iterator[Comparison]:
        """Yield what this machine can compare."""
        yield self.head()
        yield self.fused_adapters()
        yield self.selective("true")
        yield self.selective("false")
        yield self.bfloat16_weights("adamw_torch")
        yield self.bfloat16_weights("adamw_8bit")
        if self.options.compile or not self.on_cpu:
            yield self.compiled()
        if not self.on_cpu:
            yield self.offloaded()
        if self.has_liger():
            yield self.liger()

    def absent(self) -> Iterator[str]:
        """Yield the names of settings that this machine does not have."""
        if self.on_cpu:
            yield "activation_offload"
        if not self.has_liger():
            yield "use_liger_kernel"
        if self.on_cpu and not self.options.compile:
            yield "torch_compile (--compile)"

    def has_liger(self) -> bool:
        """Whether liger-kernel is installed beside an accelerator."""
        from swiftbox.devices.packages import version_of

        return not self.on_cpu and version_of("liger_kernel") is not None

    # ---- comparisons

    def head(self) -> Comparison:
        """Compare the loss in autocast's type with the loss in float32."""
        from swiftbox.core.losses.chunked import log_probs

        rows, width = self.options.tokens, self.options.hidden
        hidden = torch.randn(rows, width, device=self.device, requires_grad=True)
        weight = torch.randn(VOCABULARY, width, device=self.device) / width**0.5
        targets = torch.randint(0, VOCABULARY, (rows,), device=self.device)

        def loss(autocast: bool) -> None:
            with torch.autocast(self.device.type, torch.bfloat16, enabled=autocast):
                log_probs(hidden, weight, targets, uniform=True).sum().backward()
            hidden.grad = None

        return Comparison("head in bfloat16, not float32", *map(_bound(loss), (False, True)))

    def fused_adapters(self) -> Comparison:
        """Compare LoRA's branch as one operation with peft's."""
        from swiftbox.core.tuners.fused_lora import fuse_adapters

        plain, fused = self.network("lora"), self.network("lora")
        fuse_adapters(fused)
        return Comparison("LoRA branch as one operation", self.step(plain), self.step(fused))

    def selective(self, other: str) -> Comparison:
        """Compare selective checkpoints with those of whole layers, or with none."""
        from swiftbox.core.training.activation_checkpoints import checkpoint_activations

        sides = []
        for mode in (other, "selective"):
            network = self.network("lora")
            checkpoint_activations(network, mode)
            sides.append(self.step(network))
        name = {"true": "whole layers", "false": "none"}[other]
        return Comparison(f"selective checkpoints, not {name}", *sides)

    def bfloat16_weights(self, optim: str) -> Comparison:
        """Compare updates of weights in bfloat16 with those of weights in float32."""
        steps, standing = zip(*(self.update(pure, optim) for pure in (False, True)), strict=True)
        note = "with the update; memory with weights and states"
        return Comparison(f"pure_bf16, {optim}", *steps, note=note, standing=standing)

    def compiled(self) -> Comparison:
        """Compare compiled blocks with plain ones; the first step is in the note."""
        from swiftbox.core.training.compiled_blocks import CompiledBlocks, blocks_of

        plain, network = self.network("lora"), self.network("lora")
        CompiledBlocks(blocks_of(network)).on_train_begin(None, None, None)
        step = self.step(network)
        began = time.perf_counter()
        step()
        seconds = time.perf_counter() - began
        return Comparison("torch_compile", self.step(plain), step, f"first step {seconds:.0f} s")

    def offloaded(self) -> Comparison:
        """Compare activations in main memory with activations on the device."""
        from swiftbox.core.training.activation_offload import offload_of, offloading

        network = self.network("lora")
        loss = offloading(self.loss, offload_of(network, self.device))
        return Comparison("activation_offload", self.step(network), self.step(network, loss))

    def liger(self) -> Comparison:
        """Compare liger-kernel with transformers' modules."""
        from swiftbox.core.training.liger import use_liger_kernels

        notes: list[str] = []
        plain, network = self.network("lora"), self.network("lora")
        use_liger_kernels(
            network, torch.bfloat16, lambda _event, **fields: notes.append(fields["message"])
        )
        return Comparison("use_liger_kernel", self.step(plain), self.step(network), notes[-1])

    # ---- sides

    def network(self, tuner_type: str, *, pure: bool = False) -> Any:
        """Return a network with random weights, as a training would have it."""
        from transformers import Qwen3Config, Qwen3ForCausalLM

        from swiftbox.config.train import TrainConfig
        from swiftbox.core.tuners.attach import attach

        torch.manual_seed(0)
        width = self.options.hidden
        config = Qwen3Config(
            vocab_size=VOCABULARY,
            hidden_size=width,
            intermediate_size=3 * width,
            num_hidden_layers=self.options.layers,
            num_attention_heads=max(1, width // 64),
            num_key_value_heads=max(1, width // 128),
            head_dim=64,
            tie_word_embeddings=True,
        )
        model = Qwen3ForCausalLM(config).to(self.device)
        if tuner_type == "full":
            return model.to(torch.bfloat16 if pure else torch.float32).train()
        return attach(model.to(torch.bfloat16), TrainConfig(model="m", dataset="d")).train()

    def loss(self, network: Any, batch: dict[str, Any]) -> Any:
        """Return the loss of a batch."""
        from swiftbox.core.losses.cross_entropy import next_token_losses
        from swiftbox.core.losses.log_prob_reader import LogProbReader

        reader = LogProbReader(linear_head=True)
        with torch.autocast(self.device.type, torch.bfloat16):
            return next_token_losses(network, batch, reader, uniform=True).sum()

    def step(self, network: Any, loss: Callable[..., Any] | None = None) -> Step:
        """Return the forward and backward pass of a fixed batch."""
        from swiftbox.core.losses.cross_entropy import with_targets

        ids = torch.randint(0, VOCABULARY, (1, self.options.tokens))
        batch = with_targets({"input_ids": ids, "labels": ids})
        batch = {name: tensor.to(self.device) for name, tensor in batch.items()}
        compute = loss or self.loss

        def forward_and_backward() -> None:
            compute(network, batch).backward()
            network.zero_grad()

        return forward_and_backward

    def update(self, pure: bool, optim: str) -> tuple[Step, Callable[[], int]]:
        """Return a step of full training with its update, and the bytes that stay after it."""
        from transformers import TrainingArguments

        from swiftbox.core.training.optimizers import rounding

        network = self.network("full", pure=pure)
        arguments = TrainingArguments(output_dir="unused", use_cpu=self.on_cpu)
        if pure:
            optimizer = rounding(network, arguments, name=optim)
        elif optim == "adamw_8bit":
            import bitsandbytes

            optimizer = bitsandbytes.optim.AdamW8bit(network.parameters(), lr=1e-5)
        else:
            optimizer = torch.optim.AdamW(network.parameters(), lr=1e-5)
        zero_grad, network.zero_grad = network.zero_grad, lambda: None
        step = self.step(network)

        def step_and_update() -> None:
            step()
            optimizer.step()
            zero_grad()

        def standing() -> int:
            states = [value for state in optimizer.state.values() for value in state.values()]
            tensors = [value for value in states if isinstance(value, torch.Tensor)]
            return sum(t.numel() * t.element_size() for t in [*network.parameters(), *tensors])

        return step_and_update, standing

    # ---- measuring

    def report(self, comparison: Comparison) -> None:
        """Print the medians of both sides, the median ratio of the pairs, and the verdict."""
        steps = (comparison.without, comparison.within)
        peaks = [
            self.peak(step) + standing()
            for step, standing in zip(steps, comparison.standing, strict=True)
        ]
        pairs = [
            (self.seconds(comparison.without), self.seconds(comparison.within))
            for _ in range(self.options.runs)
        ]
        ratio = statistics.median(within / without for without, within in pairs)
        memory = peaks[1] / peaks[0]
        without, within = (statistics.median(side) * 1e3 for side in zip(*pairs, strict=True))
        has_gain = ratio <= GAIN or memory <= MEMORY_GAIN
        verdict = "measured gain" if has_gain else "no gain, left out"
        print(
            f"{comparison.name:34}{without:8.1f} ms{within:8.1f} ms{ratio:7.2f}x{memory:8.2f}x"
            f"   {verdict}{'; ' if comparison.note else ''}{comparison.note}",
            flush=True,
        )

    def seconds(self, step: Step) -> float:
        """Return the seconds of a step: of the processor on a CPU, which others may share."""
        clock = time.process_time if self.on_cpu else time.perf_counter
        self.wait()
        began = clock()
        step()
        self.wait()
        return clock() - began

    def peak(self, step: Step) -> float:
        """Return the bytes that a step allocates at most, after one that warms up."""
        step()
        if self.on_cpu:
            with LiveTensors() as live:
                step()
            return live.peak
        self.wait()
        torch.accelerator.reset_peak_memory_stats()
        before = torch.accelerator.memory_allocated()
        step()
        self.wait()
        return float(torch.accelerator.max_memory_allocated() - before)

    def wait(self) -> None:
        """Wait for the device."""
        if not self.on_cpu:
            torch.accelerator.synchronize()


def _bound(function: Callable[[Any], Any]) -> Callable[[Any], Step]:
    return lambda value: partial(function, value)
