"""What a mix would refuse is refused before any weights are read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from adapters import make_adapter
from safetensors.torch import load_file, save_file
from tiny import build
from tuned_models import TaskRun, tune

from swiftbox.config.mix import MixConfig
from swiftbox.devices import host
from swiftbox.errors import ConfigError, MachineError, UserError
from swiftbox.tasks.load import loads

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def plain(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_adapter(tiny, tmp_path_factory.mktemp("plain") / "model")


@pytest.fixture(scope="module")
def tuned(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tune(tiny, tmp_path_factory.mktemp("tuned") / "model")


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("llama", tmp_path_factory.mktemp("llama") / "model")


def edited(source: Path, folder: Path, file: str, **changes: Any) -> Path:
    """Copy a folder with other settings in one file."""
    shutil.copytree(source, folder)
    path = folder / file
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **changes}), "utf-8")
    return folder


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("adapter: [a, b]\ntuned_model: [a, b]", "either adapters, or models as tuned_model"),
        ("method: ties", "either adapters, or models as tuned_model"),
        ("adapter: [a]", "adapter: should name two or more"),
        ("adapter: [a, b]\nweights: [1]", "1 weight for 2 parts"),
        ("adapter: [a, b]\nweights: [0, 0]", "at least one should not be 0"),
        ("adapter: [a, b]\nmethod: slerp", "slerp is between two models"),
        ("tuned_model: [a, b, c]\nmethod: slerp", "slerp takes two models"),
        ("tuned_model: [a, b]\nmethod: slerp\nweights: [1, 1]", "add up to 1"),
        ("adapter: [a, b]\ndtype: stored", "adapters have one data type"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(content: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        loads(f"task: mix\n{content}\n", source="a.yaml")


def test_the_size_of_a_file_is_counted_in_bytes() -> None:
    sizes = {"5GB": 5 * 10**9, "500 mb": 500 * 10**6, "2GiB": 2 * 2**30, "3kib": 3 * 2**10}
    for size, expected in sizes.items():
        assert MixConfig(tuned_model=["a", "b"], max_shard_size=size).shard_bytes == expected


def test_auto_gives_equal_shares_and_the_stored_type(tiny: Path, plain: Path, tuned: Path) -> None:
    models = TaskRun("mix", tuned_model=[str(tuned), str(tiny)]).config
    assert (models.weights, models.dtype) == ([0.5, 0.5], "stored")  # type: ignore[attr-defined]
    adapters = TaskRun("mix", adapter=[str(plain)] * 2, method="ties").config
    assert (adapters.weights, adapters.dtype) == ([1, 1], "float32")  # type: ignore[attr-defined]
    assert adapters.model == str(tiny)  # type: ignore[attr-defined]
    assert MixConfig(adapter=["a", "b"], method="dare_linear").shares == (0.5, 0.5)


KINDS: dict[str, dict[str, Any]] = {
    "it is a DoRA": {"use_dora": True},
    "it trained biases": {"bias": "lora_only"},
    "it trained lm_head completely": {"modules_to_save": ["lm_head"]},
    "it has new tokens": {"trainable_token_indices": [5]},
    "it adapts the embeddings": {"target_modules": ["embed_tokens", "q_proj"]},
}


def test_a_variant_of_lora_is_refused(plain: Path, tmp_path: Path) -> None:
    other = edited(plain, tmp_path / "a", "adapter_config.json", kasa_config={"beta": 1.0})
    with pytest.raises(ConfigError, match="it sets kasa_config"):
        TaskRun("mix", adapter=[str(plain), str(other)])


@pytest.mark.parametrize("reason", KINDS)
def test_adapters_that_are_not_sums_of_products_are_refused_with_a_merge(
    reason: str, tiny: Path, plain: Path, tmp_path: Path
) -> None:
    other = make_adapter(tiny, tmp_path / "a", **KINDS[reason])
    with pytest.raises(ConfigError, match=rf"adapter: {other} cannot be mixed: .*{reason}") as no:
        TaskRun("mix", adapter=[str(plain), str(other)])
    assert f"swiftbox new merge -o merge.yaml adapter={other}" in no.value.hint


def test_an_adapter_that_changed_its_base_is_refused(plain: Path, tmp_path: Path) -> None:
    other = edited(plain, tmp_path / "a", "adapter_config.json", init_lora_weights="pissa")
    with pytest.raises(ConfigError, match="init_lora_weights: pissa changed its base"):
        TaskRun("mix", adapter=[str(plain), str(other)])


def test_adapters_of_different_bases_are_refused(llama: Path, plain: Path, tmp_path: Path) -> None:
    other = make_adapter(llama, tmp_path / "a")
    with pytest.raises(ConfigError, match="the parts were trained from different bases"):
        TaskRun("mix", adapter=[str(plain), str(other)])


def test_a_base_that_does_not_fit_an_adapter_is_refused(
    tiny: Path, plain: Path, tmp_path: Path
) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    other = shutil.copytree(tiny, tmp_path / "other")
    config = AutoConfig.from_pretrained(tiny)
    config.intermediate_size = 96
    AutoModelForCausalLM.from_config(config).save_pretrained(other)
    with pytest.raises(ConfigError, match="does not match"):
        TaskRun("mix", adapter=[str(plain)] * 2, model=other)


def test_changes_without_a_base_are_refused(tuned: Path) -> None:
    for keys in ({"method": "ties"}, {"weights": [1, 1]}):
        with pytest.raises(ConfigError, match="no run recorded which base") as refused:
            TaskRun("mix", tuned_model=[str(tuned)] * 2, **keys)
        assert "model=" in refused.value.hint


def test_a_base_that_is_not_needed_is_named(tiny: Path, tuned: Path) -> None:
    run = TaskRun("mix", tuned_model=[str(tuned)] * 2, model=tiny)
    assert any("model is not used" in remark.message for remark in run.remarks)


def test_models_of_other_sizes_and_tokens_are_refused(
    tiny: Path, llama: Path, tuned: Path, tmp_path: Path
) -> None:
    larger = tune(tiny, tmp_path / "larger", rows=640)
    with pytest.raises(ConfigError, match=r"has 640 rows, in .* 600"):
        TaskRun("mix", tuned_model=[str(tuned), str(larger)])
    with pytest.raises(ConfigError, match=r"its class is .*Llama"):
        TaskRun("mix", tuned_model=[str(tuned), str(llama)])
    renamed = shutil.copytree(tuned, tmp_path / "renamed")
    weights = load_file(renamed / "model.safetensors")
    save_file(
        {name.removeprefix("model."): value for name, value in weights.items()},
        renamed / "model.safetensors",
        metadata={"format": "pt"},
    )
    with pytest.raises(ConfigError, match="tensors in only one of it and"):
        TaskRun("mix", tuned_model=[str(tuned), str(renamed)])
    content = json.loads((tuned / "tokenizer.json").read_text("utf-8"))
    vocabulary = content["model"]["vocab"]
    first, second = sorted(vocabulary, key=vocabulary.__getitem__)[300:302]
    vocabulary[first], vocabulary[second] = vocabulary[second], vocabulary[first]
    other = edited(tuned, tmp_path / "tokens", "tokenizer.json", model=content["model"])
    with pytest.raises(ConfigError, match=r"token .* is \d+, in .* \d+") as refused:
        TaskRun("mix", tuned_model=[str(tuned), str(other)])
    assert "same tokenizer" in refused.value.hint


def test_another_chat_template_is_named(tuned: Path, tmp_path: Path) -> None:
    other = shutil.copytree(tuned, tmp_path / "other")
    for name in ("chat_template.jinja", "tokenizer_config.json"):
        path = other / name
        if path.is_file():
            path.write_text(path.read_text("utf-8").replace("assistant", "robot"), "utf-8")
    run = TaskRun("mix", tuned_model=[str(tuned), str(other)])
    assert any("has another one" in remark.message for remark in run.remarks)


def test_a_separate_head_and_a_tied_one_are_refused(tiny: Path, tmp_path: Path) -> None:
    import transformers

    settings = json.loads((tiny / "config.json").read_text("utf-8"))
    model_class = getattr(transformers, settings["architectures"][0])
    config = model_class.config_class(**{**settings, "tie_word_embeddings": True})
    tied = shutil.copytree(tiny, tmp_path / "tied")
    model_class(config).save_pretrained(tied)
    with pytest.raises(ConfigError, match="has a separate head"):
        TaskRun("mix", tuned_model=[str(tiny), str(tied)])
    TaskRun("mix", tuned_model=[str(tied), str(tied)])


def test_a_disk_and_a_memory_that_are_too_small_are_refused(
    plain: Path, tuned: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "memory", lambda: (10**6, 10**6))
    for keys in ({"adapter": [str(plain)] * 2}, {"tuned_model": [str(tuned)] * 2}):
        with pytest.raises(MachineError, match=r"mixing takes .* this machine has"):
            TaskRun("mix", **keys)
    monkeypatch.undo()
    monkeypatch.setattr("swiftbox.files.free_bytes", lambda _folder: 100)
    with pytest.raises(MachineError, match=r"mixed model: .* to write"):
        TaskRun("mix", tuned_model=[str(tuned)] * 2)
