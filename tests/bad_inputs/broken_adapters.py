"""Adapters with one defect each, as given to every task that takes an adapter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from model_folder import adapter_tensors, write_adapter

from bad_inputs.broken_models import NOT_JSON, TASKS, Content, fifo, header, removed, tensor
from bad_inputs.case import YAML, BadInput, MakeFile

PREFIX = "base_model.model.model.layers.0.self_attn"


def settings(**changes: object) -> MakeFile:
    """Return what writes an adapter with other settings."""
    return lambda folder: write_adapter(folder, **changes)


def stored(
    tensors: Mapping[str, int | tuple[int, ...]], dtype: str = "F32", **changes: object
) -> MakeFile:
    """Return what writes an adapter with other weights."""
    return lambda folder: write_adapter(folder, tensors, dtype, **changes)


def files(**contents: Content) -> MakeFile:
    """Return what writes a sound adapter and then other content for its config or weights."""
    names = {"config": "adapter_config.json", "weights": "adapter_model.safetensors"}

    def write(folder: Path) -> None:
        write_adapter(folder)
        for name, content in contents.items():
            path = folder / names[name]
            if isinstance(content, str):
                path.write_text(content, encoding="utf-8")
            elif isinstance(content, bytes):
                path.write_bytes(content)
            else:
                path.unlink()
                content(path)

    return write


def changed(**changes: Any) -> dict[str, int | tuple[int, ...]]:
    """Return the tensors of an adapter with others in the first layer; None removes one."""
    tensors: dict[str, Any] = adapter_tensors()
    for name, shape in changes.items():
        module, _, part = name.partition("__")
        key = f"{PREFIX}.{module}.{part}"
        tensors[key if part.endswith("vector") else f"{key}.weight"] = shape
    return {name: shape for name, shape in tensors.items() if shape is not None}


def pickled(folder: Path) -> None:
    """Write an adapter whose weights are pickled."""
    write_adapter(folder)
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")


def other_layers(old: str, new: str) -> dict[str, int | tuple[int, ...]]:
    """Return the tensors of an adapter under other names."""
    return {name.replace(old, new): shape for name, shape in adapter_tensors().items()}


SETTINGS: Mapping[str, Mapping[str, object]] = {
    "no-kind": {"peft_type": None},
    "number-kind": {"peft_type": 3},
    "list-kind": {"peft_type": ["LORA"]},
    "unknown-kind": {"peft_type": "MAGIC"},
    "lower-kind": {"peft_type": "lora"},
    "prompt-kind": {"peft_type": "PROMPT_TUNING"},
    "other-rank": {"r": 8},
    "zero-rank": {"r": 0},
    "negative-rank": {"r": -4},
    "text-rank": {"r": "4"},
    "true-rank": {"r": True},
    "null-rank": {"r": None},
    "huge-rank": {"r": 2**80},
    "zero-alpha": {"lora_alpha": 0},
    "negative-alpha": {"lora_alpha": -8},
    "null-alpha": {"lora_alpha": None},
    "text-alpha": {"lora_alpha": "8"},
    "huge-alpha": {"lora_alpha": 1e30},
    "large-alpha": {"lora_alpha": 1_000_000},
    "nan-alpha": {"lora_alpha": float("nan")},
    "huge-whole-alpha": {"lora_alpha": 10**400},
    "dropout-one": {"lora_dropout": 1.0},
    "dropout-negative": {"lora_dropout": -0.1},
    "dropout-text": {"lora_dropout": "some"},
    "unknown-bias": {"bias": "some"},
    "dora-without-magnitudes": {"use_dora": True},
    "text-dora": {"use_dora": "yes"},
    "no-targets": {"target_modules": None},
    "empty-targets": {"target_modules": []},
    "number-targets": {"target_modules": 3},
    "number-in-targets": {"target_modules": ["q_proj", 3]},
    "more-targets": {"target_modules": ["q_proj", "v_proj", "o_proj"]},
    "saved-number": {"modules_to_save": 3},
    "saved-text": {"modules_to_save": "lm_head"},
    "pattern-list": {"rank_pattern": [4]},
    "pattern-text": {"rank_pattern": {"q_proj": "4"}},
    "pattern-rank": {"r": 2, "rank_pattern": {"q_proj": 4, "v_proj": 8}},
    "alpha-pattern": {"alpha_pattern": {"q_proj": None}},
    "megatron": {"megatron_config": {"a": 1}, "megatron_core": "antigravity"},
    "base-list": {"base_model_name_or_path": ["m"]},
    "base-newline": {"base_model_name_or_path": "m\n\u001b[31mred"},
    "base-nul": {"base_model_name_or_path": "a\0b"},
    "base-long": {"base_model_name_or_path": "a/" + "b" * 5000},
    "revision-outside": {"revision": "../../x"},
    "revision-number": {"revision": 3},
    "activated": {"alora_invocation_tokens": [1]},
    "replicated": {"layer_replication": [[0, 2], [1, 2]]},
}
"""Settings that do not fit the weights, or anything."""

ADAPTERS: Mapping[str, MakeFile] = {
    **{name: settings(**changes) for name, changes in SETTINGS.items()},
    **{f"settings-{name}": files(config=content) for name, content in NOT_JSON.items()},
    "no-settings": files(config=removed),
    "no-weights": files(weights=removed),
    "pickled": pickled,
    "weights-empty": files(weights=b""),
    "weights-torn": files(weights=header(tensor(), 63)),
    "weights-fifo": files(weights=fifo),
    "weights-not-json": files(weights=header(b"{" * 10)),
    "weights-huge-header": files(weights=(2**62).to_bytes(8, "little")),
    "weights-unknown-dtype": files(weights=header(tensor(dtype="NaN"))),
    "weights-of-a-model": files(weights=header(tensor())),
    "no-tensors": stored({}),
    "whole-numbers": stored(adapter_tensors(), "I32"),
    "rank-of-a": stored(changed(q_proj__lora_A=(8, 64))),
    "rank-of-b": stored(changed(q_proj__lora_B=(64, 8))),
    "narrow-a": stored(changed(q_proj__lora_A=(4, 32))),
    "narrow-b": stored(changed(q_proj__lora_B=(32, 4))),
    "swapped": stored(changed(v_proj__lora_B=(64, 4))),
    "three-dimensions": stored(changed(q_proj__lora_A=(4, 64, 1))),
    "one-dimension": stored(changed(q_proj__lora_A=(4,), q_proj__lora_B=(4,))),
    "no-a": stored(changed(q_proj__lora_A=None)),
    "no-b": stored(changed(q_proj__lora_B=None)),
    "magnitude-without-dora": stored(changed(q_proj__lora_magnitude_vector=(64,))),
    "dora-with-a-gap": stored(changed(q_proj__lora_magnitude_vector=(64,)), use_dora=True),
    "more-layers": stored(adapter_tensors(layers=5)),
    "fewer-layers": stored(adapter_tensors(layers=1)),
    "wider-base": stored(adapter_tensors(outputs=128)),
    "unknown-modules": stored(other_layers("q_proj", "x_proj")),
    "only-unknown-modules": stored(
        other_layers("self_attn.", "cross."), target_modules=["q_proj"], base_model_name_or_path="m"
    ),
    "unknown-names": stored(
        {f"base_model.model.x.y.lora_{part}.weight": (4, 4) for part in "AB"},
        target_modules=["y"],
    ),
    "saved-of-another-shape": stored(
        {**adapter_tensors(), "base_model.model.model.norm.weight": (32,)},
        modules_to_save=["norm"],
    ),
    "saved-embedding-of-another-width": stored(
        {**adapter_tensors(), "base_model.model.model.embed_tokens.weight": (1000, 32)},
        modules_to_save=["embed_tokens"],
    ),
}
"""Every defect: what writes the adapter's folder."""

TRAIN = f"{YAML}adapter: tuned\n"

WITH_ADAPTER: Mapping[str, str] = {
    "train": TRAIN,
    "merge": TASKS["merge"],
    "deploy": f"{TASKS['deploy']}adapter: tuned\n",
    "quantize": f"{TASKS['quantize']}adapter: tuned\n",
    "chat": f"{TASKS['chat']}adapter: tuned\n",
    "evaluate": f"{TASKS['evaluate']}adapter: tuned\n",
}
"""A YAML of each task with an adapter."""

CONTINUED = ("activated", "replicated")
"""What a training may continue; it only cannot be merged or served."""

EVERYWHERE = ("other-rank", "settings-null", "settings-fifo", "megatron", "narrow-b", "no-tensors")


def cases() -> Iterator[BadInput]:
    """Yield each broken adapter in a training, merge and deployment; some in the other tasks."""
    for task, content in WITH_ADAPTER.items():
        for name, adapter in ADAPTERS.items():
            is_thorough = task in ("train", "merge", "deploy") or name in EVERYWHERE
            if is_thorough and not (task == "train" and name in CONTINUED):
                yield BadInput(f"{task}-{name}", files={"tuned": adapter, "a.yaml": content})
    yield from _other_cases()


def _other_cases() -> Iterator[BadInput]:
    """Yield adapters that are sound, and cannot be used as the YAML says."""
    for task, content in WITH_ADAPTER.items():
        yield BadInput(f"{task}-a-model", files={"a.yaml": content.replace("tuned\n", "m\n")})
        yield BadInput(f"{task}-no-folder", files={"a.yaml": content.replace("tuned\n", "./no\n")})
        yield BadInput(f"{task}-a-file", files={"tuned": "text", "a.yaml": content})
    full = f"{TRAIN}tuner_type: full\n"
    yield BadInput("train-full", files={"tuned": settings(), "a.yaml": full})
    bad = {"tuned": settings(), "bad": settings(r=8), "a.yaml": _two("merge")}
    yield BadInput("merge-second", files=bad)
    yield BadInput("deploy-second", files={**bad, "a.yaml": _two("deploy")})
    names = "\n".join(["adapters:", "  a: tuned", "  a: bad"])
    yield BadInput("deploy-twice", files={**bad, "a.yaml": f"{TASKS['deploy']}{names}\n"})
    same = f"{TASKS['deploy']}adapter: [tuned, tuned]\n"
    yield BadInput("deploy-same", files={**bad, "a.yaml": same})
    served = f"{TASKS['deploy']}adapters: {{x: tuned}}\nserved_model_name: x\n"
    yield BadInput("deploy-name-of-the-model", files={**bad, "a.yaml": served})


def _two(task: str) -> str:
    return f"task: {task}\nhub: local\nmodel: m\nadapter: [tuned, bad]\n"
