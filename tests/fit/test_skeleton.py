"""Architectures with unusual configs are built on the meta device in a child process."""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from broken_packages import install_broken

from swiftbox.fit.profile import profile_model
from swiftbox.fit.shape import shape_of_config
from swiftbox.runs import asked_child
from swiftbox.runs.optional_packages import MEDIA, SCIENCE

UNUSUAL: dict[str, dict[str, Any]] = {
    "mamba": {"hidden_size": 96, "num_hidden_layers": 3, "vocab_size": 500},
    "rwkv": {"hidden_size": 64, "num_hidden_layers": 2, "vocab_size": 300},
    "xlm": {"emb_dim": 64, "n_layers": 2, "n_heads": 2, "n_words": 400},
}
"""None of them says heads, layers, width and vocabulary under the usual names."""


def folder_of(model_type: str, tmp_path: Path) -> Path:
    from transformers import AutoConfig

    AutoConfig.for_model(model_type, **UNUSUAL[model_type]).save_pretrained(tmp_path)
    return tmp_path


@pytest.fixture
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Build the skeleton in this process, where torch is imported already."""

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        from swiftbox.core.weights.skeleton import main

        output = io.StringIO()
        with mock.patch("sys.argv", ["-c", command[-1]]), contextlib.redirect_stdout(output):
            try:
                code = main()
            except Exception:  # noqa: BLE001 - Python, too, ends with 1 after any
                code = 1
        return subprocess.CompletedProcess(command, code, output.getvalue(), "")

    monkeypatch.setattr(asked_child.subprocess, "run", run)


@pytest.mark.usefixtures("in_this_process")
@pytest.mark.parametrize("model_type", UNUSUAL)
def test_its_shape_is_that_of_the_real_model(model_type: str, tmp_path: Path) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    folder = folder_of(model_type, tmp_path)
    assert shape_of_config(json.loads((folder / "config.json").read_text())) is None
    profile = profile_model(str(folder))
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
    table = model.get_input_embeddings().weight
    assert profile is not None
    assert profile.exact
    assert profile.shape.params == sum(key.numel() for key in model.parameters())
    assert (profile.shape.vocab, profile.shape.hidden) == tuple(table.shape)
    assert profile.shape.layers == len(next(iter(_lists(model))))


def _lists(model: Any) -> Any:
    from torch import nn

    return (key for key in model.modules() if isinstance(key, nn.ModuleList) and len(key))


@pytest.mark.slow
def test_a_broken_package_that_is_not_used_does_not_hide_the_shape(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_of("mamba", tmp_path / "model")
    broken = install_broken(tmp_path / "packages", MEDIA | SCIENCE)
    monkeypatch.setenv("PYTHONPATH", str(broken))
    assert profile_model(str(folder)) is not None


@pytest.mark.usefixtures("in_this_process")
def test_a_repeated_measurement_needs_no_child(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = folder_of("mamba", tmp_path)
    first = profile_model(str(folder))

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a child was started")

    monkeypatch.setattr(asked_child.subprocess, "run", refuse)
    assert profile_model(str(folder)) == first


def test_remote_code_of_a_model_is_not_run_to_measure_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = {"model_type": "made_up", "auto_map": {"AutoConfig": "own.Config"}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "own.py").write_text("raise SystemExit('ran')")
    calls: list[object] = []
    monkeypatch.setattr(asked_child.subprocess, "run", lambda *command, **_: calls.append(command))
    assert profile_model(str(tmp_path)) is None
    assert calls == []


@pytest.mark.parametrize("trouble", [OSError("no python"), subprocess.TimeoutExpired("python", 60)])
def test_a_model_that_cannot_be_built_is_estimated_from_its_size(
    trouble: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from model_folder import write_safetensors

    (tmp_path / "config.json").write_text('{"model_type": "mamba", "dtype": "bfloat16"}')
    write_safetensors(tmp_path / "model.safetensors", {"w": 2_000_000_000})

    def fail(*_: object, **__: object) -> None:
        raise trouble

    monkeypatch.setattr(asked_child.subprocess, "run", fail)
    profile = profile_model(str(tmp_path))
    assert profile is not None
    assert not profile.exact
    assert profile.shape.params == pytest.approx(1e9)
    assert not list(asked_child.cache_home().glob("shapes/*"))  # the next look tries again


def test_a_build_that_does_not_end_is_tried_again_only_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "mamba", "hidden_size": 95}')
    builds = []

    def hang(*command: object, **_: object) -> None:
        builds.append(command)
        raise subprocess.TimeoutExpired("python", asked_child.TIMEOUT_S)

    monkeypatch.setattr(asked_child.subprocess, "run", hang)
    assert [profile_model(str(tmp_path)) for _ in range(3)] == [None] * 3
    assert len(builds) == 1
    monkeypatch.setattr(asked_child, "RETRY_S", 0)
    assert profile_model(str(tmp_path)) is None
    assert len(builds) == 2


@pytest.mark.usefixtures("in_this_process")
def test_a_model_that_cannot_be_built_is_not_tried_twice(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "mamba", "hidden_size": "wide"}')
    assert profile_model(str(tmp_path)) is None
    (cached,) = asked_child.cache_home().glob("shapes/*")
    assert json.loads(cached.read_text()) == {}


def test_a_list_starts_no_child_and_uses_known_shapes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a child was started")

    monkeypatch.setattr(asked_child.subprocess, "run", refuse)
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "mamba", "dtype": "float32", **UNUSUAL["mamba"]})
    )
    assert profile_model(str(tmp_path), ask=False) is None
    (tmp_path / "model.safetensors").write_bytes(b"0" * 400_000)
    profile = profile_model(str(tmp_path), ask=False)
    assert profile is not None
    assert not profile.exact
    assert profile.shape.params == 100_000
