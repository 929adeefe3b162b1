"""The runs that are killed: one YAML each, with the files that it names."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import yaml
from asked_here import share_answers
from fake_hub import Fault, Hub, Made, Repository, hub
from tiny import write_chats, write_config, write_pairs

FIRST, SECOND, THIRD = (f"model-0000{number}-of-00003.safetensors" for number in (1, 2, 3))
MEGABYTES = 12
REPOSITORY = Repository(
    "o/n",
    {
        "config.json": b'{"model_type": "qwen3"}',
        "tokenizer.json": b"{}" * 1000,
        **{name: Made(MEGABYTES * 10**6, seed) for seed, name in enumerate((FIRST, SECOND, THIRD))},
    },
)

Write = Callable[[Path, Path], Mapping[str, Any]]
"""Writes the files of a scenario into a folder, for a tiny model; returns the keys of its YAML."""


@dataclass(frozen=True)
class Scenario:
    """A run that is killed."""

    name: str
    write: Write
    event_count: int
    """Kills come after one of so many events."""
    longest_delay_s: float = 0.8
    weight: int = 1
    has_hub: bool = False
    keys: Mapping[str, Any] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)
    server: Hub | None = None

    @contextmanager
    def prepared(self, folder: Path, tiny: Path) -> Iterator[Scenario]:
        """Yield the scenario with its files, and its hub while the block runs."""
        folder.mkdir(parents=True)
        keys = self.write(folder, tiny)
        if not self.has_hub:
            yield replace(self, keys=keys)
            return
        with hub(REPOSITORY) as server:
            variables = {
                "HF_ENDPOINT": server.address,
                "MODELSCOPE_ENDPOINT": server.address,
                "MODELSCOPE_DOWNLOAD_TIMEOUT": "5",
                "HF_HUB_DOWNLOAD_TIMEOUT": "5",
                "HF_HUB_OFFLINE": "0",
                "NO_PROXY": "127.0.0.1",
            }
            yield replace(self, keys=keys, variables=variables, server=server)

    def place(self, folder: Path) -> Path:
        """Make a place with the YAML; return it."""
        folder.mkdir(parents=True)
        share_answers(folder / "home", Path(os.environ["SWIFTBOX_HOME"]))
        if self.server is not None:
            add_faults(self.server)
        content = yaml.safe_dump({**self.keys, "output_dir": "run"}, sort_keys=False)
        (folder / "a.yaml").write_text(content, encoding="utf-8")
        return folder


def add_faults(server: Hub) -> None:
    """Let the hub fail now and then, and send slowly enough to be killed in between."""
    server.faults[FIRST] = [Fault("cut", at) for at in range(1_000_000, 11_000_000, 2_000_000)]
    server.faults[SECOND] = [Fault("status") for _ in range(3)]
    server.faults[THIRD] = [Fault("corrupt", 7_000_000), Fault("cut", 9_000_000)]


def training(folder: Path, tiny: Path, **keys: Any) -> Mapping[str, Any]:
    """Write chats; return the keys of a LoRA training with dropout over two epochs."""
    data = write_chats(folder / "chat.jsonl", 40)
    usual = {"max_steps": 30, "save_steps": 8, "lora_dropout": 0.1, "save_total_limit": 2}
    path = write_config(folder / "keys.yaml", tiny, data, **{**usual, **keys})
    content: Mapping[str, Any] = yaml.safe_load(path.read_text("utf-8"))
    return content


def two_processes(folder: Path, tiny: Path) -> Mapping[str, Any]:
    """Return the keys of a training in two processes, which torchrun starts."""
    return training(folder, tiny, distributed="ddp", num_devices=2, max_steps=10, save_steps=4)


def full_training(folder: Path, tiny: Path) -> Mapping[str, Any]:
    """Return the keys of a full training."""
    keys = training(folder, tiny, tuner_type="full", max_steps=20, save_steps=6)
    return {key: value for key, value in keys.items() if key != "lora_dropout"}


def preference_training(folder: Path, tiny: Path) -> Mapping[str, Any]:
    """Write pairs; return the keys of a training on them."""
    data = write_pairs(folder / "pairs.jsonl", 40)
    return {**training(folder, tiny, stage="dpo", max_steps=20, save_steps=6), "dataset": str(data)}


def encoding(folder: Path, tiny: Path) -> Mapping[str, Any]:
    """Return the keys of a training that encodes for longer than it trains, in two processes."""
    data = write_chats(folder / "many.jsonl", 30_000)
    keys = training(folder, tiny, max_steps=2, save_steps=0, dataset_num_proc=2)
    return {**keys, "dataset": str(data)}


def merge(folder: Path, tiny: Path) -> Mapping[str, Any]:
    """Make an adapter; return the keys of its merge."""
    from adapters import make_adapter

    adapter = make_adapter(tiny, folder / "adapter")
    return {"task": "merge", "model": str(tiny), "hub": "local", "adapter": str(adapter)}


def quantization(folder: Path, tiny: Path) -> Mapping[str, Any]:  # noqa: ARG001 - as every writer
    """Return the keys of a quantization with bitsandbytes."""
    return {
        "task": "quantize",
        "model": str(tiny),
        "hub": "local",
        "method": "bnb",
        "bits": 4,
        "calibration_length": 64,
        "max_perplexity_ratio": 4,
    }


def download(folder: Path, tiny: Path) -> Mapping[str, Any]:  # noqa: ARG001 - as every writer
    """Return the keys of a download into the hub's cache."""
    return {"task": "download", "model": "o/n", "hub": "modelscope"}


def pipeline(folder: Path, tiny: Path) -> Mapping[str, Any]:
    """Return the keys of a training and the merge of its adapter."""
    trained = {**training(folder, tiny, max_steps=10, save_steps=4), "name": "train"}
    merged = {"name": "merge", "task": "merge", "adapter": "${train.adapter}"}
    return {"task": "pipeline", "steps": [trained, merged]}


SCENARIOS = {
    scenario.name: scenario
    for scenario in (
        Scenario("lora", training, 36, weight=14),
        Scenario("full", full_training, 26, weight=10),
        Scenario("dpo", preference_training, 26, weight=10),
        Scenario("torchrun", two_processes, 16, weight=10),
        Scenario("encode", encoding, 5, 4.0, weight=10),
        Scenario("merge", merge, 6, 1.5, weight=12),
        Scenario("quantize", quantization, 8, 4.0, weight=10),
        Scenario("download", download, 6, 0.5, weight=12, has_hub=True),
        Scenario("pipeline", pipeline, 24, 1.0, weight=12),
    )
}
