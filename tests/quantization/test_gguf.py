"""GGUF files are checked by their headers, their tokens and what llama.cpp computes from them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from gguf import GGMLQuantizationType as Type
from gguf_writing import TINY, Tensors, write_gguf
from safetensors.torch import save_file

from swiftbox.config.quantize import QuantizeConfig
from swiftbox.errors import ResultError
from swiftbox.quantization import gguf, gguf_verification, verification

NAMES = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.layers.0.mlp.up_proj.weight": "blk.0.ffn_up.weight",
    "model.layers.0.input_layernorm.weight": "blk.0.attn_norm.weight",
}
SHAPES = {
    "model.embed_tokens.weight": (512, 64),
    "model.layers.0.mlp.up_proj.weight": (128, 64),
    "model.layers.0.input_layernorm.weight": (64,),
}
EIGHT = QuantizeConfig(model="o/n", method="gguf", bits=8)


def write_source(folder: Path, **more: tuple[int, ...]) -> Path:
    folder.mkdir(exist_ok=True)
    shapes = {**SHAPES, **more}
    tensors = {name: torch.zeros(shape, dtype=torch.bfloat16) for name, shape in shapes.items()}
    save_file(tensors, folder / "model.safetensors")
    return folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_source(tmp_path / "source")


def written(tmp_path: Path, changes: Tensors | None = None, **metadata: Any) -> Path:
    return write_gguf(tmp_path / "made" / gguf.FILE, {**TINY, **(changes or {})}, **metadata)


def test_a_file_of_eight_bits_has_the_expected_size(source: Path, tmp_path: Path) -> None:
    figures = verification.check_files(source, written(tmp_path).parent, EIGHT)
    expected = (512 + 128) * 64 // 32 * 34 + 64 * 4
    assert figures["bytes_after"] == figures["bytes_expected"] == expected
    assert figures["tensor_types"] == {"Q8_0": 2, "F32": 1}


def test_layers_of_16_bits_are_found_in_a_file_that_should_have_8(
    source: Path, tmp_path: Path
) -> None:
    file = written(tmp_path, {"blk.0.ffn_up.weight": ((128, 64), Type.F16)})
    with pytest.raises(ResultError, match=r"0 of 1 matrices are Q8_0 \(blk\.0\.ffn_up"):
        verification.check_files(source, file.parent, EIGHT)


def test_a_file_cut_off_is_found(source: Path, tmp_path: Path) -> None:
    file = written(tmp_path)
    file.write_bytes(file.read_bytes()[:-200])
    with pytest.raises(ResultError, match="not a complete GGUF file"):
        verification.check_files(source, file.parent, EIGHT)


def test_a_converted_file_holds_each_tensor_of_the_model(source: Path, tmp_path: Path) -> None:
    gguf_verification.check_conversion(source, written(tmp_path), NAMES)


def test_a_tensor_that_the_converted_file_lacks_is_named(tmp_path: Path) -> None:
    source = write_source(tmp_path / "source", **{"model.norm.weight": (64,)})
    names = {**NAMES, "model.norm.weight": "output_norm.weight"}
    with pytest.raises(ResultError, match=r"model\.norm\.weight"):
        gguf_verification.check_conversion(source, written(tmp_path), names)


def test_a_tensor_of_another_shape_is_named(source: Path, tmp_path: Path) -> None:
    file = written(tmp_path, {"token_embd.weight": ((480, 64), Type.Q8_0)})
    with pytest.raises(ResultError, match=r"token_embd\.weight"):
        gguf_verification.check_conversion(source, file, NAMES)


def test_tensors_that_are_stacked_are_compared_by_their_elements(tmp_path: Path) -> None:
    experts = {f"model.layers.0.mlp.experts.{index}.w1.weight": (32, 64) for index in range(4)}
    source = write_source(tmp_path / "source", **experts)
    stacked: Tensors = {"blk.0.ffn_gate_exps.weight": ((4, 32, 64), Type.F16)}
    names: dict[str, str | None] = {**NAMES, **dict.fromkeys(experts)}
    gguf_verification.check_conversion(source, written(tmp_path, stacked), names)
    stacked = {"blk.0.ffn_gate_exps.weight": ((3, 32, 64), Type.F16)}
    with pytest.raises(ResultError, match=r"experts\.0"):
        gguf_verification.check_conversion(source, written(tmp_path, stacked), names)


class Tokenizer:
    """A tokenizer of bytes with a chat template."""

    chat_template = "{{ messages }}"

    def __call__(self, document: str, *, add_special_tokens: bool) -> dict[str, list[int]]:
        assert not add_special_tokens
        return {"input_ids": list(document.encode())}

    def decode(self, ids: list[int]) -> str:
        return bytes(ids).decode()


def test_another_chat_template_is_found(tmp_path: Path) -> None:
    same = written(tmp_path, tokenizer__chat_template="{{ messages }}")
    gguf_verification.check_template(same, Tokenizer())
    with pytest.raises(ResultError, match="another chat template"):
        gguf_verification.check_template(written(tmp_path), Tokenizer())


def test_other_tokens_are_found_with_the_text_around_them() -> None:
    texts = ["a text", "b text"]
    right = [list(document.encode()) for document in texts]
    gguf_verification.check_tokens(texts, right, Tokenizer())
    with pytest.raises(ResultError, match=r"other tokens than .* 'b text'"):
        gguf_verification.check_tokens(texts, [right[0], [98, 32, 7]], Tokenizer())


@pytest.mark.parametrize("perplexity", [10.2, 9.8, None])
def test_another_perplexity_of_the_converted_file_is_found(perplexity: float | None) -> None:
    original = {"perplexity": 10.0}
    assert gguf_verification.check_same_model(original, {"perplexity": 10.0}) == 1
    with pytest.raises(ResultError, match="computes another model"):
        gguf_verification.check_same_model(original, {"perplexity": perplexity})


@pytest.mark.parametrize(("bits", "proposal"), [(4, "set bits: 5"), (8, "set bits: 16")])
def test_a_loss_that_is_too_large_gets_a_proposal_that_the_method_has(
    bits: int, proposal: str
) -> None:
    config = QuantizeConfig(model="o/n", method="gguf", bits=bits, max_perplexity_ratio=1.01)
    after = {"perplexity": 12.0, "finite": True, "answer": [1], "tokens": 9}
    with pytest.raises(ResultError, match=r"x 1\.2, the limit is 1\.01") as caught:
        verification.check_measurements({"perplexity": 10.0}, after, config)
    assert caught.value.hint == f"{proposal}, or raise max_perplexity_ratio"
