"""Whether the stored tensors are exactly those of the class that loads them, by headers alone.

A child process loads the model without its weights, which takes seconds; its answer is kept by the
contents of config.json and of the headers. It is asked only about names that look foreign.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from swiftbox.architectures.choice import LANGUAGE_MODEL, ClassPurpose, ModelClass, find_class
from swiftbox.formatting import counted
from swiftbox.language import text
from swiftbox.models.inspection import Inspection
from swiftbox.models.requirements import ERROR, Remark
from swiftbox.models.weight_names import looks_foreign
from swiftbox.models.weight_remarks import original_file
from swiftbox.runs.asked_child import ChildQuestion

LOAD = "swiftbox.core.weights.trial_load"
"""The module that loads it."""

Report = Mapping[str, list[str]]
"""Names of weights: missing, unexpected, reshaped."""


def placement_remarks(
    inspection: Inspection, purpose: ClassPurpose = LANGUAGE_MODEL
) -> Iterator[Remark]:
    """Yield what the stored tensors lack or have beyond the class that loads them.

    Models that run their own code, and quantized ones, are looked at when they are loaded.
    """
    config, tensors = inspection.config, inspection.weights.tensors
    choice = find_class(config, purpose)
    if not isinstance(choice, ModelClass) or not choice.name or "quantization_config" in config:
        return
    if not inspection.weights.is_complete:
        return
    report = _report(
        inspection, score=purpose.score, ask=looks_foreign(config, tensors, choice.name)
    )
    for kind, names in (report or {}).items():
        if names:
            message = _message(kind, names, choice)
            yield Remark(ERROR, "weights", f"{inspection.folder}: {message}", original_file())


def _message(kind: str, names: list[str], choice: Any) -> str:
    count, first = len(names), names[0]
    if kind == "incomplete":
        return text(
            f"the files lack parts of weights that {choice.name} combines, as those of experts",
            f"文件缺少 {choice.name} 加载时所合并权重的一部分，例如专家的权重",
        )
    if kind == "missing":
        return text(
            f"the files lack {counted(count, 'weight')} of {choice.name} ({first} ...), which "
            "would start at random values",
            f"文件缺少 {choice.name} 的 {count} 个权重（{first} ...），它们会从随机值开始",
        )
    if kind == "reshaped":
        return text(
            f"the shapes of {counted(count, 'weight')} are not those of {choice.name} by "
            f"config.json ({first} ...)",
            f"{count} 个权重的形状与 config.json 所定的 {choice.name} 不符（{first} ...）",
        )
    return text(
        f"the files hold {counted(count, 'weight')} that {choice.name} does not have ({first} ...)",
        f"文件中有 {count} 个权重不属于 {choice.name}（{first} ...）",
    )


def _report(inspection: Inspection, *, score: bool, ask: bool) -> Report | None:
    """Return what a loading reports: the recorded answer, or that of a child if it may be asked."""
    arguments = [str(inspection.folder.resolve()), *(["score"] if score else [])]
    depends_on = [score, inspection.config, inspection.weights.tensors]
    return ChildQuestion(LOAD, arguments, "placements", depends_on).answer(ask=ask)
