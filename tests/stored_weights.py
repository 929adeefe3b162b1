"""The weights of a quantized model, dequantized from its stored tensors with plain torch.

An account of each format that shares no code with the tools that wrote it: what they measure is
compared with what their files hold. Shapes: I inputs and O outputs of a layer.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from swiftbox.config.quantize import QuantizeConfig
from swiftbox.core.weights.load import read_tokenizer
from swiftbox.quantization.calibration import load_pieces
from swiftbox.runs.folder import SETTLED
from swiftbox.tasks.load import load

AWQ_ORDER = (0, 2, 4, 6, 1, 3, 5, 7)
"""The column of each four bits of a number, from the lowest on."""

FLOATS = (torch.float32, torch.float16, torch.bfloat16)
OUTLIER = 6.0
"""Columns of inputs beyond this stay in 16 bits in LLM.int8 (arXiv:2208.07339)."""

GGUF_LAYERS = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}
GGUF_OTHERS = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}


@dataclass(frozen=True)
class StoredWeights:
    """Weights by their names in the unquantized model, and what is done to a layer's inputs."""

    weights: dict[str, Tensor]
    round_inputs: Callable[[Tensor], Tensor] | None = None


def read_stored(folder: Path) -> StoredWeights:
    """Read a model folder of any method; of a GGUF file only Llama's layout is known."""
    if (folder / "model.gguf").is_file():
        return StoredWeights(_from_gguf(folder / "model.gguf"))
    stored = {
        name: tensor
        for file in sorted(folder.glob("*.safetensors"))
        for name, tensor in load_file(file).items()
    }
    weights = {
        name: tensor.float()
        for name, tensor in stored.items()
        if name.endswith(".weight") and tensor.dtype in FLOATS
    }
    settings = json.loads((folder / "config.json").read_text("utf-8")).get("quantization_config")
    if not settings:
        return StoredWeights(weights)
    reader = READERS[settings["quant_method"]]
    layers, round_inputs = reader(stored, settings)
    return StoredWeights(weights | layers, round_inputs)


def perplexity(original: Path, stored: StoredWeights, pieces: Sequence[Sequence[int]]) -> float:
    """Compute the perplexity of pieces of tokens in float32, in the class of the original model."""
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(original)
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    result = model.load_state_dict(stored.weights, strict=False)
    assert not [name for name in result.missing_keys if name != "lm_head.weight"]
    assert not result.unexpected_keys
    model.tie_weights()
    if stored.round_inputs is not None:
        _round_inputs(model, stored.round_inputs)
    total, count = 0.0, 0
    with torch.no_grad():
        for piece in pieces:
            ids = torch.tensor([list(piece)])
            logits = model(ids).logits[0, :-1]
            total += float(torch.nn.functional.cross_entropy(logits, ids[0, 1:], reduction="sum"))
            count += len(piece) - 1
    return math.exp(total / count)


def held_out_pieces(run_folder: Path, model: Path) -> Sequence[Sequence[int]]:
    """Return the tokens on which the run of a quantization measured."""
    config = load(run_folder / SETTLED).config
    assert isinstance(config, QuantizeConfig)
    return load_pieces(config, (), read_tokenizer(model, trust_remote_code=False)).held_out


def _round_inputs(model: Any, rounded: Callable[[Tensor], Tensor]) -> None:
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and name != "lm_head":
            module.register_forward_pre_hook(lambda _module, inputs: (rounded(inputs[0]),))


def _unpacked(packed: Tensor, dim: int, bits: int, order: Sequence[int] = ()) -> Tensor:
    """Return the numbers in int32: 32 / bits times as many along `dim`."""
    count, mask = 32 // bits, (1 << bits) - 1
    columns = order or range(count)
    parts = {column: (packed >> (bits * place)) & mask for place, column in enumerate(columns)}
    numbers = torch.stack([parts[column] for column in range(count)], dim + 1)
    shape = list(packed.shape)
    shape[dim] *= count
    return numbers.reshape(shape).float()


def _from_gptq(stored: dict[str, Tensor], settings: dict[str, Any]) -> Any:
    """Scales (groups, O) and zeros of groups of inputs; the first format stores zeros minus one."""
    bits = settings["bits"]
    is_first = settings.get("checkpoint_format", "gptq") == "gptq"
    layers = {}
    for layer in _layers(stored, ".qweight"):
        group_of = stored[f"{layer}.g_idx"].long()  # (I,)
        numbers = _unpacked(stored[f"{layer}.qweight"], 0, bits)  # (I, O)
        zeros = _unpacked(stored[f"{layer}.qzeros"], 1, bits) + is_first  # (groups, O)
        scales = stored[f"{layer}.scales"].float()
        layers[f"{layer}.weight"] = ((numbers - zeros[group_of]) * scales[group_of]).T
    return layers, None


def _from_awq(stored: dict[str, Tensor], settings: dict[str, Any]) -> Any:
    bits, size = settings["bits"], settings["group_size"]
    layers = {}
    for layer in _layers(stored, ".qweight"):
        numbers = _unpacked(stored[f"{layer}.qweight"], 1, bits, AWQ_ORDER)  # (I, O)
        zeros = _unpacked(stored[f"{layer}.qzeros"], 1, bits, AWQ_ORDER)  # (groups, O)
        scales = stored[f"{layer}.scales"].float()
        group_of = torch.arange(len(numbers)) // size
        layers[f"{layer}.weight"] = ((numbers - zeros[group_of]) * scales[group_of]).T
    return layers, None


def _from_compressed_tensors(stored: dict[str, Tensor], _settings: dict[str, Any]) -> Any:
    """One scale a row; inputs are rounded to the same type, with a scale a token."""
    layers, types = {}, set()
    for layer in _layers(stored, ".weight_scale"):
        weight = stored[f"{layer}.weight"]
        types.add(weight.dtype)
        layers[f"{layer}.weight"] = weight.float() * stored[f"{layer}.weight_scale"].float()
    return layers, _rounded_to_int8 if types == {torch.int8} else _rounded_to_fp8


def _from_bitsandbytes(stored: dict[str, Tensor], settings: dict[str, Any]) -> Any:
    if settings["load_in_8bit"]:
        layers = {
            f"{layer}.weight": stored[f"{layer}.weight"].float()
            * stored[f"{layer}.SCB"].float()[:, None]
            / 127
            for layer in _layers(stored, ".SCB")
        }
        return layers, _rounded_but_for_outliers
    names = _layers(stored, ".weight.absmax")
    return {f"{layer}.weight": _four_bits(stored, f"{layer}.weight") for layer in names}, None


def _four_bits(stored: dict[str, Tensor], name: str) -> Tensor:
    """Dequantize blocks of NF4 or FP4, whose scales may be quantized too (arXiv:2305.14314)."""
    (state,) = (stored[key] for key in stored if key.startswith(f"{name}.quant_state"))
    settings = json.loads(bytes(state.tolist()))
    scales = stored[f"{name}.absmax"]
    if f"{name}.nested_absmax" in stored:
        block_of = torch.arange(scales.numel()) // settings["nested_blocksize"]
        outer = stored[f"{name}.nested_absmax"][block_of]
        values = stored[f"{name}.nested_quant_map"][scales.long()]
        scales = values * outer + settings["nested_offset"]
    packed = stored[name].flatten()
    codes = torch.stack([packed >> 4, packed & 15], 1).flatten().long()
    blocks = stored[f"{name}.quant_map"][codes].view(-1, settings["blocksize"])
    return (blocks * scales.view(-1, 1)).view(settings["shape"]).float()


def _from_gguf(file: Path) -> dict[str, Tensor]:
    """Read Llama's layout, whose rotary pairs are neighbours; numpy dequantizes the blocks."""
    from gguf import GGUFReader
    from gguf.quants import dequantize

    reader = GGUFReader(file)
    weights = {}
    for tensor in reader.tensors:
        values = torch.from_numpy(dequantize(tensor.data, tensor.tensor_type).copy())
        values = values.float().reshape([int(size) for size in reversed(tensor.shape)])
        stem = tensor.name.removesuffix(".weight")
        if stem in GGUF_OTHERS:
            weights[f"{GGUF_OTHERS[stem]}.weight"] = values
            continue
        _, number, part = stem.split(".")
        if part in ("attn_q", "attn_k"):
            values = _halves(values, _heads(reader, part))
        weights[f"model.layers.{number}.{GGUF_LAYERS[part]}.weight"] = values
    return weights


def _heads(reader: Any, part: str) -> int:
    key = "head_count" if part == "attn_q" else "head_count_kv"
    field = reader.fields[f"llama.attention.{key}"]
    return int(field.parts[field.data[0]][0])


def _halves(weight: Tensor, heads: int) -> Tensor:
    """Return the rows with the two numbers of a rotary pair half a head apart."""
    pairs = weight.view(heads, -1, 2, weight.shape[1])
    return pairs.transpose(1, 2).reshape(weight.shape)


def _layers(stored: dict[str, Tensor], suffix: str) -> list[str]:
    return [name.removesuffix(suffix) for name in stored if name.endswith(suffix)]


def _row_scale(inputs: Tensor, largest: float) -> Tensor:
    return (inputs.abs().amax(-1, keepdim=True) / largest).clamp_min(1e-12)


def _rounded_to_int8(inputs: Tensor) -> Tensor:
    scale = _row_scale(inputs, 127.5)  # half of what -128 to 127 spans
    return (inputs / scale).round().clamp(-128, 127) * scale


def _rounded_to_fp8(inputs: Tensor) -> Tensor:
    scale = _row_scale(inputs, 448.0)
    return (inputs / scale).to(torch.float8_e4m3fn).float() * scale


def _rounded_but_for_outliers(inputs: Tensor) -> Tensor:
    outliers = (inputs.abs() > OUTLIER).flatten(0, -2).any(0)
    scale = _row_scale(inputs.masked_fill(outliers, 0.0), 127.0)
    return torch.where(outliers, inputs, (inputs / scale).round() * scale)


READERS: dict[str, Callable[[dict[str, Tensor], dict[str, Any]], Any]] = {
    "gptq": _from_gptq,
    "awq": _from_awq,
    "compressed-tensors": _from_compressed_tensors,
    "bitsandbytes": _from_bitsandbytes,
}
