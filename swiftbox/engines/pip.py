"""Run pip in an engine's environment: brief progress, and pip's last lines if it fails."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from swiftbox.engines.process_group import ProcessGroup
from swiftbox.engines.state import interpreter_path
from swiftbox.errors import MachineError
from swiftbox.formatting import counted, duration, size
from swiftbox.language import text
from swiftbox.security.children import child_environment
from swiftbox.security.secrets import PROXY_VARIABLES

Say = Callable[[str], None]

QUIET_S = 15.0
"""After so long without a line a heartbeat is shown, so that nobody thinks that it hangs."""

LARGE = re.compile(r"Downloading (\S+) \((\d+(?:\.\d+)?) ([MG])B\)")
PIP_UNITS = {"M": 1e6, "G": 1e9}
"""pip counts in decimal units."""

LAST_LINES = 8

OTHER_BYTES = "DO NOT MATCH THE HASHES"
"""What pip writes if a file has not the sha256 that was required."""

OTHER_TARGETS = ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_USER", "PIP_REQUIRE_HASHES")
"""Settings that would install packages outside the environment."""


class PipProgress:
    """Pip's many lines, condensed to a few."""

    def __init__(self, say: Say) -> None:
        self.say = say
        self.started = self.last_shown = time.monotonic()
        self.packages: set[str] = set()
        self.activity = text("resolving", "解析依赖")

    def read(self, line: str) -> None:
        """Show what a line of pip's output means, if it is worth showing."""
        stripped = line.strip()
        if match := re.match(r"Collecting ([\w.-]+)", stripped):
            self.packages.add(match.group(1).lower())
        elif match := LARGE.match(stripped):
            name = match.group(1).split("-")[0]
            download = size(float(match.group(2)) * PIP_UNITS[match.group(3)])
            self.show(text(f"downloading {name} ({download})", f"下载 {name}（{download}）"))
        elif match := re.match(r"Building wheel for ([\w.-]+) .*started", stripped):
            self.show(text(f"building {match.group(1)}", f"编译 {match.group(1)}"))
        elif stripped.startswith("Installing collected packages:"):
            count = stripped.count(",") + 1
            self.show(text(f"unpacking {counted(count, 'package')}", f"解包 {count} 个包"))

    def show(self, activity: str) -> None:
        """Show what pip does now."""
        self.activity = activity
        self.last_shown = time.monotonic()
        self.say(f"  {activity}")

    def heartbeat(self) -> bool:
        """Show that pip still works after a quiet time; never ask to end it."""
        now = time.monotonic()
        if now - self.last_shown >= QUIET_S:
            self.last_shown = now
            elapsed = duration(now - self.started)
            packages = counted(len(self.packages), "package")
            self.say(
                "  "
                + text(
                    f"{self.activity} ... {elapsed}, {packages} so far",
                    f"{self.activity}……已用 {elapsed}，已见 {len(self.packages)} 个包",
                )
            )
        return False


def index_secrets() -> list[str]:
    """Return the variables with which pip signs in at an index and at proxies."""
    return [name for name in os.environ if name.startswith("PIP_") or name in PROXY_VARIABLES]


def pip_install(
    folder: Path,
    arguments: Sequence[str],
    say: Say,
    *,
    temporary: Path,
    variables: Mapping[str, str] | None = None,
) -> None:
    """Run `pip install ARGUMENTS`; raise MachineError with pip's last lines if it fails.

    `variables` are added to pip's environment, such as another index, which may hold a password.
    """
    env = child_environment(keep=index_secrets())
    for name in OTHER_TARGETS:
        env.pop(name, None)
    # Beside the target: /tmp may be small, and pip unpacks gigabytes there.
    env |= {"PIP_USER": "0", "PIP_NO_INPUT": "1", "TMPDIR": str(temporary)}
    env |= variables or {}
    progress = PipProgress(say)

    def on_line(is_output: bool, line: str) -> None:
        if is_output:
            progress.read(line)
        if line.strip() and not line.startswith("WARNING"):
            process.last_lines.append(line)

    options = ("-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "off")
    # Not compiled: a tool compiles what it imports, which is a small part of what it installs.
    command = (*options, "--no-compile", *arguments)
    process = ProcessGroup(interpreter_path(folder), command, env, on_line)
    if process.run(progress.heartbeat) == 0:
        return
    raise _failure(arguments, list(process.last_lines))


def _failure(arguments: Sequence[str], lines: Sequence[str]) -> MachineError:
    """Return the error of a pip that failed, with its last lines."""
    if any(OTHER_BYTES in line for line in lines):
        return _other_bytes(lines)
    last_lines = "\n".join(lines[-LAST_LINES:])
    return MachineError(
        text(
            f"pip could not install {' '.join(arguments)}\n{last_lines}",
            f"pip 无法安装 {' '.join(arguments)}\n{last_lines}",
        ),
        hint=text(
            "read pip's last lines (network, mirror, free disk), then run the same command "
            "again: it continues from here",
            "请看 pip 的最后几行（网络、镜像、磁盘空间），再运行同一条命令：会从这里继续",
        ),
    )


def _other_bytes(lines: Sequence[str]) -> MachineError:
    """Return the error for a file whose bytes are not those of the release."""
    details = [line.strip() for line in lines if re.search(r"==|\.whl|\.tar|sha256|Got", line)]
    listed = "\n".join(f"  {line}" for line in details)
    return MachineError(
        text(
            f"the package index delivered a file that is not the published one:\n{listed}",
            f"软件包索引提供的文件与发布的不一致：\n{listed}",
        ),
        hint=text(
            "nothing of it was installed; use another index (PIP_INDEX_URL), clear pip's cache "
            "(pip cache purge), and report it to the operator of this one",
            "未安装该文件；请更换索引（PIP_INDEX_URL）、清空 pip 缓存（pip cache purge），"
            "并告知该索引的维护者",
        ),
    )
