"""Checks that tasks share before a run starts: the model's folder, and paths."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from swiftbox.architectures.choice import ClassPurpose
from swiftbox.config.groups import DatasetSource
from swiftbox.config.task import TaskConfig
from swiftbox.errors import ConfigError
from swiftbox.language import text
from swiftbox.models.inspection import Inspection, inspect
from swiftbox.models.location import locate_recorded
from swiftbox.models.requirements import ERROR, NOTE, Remark, catalogue_remarks
from swiftbox.models.templates import require_bounded_templates
from swiftbox.models.text_models import require_writes_text
from swiftbox.models.trial_loading import inseparable_experts, placement_remarks

OnRemark = Callable[[Remark], None]


class NamesModel(Protocol):
    """A config that names a model and where it comes from."""

    @property
    def hub(self) -> str:
        """Return the hub that an id is fetched from."""

    @property
    def trust_remote_code(self) -> bool:
        """Tell whether the model's own code may run."""


def ignored(_finding: Remark) -> None:
    """Ignore a remark."""


def absolute(name: str) -> str:
    """Make an existing path absolute, also in front of `#n`; return anything else unchanged."""
    path, mark, count = name.rpartition("#")
    for head, tail in ((name, ""), (path, mark + count)):
        if head and Path(head).expanduser().exists():
            return str(Path(head).expanduser().resolve()) + tail
    return name


def absolute_sources(named: str | list[str | DatasetSource]) -> str | list[str | DatasetSource]:
    """Make the existing paths of datasets absolute."""
    if isinstance(named, str):
        return absolute(named)
    return [
        absolute(source)
        if isinstance(source, str)
        else source.model_copy(update={"path": absolute(source.path)})
        for source in named
    ]


def absolute_function(name: str) -> str:
    """Make the path in `my_rewards.py:name` absolute; return a built-in name unchanged."""
    path, mark, function = name.rpartition(":")
    return f"{absolute(path)}{mark}{function}" if mark else name


def output_location(config: TaskConfig) -> Path:
    """Return the run folder, or for `auto` a folder on the same disk; it need not exist."""
    return Path.cwd() if config.output_dir == "auto" else Path(config.output_dir).expanduser()


def holds_adapter(folder: Path) -> bool:
    """Tell whether a folder holds an adapter in place of a complete model."""
    return (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file()


def inspect_model(
    name: str,
    config: NamesModel,
    on_remark: OnRemark,
    *,
    uses_template: bool = True,
    head: str | None = "language",
) -> Inspection | None:
    """Inspect the model's folder, or check its row in the catalogue if it is not here.

    A model that an earlier step of a pipeline makes is inspected once it exists. `head` is
    that of the class that loads it, language or score; None for another program's class. Raises
    ConfigError for a chat template that cannot be used, or must not be rendered at all.
    """
    folder = locate_recorded(name, key="model", hub=config.hub)
    if folder is None:
        findings = catalogue_remarks(name, trust_remote_code=config.trust_remote_code, head=head)
        report("model", findings, on_remark)
        return None
    if holds_adapter(folder):
        raise ConfigError(
            text(f"model: {name} is an adapter", f"model：{name} 是适配器"),
            hint=text(
                f"give it as adapter={name}; its base is the model",
                f"请以 adapter={name} 给出；model 为其基座",
            ),
        )
    if head != "score":
        require_writes_text(folder, "model")
    require_bounded_templates(folder, used=uses_template)
    return inspect(folder, head=head)


def require_loadable(
    config: NamesModel,
    inspection: Inspection,
    on_remark: OnRemark,
    *,
    head: str | None = "language",
    key: str = "model",
) -> None:
    """Raise ConfigError for findings that prevent loading the model; remark on the others.

    `head` is that of the class that loads it; None for another program's class.
    """
    findings = [row for row in inspection.remarks if row.topic not in ("template", "code")]
    code = inspection.remark_on("code")
    if code is not None and not config.trust_remote_code:
        refused = code.level != NOTE
        findings.append(replace(code, level=ERROR if refused else NOTE, hint=code.hint * refused))
    if not any(finding.level == ERROR for finding in findings):
        purpose = ClassPurpose(score=head == "score", trusted=config.trust_remote_code)
        findings += placement_remarks(inspection, purpose)
        if head is not None and (name := inseparable_experts(inspection)):
            findings.append(_inseparable(inspection, name))
    report(key, findings, on_remark)


def _inseparable(inspection: Inspection, name: str) -> Remark:
    message = text(
        f"{inspection.folder}: its experts are quantized one by one ({name} ...), and "
        f"transformers' class of {inspection.config.get('model_type')} has them in one tensor",
        f"{inspection.folder}：其专家逐个量化（{name} ...），而 transformers 中 "
        f"{inspection.config.get('model_type')} 的类将它们合为一个张量",
    )
    hint = text(
        "serve it with engine: vllm on a GPU that vLLM supports, or use the unquantized model",
        "请在 vLLM 支持的 GPU 上以 engine: vllm 部署，或使用未量化的模型",
    )
    return Remark(ERROR, "weights", message, hint)


def report(key: str, findings: Iterable[Remark], on_remark: OnRemark) -> None:
    """Raise the errors among the findings as one; pass on the others."""
    errors: list[Remark] = []
    for finding in findings:
        if finding.level == ERROR:
            errors.append(finding)
        else:
            on_remark(finding)
    if errors:
        raise ConfigError(
            "\n".join(
                text(f"{key}: {error.message}", f"{key}：{error.message}") for error in errors
            ),
            hint="\n".join(dict.fromkeys(error.hint for error in errors if error.hint)),
        )
