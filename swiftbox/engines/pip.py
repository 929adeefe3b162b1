"""Run pip inside an engine's environment: few lines of progress, the last words when it fails."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from swiftbox.engines.guarded import Guarded
from swiftbox.engines.marker import python_in
from swiftbox.errors import MachineError
from swiftbox.language import text

Say = Callable[[str], None]

QUIET_S = 15.0
"""After so long without a line something is said, so that nobody thinks that it hangs."""

LARGE = re.compile(r"Downloading (\S+) \((\d+(?:\.\d+)? [MG]B)\)")
LAST_WORDS = 8

ELSEWHERE = ("PIP_TARGET", "PIP_PREFIX", "PIP_ROOT", "PIP_USER", "PIP_REQUIRE_HASHES")
"""Settings that would put packages elsewhere than into the environment."""


class _Told:
    """What pip says, condensed: its many lines become few."""

    def __init__(self, say: Say) -> None:
        self.say = say
        self.began = self.spoke = time.monotonic()
        self.seen: set[str] = set()
        self.doing = text("resolving", "解析依赖")

    def line(self, line: str) -> None:
        said = line.strip()
        if match := re.match(r"Collecting ([\w.-]+)", said):
            self.seen.add(match.group(1).lower())
        elif match := LARGE.match(said):
            name = match.group(1).split("-")[0]
            self.tell(text(f"downloading {name}", f"下载 {name}") + f" ({match.group(2)})")
        elif match := re.match(r"Building wheel for ([\w.-]+) .*started", said):
            self.tell(text(f"building {match.group(1)}", f"编译 {match.group(1)}"))
        elif said.startswith("Installing collected packages:"):
            count = said.count(",") + 1
            self.tell(text(f"unpacking {count} packages", f"解包 {count} 个包"))

    def tell(self, doing: str) -> None:
        self.doing = doing
        self.spoke = time.monotonic()
        self.say(f"  {doing}")

    def heartbeat(self) -> bool:
        """Say that it goes on when nothing was said for a while; never ask to end."""
        now = time.monotonic()
        if now - self.spoke >= QUIET_S:
            self.spoke = now
            gone = f"{now - self.began:.0f} s"
            self.say(
                "  "
                + text(
                    f"{self.doing} ... {gone}, {len(self.seen)} packages so far",
                    f"{self.doing}……已 {gone}，已见 {len(self.seen)} 个包",
                )
            )
        return False


def pip_install(
    folder: Path, words: Sequence[str], say: Say, *, temporary: Path, index: str | None = None
) -> None:
    """Run `pip install WORDS`; raise MachineError with pip's last words when it fails.

    `index` replaces pip's own; it goes by the environment, since it may hold a password.
    """
    env = {name: value for name, value in os.environ.items() if name not in ELSEWHERE}
    # Beside the target: /tmp may be small, and pip unpacks gigabytes there.
    env |= {"PIP_USER": "0", "PIP_NO_INPUT": "1", "TMPDIR": str(temporary)}
    env |= {"PIP_INDEX_URL": index} if index else {}
    told = _Told(say)

    def hear(is_output: bool, line: str) -> None:
        if is_output:
            told.line(line)
        if line.strip() and not line.startswith("WARNING"):
            running.last.append(line)

    given = ("-m", "pip", "install", "--disable-pip-version-check", "--progress-bar", "off")
    # Not compiled: a tool compiles what it imports, which is a part of what it brings.
    running = Guarded(python_in(folder), (*given, "--no-compile", *words), env, hear)
    code = running.run(told.heartbeat)
    if code == 0:
        return
    last = "\n".join(list(running.last)[-LAST_WORDS:])
    raise MachineError(
        text(
            f"pip could not install {' '.join(words)}\n{last}",
            f"pip 无法安装 {' '.join(words)}\n{last}",
        ),
        hint=text(
            "look at pip's last lines (network, mirror, free disk), then run the same command "
            "again: it continues from here",
            "请看 pip 的最后几行（网络、镜像、磁盘空间），再运行同一条命令：会从这里继续",
        ),
    )
