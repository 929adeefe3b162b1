"""Stored tensors that are not those of the class are found by headers alone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from model_folder import write_safetensors

from swiftbox.models.inspection import inspect
from swiftbox.models.trial_loading import placement_remarks
from swiftbox.models.weight_names import looks_foreign
from swiftbox.models.weights import read_weights
from swiftbox.runs import asked_child

Shapes = dict[str, Any]

EDITS: dict[str, Callable[[Shapes], Shapes]] = {
    "a wrapper's prefix": lambda shapes: {f"module.{name}": shapes[name] for name in shapes},
    "a layer lacks a matrix": lambda shapes: without(shapes, "layers.1.mlp.up_proj.weight"),
    "every layer lacks a matrix": lambda shapes: without(shapes, "up_proj.weight"),
    "a layer too many": lambda shapes: {
        **shapes,
        **{name.replace(".0.", ".2."): shapes[name] for name in shapes if ".0." in name},
    },
    "no head": lambda shapes: without(shapes, "lm_head.weight"),
    "no norm at the end": lambda shapes: without(shapes, "model.norm.weight"),
    "every layer lacks a norm": lambda shapes: without(shapes, "input_layernorm.weight"),
    "a gap between the layers": lambda shapes: {
        name.replace("layers.1.", "layers.2."): shape for name, shape in shapes.items()
    },
    "biases": lambda shapes: {
        **shapes,
        **{
            name.replace("q_proj.weight", "q_proj.bias"): shape[:1]
            for name, shape in shapes.items()
            if name.endswith("q_proj.weight")
        },
    },
    "a wider matrix in every layer": lambda shapes: {
        name: (72, 128) if name.endswith("down_proj.weight") else shape
        for name, shape in shapes.items()
    },
    "a matrix of another width": lambda shapes: {
        name: (96, 64) if name.endswith("layers.1.mlp.up_proj.weight") else shape
        for name, shape in shapes.items()
    },
}


def without(shapes: Shapes, ending: str) -> Shapes:
    return {name: shape for name, shape in shapes.items() if not name.endswith(ending)}


def edited(tiny: Path, folder: Path, edit: str) -> Path:
    """Copy a model with other tensors, whose values are zeros."""
    shutil.copytree(tiny, folder)
    tensors = read_weights(tiny).tensors
    shapes = {name: shape for name, (_dtype, shape) in tensors.items()}
    write_safetensors(folder / "model.safetensors", EDITS[edit](shapes), "F32")
    return folder


def is_suspected(folder: Path) -> bool:
    config = json.loads((folder / "config.json").read_text("utf-8"))
    return looks_foreign(config, read_weights(folder).tensors, config["architectures"][0])


def test_the_names_of_real_models_raise_no_suspicion(
    tiny_models: dict[str, Path], tiny_multimodal: Path
) -> None:
    folders = [*tiny_models.values(), tiny_multimodal]
    assert [is_suspected(folder) for folder in folders] == [False] * len(folders)


@pytest.mark.parametrize("edit", EDITS)
def test_other_names_and_shapes_raise_a_suspicion(edit: str, tiny: Path, tmp_path: Path) -> None:
    assert is_suspected(edited(tiny, tmp_path / "m", edit))


TOWER = "model.visual.blocks.0."
DECODER = "model.language_model.layers.1."

PARTS: dict[str, Callable[[Shapes], Shapes]] = {
    "a decoder layer less, a tower layer more": lambda shapes: {
        name.replace(DECODER, TOWER.replace("0", "1")): shape for name, shape in shapes.items()
    },
    "a tower layer more": lambda shapes: {
        **shapes,
        **{name.replace(TOWER, TOWER.replace("0", "1")): shapes[name] for name in shapes},
    },
    "one kind of layer lacks a norm": lambda shapes: without(
        shapes, f"{DECODER}input_layernorm.weight"
    ),
    "no table of places": lambda shapes: without(shapes, "pos_embed.weight"),
}


@pytest.mark.parametrize("edit", PARTS)
def test_other_parts_of_a_model_with_a_tower_raise_a_suspicion(
    edit: str, tiny_multimodal: Path
) -> None:
    config = json.loads((tiny_multimodal / "config.json").read_text("utf-8"))
    tensors = read_weights(tiny_multimodal).tensors
    shapes = PARTS[edit]({name: shape for name, (_dtype, shape) in tensors.items()})
    changed = {name: ("F32", shape) for name, shape in shapes.items()}
    assert looks_foreign(config, changed, config["architectures"][0])


@pytest.mark.parametrize(
    ("edit", "kind", "name"),
    [
        ("a wrapper's prefix", "missing", "lm_head.weight"),
        ("a wrapper's prefix", "unexpected", "module.lm_head.weight"),
        ("every layer lacks a matrix", "missing", "model.layers.0.mlp.up_proj.weight"),
        ("a layer too many", "unexpected", "model.layers.2.input_layernorm.weight"),
        ("a matrix of another width", "reshaped", "model.layers.1.mlp.up_proj.weight"),
    ],
)
def test_a_loading_by_headers_names_what_does_not_fit(
    edit: str, kind: str, name: str, tiny: Path, tmp_path: Path
) -> None:
    from swiftbox.core.weights.trial_load import trial_load

    assert trial_load(edited(tiny, tmp_path / "m", edit))[kind][0] == name


@pytest.mark.filterwarnings("ignore")
def test_experts_that_are_fused_at_loading_fit(tmp_path: Path) -> None:
    from tiny import SIZES
    from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

    from swiftbox.core.weights.trial_load import trial_load

    sizes = {**SIZES, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
    Qwen3MoeForCausalLM(Qwen3MoeConfig(**sizes, head_dim=16)).save_pretrained(tmp_path)
    assert any(".experts.3." in name for name in read_weights(tmp_path).tensors)
    assert trial_load(tmp_path) == {"missing": [], "unexpected": [], "reshaped": []}
    assert not is_suspected(tmp_path)


@pytest.mark.filterwarnings("ignore")
def test_experts_that_lack_a_part_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from tiny import SIZES
    from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

    from swiftbox.core.weights import trial_load

    sizes = {**SIZES, "num_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 32}
    Qwen3MoeForCausalLM(Qwen3MoeConfig(**sizes, head_dim=16)).save_pretrained(tmp_path)
    tensors = read_weights(tmp_path).tensors
    shapes = {name: shape for name, (_dtype, shape) in tensors.items()}
    write_safetensors(tmp_path / "model.safetensors", without(shapes, "up_proj.weight"), "F32")
    assert is_suspected(tmp_path)
    monkeypatch.setattr("sys.argv", ["trial_load", str(tmp_path)])
    assert trial_load.main() == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {"incomplete": ["config.json"]}


def test_a_check_refuses_foreign_names_and_remembers_the_answer(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inspection = inspect(edited(tiny, tmp_path / "m", "a wrapper's prefix"))
    assert not inspection.errors
    remarks = list(placement_remarks(inspection))
    assert [remark.level for remark in remarks] == ["error", "error"]
    assert "the files lack 25 weights of Qwen3ForCausalLM (lm_head.weight ...)" in str(remarks[0])
    monkeypatch.setattr(asked_child, "PROGRAM", "raise SystemExit(1)")
    assert list(placement_remarks(inspection)) == remarks


def test_names_that_match_the_source_need_no_loading(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asked_child, "PROGRAM", "raise SystemExit('asked')")
    inspection = inspect(tiny)
    assert not list(placement_remarks(inspection))
    code = {**inspection.config, "quantization_config": {}}
    assert not list(placement_remarks(replace(inspection, config=code)))
