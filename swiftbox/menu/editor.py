"""A draft in the user's editor: mistakes are shown, and the text is offered again."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

from swiftbox.errors import ConfigError, UserError
from swiftbox.language import text
from swiftbox.menu.draft import Draft, draft_from_file
from swiftbox.menu.questions import select
from swiftbox.menu.terminal import print_error
from swiftbox.security.children import with_safe_paths


def edit(draft: Draft) -> Draft:
    """Open the YAML in $VISUAL or $EDITOR; return the changed draft, or the old one if dropped."""
    editor = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "draft.yaml"
        path.write_text(draft.yaml(), encoding="utf-8")
        while True:
            try:
                subprocess.run([*editor, str(path)], env=with_safe_paths(os.environ), check=False)
            except FileNotFoundError:
                raise _no_editor(editor[0]) from None
            try:
                return replace(_same_task(path, draft), file=None)
            except UserError as error:
                print_error(error)
            choices = [
                (True, text("edit again", "继续编辑")),
                (False, text("drop the changes", "放弃修改")),
            ]
            if not select(text("The YAML has mistakes", "YAML 有误"), choices):
                return draft


def _no_editor(name: str) -> ConfigError:
    return ConfigError(
        text(f"editor {name} not found", f"找不到编辑器 {name}"),
        hint=text("set EDITOR to an installed editor", "请将 EDITOR 设为已安装的编辑器"),
    )


def _same_task(path: Path, draft: Draft) -> Draft:
    """Read an edited draft; raise ConfigError if it has become one of another task."""
    edited = draft_from_file(path, draft.machine)
    if edited.task is draft.task:
        return edited
    raise ConfigError(
        text(
            f"task: {edited.task.name}: this screen is for task: {draft.task.name}",
            f"task: {edited.task.name}：本页面的任务是 task: {draft.task.name}",
        ),
        hint=text("`swiftbox run FILE` runs any task", "`swiftbox run FILE` 可执行任意任务"),
    )
