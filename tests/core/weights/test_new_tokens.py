"""New tokens from the first row of a dataset to a merged model, with tied and untied heads."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from in_process import box
from made_up import made_up
from peft import PeftModel
from safetensors.torch import load_file
from tiny import build, write_config
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from swiftbox.core.generation.network import LoadSettings, Network
from swiftbox.core.weights.load import load_pretrained
from swiftbox.core.weights.vocabulary import ROWS, add_tokens, extend_model
from swiftbox.errors import RunError
from swiftbox.plan import plan
from swiftbox.tasks import TASKS
from swiftbox.tasks.load import load

pytestmark = pytest.mark.filterwarnings("ignore")

TOKENS = {"new_tokens": ["<point>", "blue sky"], "new_special_tokens": ["<tool>", "</tool>"]}
COUNT = 4
TIED = ("tied", "untied")

Adapters = dict[str, tuple[Path, list[str]]]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return a model whose head has the embeddings, and one with its own."""
    folder = tmp_path_factory.mktemp("models")
    untied = build("qwen3", folder / "untied")
    shutil.copytree(untied, folder / "tied")
    config = AutoConfig.from_pretrained(untied)
    config.tie_word_embeddings = True
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder / "tied")
    return {"tied": folder / "tied", "untied": untied}


def write_data(path: Path) -> Path:
    rows = [
        {
            "messages": [
                {"role": "user", "content": f"<tool>where is {number}?</tool>"},
                {"role": "assistant", "content": f"<point> {number} in the blue sky"},
            ]
        }
        for number in range(12)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def train(folder: Path, model: Path, **keys: object) -> tuple[Path, list[str]]:
    """Train in this process; return the folder of the result and the notes."""
    folder.mkdir(exist_ok=True)
    data = write_data(folder / "rows.jsonl")
    settings = {"max_steps": 3, "save_steps": 0, "learning_rate": 1e-2, **TOKENS, **keys}
    path = write_config(folder / "a.yaml", model, data, **settings)
    config = plan(load(path).config, made_up("cpu")).config
    (folder / "run").mkdir(exist_ok=True)
    shutil.copyfile(path, folder / "run" / "settled.yaml")
    notes: list[str] = []

    def emit(event: str, **fields: Any) -> None:
        if event == "note":
            notes.append(fields["message"])

    saved = TASKS["train"].run(config, folder / "run", emit)
    assert saved is not None
    return saved, notes


@pytest.fixture(scope="module")
def adapters(models: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Adapters:
    """Return an adapter of each model, with the notes of its training."""
    folder = tmp_path_factory.mktemp("adapters")
    return {kind: train(folder / kind, model) for kind, model in models.items()}


def logits(model: Any, folder: Path, rows: int) -> torch.Tensor:
    """Return the logits of a text with new tokens, without those of rows that are no tokens."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer("<tool>a blue sky</tool> <point>", return_tensors="pt").input_ids
    with torch.no_grad():
        return model(input_ids=ids).logits[0, :, :rows]


def tokens_of(folder: Path) -> int:
    return len(AutoTokenizer.from_pretrained(folder))


def with_peft(model: Path, adapter: Path) -> Any:
    """Load an adapter as its users do: the base resized, then peft's own call."""
    larger = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    larger.resize_token_embeddings(tokens_of(adapter), pad_to_multiple_of=ROWS)
    return PeftModel.from_pretrained(larger, adapter).eval()


@pytest.mark.parametrize("kind", TIED)
def test_an_adapter_holds_the_rows_of_the_new_tokens_and_no_others(
    kind: str, adapters: Adapters
) -> None:
    saved, notes = adapters[kind]
    rows = {
        name.split(".token_adapter")[0].removeprefix("base_model.model."): tensor.shape
        for name, tensor in load_file(saved / "adapter_model.safetensors").items()
        if "lora_" not in name
    }
    modules = ["model.embed_tokens"] + ([] if kind == "tied" else ["lm_head"])
    assert rows == dict.fromkeys(modules, torch.Size([COUNT, 64]))
    assert any("4 new tokens; the embeddings grow from 600 to 640 rows" in note for note in notes)
    shared = ", which the head shares," if kind == "tied" else ""
    assert any(f"4 rows of {' + '.join(modules)}{shared}" in note for note in notes)


@pytest.mark.parametrize("kind", TIED)
def test_its_tokenizer_reads_each_new_token_as_one(kind: str, adapters: Adapters) -> None:
    tokenizer = AutoTokenizer.from_pretrained(adapters[kind][0])
    ids = tokenizer.encode("<tool><point>blue sky</tool>", add_special_tokens=False)
    assert len(ids) == COUNT
    assert tokenizer.decode(ids, skip_special_tokens=True).replace(" ", "") == "<point>bluesky"


@pytest.mark.parametrize("kind", TIED)
def test_peft_and_our_server_compute_the_same_with_it(
    kind: str, models: dict[str, Path], adapters: Adapters
) -> None:
    saved, _ = adapters[kind]
    expected = logits(with_peft(models[kind], saved), saved, tokens_of(saved))
    network = Network(LoadSettings(models[kind], "float32", "cpu"))
    plain = logits(network.model, models[kind], 600)
    network.add("new", saved)
    ours = logits(network.use("new"), saved, tokens_of(saved))
    torch.testing.assert_close(ours, expected, atol=1e-4, rtol=1e-4)
    without = logits(network.use(""), models[kind], 640)
    torch.testing.assert_close(without[:, :600], plain, atol=1e-5, rtol=1e-5)
    assert (without[:, 600:] == -torch.inf).all()
    assert (network.vocabulary, ours.shape[1]) == (640, 604)


@pytest.mark.parametrize("kind", TIED)
def test_a_merge_has_the_tokens_and_the_outputs(
    kind: str,
    models: dict[str, Path],
    adapters: Adapters,
    tmp_path: Path,
) -> None:
    saved, _ = adapters[kind]
    settings = {"task": "merge", "model": models[kind], "adapter": saved, "dtype": "float32"}
    overrides = [f"{key}={value}" for key, value in settings.items()]
    (tmp_path / "m.yaml").write_text("task: merge\n", "utf-8")
    out = tmp_path / "out"
    box("run", "m.yaml", *overrides, f"output_dir={out}", "--plain", cwd=tmp_path)
    merged = out / "model"
    config = AutoConfig.from_pretrained(merged)
    assert (config.vocab_size, tokens_of(merged)) == (640, 604)
    assert config.tie_word_embeddings == (kind == "tied")
    expected = logits(with_peft(models[kind], saved), saved, 604)
    result = logits(load_pretrained(merged, dtype=torch.float32), merged, 604)
    torch.testing.assert_close(result, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("rows", [[700], [-1], ["600"], [600, 10**12]])
def test_rows_that_do_not_continue_the_vocabulary_are_refused(
    rows: list[object], models: dict[str, Path], adapters: Adapters, tmp_path: Path
) -> None:
    """A number far away would take any amount of memory."""
    folder = shutil.copytree(adapters["tied"][0], tmp_path / "adapter")
    config = json.loads((folder / "adapter_config.json").read_text("utf-8"))
    config["trainable_token_indices"] = {"model.embed_tokens": rows}
    (folder / "adapter_config.json").write_text(json.dumps(config), "utf-8")
    network = Network(LoadSettings(models["tied"], "float32", "cpu"))
    with pytest.raises(RunError, match="do not continue the 600 of the base"):
        network.add("new", folder)


@pytest.mark.parametrize("kind", TIED)
def test_full_training_saves_the_larger_model(
    kind: str, models: dict[str, Path], tmp_path: Path
) -> None:
    saved, _ = train(tmp_path / "full", models[kind], tuner_type="full", dtype="float32")
    model = AutoModelForCausalLM.from_pretrained(saved)
    assert model.config.vocab_size == model.get_input_embeddings().weight.shape[0] == 640
    assert tokens_of(saved) == 604
    head, embeddings = model.get_output_embeddings().weight, model.get_input_embeddings().weight
    assert (head is embeddings) == (kind == "tied")
    assert torch.isfinite(logits(model, saved, 604)).all()


def test_a_quantized_base_trains_them_too(models: dict[str, Path], tmp_path: Path) -> None:
    saved, _ = train(tmp_path / "q", models["untied"], tuner_type="qlora")
    names = load_file(saved / "adapter_model.safetensors")
    assert sum(".trainable_tokens_delta" in name for name in names) == 2


def test_the_reference_of_preferences_has_the_rows_as_they_began(
    models: dict[str, Path], tmp_path: Path
) -> None:
    rows = [
        {"prompt": f"<tool>{n}</tool>", "chosen": f"<point> {n}", "rejected": f"blue sky {n}"}
        for n in range(8)
    ]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    settings = {"stage": "dpo", "max_steps": 2, "save_steps": 0, "warmup_steps": 0, **TOKENS}
    data = tmp_path / "pairs.jsonl"
    path = write_config(tmp_path / "a.yaml", models["untied"], data, learning_rate=1e-3, **settings)
    margins: list[float] = []

    def emit(event: str, **fields: Any) -> None:
        if event == "step":
            margins.append(fields["metrics"]["rewards/margins"])

    (tmp_path / "run").mkdir()
    TASKS["train"].run(plan(load(path).config, made_up("cpu")).config, tmp_path / "run", emit)
    assert margins[0] == 0
    assert margins[1] > 0


def test_a_resumed_training_repeats_every_bit(models: dict[str, Path], tmp_path: Path) -> None:
    keys = {"max_steps": 4, "save_steps": 2, "save_total_limit": 9}
    saved, _ = train(tmp_path / "r", models["untied"], **keys)
    straight = load_file(saved / "adapter_model.safetensors")
    shutil.rmtree(saved)
    shutil.rmtree(saved.parent / "checkpoints" / "checkpoint-4")
    again, _ = train(tmp_path / "r", models["untied"], **keys)
    resumed = load_file(again / "adapter_model.safetensors")
    assert straight.keys() == resumed.keys()
    assert all(torch.equal(straight[name], resumed[name]) for name in straight)


def test_rows_begin_as_the_mean_of_their_pieces_and_spare_rows_are_used(
    models: dict[str, Path],
) -> None:
    config: Any = SimpleNamespace(new_tokens=["blue sky", "the"], new_special_tokens=["<tool>"])
    tokenizer = AutoTokenizer.from_pretrained(models["untied"])
    pieces = tokenizer.encode("blue sky", add_special_tokens=False)
    config.new_tokens.append(tokenizer.convert_ids_to_tokens(5))
    model = AutoModelForCausalLM.from_pretrained(models["untied"], dtype=torch.float32)
    model.resize_token_embeddings(610)
    tokens = add_tokens(tokenizer, config)
    assert tokenizer.convert_ids_to_tokens(5) in tokens.known
    messages = list(extend_model(model, tokens, saves_adapter=True))
    assert "have spare rows for them (610)" in messages[-1]
    assert model.get_input_embeddings().weight.shape[0] == 610
    for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
        number = tokenizer.convert_tokens_to_ids("blue sky")
        torch.testing.assert_close(layer.weight[number], layer.weight[pieces].mean(0))
