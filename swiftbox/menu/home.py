"""The home screen, painted before anything heavy is imported; then the menu takes its place."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

from swiftbox import __version__
from swiftbox.language import text

TASKS = ("train", "download", "merge", "quantize", "evaluate", "deploy", "chat", "pipeline")
RUNS, DEMO, DOCTOR, LANGUAGE, QUIT = ("runs", "demo", "doctor", "language", "quit")


def entries() -> list[tuple[str, str]]:
    """Return what the home screen offers: key and title, tasks in the order of the story."""
    titles = (
        text("Train a model", "训练模型"),
        text("Download models and datasets", "下载模型与数据集"),
        text("Merge an adapter into its base", "将适配器合并进基座"),
        text("Quantize: make a model smaller", "量化：缩小模型"),
        text("Evaluate: base against tuned", "评测：微调前后对比"),
        text("Deploy: serve a model", "部署：提供模型服务"),
        text("Chat with a model", "与模型对话"),
        text("The whole chain, one after the other", "全流程：依次完成以上各步"),
    )
    return [
        *zip(TASKS, titles, strict=True),
        (RUNS, text("My runs", "我的运行")),
        (DEMO, text("Demo: make and train a small model here", "演示：在本机制作并训练一个小模型")),
        (DOCTOR, text("Doctor: what this machine has and lacks", "诊断：检查本机环境")),
        (LANGUAGE, "Language / 语言"),
        (QUIT, text("Quit", "退出")),
    ]


def banner() -> list[str]:
    """Return the lines above the menu."""
    about = text(
        "train large models; every choice is a YAML that runs again",
        "训练大模型；每次选择都写成可重复运行的 YAML",
    )
    return [f"swiftbox {__version__}  {about}", ""]


def question() -> str:
    """Return the home screen's question."""
    return text("What next?", "要做什么？")


def keys() -> str:
    """Return how a list is used."""
    return text("(arrows, Enter; Ctrl-C: back)", "（方向键选择，回车确认，Ctrl-C 返回）")


def main() -> int:
    """Open the menu; without a terminal say what to run instead."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        sys.stderr.write(
            text(
                "the menu needs a terminal; without one: swiftbox run FILE (see swiftbox --help)",
                "菜单需要终端；没有终端时请用：swiftbox run FILE（见 swiftbox --help）",
            )
            + "\n"
        )
        return 2
    with keys_kept():
        painted = paint()
        from swiftbox.menu.loop import run
    sys.stdout.write(f"\x1b[{painted}A\r\x1b[J")
    sys.stdout.flush()
    return run()


def paint() -> int:
    """Write the home screen as the menu will draw it; return how many lines it took."""
    marked = [f" » {entries()[0][1]}", *(f"   {title}" for _, title in entries()[1:])]
    lines = [*banner(), f"? {question()} {keys()}", *marked]
    sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.flush()
    return len(lines)


@contextlib.contextmanager
def keys_kept() -> Iterator[None]:
    """Keep keys typed before the menu listens from being shown; they still reach it."""
    if os.name != "posix" or not sys.stdin.isatty():
        yield
        return
    import termios

    try:
        before = termios.tcgetattr(sys.stdin)
    except termios.error:
        yield
        return
    silent = list(before)
    silent[3] &= ~(termios.ECHO | termios.ICANON)
    termios.tcsetattr(sys.stdin, termios.TCSANOW, silent)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSANOW, before)
