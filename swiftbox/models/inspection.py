"""What a fetched model's files say before it is loaded: versions, weights, tokenizer, code."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swiftbox.errors import HubError
from swiftbox.language import text
from swiftbox.models import weights
from swiftbox.models.catalogue import Model, model
from swiftbox.models.requirements import (
    ERROR,
    NOTE,
    WARNING,
    Remark,
    installed_version,
    known_types,
    missing_package,
    remote_code,
    requirement_remarks,
)
from swiftbox.models.verified import read_marker
from swiftbox.runs import events


@dataclass(frozen=True)
class Inspection:
    """What was found in a folder, worst first, and its config.json."""

    folder: Path
    config: Mapping[str, Any]
    remarks: tuple[Remark, ...]

    @property
    def errors(self) -> tuple[Remark, ...]:
        """Return what keeps the model from being used."""
        return tuple(one for one in self.remarks if one.level == ERROR)

    def remark_on(self, topic: str) -> Remark | None:
        """Return what was found about a topic, such as template or code."""
        return next((one for one in self.remarks if one.topic == topic), None)


def inspect(folder: Path, known: Model | None = None) -> Inspection:
    """Look at a model's folder without loading it; `known` is its row, else found by its id."""
    config, broken = _config(folder)
    if broken is not None:
        return Inspection(folder, config, (broken,))
    row = known or model(id_of(folder) or "")
    stored = weights.read_weights(folder)
    found = [
        *_weights(folder, stored),
        *_tokenizer(folder),
        *_loading(folder, config, row),
        *(requirement_remarks(row) if row else ()),
        *_saved_with(config),
        *_precision(config, stored.main_dtype),
        *_generation(folder, row),
    ]
    order = (ERROR, WARNING, NOTE)
    return Inspection(folder, config, tuple(sorted(found, key=lambda one: order.index(one.level))))


def id_of(folder: Path) -> str | None:
    """Return the hub id that a folder was fetched as, by its marker or its place in a cache."""
    origin = read_marker(folder).origin
    if origin is not None and origin.id:
        return origin.id
    if folder.parent.name == "snapshots":  # .../owner--name/snapshots/REVISION
        return folder.parent.parent.name.removeprefix("models--").replace("--", "/", 1)
    if len(folder.parts) < 3:
        return None
    return f"{folder.parts[-2]}/{folder.parts[-1].replace('___', '.')}"


def _json(path: Path) -> dict[str, Any] | None:
    """Return an object read from JSON; None when there is none to read."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _config(folder: Path) -> tuple[dict[str, Any], Remark | None]:
    path = folder / "config.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if any(folder.glob("*.gguf")):
            return {}, _for_llama_cpp(folder)
        said = text(f"{folder} has no config.json", f"{folder} 中没有 config.json")
        hint = text(
            "give the folder that holds config.json and the weights",
            "请给出含 config.json 与权重的目录",
        )
        return {}, Remark(ERROR, "config", said, hint)
    except (OSError, ValueError) as error:
        return {}, _unreadable(path, error, "config")
    return (found if isinstance(found, dict) else {}), None


def _for_llama_cpp(folder: Path) -> Remark:
    said = text(
        f"{folder} holds GGUF files, which llama.cpp and its like run and nothing here does",
        f"{folder} 中是 GGUF 文件，供 llama.cpp 等使用，此处无法加载",
    )
    hint = text(
        "give the model it was made of, or quantize with method: bnb",
        "请给出其原模型，或以 method: bnb 量化",
    )
    return Remark(ERROR, "config", said, hint)


def _unreadable(path: Path, error: object, about: str) -> Remark:
    return Remark(
        ERROR,
        about,
        text(f"{path} cannot be read ({error})", f"{path} 无法读取（{error}）"),
        again(),
    )


def again() -> str:
    """Say how to mend a torn download."""
    return text("download the model again", "请重新下载模型")


# ---- weights


def _weights(folder: Path, found: weights.WeightFiles) -> Iterator[Remark]:
    if found.index_error is not None:
        yield _unreadable(folder / weights.INDEX, found.index_error, "weights")
        return
    if found.missing:
        count, first = len(found.missing), found.missing[0]
        said = text(
            f"{folder} lacks {count} of {found.expected} weight files ({first} ...)",
            f"{folder} 缺少 {found.expected} 个权重文件中的 {count} 个（{first} ...）",
        )
        yield Remark(ERROR, "weights", said, again())
    for name, wrong in found.broken.items():
        said = text(f"{folder}/{name} is not whole: {wrong}", f"{folder}/{name} 不完整：{wrong}")
        yield Remark(ERROR, "weights", said, again())
    if found.absent_tensors:
        said = text(
            f"{folder}: the index names {len(found.absent_tensors)} weights that no file holds "
            f"({found.absent_tensors[0]} ...)",
            f"{folder}：索引中的 {len(found.absent_tensors)} 个权重不在任何文件中"
            f"（{found.absent_tensors[0]} ...）",
        )
        yield Remark(ERROR, "weights", said, again())
    if not found.expected:
        yield _no_weights(folder, found.pickles)


def _no_weights(folder: Path, pickles: list[str]) -> Remark:
    hint = text("give the folder that holds the weights", "请给出含权重文件的目录")
    if pickles:
        hint = text(
            "pickled .bin weights can run code and are not loaded; convert them to safetensors",
            ".bin 权重可能执行代码，不会加载；请转换为 safetensors",
        )
    said = text(f"{folder} has no safetensors weights", f"{folder} 中没有 safetensors 权重")
    return Remark(ERROR, "weights", said, hint)


PACKAGES = {
    "gptq": "gptqmodel",
    "awq": "gptqmodel",
    "bitsandbytes": "bitsandbytes",
    "compressed-tensors": "compressed-tensors",
    "aqlm": "aqlm",
    "hqq": "hqq",
}
"""What transformers loads quantized weights with."""


def loader_missing(config: Mapping[str, Any]) -> str:
    """Return the package that loads a model's quantized weights; empty where it is here."""
    quantized = config.get("quantization_config")
    method = str(quantized.get("quant_method", "")) if isinstance(quantized, dict) else ""
    package = PACKAGES.get(method, "")
    return package if package and installed_version(package) is None else ""


def _precision(config: Mapping[str, Any], stored: str | None) -> Iterator[Remark]:
    quantized = config.get("quantization_config")
    if isinstance(quantized, dict):
        method = str(quantized.get("quant_method", ""))
        bits = quantized.get("bits") or quantized.get("w_bit")
        named = " ".join(str(one) for one in (method, f"{bits} bits" if bits else "") if one)
        yield Remark(
            NOTE,
            "precision",
            text(f"the weights are quantized ({named})", f"权重已量化（{named}）"),
        )
        package = loader_missing(config)
        if package:
            yield missing_package(package)
        return
    if stored is not None:
        yield Remark(NOTE, "precision", text(f"the weights are {stored}", f"权重为 {stored}"))


# ---- tokenizer and template

VOCABULARIES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "tekken.json")
TEMPLATES = ("chat_template.jinja", "chat_template.json", "additional_chat_templates")


def _tokenizer(folder: Path) -> Iterator[Remark]:
    settings_file = folder / "tokenizer_config.json"
    named = any((folder / name).is_file() for name in VOCABULARIES)
    if not (named or any(folder.glob("*.tiktoken")) or any(folder.glob("*.spm"))):
        said = text(f"{folder} has no tokenizer", f"{folder} 中没有分词器文件")
        hint = text(
            "copy tokenizer.json and tokenizer_config.json from the model it was made of",
            "请从其原模型复制 tokenizer.json 与 tokenizer_config.json",
        )
        yield Remark(ERROR, "tokenizer", said, hint)
        return
    if any((folder / name).exists() for name in TEMPLATES):
        return
    settings = _json(settings_file)
    if settings is None and settings_file.is_file():
        yield _unreadable(settings_file, "JSON", "template")
        return
    if not (settings or {}).get("chat_template"):
        said = text(
            f"{folder} brings no chat template (it looks like a base model)",
            f"{folder} 没有对话模板（看起来是基座模型）",
        )
        hint = text(
            "set template: chatml (saved with the model), or use an -Instruct model",
            "设 template: chatml（会随模型保存），或换用 -Instruct 模型",
        )
        yield Remark(NOTE, "template", said, hint)


# ---- code and versions


def _loading(folder: Path, config: Mapping[str, Any], row: Model | None) -> Iterator[Remark]:
    """Say whether the installed transformers knows the type, or code of its own would run."""
    kind, known = config.get("model_type"), known_types()
    own = _own_code(folder, config)
    native = bool(kind) and (known is None or kind in known)
    if own:
        yield remote_code(NOTE if native else WARNING, folder, ", ".join(own))
    elif kind and not native:
        version = installed_version("transformers")
        said = text(
            f"{folder}: transformers {version} does not know model_type {kind}",
            f"{folder}：transformers {version} 不支持 model_type {kind}",
        )
        spec = (row.transformers_spec if row else None) or ""
        hint = text(
            f"it wants another transformers {spec}".rstrip() + ", or another package",
            f"需要其他版本的 transformers {spec}".rstrip() + " 或其他软件包",
        )
        yield Remark(ERROR, "type", said, hint)


def _own_code(folder: Path, config: Mapping[str, Any]) -> list[str]:
    """Return the Python files that auto_map names, of the config and of the tokenizer."""
    settings = _json(folder / "tokenizer_config.json") or {}
    named: set[str] = set()
    for said in (config.get("auto_map"), settings.get("auto_map")):
        for value in said.values() if isinstance(said, dict) else ():
            for one in value if isinstance(value, list) else [value]:
                if isinstance(one, str):
                    named.add(one.rpartition("--")[2].rpartition(".")[0] + ".py")
    return sorted(named)


def _saved_with(config: Mapping[str, Any]) -> Iterator[Remark]:
    from packaging.version import InvalidVersion, Version

    saved, here = config.get("transformers_version"), installed_version("transformers")
    try:
        newer = saved is not None and here is not None and Version(str(saved)) > Version(here)
    except InvalidVersion:
        return
    if newer:
        said = text(
            f"saved with transformers {saved}; {here} is installed",
            f"由 transformers {saved} 保存；当前安装 {here}",
        )
        yield Remark(NOTE, "version", said)


def _generation(folder: Path, row: Model | None) -> Iterator[Remark]:
    if row and row.stage == "instruct" and not (folder / "generation_config.json").is_file():
        yield Remark(
            NOTE,
            "generation",
            text(
                "no generation_config.json: answers are sampled with general defaults",
                "没有 generation_config.json：生成时使用通用默认参数",
            ),
        )


def require_sound(folder: Path, emit: Callable[..., None], *, known: str | None = None) -> None:
    """Tell a run what its fetched model is like; raise HubError when it cannot be used."""
    seen = inspect(folder, model(known or ""))
    for one in seen.remarks:
        if one.level == WARNING:
            emit(events.WARNING, message=str(one))
    if seen.errors:
        raise HubError(
            "\n".join(one.message for one in seen.errors),
            hint="\n".join(dict.fromkeys(one.hint for one in seen.errors if one.hint)),
        )
