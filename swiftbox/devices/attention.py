"""Which attention a model can be trained with on a machine, and which is chosen; pure."""

from __future__ import annotations

from dataclasses import dataclass

from swiftbox.devices.backends import ATTENTION, BACKENDS
from swiftbox.devices.choices import Choice, as_requested, lacks, require
from swiftbox.devices.machine import Machine
from swiftbox.errors import MachineError
from swiftbox.language import text

VARLEN, FLASH, SDPA, EAGER = "varlen", "flash_attention_2", "sdpa", "eager"

LARGEST_HEAD = 256
"""The widest head that variable-length and flash kernels have; widths are multiples of 8."""


@dataclass(frozen=True)
class AttentionNeeds:
    """What a training needs of its attention; the default is what every kernel has."""

    head_dim: int = 64
    softcap: bool = False
    """The scores are capped, as in Gemma 2."""
    chunked: bool = False
    """Tokens attend within chunks, as in Llama 4."""
    joined: bool = True
    """Rows are joined in lines; False: they are padded, or a tool of others makes the batches."""


def supports(machine: Machine, name: str, dtype: str, needs: AttentionNeeds) -> bool:
    """Tell whether an attention can be used for a model on this machine."""
    if name in ATTENTION and lacks(machine, ATTENTION[name]):
        return False
    package = BACKENDS[machine.backend].cell(ATTENTION[name]).package if name in ATTENTION else ""
    if package and package not in machine.versions:
        return False
    return not _number_type(machine, name, dtype) and not _unfit(machine, name, needs)


def _number_type(machine: Machine, name: str, dtype: str) -> str:
    needs_16_bits = name.startswith("flash") or (name == VARLEN and machine.devices)
    if dtype == "float32" and needs_16_bits:
        return text(
            "requires bfloat16 or float16, not float32",
            "需要 bfloat16 或 float16，而不是 float32",
        )
    return ""


def _unfit(machine: Machine, name: str, needs: AttentionNeeds) -> str:
    """Return what of the model or its batches a kernel does not support; empty if nothing."""
    if name in (EAGER, "flex_attention"):
        return ""
    if needs.softcap and name in (SDPA, VARLEN):
        return text("the model caps its attention scores", "该模型对注意力分数设软上限")
    if name == SDPA:
        return ""
    if needs.chunked:
        return text("the model attends in chunks", "该模型的注意力按块计算")
    if name == VARLEN and not needs.joined:
        return text("it is for joined rows", "它用于拼接的样本")
    wide = needs.head_dim > LARGEST_HEAD or needs.head_dim % 8 != 0
    if wide and machine.devices:
        width = needs.head_dim
        return text(f"no kernel for heads of {width}", f"没有适用于头维度 {width} 的内核")
    return ""


def candidates(machine: Machine, dtype: str, needs: AttentionNeeds) -> tuple[str, ...]:
    """Return the kinds of attention that `auto` may choose here, the fastest first.

    Variable-length attention is torch's own flash kernel, and lets two answers share a prompt.
    Backends that have it only in part keep to what is known to work.
    """
    cell = BACKENDS[machine.backend].cell(ATTENTION[VARLEN])
    order = (VARLEN, FLASH, SDPA, EAGER) if cell.supported == "yes" else (FLASH, SDPA, EAGER)
    return tuple(name for name in order if supports(machine, name, dtype, needs))


def choose_attention(machine: Machine, requested: str, dtype: str, needs: AttentionNeeds) -> Choice:
    """Choose the attention of a training: the first candidate for `auto`.

    Raises MachineError for one that cannot train there, in this data type or with this model.
    """
    if requested == "auto":
        value = candidates(machine, dtype, needs)[0]
        return Choice(value, _reason(machine, value))
    if requested in ATTENTION:
        require(machine, ATTENTION[requested], "attn_implementation", requested)
    if problem := _number_type(machine, requested, dtype):
        other = text("set dtype: bfloat16, or ", "设 dtype: bfloat16，或")
        raise _refused(requested, problem, other)
    if problem := _unfit(machine, requested, needs):
        raise _refused(requested, problem)
    return Choice(requested, as_requested())


def _refused(name: str, problem: str, other: str = "") -> MachineError:
    """Return the error for an attention that the user set; `other` is another way out."""
    colon = text(": ", "：")
    return MachineError(
        f"attn_implementation{colon}{name}{colon}{problem}",
        hint=other + text("set attn_implementation: auto", "设 attn_implementation: auto"),
    )


def _reason(machine: Machine, value: str) -> str:
    if value == VARLEN:
        return text(
            "part of torch; computes nothing between joined rows",
            "torch 自带；不计算拼接样本之间的部分",
        )
    if value == FLASH:
        package = BACKENDS[machine.backend].cell(ATTENTION[FLASH]).package
        return text(f"{package} is installed", f"已安装 {package}")
    if value == SDPA:
        return text("part of torch, exact and always available", "torch 自带，精确且总可用")
    return text("the only one that supports this model", "唯一支持该模型的实现")
