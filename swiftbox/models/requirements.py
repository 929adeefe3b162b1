"""What loading a model requires, compared with what is installed: versions, packages, code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from swiftbox.architectures.choice import ClassPurpose, NoClass, find_class
from swiftbox.architectures.outside import native_hint
from swiftbox.devices.packages import version_of
from swiftbox.language import text
from swiftbox.models.catalogue import Model, model

PACKAGE = re.compile(r"([\w.-]+)(?:\[[\w,.-]*\])?\s*((?:[<>=!~].*)?)")
"""A package with version bounds; importing packaging's parser takes longer than parsing."""

ERROR, WARNING, NOTE = "error", "warning", "note"


@dataclass(frozen=True)
class Remark:
    """One remark on a model: its level (error, warning, note), topic, message, and what to do."""

    level: str
    topic: str
    message: str
    hint: str = ""

    def to_dict(self) -> dict[str, str]:
        """Return plain data, as JSON takes it."""
        return {
            "level": self.level,
            "about": self.topic,
            "message": self.message,
            "hint": self.hint,
        }

    def __str__(self) -> str:
        levels = {ERROR: text("error", "错误"), WARNING: text("warning", "警告")}
        level = levels.get(self.level, text("note", "提示"))
        message = self.message + (text("; ", "；") + self.hint if self.hint else "")
        return text(f"{level}: {message}", f"{level}：{message}")


def requirement_remarks(row: Model) -> Iterator[Remark]:
    """Compare a model's requirements, from the catalogue, with what is installed."""
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    version = version_of("transformers")
    spec = SpecifierSet(row.transformers_spec or "")
    if version is not None and not spec.contains(version, prereleases=True):
        upper = SpecifierSet(row.max_transformers or "")
        only_upper = not upper.contains(version, prereleases=True)
        yield _outside_bounds(row, version, native_above=row.native == "yes" and only_upper)
    for requirement in row.extra_requires:
        package = PACKAGE.fullmatch(requirement)
        if package is None:
            continue
        try:
            bounds = SpecifierSet(package[2])
        except InvalidSpecifier:
            continue
        package_version = version_of(package[1])
        if package_version is None or not bounds.contains(package_version, prereleases=True):
            yield missing_package(requirement)


def _outside_bounds(row: Model, version: str, *, native_above: bool) -> Remark:
    """Report an unmet bound; a newer transformers with a built-in class is only noted."""
    spec = row.transformers_spec
    message = text(
        f"{row.name} is published for transformers {spec}; {version} is installed",
        f"{row.name} 针对 transformers {spec} 发布；当前安装 {version}",
    )
    if native_above:
        hint = text(
            "transformers now has a built-in class for it, which is used",
            "当前 transformers 已内置该模型，将使用内置实现",
        )
        return Remark(NOTE, "version", message, hint)
    hint = text("loading it may fail", "加载可能失败")
    return Remark(WARNING, "version", message, hint)


def missing_package(package: str) -> Remark:
    """Report a package that is not installed, or not in the required version."""
    message = text(f"needs {package}, which is not installed", f"需要 {package}，尚未安装")
    return Remark(WARNING, "package", message, f"pip install '{package}'")


def catalogue_remarks(
    name: str, *, trust_remote_code: bool, head: str | None = "language"
) -> tuple[Remark, ...]:
    """Return the remarks on a model that is still on the hub, from the catalogue alone.

    `head` is that of the class that loads it; None for another program's class.
    """
    row = model(name)
    if row is None:
        return ()
    remarks = list(requirement_remarks(row))
    if row.native == "remote-code":
        if not trust_remote_code:
            remarks.append(remote_code(ERROR, name, "", native_hint(row.model_type)))
    elif head is not None:
        config = {"model_type": row.model_type, "architectures": [row.architecture or ""]}
        choice = find_class(config, ClassPurpose(score=head == "score"))
        if isinstance(choice, NoClass):
            message = text(f"{name}: {choice.reason}", f"{name}：{choice.reason}")
            remarks.append(Remark(ERROR, "type", message, choice.hint))
    return tuple(remarks)


def remote_code(level: str, where: object, files: str, native: str = "") -> Remark:
    """Report that a repository contains Python code, with its files if they are known.

    `native` says which model to take in its place.
    """
    listed = text(f" ({files})", f"（{files}）") if files else ""
    message = text(f"{where} contains Python code{listed}", f"{where} 自带 Python 代码{listed}")
    hint = text(
        "trust_remote_code: true runs it; set it only for a source that you trust",
        "trust_remote_code: true 会执行它；仅用于可信来源",
    )
    return Remark(level, "code", message, "\n".join(filter(None, (native, hint))))
