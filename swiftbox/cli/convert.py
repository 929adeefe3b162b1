"""`convert`: rewrite the pickled weights of an adapter as safetensors."""

from __future__ import annotations

import argparse

from swiftbox.cli.output import DONE, answer, answer_json, say
from swiftbox.errors import ConfigError
from swiftbox.formatting import counted, size
from swiftbox.language import text
from swiftbox.models.location import find_folder
from swiftbox.models.pickled_adapters import ConvertedAdapter
from swiftbox.models.pickled_adapters import convert as convert_folder


def convert(options: argparse.Namespace) -> int:
    """Convert an adapter; print the path of the file that was written."""
    folder = find_folder(options.folder)
    if folder is None:
        raise ConfigError(
            text(f"no folder {options.folder}", f"目录 {options.folder} 不存在"),
            hint=text("give the folder of an adapter", "请给出适配器的目录"),
        )
    say(text("loading the file in a separate process ...", "正在独立进程中读取文件 ..."))
    converted = convert_folder(folder)
    if options.json:
        answer_json({"file": str(converted.file), "tensors": converted.tensors})
        return DONE
    answer(str(converted.file))
    say(_summary(converted))
    return DONE


def _summary(converted: ConvertedAdapter) -> str:
    return text(
        f"{counted(converted.tensors, 'tensor')}, {size(converted.bytes)}, equal to those of the "
        "pickle, which is kept and not read any more",
        f"{converted.tensors} 个张量，{size(converted.bytes)}，与原文件逐位相同；"
        "原文件保留，不再读取",
    )
