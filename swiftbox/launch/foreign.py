"""A run folder that this user's swiftbox did not make here, and what a start takes over from it."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

from swiftbox.errors import RunError
from swiftbox.language import text
from swiftbox.runs import folder as run_folder
from swiftbox.runs.plain_files import read_plain
from swiftbox.runs.summary import step_records
from swiftbox.security.origin import is_signed_yaml

PICKLES = ("checkpoint-*/**/.metadata", "checkpoint-*/global_step*", "checkpoint-*/*.distcp")
"""What FSDP and DeepSpeed load without torch's safe unpickler, unlike all other files."""

LISTED = 3


@dataclass(frozen=True)
class ForeignRun:
    """A run folder without a valid signature of this user on this machine."""

    folder: Path
    resumes: bool
    """Whether it is continued; otherwise only its settings are used."""
    results: tuple[str, ...] = ()
    """Recorded results of its steps that lie outside the folder, as `step.output: path`."""
    pickles: tuple[Path, ...] = ()
    """Parts of its checkpoints that run code when they are loaded."""
    subject: str = ""
    """The identity of its records."""

    def lines(self) -> list[str]:
        """Say what it is, and what is taken over from it."""
        taken = text("its settings", "其配置")
        if self.resumes:
            taken = text(
                "its settings, checkpoints and finished steps", "其配置、检查点与已完成的步骤"
            )
        first = text(
            f"{self.folder} was not made by your swiftbox on this machine, or was edited since "
            f"(versions before this one did not sign their runs); used from it: {taken}",
            f"{self.folder} 不是由你的 swiftbox 在本机生成，或之后被改动过"
            f"（早期版本没有为运行签名）；将使用{taken}",
        )
        lines = [first, *(f"  {result}" for result in self.results)]
        if self.pickles:
            listed = ", ".join(str(path) for path in self.pickles[:LISTED])
            lines.append(
                text(
                    "  its checkpoints have pickles, which run code with your rights when they "
                    f"are loaded: {listed}",
                    f"  其检查点含有 pickle，加载时会以你的权限执行代码：{listed}",
                )
            )
        return lines


def foreign_run(folder: Path, *, resumes: bool) -> ForeignRun | None:
    """Return what is not ours in a run folder; None if this user made it on this machine."""
    import hashlib

    settled = read_plain(folder / run_folder.SETTLED)
    is_ours = run_folder.is_ours(folder) if resumes else is_signed_yaml(run_folder.SETTLED, settled)
    if is_ours:
        return None
    digest = hashlib.sha256(settled.encode("utf-8", errors="replace"))
    with contextlib.suppress(OSError, RunError):
        digest.update(read_plain(folder / run_folder.PIPELINE).encode())
    subject = f"run {folder} {resumes} {digest.hexdigest()}"
    if not resumes:
        return ForeignRun(folder, resumes, subject=subject)
    pickles = tuple(
        path for pattern in PICKLES for path in (folder / run_folder.CHECKPOINTS).glob(pattern)
    )
    return ForeignRun(folder, resumes, tuple(_results_outside(folder)), pickles, subject)


def _results_outside(folder: Path) -> list[str]:
    """Return the results that pipeline.json places outside the run folder."""
    lines = []
    for row in step_records(folder):
        outputs = row.get("made")
        for name, place in (outputs if isinstance(outputs, dict) else {}).items():
            path = os.path.realpath(str(place))
            if str(place).startswith("/") and not Path(path).is_relative_to(folder):
                lines.append(f"{row.get('name')}.{name}: {place}")
    return lines
