"""What every task may look at before anything starts: the model's folder, and paths."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from swiftbox.errors import ConfigError
from swiftbox.language import text
from swiftbox.models.inspection import Inspection, inspect
from swiftbox.models.location import locate
from swiftbox.models.requirements import ERROR, NOTE, Finding, of_name

OnRemark = Callable[[Finding], None]


class NamesModel(Protocol):
    """A config that says where a model comes from."""

    @property
    def hub(self) -> str:
        """Return the hub that an id is fetched from."""

    @property
    def trust_remote_code(self) -> bool:
        """Tell whether the model's own code may run."""


def ignored(_finding: Finding) -> None:
    """Do nothing with a remark."""


def absolute(name: str) -> str:
    """Return an existing path, or that in front of #n, as absolute; anything else as it is."""
    path, mark, count = name.rpartition("#")
    for head, tail in ((name, ""), (path, mark + count)):
        if head and Path(head).expanduser().exists():
            return str(Path(head).expanduser().resolve()) + tail
    return name


def inspected(name: str, config: NamesModel, on_remark: OnRemark) -> Inspection | None:
    """Look at the model's folder, or at its row in the catalogue while it is on the hub.

    What an earlier step of a pipeline makes is looked at when it is there.
    """
    folder = locate(name, key="model", hub=config.hub)
    if folder is None:
        found = of_name(name, trust_remote_code=config.trust_remote_code)
        report("model", found, on_remark)
        return None
    if (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file():
        raise ConfigError(
            text(f"model: {name} is an adapter", f"model：{name} 是适配器"),
            hint=text(
                f"give it as adapter={name}; its base is the model",
                f"请以 adapter={name} 给出；model 为其基座",
            ),
        )
    return inspect(folder)


def sound(config: NamesModel, seen: Inspection, on_remark: OnRemark) -> None:
    """Raise ConfigError for what keeps the model from being loaded; remark on the rest."""
    found = [one for one in seen.findings if one.about not in ("template", "code")]
    code = seen.about("code")
    if code is not None and not config.trust_remote_code:
        refused = code.level != NOTE
        found.append(replace(code, level=ERROR if refused else NOTE, hint=code.hint * refused))
    report("model", found, on_remark)


def report(key: str, findings: Iterable[Finding], on_remark: OnRemark) -> None:
    """Raise the errors as one; hand the others on."""
    found = list(findings)
    for one in found:
        if one.level != ERROR:
            on_remark(one)
    errors = [one for one in found if one.level == ERROR]
    if errors:
        raise ConfigError(
            "\n".join(text(f"{key}: {one.message}", f"{key}：{one.message}") for one in errors),
            hint="\n".join(dict.fromkeys(one.hint for one in errors if one.hint)),
        )
