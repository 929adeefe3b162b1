"""Checks refuse models with caches that the builtin server does not have, as it does itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from made_up import made_up
from tiny import train_tokenizer

from swiftbox.core.generation.network import LoadSettings, Network
from swiftbox.errors import MachineError
from swiftbox.launch.prepare import check_config, with_absolute_paths
from swiftbox.plan import plan
from swiftbox.tasks.load import loads

TASKS: dict[str, dict[str, Any]] = {
    "deploy": {"port": 0},
    "chat": {"prompt": "hi"},
    "evaluate": {"benchmarks": "sample_mmlu"},
}


@pytest.fixture(scope="module")
def mamba(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model whose layers keep states in place of keys and values."""
    import transformers

    folder = tmp_path_factory.mktemp("mamba")
    sizes = {"vocab_size": 600, "hidden_size": 32, "num_hidden_layers": 2, "state_size": 4}
    transformers.MambaForCausalLM(transformers.MambaConfig(**sizes)).save_pretrained(folder)
    train_tokenizer().save_pretrained(folder)
    return folder


def checked(task: str, model: Path, **keys: Any) -> None:
    content = json.dumps({"task": task, "hub": "local", "model": str(model), **TASKS[task], **keys})
    config = plan(loads(content, source="a.yaml").config, made_up("cpu")).config
    check_config(with_absolute_paths(config))


@pytest.mark.parametrize("task", TASKS)
def test_a_model_that_the_builtin_server_cannot_serve_is_refused_at_once(
    task: str, mamba: Path
) -> None:
    with pytest.raises(MachineError, match="caches more than keys and values") as at_check:
        checked(task, mamba)
    with pytest.raises(MachineError) as in_run:
        Network(LoadSettings(mamba, "float32", "cpu"))
    assert (at_check.value.message, at_check.value.hint) == (
        in_run.value.message,
        in_run.value.hint,
    )
    assert "engine: vllm" in at_check.value.hint


@pytest.mark.parametrize("task", TASKS)
def test_a_hybrid_model_with_a_tower_is_served(task: str, tiny_multimodal: Path) -> None:
    checked(task, tiny_multimodal)


def test_a_longer_context_than_the_positions_of_the_model_is_refused_at_once(tiny: Path) -> None:
    with pytest.raises(MachineError, match="max_model_len: 9000: the model supports 1024 tokens"):
        checked("deploy", tiny, max_model_len=9000)
    checked("deploy", tiny, max_model_len=200)
