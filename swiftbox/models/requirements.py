"""What loading a model takes, held against what is installed: versions, packages, its own code."""

from __future__ import annotations

import functools
import importlib.util
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from swiftbox.devices.packages import version_of
from swiftbox.language import text
from swiftbox.models.catalogue import Model, model

PACKAGE = re.compile(r"([\w.-]+)(?:\[[\w,.-]*\])?\s*((?:[<>=!~].*)?)")
"""A package with its bounds; packaging's own reader of them takes longer to load than to read."""

ERROR, WARNING, NOTE = "error", "warning", "note"


@dataclass(frozen=True)
class Remark:
    """One thing worth saying: how bad (error, warning, note), about what, what, and what to do."""

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
        said = f"{self.message}; {self.hint}" if self.hint else self.message
        return text(f"{level}: {said}", f"{level}：{said}")


@functools.cache
def known_types() -> frozenset[str] | None:
    """Return the model types of the installed transformers, read from its table, not imported."""
    spec = importlib.util.find_spec("transformers")
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "models" / "auto"
    found: set[str] = set()
    for name in ("auto_mappings.py", "configuration_auto.py"):
        table = folder / name
        source = table.read_text(encoding="utf-8") if table.is_file() else ""
        found.update(re.findall(r'"([\w.-]+)"(?:,|:)\s+"\w+Config"', source))
    return frozenset(found) or None


def installed_version(package: str) -> str | None:
    """Return the installed version of a package; None when it is not there."""
    return version_of(package)


def requirement_remarks(row: Model) -> Iterator[Remark]:
    """Hold what the catalogue knows a model needs against what is installed."""
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    here = installed_version("transformers")
    spec = SpecifierSet(row.transformers_spec or "")
    if here is not None and not spec.contains(here, prereleases=True):
        upper = SpecifierSet(row.max_transformers or "")
        only_upper = not upper.contains(here, prereleases=True)
        yield _outside(row, here, native_above=row.native == "yes" and only_upper)
    for said in row.extra_requires:
        named = PACKAGE.fullmatch(said)
        if named is None:
            continue
        try:
            bounds = SpecifierSet(named[2])
        except InvalidSpecifier:
            continue
        version = installed_version(named[1])
        if version is None or not bounds.contains(version, prereleases=True):
            yield missing_package(said)


def _outside(row: Model, here: str, *, native_above: bool) -> Remark:
    """Word a bound that is not met; a newer transformers with a class of its own is fine."""
    spec = row.transformers_spec
    said = text(
        f"{row.name} is published for transformers {spec}; {here} is installed",
        f"{row.name} 针对 transformers {spec} 发布；当前安装 {here}",
    )
    if native_above:
        hint = text(
            "transformers has a class of its own for it by now, which is used",
            "当前 transformers 已内置该模型，将使用内置实现",
        )
        return Remark(NOTE, "version", said, hint)
    hint = text("loading it may fail", "加载可能失败")
    return Remark(WARNING, "version", said, hint)


def missing_package(package: str) -> Remark:
    """Say that a package is not installed, or not in the version wanted."""
    said = text(f"needs {package}, which is not installed", f"需要 {package}，尚未安装")
    return Remark(WARNING, "package", said, f"pip install '{package}'")


def catalogue_remarks(name: str, *, trust_remote_code: bool) -> tuple[Remark, ...]:
    """Return what the catalogue alone says of a model that is still on the hub."""
    row = model(name)
    if row is None:
        return ()
    found = list(requirement_remarks(row))
    if row.native == "remote-code" and not trust_remote_code:
        found.append(remote_code(ERROR, name, ""))
    return tuple(found)


def remote_code(level: str, where: object, files: str) -> Remark:
    """Say that a repository brings Python code, named where the files are known."""
    named = f" ({files})" if files else ""
    said = text(
        f"{where} comes with Python code of its own{named}", f"{where} 自带 Python 代码{named}"
    )
    hint = text(
        "trust_remote_code: true runs it; only for a source you trust",
        "trust_remote_code: true 会执行它；仅用于可信来源",
    )
    return Remark(level, "code", said, hint)
