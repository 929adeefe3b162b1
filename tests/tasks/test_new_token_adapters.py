"""Adapters with new tokens are refused where their base is loaded without the tokens."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from adapters import make_adapter
from made_up import made_up
from tiny import write_chats

from swiftbox.errors import ConfigError
from swiftbox.launch.prepare import check_config, prepare, with_absolute_paths
from swiftbox.plan import plan
from swiftbox.tasks.load import loads


@pytest.fixture(scope="module")
def adapter(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("my-run") / "model"
    return make_adapter(tiny, folder, trainable_token_indices={"model.embed_tokens": [5, 9]})


def test_vllm_is_not_given_one(tiny: Path, adapter: Path) -> None:
    keys = {"task": "deploy", "hub": "local", "port": 0, "model": str(tiny)}
    content = json.dumps({**keys, "adapter": str(adapter), "engine": "vllm"})
    config = loads(content, source="a.yaml").config
    with pytest.raises(ConfigError, match="vLLM cannot load it: it has new tokens") as refused:
        plan(config, made_up("cuda", vllm="0.33.0"))
    assert "merge it first" in refused.value.hint


def test_lm_eval_is_not_given_one(tiny: Path, adapter: Path) -> None:
    keys = {"task": "evaluate", "hub": "local", "model": str(tiny), "adapter": str(adapter)}
    content = json.dumps({**keys, "backend": "lm_eval", "benchmarks": ["sample_mmlu"]})
    config = plan(loads(content, source="a.yaml").config, made_up("cpu")).config
    with pytest.raises(ConfigError, match="lm_eval cannot load it: it has new tokens"):
        check_config(with_absolute_paths(config))


def test_it_is_not_continued(tiny: Path, adapter: Path, tmp_path: Path) -> None:
    data = write_chats(tmp_path / "chat.jsonl", 12)
    overrides = [f"model={tiny}", f"dataset={data}", f"adapter={adapter}"]
    with pytest.raises(ConfigError, match="has new tokens, which the model itself does not have"):
        prepare(None, overrides, machine=made_up("cpu"))
