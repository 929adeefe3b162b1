"""Whether llama.cpp's converter takes a model: it writes the vocabulary alone, which takes seconds.

Usage of the child: `MODEL SCRIPT PACKAGES [trusted]`; it prints the result as a JSON line.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from swiftbox.engines.llama_cpp import ENGINE
from swiftbox.engines.state import engine_state
from swiftbox.engines.tools import gguf as converter
from swiftbox.errors import ConfigError
from swiftbox.language import text
from swiftbox.models.verified import sha256_of
from swiftbox.quantization import gguf, llama_cpp
from swiftbox.runs.asked_child import ChildQuestion

MODULE = "swiftbox.quantization.conversion_trial"
FILES = (
    *("config.json", "tokenizer.json", "tokenizer_config.json", "tokenizer.model", "vocab.json"),
    *("merges.txt", "vocab.txt", "added_tokens.json", "special_tokens_map.json"),
)
"""Files on which the answer depends, besides code that may run."""


def conversion_refusal(model: Path, *, trusted: bool) -> ConfigError | None:
    """Return why a local model cannot be converted; `trusted`: code in its folder may run.

    None if it can, or if the engine that knows is not installed yet.
    """
    state = engine_state(ENGINE)
    if state.status != "installed":
        return None
    request = llama_cpp.converter_request(model, Path(gguf.FILE), trusted=trusted)
    versions = dict(state.versions)
    code = sorted(model.glob("*.py")) if trusted else []
    files = (*(model / name for name in FILES), *code)
    digests = [sha256_of(file) if file.is_file() else "" for file in files]
    arguments = [str(model), request["script"], request["packages"], *["trusted"] * trusted]
    purpose = text("trying the conversion to GGUF", "试转换为 GGUF")
    question = ChildQuestion(
        MODULE, arguments, "conversions", [versions, digests, trusted], purpose
    )
    return llama_cpp.refusal(model, question.answer() or {})


def main() -> int:
    """Print whether the converter takes the model of the arguments."""
    model, script, packages, *trusted = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        request = {
            **{"model": model, "script": script, "packages": packages, "type": "f16"},
            **{"output": str(Path(folder) / gguf.FILE), "tensors": [], "bytes": 0},
            "vocabulary_only": True,
            "trust_remote_code": bool(trusted),
        }
        result = converter.run_converter(request)
    sys.stdout.write("\n" + json.dumps(result) + "\n")
    return 0
