"""Whether a GGUF file is the model that it was written from: tensors, tokens, template, outputs.

Every failure is a ResultError: the file is deleted, and the run fails.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

from swiftbox.architectures.modalities import EXTRA
from swiftbox.config.quantize import QuantizeConfig
from swiftbox.errors import ResultError
from swiftbox.files import read_json
from swiftbox.language import text
from swiftbox.models.gguf_headers import TEMPLATE, GgufTensor, read_headers
from swiftbox.quantization import gguf, tensors
from swiftbox.quantization.resolve import DEFAULT_BITS

CONVERSION_TOLERANCE = 0.01
"""Share by which llama.cpp's perplexity of the unquantized file may differ from transformers'. Both
compute the same weights; numbers of 16 bits and sums in another order change it far less."""

LAYER = "blk."
BLOCK = 32
"""Rows that are no multiple of this stay in 16 bits: no type of llama.cpp has smaller blocks."""

ROUTERS = ("ffn_gate_inp", "ssm_conv1d", "time_mix", "shortconv")
"""Parts of names of matrices that llama.cpp quantizes in no type."""

TIED = "output.weight"
DERIVED = ("rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight")
"""Tensors that the converter computes from config.json."""


def _failure(message: str) -> ResultError:
    return ResultError(
        message,
        hint=text(
            "the file was deleted; set another method, and report this with log.txt of the run",
            "该文件已删除；请换用其他 method，并附上运行的 log.txt 反馈此问题",
        ),
    )


def check_conversion(source: Path, file: Path, names: Mapping[str, str | None]) -> None:
    """Raise ResultError if a tensor of the model is not in the file, or not with all its elements.

    `names` are the tensors' names in the file, where llama.cpp's table has them. Tensors that it
    does not have, such as those that are split or stacked, are compared by their elements.
    """
    before, after = tensors.read_headers(source), read_headers(file).tensors
    tied = bool(read_json(source / "config.json").get("tie_word_embeddings"))
    expected: Counter[str] = Counter()
    unnamed = 0
    for name, header in before.items():
        target = names.get(name)
        if EXTRA.search(name) or (tied and target == TIED and TIED not in after):
            continue
        if target is None or target not in after:
            unnamed += header.element_count
        else:
            expected[target] += header.element_count
    others = {name for name in after if name not in expected and not name.endswith(DERIVED)}
    wrong = [name for name, count in expected.items() if after[name].element_count != count]
    unexplained = sum(after[name].element_count for name in others)
    if wrong or unnamed != unexplained:
        lost = [name for name, target in names.items() if target not in after]
        example = next(iter([*wrong, *lost, *sorted(others)]), "")
        raise _failure(
            text(
                f"the converted file does not hold the model's tensors ({example} ...)",
                f"转换后的文件与模型的张量不一致（{example} ...）",
            )
        )


def check_template(file: Path, tokenizer: Any) -> None:
    """Raise ResultError if the file has another chat template than the model."""
    templates = tokenizer.chat_template
    if isinstance(templates, Mapping):
        templates = templates.get("default")
    stored = read_headers(file).metadata.get(TEMPLATE)
    if (stored or None) != (templates or None):
        raise _failure(
            text(
                "the converted file has another chat template than the model",
                "转换后的文件与模型的对话模板不同",
            )
        )


def check_tokens(texts: Sequence[str], tokenized: Sequence[Sequence[int]], tokenizer: Any) -> None:
    """Raise ResultError if llama.cpp cuts a text into other tokens than the model's tokenizer."""
    for document, actual in zip(texts, tokenized, strict=True):
        expected = tokenizer(document, add_special_tokens=False)["input_ids"]
        if list(actual) == list(expected):
            continue
        pairs = zip(expected, actual, strict=False)
        position = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        around = repr(str(tokenizer.decode(expected[max(0, position - 4) : position + 4])))
        raise _failure(
            text(
                f"llama.cpp cuts texts into other tokens than the model's tokenizer: {around}",
                f"llama.cpp 的分词结果与模型的分词器不同：{around}",
            )
        )


def check_same_model(original: Mapping[str, Any], converted: Mapping[str, Any]) -> float:
    """Return the perplexity of the unquantized file / that of the model, on the same tokens.

    Raises ResultError if they are not the same up to rounding.
    """
    before, after = original["perplexity"], converted["perplexity"]
    if after is None or abs(after / before - 1) > CONVERSION_TOLERANCE:
        shown = "nan" if after is None else f"{after:.4g}"
        raise _failure(
            text(
                f"llama.cpp computes another model from the converted file: perplexity {shown}, "
                f"in transformers {before:.4g}",
                f"转换后的文件在 llama.cpp 中不是同一个模型：困惑度 {shown}，"
                f"transformers 中为 {before:.4g}",
            )
        )
    return float(after / before)


def check_quantized(source: Path, file: Path, config: QuantizeConfig) -> dict[str, Any]:
    """Check the result by its headers; return layers and sizes.

    Raises ResultError for a matrix that is not quantized, or a file that is too large.
    """
    if not file.is_file():
        raise _failure(text("llama.cpp wrote no file", "llama.cpp 没有写出文件"))
    bits = config.bits or DEFAULT_BITS
    before, after = tensors.read_headers(source), read_headers(file)
    matrices = {name: header for name, header in after.tensors.items() if _is_matrix(name, header)}
    unquantized = [name for name, header in matrices.items() if not _has_bits(header, bits)]
    if unquantized or not matrices:
        count = len(matrices) - len(unquantized)
        example = unquantized[0] if unquantized else LAYER
        raise _failure(
            text(
                f"{count} of {len(matrices)} matrices are {gguf.TYPES[bits]} ({example} ...)",
                f"{len(matrices)} 个矩阵中有 {count} 个为 {gguf.TYPES[bits]}（{example} ...）",
            )
        )
    shapes = [header.shape for header in after.tensors.values()]
    return {
        "layers": len(matrices),
        "bytes_before": tensors.total_bytes(before),
        "bytes_expected": round(gguf.estimated_bytes(shapes, bits)),
        "bytes_after": after.data_bytes,
        "tensor_types": dict(Counter(header.dtype for header in after.tensors.values())),
    }


def _is_matrix(name: str, header: GgufTensor) -> bool:
    is_router = any(part in name for part in ROUTERS)
    return name.startswith(LAYER) and len(header.shape) > 1 and not is_router


def _has_bits(header: GgufTensor, bits: int) -> bool:
    """Tell whether a matrix is stored in as many bits as the type of the file allows."""
    if bits == 16:
        return header.dtype == "F16"
    if header.shape[-1] % BLOCK:
        return True
    return header.dtype not in gguf.UNQUANTIZED
