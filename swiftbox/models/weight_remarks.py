"""What is wrong with a model's weight files, as remarks."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from swiftbox.language import text
from swiftbox.models import weights
from swiftbox.models.requirements import ERROR, Remark


def weight_remarks(folder: Path, files: weights.WeightFiles) -> Iterator[Remark]:
    """Yield what prevents the weights from being loaded."""
    if files.index_error is not None:
        yield unreadable(folder / weights.INDEX, files.index_error, "weights")
        return
    if files.missing:
        count, first = len(files.missing), files.missing[0]
        message = text(
            f"{folder} lacks {count} of {files.expected} weight files ({first} ...)",
            f"{folder} 缺少 {files.expected} 个权重文件中的 {count} 个（{first} ...）",
        )
        yield Remark(ERROR, "weights", message, download_again())
    for name, defect in files.broken.items():
        message = text(
            f"{folder}/{name} is incomplete or broken: {defect}",
            f"{folder}/{name} 不完整或已损坏：{defect}",
        )
        yield Remark(ERROR, "weights", message, download_again())
    if files.absent_tensors:
        message = text(
            f"{folder}: the index lists {len(files.absent_tensors)} weights that no file contains "
            f"({files.absent_tensors[0]} ...)",
            f"{folder}：索引中的 {len(files.absent_tensors)} 个权重不在任何文件中"
            f"（{files.absent_tensors[0]} ...）",
        )
        yield Remark(ERROR, "weights", message, download_again())
    if files.repeated_tensors:
        message = text(
            f"{folder}: two files contain {files.repeated_tensors[0]}",
            f"{folder}：有两个文件含 {files.repeated_tensors[0]}",
        )
        yield Remark(ERROR, "weights", message, download_again())
    if files.has_two_versions:
        yield _two_versions(folder)
    if not files.expected:
        yield _no_weights(folder, files.pickles)
    elif files.unlisted:
        yield _without_index(folder, files.unlisted[0])


def _two_versions(folder: Path) -> Remark:
    message = text(
        f"{folder} has {weights.SINGLE_FILE}, which is loaded alone, and an index of other files",
        f"{folder} 中既有会单独加载的 {weights.SINGLE_FILE}，又有指向其他文件的索引",
    )
    hint = text(
        f"delete {weights.SINGLE_FILE}, or {weights.INDEX} with its files",
        f"请删除 {weights.SINGLE_FILE}，或删除 {weights.INDEX} 及其文件",
    )
    return Remark(ERROR, "weights", message, hint)


def _without_index(folder: Path, name: str) -> Remark:
    message = text(
        f"{folder} has neither {weights.SINGLE_FILE} nor {weights.INDEX}, so {name} is not loaded",
        f"{folder} 中没有 {weights.SINGLE_FILE} 或 {weights.INDEX}，不会加载 {name}",
    )
    hint = text(
        f"add {weights.INDEX} from the original model, or rename a single file to "
        f"{weights.SINGLE_FILE}",
        f"请从原模型补上 {weights.INDEX}；若只有一个文件，请改名为 {weights.SINGLE_FILE}",
    )
    return Remark(ERROR, "weights", message, hint)


def _no_weights(folder: Path, pickles: list[str]) -> Remark:
    hint = text("give the folder that contains the weights", "请给出含权重文件的目录")
    if pickles:
        hint = text(
            "pickled .bin weights can run code and are not loaded; convert them to safetensors",
            ".bin 权重可能执行代码，不会加载；请转换为 safetensors",
        )
    message = text(f"{folder} has no safetensors weights", f"{folder} 中没有 safetensors 权重")
    return Remark(ERROR, "weights", message, hint)


def unreadable(path: Path, error: object, about: str) -> Remark:
    """Report a file of metadata that cannot be read."""
    return Remark(
        ERROR,
        about,
        text(f"{path} cannot be read ({error})", f"{path} 无法读取（{error}）"),
        original_file(),
    )


def download_again() -> str:
    """Return the hint for an incomplete download."""
    return text("download the model again", "请重新下载模型")


def original_file() -> str:
    """Return the hint for a file that is not what the model was published with."""
    return text(
        "restore the file from the original model, or download the model again",
        "请恢复其原模型中的该文件，或重新下载模型",
    )
