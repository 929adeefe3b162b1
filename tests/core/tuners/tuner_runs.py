"""Trainings of every tuner in this process, and their reloaded results; shared by tests."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from made_up import made_up
from peft import PeftModel
from tiny import write_chats, write_config, write_labels, write_pairs, write_texts
from transformers import (
    AutoTokenizer,
)

from swiftbox.core.training import session
from swiftbox.core.weights.load import load_pretrained
from swiftbox.plan import plan
from swiftbox.tasks import TASKS
from swiftbox.tasks.load import load

STEPS = 30


@dataclass(frozen=True)
class Case:
    """Settings of a tuner, and by how much (nats per token) 30 steps must lower the loss."""

    margin: float
    keys: dict[str, Any] = field(default_factory=dict)
    model: str = "llama"


LORA = {"tuner_type": "lora", "learning_rate": 1e-2}

TUNERS = {
    "lora": Case(1.0, LORA),
    "lora on qwen3": Case(1.0, LORA, "qwen3"),
    "dora": Case(1.0, {**LORA, "use_dora": True}),
    "rslora": Case(1.0, {**LORA, "use_rslora": True, "learning_rate": 3e-3}),
    "gaussian": Case(1.0, {**LORA, "init_lora_weights": "gaussian"}),
    "pissa": Case(1.0, {**LORA, "init_lora_weights": "pissa"}),
    "pissa, few iterations": Case(1.0, {**LORA, "init_lora_weights": "pissa_niter_4"}),
    "olora": Case(1.0, {**LORA, "init_lora_weights": "olora", "learning_rate": 3e-3}),
    "eva": Case(1.0, {**LORA, "init_lora_weights": "eva", "lora_rank": 4}),
    "lora_ga": Case(1.0, {**LORA, "init_lora_weights": "lora_ga"}),
    "lora+": Case(1.0, {**LORA, "lora_plus_lr_ratio": 16, "learning_rate": 1e-3}),
    "lora-fa": Case(1.0, {**LORA, "optim": "lora_fa", "learning_rate": 1e-2}),
    "patterns": Case(
        0.8,
        {
            **LORA,
            "rank_pattern": {"q_proj": 4},
            "alpha_pattern": {"v_proj": 64},
            "exclude_modules": ["gate_proj"],
            "layers_to_transform": [1],
        },
    ),
    "qlora": Case(1.0, {**LORA, "tuner_type": "qlora"}),
    "qlora int8": Case(1.0, {**LORA, "tuner_type": "qlora", "quant_bits": 8}),
    "qlora fp4": Case(1.0, {**LORA, "quant_bits": 4, "bnb_4bit_quant_type": "fp4"}, "qwen3"),
    "full": Case(1.0, {"tuner_type": "full", "learning_rate": 3e-3}),
    "frozen": Case(
        0.7,
        {"tuner_type": "full", "learning_rate": 3e-3, "freeze_parameters": ["embed", r"\.0\."]},
    ),
    "galore": Case(
        1.0,
        {
            "tuner_type": "full",
            "optim": "galore_adamw",
            "galore_rank": 8,
            "galore_update_proj_gap": 10,
            "learning_rate": 1e-2,
        },
    ),
    "adalora": Case(
        0.3, {"tuner_type": "adalora", "learning_rate": 3e-2, "adalora_deltaT": 2}, "qwen3"
    ),
    "ia3": Case(0.3, {"tuner_type": "ia3", "learning_rate": 5e-2}),
    "oft": Case(1.0, {"tuner_type": "oft", "learning_rate": 1e-2}),
    "vera": Case(0.3, {"tuner_type": "vera", "learning_rate": 5e-2, "vera_rank": 64}),
    "llamapro": Case(
        0.7, {"tuner_type": "llamapro", "learning_rate": 3e-3, "llamapro_num_new_blocks": 2}
    ),
    "neftune": Case(1.0, {**LORA, "neftune_noise_alpha": 5}),
}


@dataclass
class Trained:
    """What a run left, and the network as it was when training ended."""

    folder: Path
    network: Any
    recorded: list[tuple[str, dict[str, Any]]]

    @property
    def losses(self) -> list[float]:
        return [fields["loss"] for event, fields in self.recorded if event == "step"]

    def notes(self, key: str) -> str:
        return " ".join(
            fields["message"]
            for event, fields in self.recorded
            if event == "note" and fields["key"] == key
        )


def train(tmp_path: Path, model: Path, stage: str = "sft", **keys: object) -> Trained:
    """Plan and train in this process; keep the network."""
    write = ROWS.get(stage, write_pairs)
    data = write(tmp_path / f"rows{'.txt' if stage == 'pt' else '.jsonl'}", 32)
    keys = {"max_steps": STEPS, "save_steps": 0, "per_device_train_batch_size": 4, **keys}
    path = write_config(tmp_path / "a.yaml", model, data, stage=stage, max_length=96, **keys)
    planned = plan(load(path).config, made_up("cpu"))
    folder = tmp_path / "run"
    folder.mkdir(exist_ok=True)
    (folder / "settled.yaml").write_text(path.read_text("utf-8"), "utf-8")
    networks: list[Any] = []
    recorded: list[tuple[str, dict[str, Any]]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            session, "adapted_network", partial(keeping, session.adapted_network, networks)
        )
        saved = TASKS["train"].run(
            planned.config, folder, lambda event, **fields: recorded.append((event, fields))
        )
    return Trained(saved, networks[0], recorded)


def keeping(make: Any, networks: list[Any], *arguments: Any, **named: Any) -> Any:
    networks.append(make(*arguments, **named))
    return networks[-1]


def reloaded(trained: Trained, base_folder: Path, *, scores: bool = False) -> Any:
    """Load what was saved as the product does; a quantized base is quantized as it was."""
    load = partial(load_pretrained, labels=1 if scores else None, dtype=torch.float32)
    if not (trained.folder / "adapter_config.json").is_file():
        return load(trained.folder)
    model_config = trained.network.config
    quantized = (
        {"quantization_config": model_config.quantization_config} if quantizes(model_config) else {}
    )
    fresh = load(base_folder, **quantized)
    return PeftModel.from_pretrained(fresh, trained.folder)


def quantizes(config: Any) -> bool:
    return getattr(config, "quantization_config", None) is not None


def logits(network: Any) -> torch.Tensor:
    network.eval()
    with torch.no_grad():
        return network(input_ids=torch.arange(40)[None] + 7, use_cache=False).logits.float()


def answer(network: Any, folder: Path) -> list[int]:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    prompt = tokenizer("<|im_start|>user\nJSON encoder", return_tensors="pt")
    network.eval()
    generated = network.generate(
        **prompt, max_new_tokens=8, do_sample=False, use_cache=True, pad_token_id=0
    )
    return generated[0].tolist()


ROWS = {"sft": write_chats, "pt": write_texts, "kto": write_labels}
