"""Whether the stored tensors are exactly those of the class that loads them, by headers alone.

A child process loads the model without its weights: the class, its tied weights and the renamings
are those of transformers, as in a run. That takes seconds, once for each config.json and names and
shapes of tensors; the answer is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from swiftbox.architectures.choice import LANGUAGE_MODEL, ClassPurpose, ModelClass, find_class
from swiftbox.architectures.separate_experts import METHODS, SEPARABLE
from swiftbox.architectures.stored_settings import settings_of
from swiftbox.formatting import counted
from swiftbox.language import text
from swiftbox.models.inspection import Inspection
from swiftbox.models.metadata import shown
from swiftbox.models.requirements import ERROR, NOTE, WARNING, Remark
from swiftbox.models.weight_remarks import original_file
from swiftbox.runs.asked_child import NOT_KEPT, ChildQuestion

LOAD = "swiftbox.core.weights.trial_load"
"""The module that loads it."""

ANSWERS = 5
"""The version of the answers: those of other versions are asked for again."""

Report = Mapping[str, list[str]]
"""Names of weights: missing, unexpected, reshaped, incomplete; or an error: broken, lacking."""

UNCACHED = "uncached"
"""The kinds of caches that the builtin server does not have, in the same report."""

COMBINED = "combined"
"""A packed matrix of one expert where the class has one tensor for a layer, in the same report."""

NO_FAULTS = (UNCACHED, COMBINED)

WITHOUT_EFFECT = ("_name_or_path", "transformers_version", "dtype", "torch_dtype", "use_cache")
"""Keys of config.json that decide neither names nor shapes; each saving changes some of them."""


def placement_remarks(
    inspection: Inspection, purpose: ClassPurpose = LANGUAGE_MODEL
) -> Iterator[Remark]:
    """Yield what the stored tensors lack or have beyond the class that loads them.

    Models that run their own code are looked at when they are loaded.
    """
    choice = _class_on_trial(inspection, purpose)
    if choice is None:
        return
    report = trial_question(inspection, score=purpose.score).answer()
    if not report:
        yield _unanswered(inspection, choice.name)
        return
    quantization = inspection.config.get("quantization_config")
    if quantization and settings_of(quantization) is None:
        yield _compared_by_module(inspection, choice.name)
    for kind, names in report.items():
        if names and kind not in NO_FAULTS:
            message = _message(kind, names, choice.name)
            hint = _install() if kind == NOT_KEPT else original_file()
            yield Remark(ERROR, "weights", f"{inspection.folder}: {message}", hint)


def uncached_by_builtin(inspection: Inspection) -> list[str]:
    """Return the kinds of caches that the builtin server does not have, by the same trial."""
    if _class_on_trial(inspection, LANGUAGE_MODEL) is None:
        return []
    report: Report = trial_question(inspection, score=False).answer() or {}
    return list(report.get(UNCACHED, ()))


def inseparable_experts(inspection: Inspection) -> str:
    """Return a quantized matrix of an expert that has no module in the class; empty if none.

    Other servers than ours have their own classes.
    """
    quantization = inspection.config.get("quantization_config")
    method = quantization.get("quant_method") if isinstance(quantization, dict) else None
    if method not in METHODS or inspection.config.get("model_type") in SEPARABLE:
        return ""
    if _class_on_trial(inspection, LANGUAGE_MODEL) is None:
        return ""
    report: Report = trial_question(inspection, score=False).answer() or {}
    return next(iter(report.get(COMBINED, ())), "")


def _class_on_trial(inspection: Inspection, purpose: ClassPurpose) -> ModelClass | None:
    """Return the class that loads a complete folder, if it is one of transformers'."""
    choice = find_class(inspection.config, purpose)
    if not isinstance(choice, ModelClass) or not choice.name or not inspection.weights.is_complete:
        return None
    return choice


def trial_question(inspection: Inspection, *, score: bool) -> ChildQuestion:
    """Return the question what does not fit when a complete folder is loaded."""
    tensors: Mapping[str, Any] = inspection.weights.tensors
    if not inspection.config.get("quantization_config"):  # else the dtype tells what is packed
        tensors = {name: shape for name, (_dtype, shape) in tensors.items()}
    return ChildQuestion(
        LOAD,
        [str(inspection.folder.resolve()), *(["score"] if score else [])],
        "placements",
        [ANSWERS, score, _deciding(inspection.config), tensors],
        purpose=text(
            "comparing the weights with the class of the model, once for each model",
            "正在比对权重与模型的类（每个模型仅一次）",
        ),
    )


def _deciding(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a config.json says that may decide names and shapes."""
    return {
        key: _deciding(value) if isinstance(value, dict) else value
        for key, value in config.items()
        if key not in WITHOUT_EFFECT
    }


def _unanswered(inspection: Inspection, class_name: str) -> Remark:
    message = text(
        f"{inspection.folder}: the weights were not compared with {class_name}: the trial loading "
        "did not come to an end; the run compares them",
        f"{inspection.folder}：权重未与 {class_name} 比对：试加载未能完成；运行时会比对",
    )
    return Remark(WARNING, "weights", message)


def _install() -> str:
    return text(
        "install the package that the message names into the environment of swiftbox",
        "请把消息中所指的软件包安装到 swiftbox 所在的环境",
    )


def _compared_by_module(inspection: Inspection, class_name: str) -> Remark:
    quantization = inspection.config["quantization_config"]
    method = quantization.get("quant_method", "?") if isinstance(quantization, dict) else "?"
    message = text(
        f"{inspection.folder}: how {shown(method)} stores its weights is not known here: the run "
        f"compares them with {class_name} by module only",
        f"{inspection.folder}：{shown(method)} 存储权重的方式未知：运行时仅按模块与 "
        f"{class_name} 比对",
    )
    return Remark(NOTE, "weights", message)


def _message(kind: str, names: list[str], class_name: str) -> str:
    count, first = len(names), names[0]
    if kind in ("broken", NOT_KEPT):
        return text(f"cannot be loaded: {first}", f"无法加载：{first}")
    if kind == "incomplete":
        return text(
            f"the files lack parts of weights that {class_name} combines, as those of experts",
            f"文件缺少 {class_name} 加载时所合并权重的一部分，例如专家的权重",
        )
    if kind == "missing":
        return text(
            f"the files lack {counted(count, 'weight')} of {class_name} ({first} ...), which "
            "would start at random values",
            f"文件缺少 {class_name} 的 {count} 个权重（{first} ...），它们会从随机值开始",
        )
    if kind == "reshaped":
        return text(
            f"the shapes of {counted(count, 'weight')} are not those of {class_name} by "
            f"config.json ({first} ...)",
            f"{count} 个权重的形状与 config.json 所定的 {class_name} 不符（{first} ...）",
        )
    return text(
        f"the files hold {counted(count, 'weight')} that {class_name} does not have ({first} ...)",
        f"文件中有 {count} 个权重不属于 {class_name}（{first} ...）",
    )
