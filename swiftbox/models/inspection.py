"""The state of a model's folder before it is loaded: versions, weights, tokenizer, code."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from swiftbox.architectures.choice import ClassPurpose, ModelClass, NoClass, find_class
from swiftbox.architectures.outside import native_hint
from swiftbox.architectures.tables import known_types
from swiftbox.devices.packages import version_of
from swiftbox.errors import HubError
from swiftbox.language import text
from swiftbox.models import weights
from swiftbox.models.catalogue import Model, model
from swiftbox.models.config_fields import config_problems
from swiftbox.models.metadata import MetadataError, read_object
from swiftbox.models.requirements import (
    ERROR,
    NOTE,
    WARNING,
    Remark,
    missing_package,
    remote_code,
    requirement_remarks,
)
from swiftbox.models.templates import require_bounded_templates
from swiftbox.models.tokenizer_files import (
    FileProblem,
    generation_problems,
    tokenizer_problems,
)
from swiftbox.models.verified import read_marker
from swiftbox.models.weight_remarks import original_file, unreadable, weight_remarks
from swiftbox.models.weight_shapes import embedding_rows, shape_problems
from swiftbox.runs import events


@dataclass(frozen=True)
class Inspection:
    """The remarks on a folder, the most serious first, and its config.json."""

    folder: Path
    config: Mapping[str, Any]
    remarks: tuple[Remark, ...]
    weights: weights.WeightFiles = field(default_factory=weights.WeightFiles)

    @property
    def errors(self) -> tuple[Remark, ...]:
        """Return the remarks that prevent the model from being used."""
        return tuple(remark for remark in self.remarks if remark.level == ERROR)

    def remark_on(self, topic: str) -> Remark | None:
        """Return the remark on a topic, such as template or code."""
        return next((remark for remark in self.remarks if remark.topic == topic), None)


def inspect(
    folder: Path, known: Model | None = None, *, head: str | None = "language"
) -> Inspection:
    """Inspect a model's folder without loading it; `known` is its catalogue row, if at hand.

    `head` is that of the class that loads it, language or score; None for another program's class.
    """
    config, problem = _config(folder)
    if problem is not None:
        return Inspection(folder, config, (problem,))
    row = known or model(id_of(folder) or "")
    files = weights.read_weights(folder)
    remarks = [
        *_contradictions(folder, config, files),
        *weight_remarks(folder, files),
        *_tokenizer(folder, embedding_rows(files.tensors)),
        *_loading(folder, config, row, head=head),
        *(requirement_remarks(row) if row else ()),
        *_saved_with(config),
        *_precision(config, files.main_dtype),
        *_generation(folder, row),
    ]
    order = (ERROR, WARNING, NOTE)
    ordered = tuple(sorted(remarks, key=lambda remark: order.index(remark.level)))
    return Inspection(folder, config, ordered, files)


def id_of(folder: Path) -> str | None:
    """Return the hub id of a folder, from its marker or its place in a cache."""
    origin = read_marker(folder).origin
    if origin is not None and origin.id:
        return origin.id
    if folder.parent.name == "snapshots":  # .../owner--name/snapshots/REVISION
        return folder.parent.parent.name.removeprefix("models--").replace("--", "/", 1)
    if len(folder.parts) < 3:
        return None
    return f"{folder.parts[-2]}/{folder.parts[-1].replace('___', '.')}"


def _json(path: Path) -> dict[str, Any] | None:
    """Read a JSON object; None if it is missing or invalid."""
    try:
        return read_object(path)
    except (FileNotFoundError, MetadataError):
        return None


def _config(folder: Path) -> tuple[dict[str, Any], Remark | None]:
    path = folder / "config.json"
    try:
        return read_object(path), None
    except FileNotFoundError:
        if any(folder.glob("*.gguf")):
            return {}, _for_llama_cpp(folder)
        message = text(f"{folder} has no config.json", f"{folder} 中没有 config.json")
        hint = text(
            "give the folder that contains config.json and the weights",
            "请给出含 config.json 与权重的目录",
        )
        return {}, Remark(ERROR, "config", message, hint)
    except MetadataError as error:
        return {}, unreadable(path, error, "config")


def _contradictions(
    folder: Path, config: Mapping[str, Any], files: weights.WeightFiles
) -> Iterator[Remark]:
    """Compare config.json with what it may hold, with the weights, and with other files."""
    path = folder / "config.json"
    problems = list(config_problems(config))
    if not problems and files.is_complete and known_types() is not None:
        problems = list(shape_problems(config, files.tensors))
    for problem in problems:
        yield Remark(ERROR, "config", f"{path}: {problem}", original_file())
    if (folder / "adapter_config.json").exists():
        message = text(
            f"{folder} has an adapter_config.json too, so another model would be loaded",
            f"{folder} 中还有 adapter_config.json，会加载另一个模型",
        )
        hint = text(
            "move the adapter to a folder without config.json, and give it as adapter",
            "请将适配器移到单独的目录，并以 adapter 给出",
        )
        yield Remark(ERROR, "config", message, hint)
    for defect in generation_problems(folder):
        yield _defective(defect, "generation")


def _defective(problem: FileProblem, topic: str) -> Remark:
    message = text(f"{problem.path}: {problem.reason}", f"{problem.path}：{problem.reason}")
    return Remark(ERROR, topic, message, original_file())


def _for_llama_cpp(folder: Path) -> Remark:
    message = text(
        f"{folder} contains GGUF files: llama.cpp serves them, nothing else can be done with them",
        f"{folder} 中是 GGUF 文件：可由 llama.cpp 部署，不能用于其他任务",
    )
    hint = text(
        "give the original model; to serve the file, set engine: llama_cpp",
        "请给出其原模型；要部署该文件，请设 engine: llama_cpp",
    )
    return Remark(ERROR, "config", message, hint)


# ---- precision


PACKAGES = {
    "gptq": "gptqmodel",
    "awq": "gptqmodel",
    "bitsandbytes": "bitsandbytes",
    "compressed-tensors": "compressed-tensors",
    "aqlm": "aqlm",
    "hqq": "hqq",
}
"""The package with which transformers loads each quantization format."""


ALSO_NEEDED = {"gptq": "optimum"}
"""A second package that transformers needs for a format."""

LOADER = "loader"
"""The topic of the remark on a package that loads quantized weights; engines have some of them."""


def loader_missing(config: Mapping[str, Any]) -> str:
    """Return the missing package that loads a model's quantized weights; empty if installed."""
    quantized = config.get("quantization_config")
    method = str(quantized.get("quant_method", "")) if isinstance(quantized, dict) else ""
    packages = filter(None, (PACKAGES.get(method), ALSO_NEEDED.get(method)))
    return next((package for package in packages if version_of(package) is None), "")


def _precision(config: Mapping[str, Any], stored: str | None) -> Iterator[Remark]:
    quantized = config.get("quantization_config")
    if isinstance(quantized, dict):
        method = str(quantized.get("quant_method", ""))
        bits = quantized.get("bits") or quantized.get("w_bit")
        described = " ".join(part for part in (method, f"{bits} bits" if bits else "") if part)
        yield Remark(
            NOTE,
            "precision",
            text(f"the weights are quantized ({described})", f"权重已量化（{described}）"),
        )
        package = loader_missing(config)
        if package:
            yield replace(missing_package(package), topic=LOADER)
        return
    if stored is not None:
        yield Remark(NOTE, "precision", text(f"the weights are {stored}", f"权重为 {stored}"))


# ---- tokenizer and template

VOCABULARIES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "tekken.json")
TEMPLATES = ("chat_template.jinja", "chat_template.json", "additional_chat_templates")


def _tokenizer(folder: Path, rows: int | None) -> Iterator[Remark]:
    problems = list(tokenizer_problems(folder, rows))
    for problem in problems:
        yield _defective(problem, "tokenizer")
    if problems:
        return
    has_vocabulary = any((folder / name).is_file() for name in VOCABULARIES)
    if not (has_vocabulary or any(folder.glob("*.tiktoken")) or any(folder.glob("*.spm"))):
        message = text(f"{folder} has no tokenizer", f"{folder} 中没有分词器文件")
        hint = text(
            "copy tokenizer.json and tokenizer_config.json from the original model",
            "请从其原模型复制 tokenizer.json 与 tokenizer_config.json",
        )
        yield Remark(ERROR, "tokenizer", message, hint)
        return
    if any((folder / name).exists() for name in TEMPLATES):
        return
    settings = _json(folder / "tokenizer_config.json")
    if not (settings or {}).get("chat_template"):
        message = text(
            f"{folder} has no chat template (it looks like a base model)",
            f"{folder} 没有对话模板（看起来是基座模型）",
        )
        hint = text(
            "set template: chatml (it is saved with the model), or use an -Instruct model",
            "设 template: chatml（会随模型保存），或换用 -Instruct 模型",
        )
        yield Remark(NOTE, "template", message, hint)


# ---- code and versions


def _loading(
    folder: Path, config: Mapping[str, Any], row: Model | None, *, head: str | None
) -> Iterator[Remark]:
    """Check that transformers has a class for the model, or that the repository has code for it."""
    if not isinstance(config.get("model_type"), str) and "auto_map" not in config:
        return  # reported with the other fields
    native = find_class(config, ClassPurpose(score=head == "score"))
    with_code = find_class(config, ClassPurpose(score=head == "score", trusted=True))
    modules, is_native = _own_code(folder, config), isinstance(native, ModelClass)
    if modules and isinstance(with_code, ModelClass):
        level = NOTE if is_native else WARNING
        alternative = native_hint(str(config.get("model_type")))
        yield remote_code(level, folder, ", ".join(modules), "" if is_native else alternative)
    elif isinstance(with_code, NoClass):
        message = text(f"{folder}: {with_code.reason}", f"{folder}：{with_code.reason}")
        level = WARNING if head is None else ERROR
        yield Remark(level, "type", message, _hint_of(with_code, config, row))


def _hint_of(choice: NoClass, config: Mapping[str, Any], row: Model | None) -> str:
    spec = (row.transformers_spec if row else None) or ""
    if (
        not spec
        or native_hint(str(config.get("model_type")))
        or config.get("model_type") in (known_types() or ())
    ):
        return choice.hint
    return text(
        f"it needs another transformers {spec}, or another package",
        f"需要其他版本的 transformers {spec} 或其他软件包",
    )


def _own_code(folder: Path, config: Mapping[str, Any]) -> list[str]:
    """Return the Python files that auto_map names in the model's and tokenizer's configs."""
    settings = _json(folder / "tokenizer_config.json") or {}
    modules: set[str] = set()
    for auto_map in (config.get("auto_map"), settings.get("auto_map")):
        for value in auto_map.values() if isinstance(auto_map, dict) else ():
            for reference in value if isinstance(value, list) else [value]:
                if isinstance(reference, str):
                    modules.add(reference.rpartition("--")[2].rpartition(".")[0] + ".py")
    return sorted(modules)


def _saved_with(config: Mapping[str, Any]) -> Iterator[Remark]:
    saved_with, version = config.get("transformers_version"), version_of("transformers")
    if saved_with == version:
        return
    from packaging.version import InvalidVersion, Version

    try:
        is_newer = (
            saved_with is not None
            and version is not None
            and Version(str(saved_with)) > Version(version)
        )
    except InvalidVersion:
        return
    if is_newer:
        message = text(
            f"saved with transformers {saved_with}; {version} is installed",
            f"由 transformers {saved_with} 保存；当前安装 {version}",
        )
        yield Remark(NOTE, "version", message)


def _generation(folder: Path, row: Model | None) -> Iterator[Remark]:
    if row and row.stage == "instruct" and not (folder / "generation_config.json").is_file():
        yield Remark(
            NOTE,
            "generation",
            text(
                "no generation_config.json: default sampling settings are used",
                "没有 generation_config.json：生成时使用通用默认参数",
            ),
        )


def require_usable_model(
    folder: Path,
    emit: Callable[..., None],
    *,
    known: str | None = None,
    head: str | None = "language",
    loaded_elsewhere: bool = False,
) -> None:
    """Warn about a downloaded model's defects; raise HubError if it cannot be used.

    The package that loads quantized weights is not missed if they are `loaded_elsewhere`.
    Raises ConfigError for a chat template that must not be rendered.
    """
    require_bounded_templates(folder, used=False)
    inspection = inspect(folder, model(known or ""), head=head)
    for remark in inspection.remarks:
        if remark.level == WARNING and not (loaded_elsewhere and remark.topic == LOADER):
            emit(events.WARNING, message=str(remark))
    if inspection.errors:
        raise HubError(
            "\n".join(remark.message for remark in inspection.errors),
            hint="\n".join(
                dict.fromkeys(remark.hint for remark in inspection.errors if remark.hint)
            ),
        )
