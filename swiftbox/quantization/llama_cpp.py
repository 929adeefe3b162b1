"""The converter of the engine llama_cpp: where it is, and which models it refuses."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from swiftbox.engines.llama_cpp import package_folder
from swiftbox.errors import ConfigError
from swiftbox.language import text

CONVERTER = ("converter", "convert_hf_to_gguf.py")


def converter_request(model: Path, output: Path, *, trusted: bool) -> dict[str, Any]:
    """Return the part of a request to convert that says where everything is.

    `trusted`: whether code in the model's folder may run.
    """
    package = package_folder()
    return {
        "script": str(package.joinpath(*CONVERTER)),
        "packages": str(package.parent),
        "model": str(model),
        "output": str(output),
        "trust_remote_code": trusted,
    }


def refusal(model: Path, result: Mapping[str, Any]) -> ConfigError | None:
    """Return the error for a model that the converter has refused; None if it did not."""
    kind = result.get("refused")
    if not kind:
        return None
    others = text("set method: bnb or gptq", "设 method: bnb 或 gptq")
    if kind == "tokenizer":
        return ConfigError(
            text(
                f"model: {model}: llama.cpp does not know how its tokenizer splits texts, and "
                "would answer to other tokens",
                f"model：{model}：llama.cpp 不认识其分词方式，转换后会使用错误的 token",
            ),
            hint=others,
        )
    why = str(result.get("why") or "").strip()
    return ConfigError(
        text(
            f"model: {model}: llama.cpp's converter refuses it: {why}",
            f"model：{model}：llama.cpp 的转换器拒绝了它：{why}",
        ),
        hint=others,
    )
