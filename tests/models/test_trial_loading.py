"""`check` refuses the tensors that a run refuses, by headers alone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from asked_here import ask_child, quiet_loading
from model_families import FAMILIES, build_family
from model_folder import write_safetensors

from swiftbox.core.weights import load
from swiftbox.core.weights.placement import faults_of
from swiftbox.core.weights.trial_load import main, report_on
from swiftbox.errors import ConfigError
from swiftbox.models.inspection import inspect
from swiftbox.models.trial_loading import placement_remarks, trial_question
from swiftbox.models.weights import read_weights
from swiftbox.runs import asked_child
from swiftbox.runs.asked_child import ChildQuestion

Shapes = dict[str, Any]

NOTHING: dict[str, list[str]] = {
    kind: [] for kind in ("missing", "unexpected", "reshaped", "uncached", "combined")
}

EDITS: dict[str, Callable[[str, Any], Shapes]] = {
    "missing": lambda _name, _shape: {},
    "unexpected": lambda name, shape: {f"{name}2": shape},
    "reshaped": lambda name, shape: {name: (shape[0] + 1, *shape[1:])},
}
"""What becomes of a tensor, by what is then wrong with it."""

BUILT_BY_ALL = ("llama", "qwen2", "qwen3")


@pytest.fixture(scope="module")
def families(
    tiny_models: Mapping[str, Path],
    tiny_multimodal: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Mapping[str, Path]:
    root = tmp_path_factory.mktemp("families")
    with quiet_loading():
        built = {name: build_family(name, root / name) for name in FAMILIES}
    return {**tiny_models, "qwen3_5": tiny_multimodal, **built}


def shapes_of(folder: Path) -> Shapes:
    return {name: shape for name, (_dtype, shape) in read_weights(folder).tensors.items()}


def with_tensors(source: Path, target: Path, shapes: Shapes) -> Path:
    """Write a model of other tensors, whose values are zeros, with the config.json of another."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    shutil.copy(source / "config.json", target)
    write_safetensors(target / "model.safetensors", shapes, "F32")
    return target


def edited(shapes: Shapes, kind: str, names: list[str]) -> Shapes:
    changed: Shapes = {}
    for name, shape in shapes.items():
        changed |= EDITS[kind](name, shape) if name in names else {name: shape}
    return changed


def report_of_run(folder: Path) -> dict[str, list[str]]:
    """Return what a run would refuse; `ignore_mismatched_sizes` makes it name all shapes."""
    reports = [{"incomplete": ["config.json"]}]

    def note(path: Path, model: Any, report: Mapping[str, Any], *, score: bool) -> None:
        missing, unexpected = faults_of(path, model, report, score=score)
        reshaped = sorted(name for name, *_shapes in report["mismatched_keys"])
        reports.append({**NOTHING, "missing": missing, "unexpected": unexpected})
        reports[-1]["reshaped"] = reshaped

    with pytest.MonkeyPatch.context() as patch, quiet_loading():
        patch.setattr(load, "require_all_placed", note)
        try:
            load.load_pretrained(folder, ignore_mismatched_sizes=True)
        except ConfigError:  # before there is a report: an expert lacks a part
            return reports[0]
    return reports[-1]


def is_refused_by_run(folder: Path) -> bool:
    try:
        with quiet_loading():
            load.load_pretrained(folder)
    except ConfigError:
        return True
    return False


@pytest.mark.parametrize("family", [*BUILT_BY_ALL, "qwen3_5", *FAMILIES])
def test_check_names_each_tensor_that_a_run_refuses(
    family: str, families: Mapping[str, Path], tmp_path: Path
) -> None:
    """Half of the tensors are edited at once, then the others: each must be named."""
    source = families[family]
    shapes = shapes_of(source)
    assert report_on(source) == report_of_run(source) == NOTHING
    stored_as_named = report_on(with_tensors(source, tmp_path / "m", {"a": (1,)}))["missing"]
    for names in (list(shapes)[::2], list(shapes)[1::2]):
        for kind in EDITS:
            folder = with_tensors(source, tmp_path / "m", edited(shapes, kind, names))
            report = report_on(folder)
            assert report == report_of_run(folder)
            plain = {name for name in names if name in stored_as_named}
            assert plain <= {name.removesuffix("2") for name in report.get(kind, plain)}


@pytest.mark.parametrize("kind", EDITS)
def test_a_single_part_of_an_expert_is_enough(
    kind: str, families: Mapping[str, Path], tmp_path: Path
) -> None:
    source = families["qwen3_moe"]
    shapes = shapes_of(source)
    parts = [name for name in shapes if ".layers.0.mlp.experts." in name]
    assert len(parts) == 6
    for name in parts:
        folder = with_tensors(source, tmp_path / "m", edited(shapes, kind, [name]))
        assert any(report_on(folder).values())
        assert is_refused_by_run(folder)


ACCEPTED: dict[str, Callable[[Shapes], Shapes]] = {
    "a head that is tied": lambda shapes: {
        **shapes,
        "lm_head.weight": shapes["model.embed_tokens.weight"],
    },
    "old rotary frequencies": lambda shapes: {
        **shapes,
        "model.layers.0.self_attn.rotary_emb.inv_freq": (8,),
    },
    "layers that predict several tokens": lambda shapes: {**shapes, "mtp.fc.weight": (64, 128)},
}


@pytest.mark.parametrize("extra", ACCEPTED)
def test_what_a_run_accepts_is_not_refused(
    extra: str, families: Mapping[str, Path], tmp_path: Path
) -> None:
    source = families["tied llama"]
    folder = with_tensors(source, tmp_path / "m", ACCEPTED[extra](shapes_of(source)))
    assert report_on(folder) == NOTHING
    assert not is_refused_by_run(folder)


def test_a_library_that_cannot_make_the_class_refuses_the_model(
    families: Mapping[str, Path], tmp_path: Path
) -> None:
    source = families["llama"]
    folder = with_tensors(source, tmp_path / "m", shapes_of(source))
    config = json.loads((folder / "config.json").read_text("utf-8"))
    content = json.dumps({**config, "hidden_act": "none such"})
    (folder / "config.json").write_text(content, encoding="utf-8")
    assert "none such" in report_on(folder)["broken"][0]
    assert is_refused_by_run(folder)
    remarks = list(placement_remarks(inspect(folder)))
    assert [remark.level for remark in remarks] == ["error"]
    assert "cannot be loaded: KeyError" in str(remarks[0])


WITH_TIMM: dict[str, Any] = {
    "model_type": "gemma3n",
    "architectures": ["Gemma3nForConditionalGeneration"],
    "text_config": {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    | {"vocab_size": 64, "vocab_size_per_layer_input": 64, "num_kv_shared_layers": 0}
    | {"layer_types": ["full_attention"], "activation_sparsity_pattern": [0.0]},
}
"""A class whose tower is of a package that this project does not have."""


@pytest.mark.skipif(find_spec("timm") is not None, reason="the package is installed")
def test_a_package_that_is_not_installed_is_named_and_looked_for_again(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(WITH_TIMM), encoding="utf-8")
    write_safetensors(tmp_path / "model.safetensors", {"a": (1,)}, "F32")
    inspection = inspect(tmp_path)
    (remark,) = [remark for remark in placement_remarks(inspection) if remark.level == "error"]
    assert "requires the timm library" in remark.message
    assert "\n" not in remark.message
    assert "install the package" in str(remark.hint)
    assert trial_question(inspection, score=False).answer(ask=False) is None


def test_a_check_refuses_foreign_names_and_remembers_the_answer(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ChildQuestion, "_ask", ask_child)
    foreign = {f"module.{name}": shape for name, shape in shapes_of(tiny).items()}
    inspection = inspect(with_tensors(tiny, tmp_path / "m", foreign))
    remarks = list(placement_remarks(inspection))
    assert [remark.level for remark in remarks] == ["error", "error"]
    assert "the files lack 25 weights of Qwen3ForCausalLM (lm_head.weight ...)" in str(remarks[0])
    monkeypatch.setattr(asked_child, "PROGRAM", "raise SystemExit(1)")
    assert list(placement_remarks(inspection)) == remarks


def test_the_child_prints_what_a_loading_in_this_process_reports(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["trial_load", str(tiny), "score"])
    with quiet_loading():
        assert main() == 0
    report = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert report == report_on(tiny, score=True) == NOTHING


def test_a_copy_that_was_saved_again_needs_no_loading(tiny: Path) -> None:
    inspection = inspect(tiny)
    assert not list(placement_remarks(inspection))
    copy = replace(
        inspection, config={**inspection.config, "dtype": "bfloat16", "transformers_version": "5"}
    )
    assert trial_question(copy, score=False).answer(ask=False) == NOTHING
    other = replace(inspection, config={**inspection.config, "head_dim": 32})
    assert trial_question(other, score=False).answer(ask=False) is None


def test_a_trial_without_an_answer_is_a_warning(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ChildQuestion, "_ask", ask_child)
    monkeypatch.setattr(asked_child, "PROGRAM", "raise SystemExit('broken')")
    shapes = {**shapes_of(tiny), "mtp.none.weight": (1,)}  # no test has asked about these
    remarks = list(placement_remarks(inspect(with_tensors(tiny, tmp_path / "m", shapes))))
    assert [remark.level for remark in remarks] == ["warning"]
    assert "were not compared with Qwen3ForCausalLM" in str(remarks[0])
