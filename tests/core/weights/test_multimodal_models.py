"""A model with a tower for pictures is trained, quantized and merged as everybody else loads it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from adapters import save_adapter
from in_process import box
from merge_run import MergeRun
from own_server import serving
from peft import PeftModel
from safetensors.torch import load_file, save_file
from tiny import SIZES, write_chats, write_config
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMultimodalLM,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
)

from swiftbox.config.merge import Quantization
from swiftbox.core.tuners.targets import choose_targets
from swiftbox.core.weights.load import load_pretrained
from swiftbox.core.weights.modalities import other_modalities
from swiftbox.core.weights.quantized_bases import bitsandbytes_config
from swiftbox.errors import ConfigError
from swiftbox.models.adapters import read_trained
from swiftbox.models.merge_checks import require_adapters_fit
from swiftbox.tasks.load import load

pytestmark = pytest.mark.filterwarnings("ignore")

EXTRAS = {"mtp.fc.weight": torch.arange(6.0).reshape(2, 3), "mtp.norm.weight": torch.ones(4)}
"""Layers that predict several tokens at once: published with the model, computed by no class."""


@pytest.fixture(scope="module")
def pictures(tiny_multimodal: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a tiny Qwen3.5 with its tower and with layers that its class leaves out."""
    folder = shutil.copytree(tiny_multimodal, tmp_path_factory.mktemp("models") / "qwen3_5")
    (folder / "preprocessor_config.json").write_text("{}", "utf-8")
    weights = load_file(folder / "model.safetensors")
    save_file({**weights, **EXTRAS}, folder / "model.safetensors", {"format": "pt"})
    return folder


@pytest.fixture(scope="module")
def trained(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the adapter of a LoRA training on conversations of text."""
    place = tmp_path_factory.mktemp("run")
    chats = write_chats(place / "chat.jsonl", 8)
    write_config(place / "a.yaml", pictures, chats, max_steps=2, lora_rank=4, output_dir="out")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SWIFTBOX_HOME", str(place / "home"))
        box("run", "a.yaml", cwd=place)
    return place / "out" / "model"


def tensors_of(folder: Path) -> dict[str, torch.Tensor]:
    """Return all tensors of a folder, read from its files."""
    tensors: dict[str, torch.Tensor] = {}
    for file in folder.glob("*.safetensors"):
        tensors |= load_file(file)
    return tensors


def test_an_adapter_loads_on_the_class_that_everybody_loads(
    pictures: Path, trained: Path, recwarn: pytest.WarningsRecorder
) -> None:
    model = AutoModelForMultimodalLM.from_pretrained(pictures, dtype=torch.float32)
    network = PeftModel.from_pretrained(model, trained)
    assert not [warning for warning in recwarn if "adapter keys" in str(warning.message)]
    saved = load_file(trained / "adapter_model.safetensors")
    placed = dict(network.named_parameters())
    for name, tensor in saved.items():
        assert torch.equal(placed[name.replace(".weight", ".default.weight")], tensor), name
    assert len(saved) == sum("lora_" in name for name in placed)
    assert all(".language_model.layers." in name for name in saved)
    assert sum("lora_B" in name and bool(tensor.any()) for name, tensor in saved.items()) == 15


def test_a_merge_keeps_every_tensor_of_the_base(
    pictures: Path, trained: Path, tmp_path: Path
) -> None:
    merged = MergeRun(tmp_path / "out", adapter=trained, model=pictures)
    before, after = tensors_of(pictures), tensors_of(merged.folder)
    assert before.keys() == after.keys()
    adapted = {
        name.removeprefix("base_model.model.").partition(".lora_")[0] + ".weight"
        for name in load_file(trained / "adapter_model.safetensors")
    }
    changed = {name for name, tensor in before.items() if not torch.equal(tensor, after[name])}
    assert changed <= adapted
    assert len(changed) == 15
    assert "2 tensors that the class does not compute with" in merged.note("copied")
    config = json.loads((merged.folder / "config.json").read_text("utf-8"))
    assert config["architectures"] == ["Qwen3_5ForConditionalGeneration"]
    assert type(load_pretrained(merged.folder)).__name__ == "Qwen3_5ForConditionalGeneration"


def test_the_builtin_server_answers_with_the_adapter(pictures: Path, trained: Path) -> None:
    turns: list[Any] = [{"role": "user", "content": "json"}]
    with serving(pictures, adapters={"a": trained}) as server:
        answers = [
            server.client().chat.completions.create(
                model=name, messages=turns, temperature=0, max_tokens=8
            )
            for name in ("tiny", "a")
        ]
    assert [answer.usage.completion_tokens > 0 for answer in answers if answer.usage] == [True] * 2


def test_four_bits_spare_the_tower_and_the_head(pictures: Path) -> None:
    from bitsandbytes.nn import Linear4bit

    config = bitsandbytes_config(Quantization(4, "nf4", True, "float32"))
    model = load_pretrained(pictures, dtype=torch.float32, quantization_config=config)
    quantized = {name for name, part in model.named_modules() if isinstance(part, Linear4bit)}
    assert quantized
    assert all(name.startswith("model.language_model.layers.") for name in quantized)
    linear = {name for name, part in model.named_modules() if isinstance(part, torch.nn.Linear)}
    spared = {name for name in linear - quantized if not name.startswith("model.visual.")}
    assert spared == {"lm_head"}


def chosen(model: Any, pictures: Path, tmp_path: Path, targets: object) -> tuple[list[str], str]:
    """Return the layers that get an adapter, and the notes."""
    chats = write_chats(tmp_path / "chat.jsonl", 2)
    path = write_config(tmp_path / "a.yaml", pictures, chats, target_modules=targets)
    notes: list[str] = []
    return choose_targets(model, load(path).config, notes.append), " ".join(notes)


@pytest.fixture(scope="module")
def model(pictures: Path) -> Any:
    return load_pretrained(pictures)


def test_all_linear_stays_out_of_the_tower(model: Any, pictures: Path, tmp_path: Path) -> None:
    assert other_modalities(model) == ("model.visual",)
    layers, _notes = chosen(model, pictures, tmp_path, "all-linear")
    assert not {"qkv", "proj", "linear_fc1", "linear_fc2"} & set(layers)
    assert {"q_proj", "in_proj_qkv", "down_proj"} <= set(layers)


def test_a_layer_of_the_tower_needs_its_path(model: Any, pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="linear_fc1 names only layers") as caught:
        chosen(model, pictures, tmp_path, ["q_proj", "linear_fc1"])
    assert "model.visual.blocks.0.mlp.linear_fc1" in caught.value.hint
    layers, _notes = chosen(model, pictures, tmp_path, ["visual.merger.linear_fc1"])
    assert layers == ["model.visual.merger.linear_fc1"]


def test_a_name_that_tower_and_decoder_share_means_the_decoder(
    pictures: Path, tmp_path: Path
) -> None:
    tower = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1}
    sizes = {**tower, "num_attention_heads": 2, "image_size": 16, "patch_size": 8}
    config = LlavaConfig(text_config=LlamaConfig(**SIZES), vision_config=CLIPVisionConfig(**sizes))
    with torch.device("meta"):
        llava = LlavaForConditionalGeneration(config)
    assert other_modalities(llava) == ("model.vision_tower", "model.multi_modal_projector")
    layers, notes = chosen(llava, pictures, tmp_path, ["q_proj"])
    assert layers == [f"model.language_model.layers.{n}.self_attn.q_proj" for n in range(2)]
    assert "leaves out the layers of the same names in model.vision_tower" in notes
    layers, _notes = chosen(llava, pictures, tmp_path, r".*\.q_proj")
    assert all(".language_model." in name for name in layers)


def test_full_tuning_on_text_keeps_the_tower_and_what_the_class_leaves_out(
    pictures: Path, tmp_path: Path
) -> None:
    chats = write_chats(tmp_path / "chat.jsonl", 4)
    write_config(
        tmp_path / "a.yaml", pictures, chats, tuner_type="full", max_steps=2, output_dir="out"
    )
    box("run", "a.yaml", cwd=tmp_path)
    result = tmp_path / "out" / "model"
    before, after = tensors_of(pictures), tensors_of(result)
    assert before.keys() == after.keys()
    same = {name for name, tensor in before.items() if torch.equal(tensor, after[name])}
    assert {name for name in before if ".visual." in name} <= same
    assert {name for name in before if name.startswith("mtp.")} <= same
    assert "model.language_model.layers.0.mlp.up_proj.weight" not in same
    assert (result / "preprocessor_config.json").is_file()


def test_an_adapter_of_the_language_part_alone_is_refused_before_loading(
    pictures: Path, tmp_path: Path
) -> None:
    torso = AutoModelForCausalLM.from_pretrained(pictures, dtype=torch.float32)
    adapter = save_adapter(torso, pictures, tmp_path / "a", target_modules=["q_proj"])
    with pytest.raises(ConfigError, match="trained on the language part alone"):
        require_adapters_fit(pictures, [read_trained(adapter)], "m")
