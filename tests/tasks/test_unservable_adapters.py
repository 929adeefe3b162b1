"""Adapters that an engine cannot load are refused at check, and the hint's merge is the cure."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from adapters import logits, make_adapter, save_adapter
from in_process import box
from made_up import made_up
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from swiftbox.core.generation.network import LoadSettings, Network
from swiftbox.errors import ConfigError
from swiftbox.launch.prepare import check_config, with_absolute_paths
from swiftbox.models.adapters import read_adapter
from swiftbox.models.unservable_adapters import largest_rank
from swiftbox.plan import plan
from swiftbox.tasks.load import loads

pytestmark = pytest.mark.filterwarnings("ignore")


def check(engine: str, model: Path, adapter: Path, vllm: str = "0.33.0") -> None:
    keys = {"task": "deploy", "hub": "local", "port": 0, "engine": engine}
    content = json.dumps({**keys, "model": str(model), "adapter": str(adapter)})
    machine = made_up("cuda", vllm=vllm)
    check_config(with_absolute_paths(plan(loads(content, source="a.yaml").config, machine).config))


REASONS: dict[str, dict[str, Any]] = {
    "it trained lm_head completely": {"modules_to_save": ["lm_head"]},
    "it is a DoRA": {"use_dora": True},
    "it trained biases": {"lora_bias": True},
    "its rank is 600, and the largest is 512": {"r": 600},
}

SCALES: dict[str, dict[str, Any]] = {
    "it scales q_proj differently": {"rank_pattern": {"q_proj": 2}},
    "it scales v_proj differently": {"alpha_pattern": {"v_proj": 3}},
}


@pytest.mark.parametrize("reason", REASONS)
def test_vllm_is_given_plain_loras_only(reason: str, tiny: Path, tmp_path: Path) -> None:
    adapter = make_adapter(tiny, tmp_path / "a", **REASONS[reason])
    with pytest.raises(ConfigError, match=f"vLLM cannot load it: {reason}") as refused:
        check("vllm", tiny, adapter)
    assert "set engine: builtin" in refused.value.hint
    check("builtin", tiny, adapter)


@pytest.mark.parametrize("reason", SCALES)
def test_other_scales_are_for_the_versions_that_have_them(
    reason: str, tiny: Path, tmp_path: Path
) -> None:
    adapter = make_adapter(tiny, tmp_path / "a", **SCALES[reason])
    check("vllm", tiny, adapter)
    with pytest.raises(ConfigError, match=f"vLLM cannot load it: {reason}"):
        check("vllm", tiny, adapter, vllm="0.23.0")


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"init_lora_weights": "pissa_niter_4"}, "it changes the base when it is loaded"),
        ({"use_qalora": True}, "it sets use_qalora"),
        ({"kasa_config": {"beta": 1.0}}, "it sets kasa_config"),
    ],
)
def test_adapters_that_vllm_would_apply_wrongly_are_refused(
    keys: dict[str, Any], reason: str, tiny: Path, tmp_path: Path
) -> None:
    adapter = make_adapter(tiny, tmp_path / "a")
    path = adapter / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **keys}), "utf-8")
    with pytest.raises(ConfigError, match=f"vLLM cannot load it: {reason}"):
        check("vllm", tiny, adapter)


def test_auto_keeps_adapters_that_vllm_refuses_on_the_builtin_server(
    tiny: Path, tmp_path: Path
) -> None:
    adapter = make_adapter(tiny, tmp_path / "a", use_dora=True)
    config = loads(f"task: deploy\nmodel: {tiny}\nadapter: {adapter}\n", source="a.yaml").config
    planned = plan(config, made_up("cuda", vllm="0.33.0"))
    assert planned.config.engine == "builtin"
    assert f"vllm cannot load {adapter}: it is a DoRA" in planned.notes[0].why


def test_vllm_is_given_other_ranks_of_the_same_scale(tiny: Path, tmp_path: Path) -> None:
    patterns = {"rank_pattern": {"q_proj": 16}, "alpha_pattern": {"q_proj": 32}}
    adapter = make_adapter(tiny, tmp_path / "a", **patterns)
    check("vllm", tiny, adapter)
    assert largest_rank(read_adapter(adapter)) == 16


@pytest.fixture(scope="module")
def resized(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter with embeddings of 604 rows, where the base has 600."""
    folder = tmp_path_factory.mktemp("resized") / "a"
    model = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    torch.manual_seed(5)
    model.resize_token_embeddings(604, mean_resizing=False)
    save_adapter(model, tiny, folder, modules_to_save=["embed_tokens", "lm_head"])
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    tokenizer.add_tokens([f"<new_{number}>" for number in range(4)])
    tokenizer.save_pretrained(folder)
    return folder


def test_the_merge_of_the_hint_serves_a_resized_adapter(
    tiny: Path, resized: Path, tmp_path: Path
) -> None:
    with pytest.raises(
        ConfigError, match="its embeddings have 604 rows, those of the base 600"
    ) as (refused):
        check("builtin", tiny, resized)
    with pytest.raises(ConfigError):  # as the run would
        Network(LoadSettings(tiny, "float32", "cpu")).add("a", resized)
    first, second = refused.value.hint.partition("`")[2].partition("`")[0].split(" && ")
    box(*shlex.split(first)[1:], cwd=tmp_path)
    box(*shlex.split(second)[1:], "hub=local", "output_dir=out", "--plain", cwd=tmp_path)
    merged = Network(LoadSettings(tmp_path / "out" / "model", "float32", "cpu"))
    model = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    model.resize_token_embeddings(604, mean_resizing=False)
    ids = torch.tensor([[5, 600, 9, 603]])
    expected = logits(PeftModel.from_pretrained(model, resized), ids)
    torch.testing.assert_close(logits(merged.use(""), ids), expected, atol=1e-4, rtol=1e-4)
    with pytest.raises(ConfigError, match="it trained embed_tokens, lm_head completely"):
        check("vllm", tiny, resized)


@pytest.mark.parametrize("which", ["larger tokenizer of the base", "all rows beside the new ones"])
def test_what_check_lets_through_is_loaded(which: str, tiny: Path, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny)
    tokenizer.add_tokens(["<new_0>", "<new_1>"])
    model = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32)
    source, rows = shutil.copytree(tiny, tmp_path / "base"), {}
    if which == "larger tokenizer of the base":
        tokenizer.save_pretrained(source)
    else:
        model.resize_token_embeddings(640, mean_resizing=False)
        rows = {"trainable_token_indices": {"embed_tokens": [600, 601], "lm_head": [600, 601]}}
    adapter = save_adapter(model, source, tmp_path / "a", **rows)
    tokenizer.save_pretrained(adapter)
    check("builtin", source, adapter)
    network = Network(LoadSettings(source, "float32", "cpu"))
    network.add("a", adapter)
    ids = torch.tensor([[5, 17, 9]] if not rows else [[5, 600, 9]])
    expected = logits(model, ids)  # peft has put the adapter on it
    actual = logits(network.use("a"), ids)
    torch.testing.assert_close(actual, expected, atol=1e-4, rtol=1e-4)
