"""Chat templates are programs of strangers: each is tried once in a child before it is used.

A template may never end, or take all memory, already while it is compiled. The child has limits of
its process; a template that passed is remembered by its digest and not tried again.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from swiftbox.errors import ConfigError, raise_together
from swiftbox.language import home, text
from swiftbox.security.printable import printable

LONGEST_WAIT_S = 60.0
"""The child ends by its processor time; this is for a machine on which it gets none."""

LARGEST_BYTES = 2**20
"""The largest template; real ones have up to 20,000 bytes."""

DANGEROUS = ("slow", "memory", "long")

VERSION = "1"
"""Changes when the trial becomes stricter, so that templates are tried again."""


@dataclass(frozen=True)
class ChatTemplate:
    """A template and the file it comes from."""

    source: str
    file: str


class TemplateTrial:
    """The trial of some templates, in the background until its result is required."""

    def __init__(self, templates: Sequence[ChatTemplate]) -> None:
        self._untried = [template for template in templates if not _passed(template)]
        self._child = _start(self._untried)

    def require_passed(self, *, used: bool = True) -> None:
        """Wait for the trial; raise ConfigError for the templates that must not be used.

        A template that is not used may be wrong, but it may not take all time or memory.
        """
        errors = []
        while self._untried:
            lines = _finish(self._child)
            for template, line in zip(self._untried, lines, strict=False):
                problem = json.loads(line)
                if problem is None:
                    _remember(template)
                elif used or problem[0] in DANGEROUS:
                    errors.append(_refusal(template, *problem))
            if len(lines) < len(self._untried):
                errors.append(_refusal(self._untried[len(lines)], "slow", ""))
            self._untried = self._untried[len(lines) + 1 :]
            self._child = _start(self._untried)
        raise_together(errors)


def require_bounded(templates: Sequence[ChatTemplate], *, used: bool = True) -> None:
    """Try templates and wait; raise ConfigError for those that must not be used."""
    TemplateTrial(templates).require_passed(used=used)


def _start(templates: Sequence[ChatTemplate]) -> subprocess.Popen[bytes] | None:
    if not templates:
        return None
    from swiftbox.security.children import child_environment, module_command

    child = subprocess.Popen(
        module_command("swiftbox.security.template_trial"),
        env=child_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert child.stdin is not None
    sources = json.dumps([template.source for template in templates]).encode()
    with contextlib.suppress(BrokenPipeError), child.stdin as pipe:
        pipe.write(sources)
    return child


def _finish(child: subprocess.Popen[bytes] | None) -> list[bytes]:
    """Return the lines of a child when it has ended; kill it if it does not end."""
    assert child is not None
    assert child.stdout is not None
    child.stdin = None  # it is closed; communicate would flush it
    try:
        return child.communicate(timeout=LONGEST_WAIT_S)[0].splitlines()
    except subprocess.TimeoutExpired:
        child.kill()
        return child.communicate()[0].splitlines()
    finally:
        if child.poll() is None:
            child.kill()
            child.wait()


def _record(template: ChatTemplate) -> Path:
    from hashlib import sha256

    content = f"{VERSION}\n{template.source}".encode("utf-8", "surrogatepass")
    return home() / "templates" / sha256(content).hexdigest()


def _passed(template: ChatTemplate) -> bool:
    return os.path.exists(_record(template))


def _remember(template: ChatTemplate) -> None:
    record = _record(template)
    with contextlib.suppress(OSError):  # then it is tried again
        record.parent.mkdir(parents=True, exist_ok=True)
        record.touch()


def _refusal(template: ChatTemplate, kind: str, detail: str) -> ConfigError:
    reasons = {
        "slow": text("rendering it does not end", "渲染不会结束"),
        "memory": text("rendering it takes all memory", "渲染会耗尽内存"),
        "long": text("it renders millions of characters", "会渲染出数百万字符"),
        "syntax": text("it is not a valid template", "不是有效的模板"),
        "fails": text("it fails on every conversation", "对任何对话都会出错"),
    }
    reason = reasons[kind] + (f": {printable(detail)}" if detail else "")
    file = printable(template.file)
    return ConfigError(
        text(f"chat template {file}: {reason}", f"对话模板 {file}：{reason}"),
        hint=text(
            "use the file of the model's authors, or another template",
            "请使用模型作者发布的文件，或换用其他模板",
        ),
    )
