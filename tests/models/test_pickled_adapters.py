"""A pickled adapter becomes safetensors in a child; a pickle that asks for code does not."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from in_process import box
from safetensors.torch import load_file

from swiftbox.core.weights.unpickle import convert as convert_file
from swiftbox.errors import ConfigError
from swiftbox.models.adapters import read_adapter
from swiftbox.models.pickled_adapters import convert

LAYER = "base_model.model.model.layers.0.self_attn.q_proj"
CONFIG = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]}


def tensors(**changed: Any) -> dict[str, Any]:
    torch.manual_seed(0)
    first, second = torch.randn(4, 8), torch.randn(8, 4, dtype=torch.bfloat16)
    first[0, 0] = torch.nan
    return {f"{LAYER}.lora_A.weight": first, f"{LAYER}.lora_B.weight": second, **changed}


def pickled(folder: Path, content: Any, **settings: Any) -> Path:
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({**CONFIG, **settings}), "utf-8")
    torch.save(content, folder / "adapter_model.bin")
    return folder


def test_the_refusal_names_the_command_and_the_command_works(tmp_path: Path) -> None:
    folder = pickled(tmp_path / "my adapter", tensors())
    with pytest.raises(ConfigError, match=r"has no adapter_model\.safetensors") as refused:
        read_adapter(folder)
    assert f"`swiftbox convert '{folder}'` converts them safely" in refused.value.hint
    result = box("convert", str(folder), cwd=tmp_path)
    assert result.stdout == f"{folder}/adapter_model.safetensors\n"
    assert "2 tensors" in result.stderr
    assert read_adapter(folder).layers.keys() == {LAYER.removeprefix("base_model.model.")}
    for name, tensor in tensors().items():
        written = load_file(folder / "adapter_model.safetensors")[name]
        assert written.dtype == tensor.dtype
        assert torch.equal(written.view(torch.uint8), tensor.view(torch.uint8))
    with pytest.raises(ConfigError, match="exists already"):
        convert(folder)
    assert sorted(os.listdir(folder)) == [
        "adapter_config.json",
        "adapter_model.bin",
        "adapter_model.safetensors",
    ]


class Code:
    """What runs a command when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.mark),)


def test_code_in_a_pickle_is_not_run(tmp_path: Path) -> None:
    folder = pickled(tmp_path / "a", tensors(evil=Code(tmp_path / "ran")))
    with pytest.raises(ConfigError, match=r"which was not run \(\w+\.mkdir\)"):
        convert(folder)
    assert not (tmp_path / "ran").exists()
    assert not (folder / "adapter_model.safetensors").exists()


CONTENTS = {
    "a list": ([torch.zeros(2)], "content"),
    "no tensors": ({}, "content"),
    "a number": ({"a": 3}, "content"),
    "integers": ({"a": torch.zeros(2, dtype=torch.int64)}, "content"),
    "sparse": ({"a": torch.eye(3).to_sparse()}, "content"),
    "no values": ({"a": torch.zeros(2, device="meta")}, "content"),
    "an expanded tensor": ({"a": torch.zeros(1).expand(10**6, 10**6)}, "size"),
}


@pytest.mark.parametrize("kind", CONTENTS)
def test_other_contents_are_refused(kind: str, tmp_path: Path) -> None:
    content, problem = CONTENTS[kind]
    torch.save(content, tmp_path / "a.bin")
    assert convert_file(tmp_path / "a.bin", tmp_path / "b")["problem"] == problem
    assert not (tmp_path / "b").exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x02}q\x00.", b"x" * 4096])
def test_other_files_are_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(content)
    assert convert_file(tmp_path / "a.bin", tmp_path / "b")["problem"] in ("damaged", "unreadable")


def test_the_older_format_of_torch_is_converted(tmp_path: Path) -> None:
    torch.save(tensors(), tmp_path / "a.bin", _use_new_zipfile_serialization=False)
    report = convert_file(tmp_path / "a.bin", tmp_path / "b")
    assert report["tensors"][f"{LAYER}.lora_B.weight"] == ["torch.bfloat16", [8, 4]]


def test_tensors_that_share_bytes_are_written_separately(tmp_path: Path) -> None:
    table = torch.randn(8, 4)
    torch.save({"a": table[:4], "b": table[4:].T, "c": torch.randn(9, 9)}, tmp_path / "a.bin")
    assert "tensors" in convert_file(tmp_path / "a.bin", tmp_path / "b")
    assert torch.equal(load_file(tmp_path / "b")["b"], table[4:].T)


def without_child(command: list[str], **_options: Any) -> subprocess.CompletedProcess[str]:
    """Convert in this process, which has torch already."""
    report = convert_file(Path(command[-2]), Path(command[-1]))
    return subprocess.CompletedProcess(command, 0, json.dumps(report), "")


def test_an_adapter_whose_files_do_not_fit_is_not_converted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("swiftbox.models.pickled_adapters.subprocess.run", without_child)
    folder = pickled(tmp_path / "a", tensors(), r=16)
    with pytest.raises(
        ConfigError, match=r"has rank 4, but adapter_config\.json states 16"
    ) as error:
        convert(folder)
    assert str(folder) in error.value.message
    assert not (folder / "adapter_model.safetensors").exists()


def test_a_folder_without_a_pickle_is_refused(tmp_path: Path) -> None:
    folder = pickled(tmp_path / "a", tensors())
    (folder / "adapter_model.bin").unlink()
    with pytest.raises(ConfigError, match=r"has no adapter_model\.bin"):
        convert(folder)
    assert "no folder nowhere" in box("convert", "nowhere", cwd=tmp_path, code=2).stderr
