"""Choose the class that loads a model: the one that config.json names in `architectures`.

`AutoModelForCausalLM` alone would load only the language part of several families, without a word.
What is trained, merged, quantized or served must be what everybody else loads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swiftbox.architectures.outside import WITHOUT_TEXT_ROWS, native_hint
from swiftbox.architectures.tables import (
    ClassTables,
    class_tables,
    is_encoder_decoder_type,
    known_types,
)
from swiftbox.devices.packages import version_of
from swiftbox.errors import ConfigError
from swiftbox.files import read_json
from swiftbox.language import text
from swiftbox.security.printable import printable

CAUSAL, MULTIMODAL = "AutoModelForCausalLM", "AutoModelForMultimodalLM"
IMAGES, SCORE = "AutoModelForImageTextToText", "AutoModelForSequenceClassification"


@dataclass(frozen=True)
class ModelClass:
    """A class that loads a model."""

    name: str
    """Its name; empty for a class in the repository's own code."""
    loader: str
    """The auto class of transformers that loads it."""


@dataclass(frozen=True)
class ClassPurpose:
    """What the class is for."""

    score: bool = False
    """With a score head in place of the language model's."""
    trusted: bool = False
    """The repository's code may run."""


LANGUAGE_MODEL = ClassPurpose()


@dataclass(frozen=True)
class NoClass:
    """Why no class loads a model, and what to do."""

    reason: str
    hint: str


def find_class(
    config: Mapping[str, Any], purpose: ClassPurpose = LANGUAGE_MODEL
) -> ModelClass | NoClass:
    """Return the class for a config.json, or why there is none."""
    own_loader = _own_loader(config, purpose)
    if own_loader and purpose.trusted:
        return ModelClass("", own_loader)
    tables, types = class_tables(), known_types()
    if tables is None or types is None:  # nothing to choose from: transformers is not installed
        return ModelClass("", SCORE if purpose.score else CAUSAL)
    model_type = config.get("model_type")
    if not isinstance(model_type, str) or model_type not in types:
        has_code = isinstance(config.get("auto_map"), dict)
        return _unknown_type(str(model_type), has_code=has_code, has_loader=bool(own_loader))
    if purpose.score:
        return _score_class(model_type, tables)
    return _language_class(config, model_type, tables)


def stored_head(config: Mapping[str, Any]) -> str:
    """Return the head that a model was saved with: language or score."""
    return "score" if _architecture(config).endswith("ForSequenceClassification") else "language"


def require_class(folder: Path, purpose: ClassPurpose = LANGUAGE_MODEL) -> ModelClass:
    """Return the class for the model of a folder; raise ConfigError if there is none."""
    choice = find_class(read_json(folder / "config.json"), purpose)
    if isinstance(choice, ModelClass):
        return choice
    raise ConfigError(
        text(f"model: {folder}: {choice.reason}", f"model：{folder}：{choice.reason}"),
        hint=choice.hint,
    )


def _own_loader(config: Mapping[str, Any], purpose: ClassPurpose) -> str:
    """Return the auto class under which the repository's code has a class; empty without one."""
    auto_map = config.get("auto_map")
    names = auto_map if isinstance(auto_map, dict) else {}
    loaders = (SCORE,) if purpose.score else (CAUSAL, IMAGES, MULTIMODAL)
    return next((loader for loader in loaders if loader in names), "")


def _unknown_type(model_type: str, *, has_code: bool, has_loader: bool) -> NoClass:
    shown_type, version = printable(model_type), version_of("transformers")
    reason = text(
        f"transformers {version} does not know model_type {shown_type}",
        f"transformers {version} 不支持 model_type {shown_type}",
    )
    if has_code and not has_loader:
        return NoClass(
            text(
                "the code of its repository has no class for language models "
                "(no AutoModelForCausalLM in auto_map)",
                "其仓库代码中没有语言模型的类（auto_map 中没有 AutoModelForCausalLM）",
            ),
            _take_language_model(model_type),
        )
    if has_code:
        own_code = text(
            "trust_remote_code: true runs the code of its repository, which may be written for "
            "another transformers",
            "trust_remote_code: true 会执行其仓库中的代码，但该代码可能依赖其他版本的 transformers",
        )
        return NoClass(reason, "\n".join(filter(None, (native_hint(model_type), own_code))))
    other = text(
        "it needs another transformers, or another package",
        "需要其他版本的 transformers 或其他软件包",
    )
    return NoClass(reason, native_hint(model_type) or other)


def _score_class(model_type: str, tables: ClassTables) -> ModelClass | NoClass:
    name = tables.score.get(model_type)
    if name is not None:
        return ModelClass(name, SCORE)
    return NoClass(
        text(
            f"transformers has no score head for model_type {model_type}",
            f"transformers 没有 model_type {model_type} 的打分头",
        ),
        _take_language_model(model_type),
    )


def _language_class(
    config: Mapping[str, Any], model_type: str, tables: ClassTables
) -> ModelClass | NoClass:
    architecture = _architecture(config)
    causal, multimodal = tables.causal.get(model_type), tables.multimodal.get(model_type)
    if model_type in WITHOUT_TEXT_ROWS:
        return _no_text_rows(model_type)
    if causal and architecture == causal != multimodal:
        return ModelClass(causal, CAUSAL)
    if _has_encoder(config, model_type):
        return _encoder_decoder(architecture or model_type)
    if multimodal and (model_type not in tables.masked):
        choice = ModelClass(multimodal, MULTIMODAL)
    elif causal and model_type not in tables.masked:
        choice = ModelClass(causal, CAUSAL)
    else:
        return _no_language_model(architecture or model_type, model_type)
    if architecture in {*tables.causal.values(), *tables.multimodal.values()} - {choice.name}:
        return _contradiction(architecture, model_type, choice.name)
    if architecture not in tables.names and _has_code_for(config, architecture):
        return _only_in_code(architecture)
    return choice


def _architecture(config: Mapping[str, Any]) -> str:
    names = config.get("architectures")
    return str(names[0]) if isinstance(names, list) and names else ""


def _has_encoder(config: Mapping[str, Any], model_type: str) -> bool:
    stated = config.get("is_encoder_decoder")
    return bool(stated) if stated is not None else is_encoder_decoder_type(model_type)


def _has_code_for(config: Mapping[str, Any], architecture: str) -> bool:
    auto_map = config.get("auto_map")
    references = auto_map.values() if isinstance(auto_map, dict) else ()
    return any(str(reference).endswith(f".{architecture}") for reference in references)


def _take_language_model(model_type: str) -> str:
    return native_hint(model_type) or text(
        "use a decoder-only language model", "请使用仅含解码器的语言模型"
    )


def _no_text_rows(model_type: str) -> NoClass:
    return NoClass(
        text(
            f"the class of model_type {model_type} cannot be trained on text alone",
            f"model_type {model_type} 的类不能只用文本训练",
        ),
        _take_language_model(model_type),
    )


def _encoder_decoder(name: str) -> NoClass:
    return NoClass(
        text(
            f"{printable(name)} is an encoder-decoder model; only decoders are trained and served",
            f"{printable(name)} 是编码器-解码器模型；此处只训练和部署仅含解码器的模型",
        ),
        _take_language_model(""),
    )


def _no_language_model(name: str, model_type: str) -> NoClass:
    return NoClass(
        text(
            f"{printable(name)} does not generate text: transformers has no language model for "
            f"model_type {model_type}",
            f"{printable(name)} 不能生成文本：transformers 没有 model_type {model_type} 的语言模型",
        ),
        _take_language_model(model_type),
    )


def _contradiction(architecture: str, model_type: str, name: str) -> NoClass:
    return NoClass(
        text(
            f"architectures names {architecture}, but model_type {model_type} is loaded as {name}",
            f"architectures 为 {architecture}，而 model_type {model_type} 会按 {name} 加载",
        ),
        text(
            "restore config.json from the original model, or download the model again",
            "请恢复其原模型中的 config.json，或重新下载模型",
        ),
    )


def _only_in_code(architecture: str) -> NoClass:
    name = printable(architecture)
    return NoClass(
        text(
            f"architectures names {name}, a class in the code of its repository",
            f"architectures 为 {name}，它是其仓库代码中的类",
        ),
        text(
            "trust_remote_code: true runs it; set it only for a source that you trust",
            "trust_remote_code: true 会执行它；仅用于可信来源",
        ),
    )
