"""Folders of GGUF files, which llama.cpp serves: which of the files is meant."""

from __future__ import annotations

import re
from pathlib import Path

from swiftbox.errors import ConfigError
from swiftbox.language import text
from swiftbox.models.location import find_folder

SUFFIX = ".gguf"
PART = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$", re.ASCII)
"""The parts of a split file; llama.cpp opens the first and finds the others."""

PROJECTOR = "mmproj"
"""The beginning of files with the part of a model that reads pictures or sound."""

MAX_LISTED = 6


def gguf_files(folder: Path) -> list[Path]:
    """Return the GGUF files of models in a folder, of split ones the first part."""
    files = sorted(file for file in folder.glob(f"*{SUFFIX}") if file.is_file())
    parts = {file: PART.search(file.name) for file in files}
    return [
        file
        for file, part in parts.items()
        if not file.name.startswith(PROJECTOR) and (part is None or int(part[1]) == 1)
    ]


def parts_of(file: Path) -> list[Path]:
    """Return the parts of a file that its name tells, or the file alone; they may be missing."""
    part = PART.search(file.name)
    if part is None:
        return [file]
    beginning = file.name[: part.start()]
    names = (
        f"{beginning}-{number:05}-of-{part[2]}{SUFFIX}" for number in range(1, int(part[2]) + 1)
    )
    return [file.with_name(name) for name in names]


def holds_gguf(name: str | None) -> bool:
    """Tell whether a setting names a folder or a run here whose model is a GGUF file."""
    folder = find_folder(name) if name else None
    return folder is not None and is_gguf_folder(folder)


def is_gguf_folder(folder: Path) -> bool:
    """Tell whether a folder has GGUF files and no model for transformers."""
    return not (folder / "config.json").is_file() and bool(gguf_files(folder))


def require_gguf_file(folder: Path) -> Path:
    """Return the GGUF file of a folder; raise ConfigError if it has none, several, or a part."""
    files = gguf_files(folder)
    if len(files) == 1:
        _require_parts(files[0])
        return files[0]
    if not files:
        raise ConfigError(
            text(
                f"model: {folder} has no GGUF file, and engine: llama_cpp serves nothing else",
                f"model：{folder} 中没有 GGUF 文件，而 engine: llama_cpp 只部署 GGUF",
            ),
            hint=text(
                "make one: task: quantize with method: gguf; or set engine: auto",
                "请先生成：task: quantize 与 method: gguf；或设 engine: auto",
            ),
        )
    names = ", ".join(file.name for file in files[:MAX_LISTED])
    raise ConfigError(
        text(
            f"model: {folder} has {len(files)} GGUF files ({names})",
            f"model：{folder} 中有 {len(files)} 个 GGUF 文件（{names}）",
        ),
        hint=text(
            "move the one to serve to a folder for itself, with its tokenizer files",
            "请将要部署的文件连同分词器文件移到单独的目录",
        ),
    )


def _require_parts(file: Path) -> None:
    missing = next((part for part in parts_of(file) if not part.is_file()), None)
    if missing is not None:
        raise ConfigError(
            text(
                f"model: {file.parent} has {file.name}, but not {missing.name}",
                f"model：{file.parent} 中有 {file.name}，但缺少 {missing.name}",
            ),
            hint=text("download the missing parts", "请下载缺少的部分"),
        )
