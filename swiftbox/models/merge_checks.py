"""Whether adapters fit the base they are to be merged into, and the machine that merges them.

Shapes: R rank, I inputs and O outputs of a layer, V vocabulary, H hidden.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swiftbox.config.merge import MergeConfig, Quantization
from swiftbox.devices import host
from swiftbox.errors import ConfigError, MachineError
from swiftbox.files import free_bytes, read_json
from swiftbox.formatting import size
from swiftbox.language import text
from swiftbox.models import weights
from swiftbox.models.adapters import Adapter

FLOATS = {"F32": "float32", "BF16": "bfloat16", "F16": "float16", "F64": "float32"}
"""Number types of plain weights; a base with others is quantized."""

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
SPARE_BYTES = 64 * 2**20
"""For the tokenizer, the index, and what else writes to the disk meanwhile."""


@dataclass(frozen=True)
class BaseWeights:
    """The weights of a base as its files have them."""

    folder: Path
    shapes: Mapping[str, tuple[int, ...]]
    dtypes: Mapping[str, str]
    main_dtype: str

    def bytes_as(self, dtype: str) -> int:
        """Return the bytes of all weights in that number type; `stored` keeps each its own."""
        return sum(
            math.prod(shape) * BYTES[self.dtypes[name] if dtype == "stored" else dtype]
            for name, shape in self.shapes.items()
        )


def read_base_weights(folder: Path) -> BaseWeights:
    """Read the headers of a base's weights; raise ConfigError for a base that is quantized."""
    files = sorted(folder.glob("*.safetensors"))
    if (folder / weights.INDEX).is_file():
        files = [
            folder / name
            for name in sorted(set(weights.read_index(folder / weights.INDEX).values()))
        ]
    shapes: dict[str, tuple[int, ...]] = {}
    dtypes: dict[str, str] = {}
    for file in files:
        for name, one in weights.read_header(file)[0].items():
            shapes[name] = tuple(one["shape"])
            dtypes[name] = one["dtype"]
    said = read_json(folder / "config.json").get("quantization_config")
    method = str((said or {}).get("quant_method", "")) if isinstance(said, dict) else ""
    odd = sorted(set(dtypes.values()) - set(FLOATS))
    if method or odd:
        raise _quantized(folder, method or ", ".join(odd))
    main = weights.read_weights(folder).main_dtype or "F32"
    return BaseWeights(
        folder, shapes, {name: FLOATS[one] for name, one in dtypes.items()}, FLOATS[main]
    )


def _quantized(folder: Path, how: str) -> ConfigError:
    return ConfigError(
        text(
            f"model: {folder} is quantized ({how}); merging into such weights is not exact",
            f"model：{folder} 已量化（{how}）；合并到此类权重并不精确",
        ),
        hint=text(
            "give the unquantized base, and quantize the merged model after",
            "请给出未量化的基座，合并后再量化",
        ),
    )


def require_matching_layers(base: BaseWeights, adapters: Sequence[Adapter], name: str) -> None:
    """Raise ConfigError unless all layers are those of the base, which is asked for as `name`."""
    for one in adapters:
        require_matching_name(one, name)
        for wrong in _misfits(base, one):
            raise ConfigError(
                text(
                    f"adapter: {one.folder} does not fit {name}: {wrong}",
                    f"adapter：{one.folder} 与 {name} 不匹配：{wrong}",
                ),
                hint=_other_base(one),
            )


def _other_base(one: Adapter) -> str:
    made = one.training.model if one.training else one.config.get("base_model_name_or_path") or "?"
    return text(f"it was trained on {made}: model={made}", f"其训练基座为 {made}：model={made}")


def require_matching_name(one: Adapter, name: str) -> None:
    """Raise ConfigError for a base of another name, where both are ids: it is not yet fetched."""
    made = (
        one.training.model if one.training else str(one.config.get("base_model_name_or_path", ""))
    )
    ids = [said for said in (made, name) if said.count("/") == 1 and not Path(said).exists()]
    ids = [said for said in ids if not said.startswith((".", "~", "/"))]
    if len(ids) < 2 or len({said.rpartition("/")[2].lower() for said in ids}) == 1:
        return
    raise ConfigError(
        text(
            f"adapter: {one.folder} was trained on {made}, not on {name}",
            f"adapter：{one.folder} 的训练基座是 {made}，而不是 {name}",
        ),
        hint=text(
            f"set model: {made}; a copy of it under another name is given as a folder",
            f"设 model: {made}；若为改名的同一模型，请给出其目录",
        ),
    )


def _misfits(base: BaseWeights, one: Adapter) -> Iterator[str]:
    here = {name.removesuffix(".weight"): shape for name, shape in base.shapes.items()}
    known = [layer for layer in one.layers if layer in here]
    if not known and one.layers:
        return  # a family whose files name layers otherwise than its modules; the load will tell
    for layer in known:
        wanted, transposed = _shape_of(one.layers[layer]), bool(one.config.get("fan_in_fan_out"))
        found = tuple(reversed(here[layer])) if transposed else here[layer]
        if wanted is not None and any(
            a not in (b, None) for a, b in zip(wanted, found, strict=True)
        ):
            yield _sizes(layer, wanted, found)
    lost = [layer for layer in one.layers if layer not in here]
    if lost and not one.config.get("target_parameters") and not _ties(base, lost):
        yield text(
            f"{len(lost)} of the {len(one.layers)} layers it adapts are not there ({lost[0]} ...)",
            f"其适配的 {len(one.layers)} 层中有 {len(lost)} 层不存在（{lost[0]} ...）",
        )
    yield from _left_over(here, one)
    for name, shape in one.full_weights.items():
        there = base.shapes.get(name)
        if there is not None and shape[1:] != there[1:]:
            yield _sizes(name, shape, there)


def _ties(base: BaseWeights, lost: Sequence[str]) -> bool:
    """Tell whether all that is lost is a head that a tied base has no weights of its own for."""
    config = read_json(base.folder / "config.json")
    return bool(config.get("tie_word_embeddings")) and all("head" in one for one in lost)


def _shape_of(parts: Mapping[str, tuple[int, ...]]) -> tuple[int | None, ...] | None:
    """Return the shape of the layer that an adapter is for; None in it: any, and of it: unknown."""
    if "lora_A" in parts and "lora_B" in parts:
        inside, outside = parts["lora_A"], parts["lora_B"]  # (R, I), (O, R)
        return (outside[0], inside[1]) if len(inside) == len(outside) == 2 else None
    if "lora_embedding_B" in parts:
        return (None, parts["lora_embedding_B"][0])  # of (H, R); the vocabulary may have grown
    return None


def _sizes(layer: str, wanted: Sequence[Any], found: Sequence[Any]) -> str:
    asked, there = (
        " x ".join("?" if n is None else str(n) for n in one) for one in (wanted, found)
    )
    return text(
        f"{layer} is {asked} for the adapter, {there} in the model",
        f"{layer} 在适配器中为 {asked}，在模型中为 {there}",
    )


def _left_over(here: Mapping[str, Any], one: Adapter) -> Iterator[str]:
    """Find layers of the base that the adapter's config names and its weights do not have."""
    targets = one.config.get("target_modules")
    narrowed = one.config.get("layers_to_transform") is not None or one.config.get(
        "exclude_modules"
    )
    if narrowed or not isinstance(targets, list):
        return
    for name in targets:
        there = [layer for layer in here if layer == name or layer.endswith(f".{name}")]
        adapted = [layer for layer in one.layers if layer == name or layer.endswith(f".{name}")]
        if len(there) > len(adapted) > 0:
            yield text(
                f"it adapts {len(adapted)} layers {name}, the model has {len(there)}",
                f"它适配 {len(adapted)} 个 {name} 层，而模型有 {len(there)} 个",
            )


QUANTIZED_BESIDE = 0.3
"""Of a model in float32: the same in 4 or 8 bits, its embeddings in 16, beside it."""


def require_resources(
    base: BaseWeights, folder: Path, dtype: str, *, quantized: bool = False
) -> None:
    """Raise MachineError, with both numbers, when disk or memory cannot hold what is made.

    `quantized`: the adapter was trained on a quantized base, which is looked at as well.
    """
    needed, free = base.bytes_as(dtype) + SPARE_BYTES, free_bytes(folder)
    if needed > free:
        raise MachineError(
            text(
                f"merged model: {size(needed)} to write, {size(free)} free at {folder}; "
                "nothing was written",
                f"合并后的模型：需写入 {size(needed)}，{folder} 仅剩 {size(free)}；未写入任何内容",
            ),
            hint=text(
                "free some room, or set output_dir on another disk",
                "请清理磁盘，或将 output_dir 设到其他磁盘",
            ),
        )
    whole, memory = base.bytes_as("float32"), host.memory()[0]
    whole += round(QUANTIZED_BESIDE * whole) if quantized else 0
    if whole > memory:
        raise MachineError(
            text(
                f"merging in float32 takes {size(whole)} of memory, this machine has "
                f"{size(memory)}",
                f"以 float32 合并需要 {size(whole)} 内存，本机有 {size(memory)}",
            ),
            hint=text("merge on a machine with more memory", "请在内存更大的机器上合并"),
        )


def quantization_of(config: MergeConfig, adapters: Sequence[Adapter]) -> Quantization | None:
    """Return how the base of the adapters' training was quantized; None where it was not.

    Raises ConfigError where `merge_base: dequantized` has nothing to go by, or too much.
    """
    found = list(dict.fromkeys(one.training.quantization for one in adapters if one.training))
    known = [one for one in found if one is not None]
    if len(found) == 1 and known:
        return known[0]
    if config.merge_base != "dequantized":
        return known[0] if known else None
    full = text("set merge_base: full", "设 merge_base: full")
    if known:
        raise ConfigError(
            text(
                "merge_base: the adapters were trained on bases quantized in different ways",
                "merge_base：这些适配器的训练基座量化方式不同",
            ),
            hint=text("merge them one run at a time", "请分次合并"),
        )
    if found:
        raise ConfigError(
            text(
                "merge_base: the adapter was trained on an unquantized base",
                "merge_base：适配器的训练基座未量化",
            ),
            hint=full,
        )
    raise ConfigError(
        text(
            f"merge_base: nothing beside {adapters[0].folder} says how its base was quantized",
            f"merge_base：{adapters[0].folder} 旁没有基座量化方式的记录",
        ),
        hint=text(
            "give the run's folder, which has settled.yaml, or ",
            "请给出含 settled.yaml 的运行目录，或",
        )
        + full,
    )
