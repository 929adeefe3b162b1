"""What an extraction would refuse is refused before any weights are read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from adapters import make_adapter
from tiny import build
from tuned_models import TaskRun, tune

from swiftbox.devices import host
from swiftbox.errors import ConfigError, MachineError

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def tuned(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tune(tiny, tmp_path_factory.mktemp("tuned") / "model")


def edited(model: Path, folder: Path, **changes: Any) -> Path:
    """Copy a model with other settings."""
    shutil.copytree(model, folder)
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **changes}), "utf-8")
    return folder


def test_the_base_comes_from_the_record_of_the_run(tiny: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(tune(tiny, tmp_path / "tuned"), run / "model")
    values = {"version": 1, "task": "train", "stage": "sft", "hub": "local", "dataset": "d"}
    values |= {"model": str(tiny), "tuner_type": "full", "dtype": "float32"}
    (run / "settled.yaml").write_text(json.dumps(values), encoding="utf-8")
    config = TaskRun("extract", tuned_model=run).config
    assert (config.model, config.tuned_model) == (str(tiny), str(run / "model"))  # type: ignore[attr-defined]


def test_without_a_record_the_base_is_asked_for(tuned: Path) -> None:
    with pytest.raises(ConfigError, match="no run recorded which base") as refused:
        TaskRun("extract", tuned_model=tuned)
    assert "model=" in refused.value.hint


def test_a_model_of_another_class_is_refused(tuned: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"tuned_model: .*its class is .*Qwen"):
        TaskRun("extract", tuned_model=tuned, model=build("llama", tmp_path / "llama"))


def test_a_base_of_other_sizes_is_refused(tiny: Path, tuned: Path, tmp_path: Path) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    other = shutil.copytree(tiny, tmp_path / "other")
    config = AutoConfig.from_pretrained(tiny)
    config.intermediate_size = 96
    AutoModelForCausalLM.from_config(config).save_pretrained(other)
    with pytest.raises(ConfigError, match=r"down_proj\.weight is 64 x 128, in .* 64 x 96"):
        TaskRun("extract", tuned_model=tuned, model=other)
    config = AutoConfig.from_pretrained(tiny)
    config.num_hidden_layers = 1
    config.layer_types = config.layer_types[:1]
    AutoModelForCausalLM.from_config(config).save_pretrained(other)
    with pytest.raises(ConfigError, match="num_hidden_layers 2 / 1"):
        TaskRun("extract", tuned_model=tuned, model=other)


def test_a_model_is_not_its_own_base(tuned: Path) -> None:
    with pytest.raises(ConfigError, match="is the base itself"):
        TaskRun("extract", tuned_model=tuned, model=tuned)


def test_an_adapter_and_a_quantized_model_are_refused(
    tiny: Path, tuned: Path, tmp_path: Path
) -> None:
    adapter = make_adapter(tiny, tmp_path / "a")
    with pytest.raises(ConfigError, match=r"tuned_model: .* is an adapter"):
        TaskRun("extract", tuned_model=adapter, model=tiny)
    quantized = edited(tuned, tmp_path / "q", quantization_config={"quant_method": "gptq"})
    with pytest.raises(ConfigError, match=r"tuned_model: .*quantized"):
        TaskRun("extract", tuned_model=quantized, model=tiny)


def test_different_settings_of_positions_are_named(tiny: Path, tuned: Path, tmp_path: Path) -> None:
    longer = edited(tuned, tmp_path / "longer", max_position_embeddings=2048)
    remarks = TaskRun("extract", tuned_model=longer, model=tiny).remarks
    (remark,) = [remark for remark in remarks if remark.topic == "tuned_model"]
    assert "max_position_embeddings 2048 / 1024; the values of" in remark.message


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"target_modules": ["q_prj"]}, "has no layer q_prj"),
        ({"target_modules": ["input_layernorm"]}, "input_layernorm is not a linear layer"),
        ({"target_modules": ["embed_tokens"]}, "embed_tokens is not a linear layer"),
        ({"modules_to_save": ["embed_tokes"]}, "has no module embed_tokes"),
    ],
)
def test_modules_that_the_model_does_not_have_are_refused(
    keys: dict[str, Any], message: str, tiny: Path, tuned: Path
) -> None:
    with pytest.raises(ConfigError, match=message) as refused:
        TaskRun("extract", tuned_model=tuned, model=tiny, **keys)
    assert refused.value.hint


def test_a_smaller_vocabulary_is_refused(tiny: Path, tmp_path: Path) -> None:
    larger = tune(tiny, tmp_path / "larger", rows=640)
    with pytest.raises(ConfigError, match="have 600 rows, fewer than the 640 of the base"):
        TaskRun("extract", tuned_model=tiny, model=larger)


def test_a_disk_and_a_memory_that_are_too_small_are_refused(
    tiny: Path, tuned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "memory", lambda: (10**6, 10**6))
    with pytest.raises(MachineError, match=r"extracting takes .* this machine has"):
        TaskRun("extract", tuned_model=tuned, model=tiny)
    monkeypatch.undo()
    monkeypatch.setattr("swiftbox.files.free_bytes", lambda _folder: 100)
    with pytest.raises(MachineError, match=r"adapter at its largest: .* to write"):
        TaskRun("extract", tuned_model=tuned, model=tiny)
