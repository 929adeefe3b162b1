"""Convert a model to GGUF with llama.cpp's converter.

Runs in swiftbox's own environment, which has torch and the transformers that saved the model; what
it lacks is found in that of the engine `llama_cpp`, which `request["packages"]` names. Its only
argument is the path of a request in JSON; it prints events as lines and writes its result to
request["result"].
"""

from __future__ import annotations

import json
import logging
import os
import runpy
import sys
import threading
from pathlib import Path
from typing import Any

INTERVAL_S = 2.0
"""Time between two lines of progress."""

UNKNOWN_TOKENIZER = "pre-tokenizer was not recognized"
"""In the error of a tokenizer whose splitting the converter does not know."""


def main() -> int:
    """Convert the model of the request; a refusal of the converter is a result too."""
    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    result = run_converter(request)
    Path(request["result"]).write_text(json.dumps(result), encoding="utf-8")
    return 0


def run_converter(request: dict[str, Any]) -> dict[str, Any]:
    """Run the script; return where each tensor went, or why the model is refused."""
    sys.path.append(request["packages"])
    sys.path.insert(0, str(Path(request["script"]).parent))
    os.environ["TQDM_DISABLE"] = "1"
    limit_code(trusted=request["trust_remote_code"])
    script, output = request["script"], Path(request["output"])
    options = ["--vocab-only"] if request.get("vocabulary_only") else []
    sys.argv = [script, request["model"], "--outtype", request["type"], *options]
    sys.argv += ["--outfile", str(output)]
    errors = ErrorLines()
    logging.getLogger("hf-to-gguf").addHandler(errors)
    ended = threading.Event()
    threading.Thread(target=report, args=(output, request, ended), daemon=True).start()
    try:
        runpy.run_path(script, run_name="__main__")
    except NotImplementedError as error:
        reason = "tokenizer" if UNKNOWN_TOKENIZER in str(error) else "model"
        return {"refused": reason, "why": str(error)}
    except ValueError as error:
        if "trust_remote_code" not in str(error):
            raise
        return {"refused": "model", "why": str(error)}
    except SystemExit as exit_request:
        if exit_request.code:
            return {"refused": "model", "why": "\n".join(errors.lines)}
    finally:
        ended.set()
    return {"names": mapped_names(output, request["tensors"])}


def limit_code(*, trusted: bool) -> None:
    """Load tokenizers with code from the model's folder only if that is allowed.

    The converter allows it for some families without asking.
    """
    from transformers import AutoTokenizer

    load = AutoTokenizer.from_pretrained

    def load_tokenizer(*names: Any, **options: Any) -> Any:
        return load(*names, **{**options, "trust_remote_code": trusted})

    AutoTokenizer.from_pretrained = load_tokenizer


class ErrorLines(logging.Handler):
    """Keeps the errors that the converter logs."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        self.lines.append(record.getMessage())


def report(output: Path, request: dict[str, Any], ended: threading.Event) -> None:
    """Print how much of the file is written, while it grows."""
    before = 0
    while not ended.wait(INTERVAL_S):
        size = output.stat().st_size if output.exists() else 0
        if size != before:
            say("converting", done=size, of=request["bytes"])
            before = size


def mapped_names(output: Path, tensors: list[str]) -> dict[str, str | None]:
    """Return the name in the file of each tensor of the model, where llama.cpp's table has it."""
    from gguf import MODEL_ARCH, MODEL_ARCH_NAMES, GGUFReader, get_tensor_name_map

    if not tensors:
        return {}
    reader = GGUFReader(output)
    architecture = str(reader.fields["general.architecture"].contents())
    layers = int(reader.fields[f"{architecture}.block_count"].contents())
    arch = next(arch for arch in MODEL_ARCH if MODEL_ARCH_NAMES[arch] == architecture)
    table = get_tensor_name_map(arch, layers)
    return {name: table.get_name(name, try_suffixes=(".weight", ".bias")) for name in tensors}


def say(event: str, **fields: Any) -> None:
    """Print one event."""
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
