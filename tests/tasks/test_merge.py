"""A merge that would be wrong is refused before any weights are read, with a hint."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from adapters import make_adapter, make_run, qlora
from made_up import made_up

from swiftbox import formatting
from swiftbox.config.merge import MergeConfig
from swiftbox.config.writing import write
from swiftbox.devices import host
from swiftbox.errors import ConfigError, MachineError, UserError
from swiftbox.launch.prepare import check_config, with_absolute_paths
from swiftbox.models import merge_checks as merging
from swiftbox.models import merge_resources as merging_resources
from swiftbox.models.merge_checks import BaseWeights
from swiftbox.models.merge_resources import merge_needs, require_resources
from swiftbox.plan import plan
from swiftbox.tasks import TASKS
from swiftbox.tasks.load import loads


def merging_of(**keys: Any) -> MergeConfig:
    """Load, plan and check a merge as a launch does."""
    content = json.dumps({"task": "merge", "hub": "local", **keys}, default=str)
    config = with_absolute_paths(
        plan(loads(content, source="a.yaml").config, made_up("cpu")).config
    )
    check_config(config)
    assert isinstance(config, MergeConfig)
    return config


@pytest.fixture(scope="session")
def adapter(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_adapter(tiny, tmp_path_factory.mktemp("run") / "model")


def edited(adapter: Path, folder: Path, **changes: Any) -> Path:
    """Copy an adapter with other settings."""
    shutil.copytree(adapter, folder)
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **changes}), "utf-8")
    return folder


def test_auto_means_the_full_base_in_its_stored_dtype(tiny: Path, adapter: Path) -> None:
    config = merging_of(adapter=adapter, model=tiny)
    assert (config.merge_base, config.dtype) == ("full", "stored")
    assert loads(write(config), source="settled.yaml").config == config


def test_the_base_comes_from_the_adapter_when_none_is_given(tiny: Path, adapter: Path) -> None:
    assert merging_of(adapter=adapter).model == str(tiny)


def test_a_run_folder_means_its_model_and_its_record_names_the_base(
    tiny: Path, adapter: Path, tmp_path: Path
) -> None:
    copy = edited(adapter, tmp_path / "run" / "model", base_model_name_or_path="/gone/away")
    run = make_run(copy, tiny)
    config = merging_of(adapter=run)
    assert (config.adapter, config.model) == (str(copy), str(tiny))


def test_a_run_is_found_by_its_name(tiny: Path, adapter: Path, tmp_path: Path) -> None:
    from swiftbox.runs.folder import STATE, register

    run = make_run(edited(adapter, tmp_path / "my-run" / "model"), tiny)
    (run / STATE).write_text("{}", "utf-8")
    register(run)
    assert merging_of(adapter="my-run").adapter == str(run / "model")


def test_a_deleted_base_is_asked_for(adapter: Path, tmp_path: Path) -> None:
    lost = edited(adapter, tmp_path / "a", base_model_name_or_path="/gone/away")
    with pytest.raises(
        ConfigError, match="trained on /gone/away, which is not on this machine"
    ) as caught:
        merging_of(adapter=lost)
    assert "model=" in caught.value.hint


@pytest.mark.parametrize("name", ["./nothing", "/no/such/folder", "runs/none", "nothing"])
def test_a_missing_adapter_is_refused(name: str, tiny: Path) -> None:
    with pytest.raises(ConfigError, match="adapter: no folder"):
        merging_of(adapter=name, model=tiny)


def test_a_full_model_is_not_an_adapter(tiny: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no adapter_config\.json") as caught:
        merging_of(adapter=tiny, model=tiny)
    assert "complete model" in caught.value.hint


@pytest.mark.parametrize("kind", ["PREFIX_TUNING", "PROMPT_TUNING", "P_TUNING"])
def test_an_adapter_that_does_not_change_weights_is_named_and_refused(
    kind: str, tiny: Path, adapter: Path, tmp_path: Path
) -> None:
    other = edited(adapter, tmp_path / "a", peft_type=kind)
    with pytest.raises(ConfigError, match=f"is not supported: .*{kind}. does not change") as caught:
        merging_of(adapter=other, model=tiny)
    assert "LORA" in caught.value.hint


def test_an_activated_lora_is_refused(tiny: Path, adapter: Path, tmp_path: Path) -> None:
    other = edited(adapter, tmp_path / "a", alora_invocation_tokens=[1, 2])
    with pytest.raises(ConfigError, match="applies to some tokens only"):
        merging_of(adapter=other, model=tiny)


def test_truncated_weights_are_refused(tiny: Path, adapter: Path, tmp_path: Path) -> None:
    torn = edited(adapter, tmp_path / "a")
    path = torn / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ConfigError, match="is incomplete"):
        merging_of(adapter=torn, model=tiny)


def test_pickled_weights_are_refused(tiny: Path, adapter: Path, tmp_path: Path) -> None:
    other = edited(adapter, tmp_path / "a")
    (other / "adapter_model.safetensors").rename(other / "adapter_model.bin")
    with pytest.raises(ConfigError, match=r"has no adapter_model\.safetensors"):
        merging_of(adapter=other, model=tiny)


def resized(tiny: Path, folder: Path, **sizes: int) -> Path:
    """Build a base of another size."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    shutil.copytree(tiny, folder)
    values = json.loads((tiny / "config.json").read_text("utf-8"))
    Qwen3ForCausalLM(Qwen3Config(**{**values, "layer_types": None, **sizes})).save_pretrained(
        folder
    )
    return folder


def test_another_hidden_size_is_refused_with_both(
    tiny: Path, adapter: Path, tmp_path: Path
) -> None:
    other = resized(tiny, tmp_path / "m", hidden_size=32)
    with pytest.raises(ConfigError, match="128 x 64 in the adapter, 128 x 32 in") as caught:
        merging_of(adapter=adapter, model=other)
    assert str(tiny) in caught.value.hint


@pytest.mark.parametrize(
    ("layers", "message"), [(1, "of the 6 layers it adapts are missing"), (3, "the model has 3")]
)
def test_another_depth_is_refused(
    layers: int, message: str, tiny: Path, adapter: Path, tmp_path: Path
) -> None:
    other = resized(tiny, tmp_path / "m", num_hidden_layers=layers)
    with pytest.raises(ConfigError, match=message):
        merging_of(adapter=adapter, model=other)


def test_a_base_of_another_name_is_refused(tiny: Path, adapter: Path, tmp_path: Path) -> None:
    named = edited(adapter, tmp_path / "a", base_model_name_or_path="org/Base-7B")
    base_weights, adapters = merging.read_base_weights(tiny), [adapter_in(named)]
    merging.require_matching_layers(base_weights, adapters, "mirror/base-7b")
    with pytest.raises(ConfigError, match="trained on org/Base-7B, not on org/Base-7B-Chat"):
        merging.require_matching_layers(base_weights, adapters, "org/Base-7B-Chat")


def adapter_in(folder: Path) -> Any:
    from swiftbox.models.adapters import read_adapter

    return read_adapter(folder)


def test_a_quantized_base_is_refused(tiny: Path, adapter: Path, tmp_path: Path) -> None:
    base_folder = shutil.copytree(tiny, tmp_path / "m")
    settings = json.loads((base_folder / "config.json").read_text("utf-8"))
    settings["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_4bit": True}
    (base_folder / "config.json").write_text(json.dumps(settings), "utf-8")
    with pytest.raises(ConfigError, match=r"is quantized \(bitsandbytes\)"):
        merging_of(adapter=adapter, model=base_folder)


def test_too_little_disk_is_refused_with_both_numbers(
    tiny: Path, adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("swiftbox.files.free_bytes", lambda _: 1_000_000)
    needed = merging.read_base_weights(tiny).bytes_as("stored") + merging_resources.SPARE_BYTES
    with pytest.raises(MachineError, match=r"976\.6 KiB free") as caught:
        merging_of(adapter=adapter, model=tiny)
    assert f"{formatting.size(needed)} to write" in caught.value.message
    assert "output_dir" in caught.value.hint


def test_too_little_memory_for_float32_is_refused(
    tiny: Path, adapter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "memory", lambda: (100_000, 100_000))
    with pytest.raises(MachineError, match=r"takes 1\.5 GiB of memory, this machine has 97\.7"):
        merging_of(adapter=adapter, model=tiny)


def made_up_weights(layers: int, hidden: int, width: int, vocabulary: int) -> BaseWeights:
    """Return the names and shapes of a decoder in bfloat16 that exists nowhere."""
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (vocabulary, hidden),
        "lm_head.weight": (vocabulary, hidden),
    }
    for number in range(layers):
        prefix = f"model.layers.{number}"
        shapes |= {f"{prefix}.mlp.{name}_proj.weight": (width, hidden) for name in ("gate", "up")}
        shapes[f"{prefix}.mlp.down_proj.weight"] = (hidden, width)
        shapes |= {f"{prefix}.self_attn.{name}_proj.weight": (hidden, hidden) for name in "qo"}
    return BaseWeights(Path(), shapes, dict.fromkeys(shapes, "bfloat16"), "bfloat16")


def test_the_memory_of_a_merge_is_that_of_a_layer_not_of_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = made_up_weights(64, 5120, 27648, 152_000)  # 32 billion parameters
    assert weights.bytes_as("float32") > 119 * 2**30
    monkeypatch.setattr("swiftbox.files.free_bytes", lambda _: 10**12)
    monkeypatch.setattr(host, "memory", lambda: (128 * 2**30, 100 * 2**30))
    needs = merge_needs(weights, [])
    require_resources(weights, tmp_path, "stored", needs)
    deeper = merge_needs(made_up_weights(640, 5120, 27648, 152_000), [])
    assert deeper.memory == needs.memory < 32 * 2**30


def test_a_quantized_base_is_compared_in_memory_too(tiny: Path) -> None:
    weights = merging.read_base_weights(tiny)
    added = merge_needs(weights, [], quantized=True).memory - merge_needs(weights, []).memory
    assert added == pytest.approx(0.3 * weights.bytes_as("float32"))


def test_merged_weights_beyond_the_memory_take_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = made_up_weights(64, 5120, 27648, 152_000)
    needs = merge_needs(weights, [])
    monkeypatch.setattr(host, "memory", lambda: (128 * 2**30, 100 * 2**30))
    enough = weights.bytes_as("stored") + merging_resources.SPARE_BYTES + needs.merged
    monkeypatch.setattr("swiftbox.files.free_bytes", lambda _: enough - 39 * 2**30)
    require_resources(weights, tmp_path, "stored", needs)  # 40 GiB of them stay in memory
    monkeypatch.setattr("swiftbox.files.free_bytes", lambda _: enough - 41 * 2**30)
    with pytest.raises(MachineError, match="to write with a reserve of"):
        require_resources(weights, tmp_path, "stored", needs)


def test_half_precision_needs_half_the_bytes(tiny: Path) -> None:
    base_weights = merging.read_base_weights(tiny)
    assert base_weights.bytes_as("float32") == 2 * base_weights.bytes_as("bfloat16")
    weights = (tiny / "model.safetensors").stat().st_size
    assert 0 < weights - base_weights.bytes_as("stored") < 10_000


def test_dequantized_requires_an_adapter_trained_on_nf4(
    tiny: Path, adapter: Path, tmp_path: Path
) -> None:
    alone = edited(adapter, tmp_path / "alone")
    with pytest.raises(ConfigError, match="no record of how its base was quantized"):
        merging_of(adapter=alone, model=tiny, merge_base="dequantized")
    plain = make_run(edited(adapter, tmp_path / "plain" / "model"), tiny)
    with pytest.raises(ConfigError, match="trained on an unquantized base"):
        merging_of(adapter=plain, model=tiny, merge_base="dequantized")
    four = make_run(edited(adapter, tmp_path / "four" / "model"), tiny, **qlora())
    with pytest.raises(ConfigError, match="differently quantized"):
        merging_of(adapter=[four, plain], model=tiny, merge_base="dequantized")
    assert merging_of(adapter=four, merge_base="dequantized").merge_base == "dequantized"


@pytest.mark.parametrize("value", ["5", "0GB", "much", "-1MB"])
def test_an_invalid_shard_size_is_refused(value: str) -> None:
    with pytest.raises(ConfigError, match="max_shard_size: should be a size"):
        loads(f"task: merge\nadapter: a\nmax_shard_size: '{value}'\n", source="a.yaml")


def test_a_merge_requires_an_adapter() -> None:
    with pytest.raises(ConfigError, match="adapter: is required"):
        loads("task: merge\nmodel: o/n\n", source="a.yaml")


def test_names_of_other_tools_for_adapter_and_model_are_accepted() -> None:
    merge_config = loads("task: merge\nadapters: [a, b]\nbase_model: o/n\n", source="a.yaml").config
    assert isinstance(merge_config, MergeConfig)
    assert (merge_config.adapter, merge_config.model) == (["a", "b"], "o/n")


def test_a_merge_is_named_after_the_run_it_merges() -> None:
    assert TASKS["merge"].run_name(MergeConfig(adapter="/x/runs/My-Run/model")) == "merge-my-run"


def test_refusals_exist_in_both_languages(
    tiny: Path, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWIFTBOX_LANG", "zh")
    other = edited(adapter, tmp_path / "a", peft_type="PREFIX_TUNING")
    with pytest.raises(UserError, match="不支持"):
        merging_of(adapter=other, model=tiny)
