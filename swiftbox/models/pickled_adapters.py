"""Adapters whose weights are pickled: rewritten as safetensors by a child process, never read here.

A pickle can run code when it is loaded. The child has no secrets in its environment, and limits.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swiftbox.errors import ConfigError, MachineError
from swiftbox.files import SPARE_BYTES, explain_refused_paths, folder_aside, require_room
from swiftbox.formatting import size
from swiftbox.language import text
from swiftbox.models import weights
from swiftbox.models.adapters import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    PICKLED_WEIGHTS,
    read_config,
    read_trained,
)
from swiftbox.runs.asked_child import VARIABLES, answer_in
from swiftbox.runs.waiting import reported_wait
from swiftbox.security.children import child_environment, module_command
from swiftbox.security.printable import printable
from swiftbox.security.regular import open_regular

MODULE = "swiftbox.core.weights.unpickle"
"""What the child runs."""

TIMEOUT_S = 300
"""Importing torch takes up to half a minute from a cold network disk."""

BYTES_PER_SECOND = 10 * 2**20

DTYPES = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16"}
"""The names of number types in torch and in safetensors."""


@dataclass(frozen=True)
class ConvertedAdapter:
    """The file that was written, and what it holds."""

    file: Path
    tensors: int
    bytes: int


def convert(folder: Path) -> ConvertedAdapter:
    """Write adapter_model.safetensors beside adapter_model.bin, which is kept.

    Raises ConfigError for a pickle that holds anything but tensors, and for an adapter whose files
    do not fit together; then nothing is written.
    """
    read_config(folder)
    source, target = folder / PICKLED_WEIGHTS, folder / ADAPTER_WEIGHTS
    if target.exists():
        raise _exists(target)
    with explain_refused_paths(), folder_aside(target) as temporary:
        stored_bytes = _bytes_of(source)
        require_room(folder, stored_bytes + SPARE_BYTES, lambda *sizes: _no_room(folder, *sizes))
        written = temporary / ADAPTER_WEIGHTS
        tensors = _converted(source, written, stored_bytes)
        header, _bytes = weights.read_header(written)
        stored = {name: [tensor["dtype"], tensor["shape"]] for name, tensor in header.items()}
        if stored != tensors:
            raise _refused(source, "changed", "")
        (temporary / ADAPTER_CONFIG).write_bytes((folder / ADAPTER_CONFIG).read_bytes())
        _require_adapter(folder, temporary)
        written.rename(target)
    return ConvertedAdapter(target, len(tensors), target.stat().st_size)


def _bytes_of(source: Path) -> int:
    try:
        with open_regular(source) as file:
            return file.seek(0, 2)
    except (FileNotFoundError, IsADirectoryError):
        raise ConfigError(
            text(f"{source.parent} has no {source.name}", f"{source.parent} 中没有 {source.name}"),
            hint=text(
                f"give the folder of an adapter with {source.name}",
                f"请给出含 {source.name} 的适配器目录",
            ),
        ) from None


def _require_adapter(folder: Path, converted: Path) -> None:
    """Raise ConfigError, about the adapter's own folder, if the converted one is not usable."""
    try:
        read_trained(converted)
    except ConfigError as error:
        message = error.message.replace(str(converted), str(folder))
        raise ConfigError(message, hint=error.hint) from None


def _converted(source: Path, target: Path, stored_bytes: int) -> dict[str, list[Any]]:
    """Let a child convert a file; return the dtype and shape of each tensor of the pickle."""
    with reported_wait(text(f"converting {source.name}", f"正在转换 {source.name}")):
        try:
            process = subprocess.run(
                module_command(MODULE, str(source.resolve()), str(target)),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=TIMEOUT_S + stored_bytes // BYTES_PER_SECOND,
                check=False,
                cwd=target.parent,
                env=child_environment(variables=VARIABLES),
            )
        except subprocess.TimeoutExpired:
            raise _refused(source, "limits", "") from None
    report = (answer_in(process.stdout) if process.returncode == 0 else None) or {}
    tensors = report.get("tensors")
    if isinstance(tensors, dict):
        return {
            name: [DTYPES.get(dtype.removeprefix("torch."), dtype), shape]
            for name, (dtype, shape) in tensors.items()
        }
    raise _refused(source, str(report.get("problem", "limits")), str(report.get("detail", "")))


# ---- messages


def _refused(source: Path, problem: str, detail: str) -> ConfigError:
    detail = size(int(detail)) if problem == "size" else printable(detail)
    reasons = {
        "unsafe": text(
            f"it asks for code, which was not run ({detail})",
            f"它要求执行代码，未予执行（{detail}）",
        ),
        "damaged": text("it is not a pickle of tensors", "不是由张量组成的 pickle 文件"),
        "unreadable": text(f"it cannot be read ({detail})", f"无法读取（{detail}）"),
        "content": text(
            f"it is not a table of plain tensors ({detail})", f"其内容不是普通张量的表（{detail}）"
        ),
        "size": text(
            f"its tensors would take {detail}, more than the file has",
            f"其张量需 {detail}，超过文件大小",
        ),
        "changed": text("its copy differs from it", "转换结果与原文件不一致"),
        "limits": text(
            "reading it takes more memory or time than a file of its size needs",
            "读取它所需的内存或时间超出其大小应有的限度",
        ),
    }
    reason = reasons.get(problem, detail)
    return ConfigError(
        text(f"{source}: {reason}", f"{source}：{reason}"),
        hint=text(
            "download it again, or ask its author for safetensors; nothing was written",
            "请重新下载，或向作者索取 safetensors；未写入任何内容",
        ),
    )


def _exists(target: Path) -> ConfigError:
    return ConfigError(
        text(f"{target} exists already", f"{target} 已存在"),
        hint=text(
            "there is nothing to convert: give the folder as adapter",
            "无需转换：请直接以 adapter 给出该目录",
        ),
    )


def _no_room(folder: Path, needed: int, free: int) -> MachineError:
    return MachineError(
        text(
            f"the converted adapter takes {size(needed)} with a reserve of {size(SPARE_BYTES)}, "
            f"{size(free)} free at {folder}",
            f"转换后的适配器连同预留的 {size(SPARE_BYTES)} 共需 {size(needed)}，"
            f"{folder} 仅剩 {size(free)}",
        ),
        hint=text("free some space", "请清理磁盘"),
    )
