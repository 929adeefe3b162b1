"""Errors of libraries that read a model's files, reported as what they are: a broken folder."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from safetensors import SafetensorError

from swiftbox.errors import ConfigError
from swiftbox.files import explain_refused_paths
from swiftbox.language import text

READING_ERRORS = (
    SafetensorError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    AssertionError,
    ZeroDivisionError,
    RecursionError,
)
"""What transformers, tokenizers and safetensors raise for files that contradict each other."""

MISMATCH = "ignore_mismatched_sizes"
"""Part of transformers' RuntimeError for weights of other shapes than its model's."""

CONVERSION = "automatic conversion of the weights"
"""Part of its RuntimeError for weights, such as those of experts, that lack some of their parts."""

CONTRADICTIONS = (CONVERSION, "not implemented for 'Byte'")
"""Parts of its RuntimeErrors for weights that lack some of their tensors."""


@contextlib.contextmanager
def explain_broken_files(folder: Path, *, key: str = "model") -> Iterator[None]:
    """Raise ConfigError for files of a folder that cannot be loaded, and for unreadable ones.

    What is missing on the machine (a package, memory, room on the disk) keeps its own error.
    """
    with explain_refused_paths():
        try:
            yield
        except READING_ERRORS as error:
            raise _broken(folder, key, f"{type(error).__name__}: {error}") from error
        except RuntimeError as error:
            if any(part in str(error) for part in CONTRADICTIONS):
                raise _broken(folder, key, _incomplete()) from error
            if MISMATCH not in str(error):
                raise
            reason = text(
                "the weights have other shapes than config.json states; the log lists them",
                "权重的形状与 config.json 不符；日志中列出了它们",
            )
            raise _broken(folder, key, reason) from error
        except Exception as error:
            if type(error) is not Exception:  # the class that tokenizers raises
                raise
            raise _broken(folder, key, str(error)) from error


def _incomplete() -> str:
    return text(
        "some of its quantized or combined weights are incomplete; the log lists them",
        "部分量化或合并存放的权重不完整；日志中列出了它们",
    )


def _broken(folder: Path, key: str, reason: str) -> ConfigError:
    return ConfigError(
        text(f"{key}: {folder} cannot be loaded: {reason}", f"{key}：{folder} 无法加载：{reason}"),
        hint=text(
            "restore the files of the original, or download it again",
            "请恢复其原有文件，或重新下载",
        ),
    )
