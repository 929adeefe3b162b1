"""The home screen: its entries, and the first paint before anything heavy is imported."""

from __future__ import annotations

from swiftbox import __version__
from swiftbox.formatting import width, wrap
from swiftbox.language import text
from swiftbox.menu.terminal import columns, print_line, screen_lines

TASKS = (
    *("train", "download", "merge", "mix", "extract", "quantize"),
    *("evaluate", "deploy", "chat", "pipeline"),
)
RUNS, DEMO, DOCTOR, LANGUAGE, QUIT = ("runs", "demo", "doctor", "language", "quit")


def entries() -> list[tuple[str, str]]:
    """Return the entries: key and title, the tasks in the order of a project."""
    titles = (
        text("Train a model", "训练模型"),
        text("Download models and datasets", "下载模型与数据集"),
        text("Merge an adapter into its base", "将适配器合并进基座"),
        text("Mix adapters or models into one", "将多个适配器或模型混合为一个"),
        text("Extract an adapter from a full model", "从全参数微调模型提取适配器"),
        text("Quantize: make a model smaller", "量化：缩小模型"),
        text("Evaluate: base against tuned", "评测：微调前后对比"),
        text("Deploy: serve a model", "部署：提供模型服务"),
        text("Chat with a model", "与模型对话"),
        text("Pipeline: all steps, one after the other", "全流程：依次完成以上各步"),
    )
    return [
        *zip(TASKS, titles, strict=True),
        (RUNS, text("My runs", "我的运行")),
        (DEMO, text("Demo: make and train a small model here", "演示：在本机制作并训练一个小模型")),
        (DOCTOR, text("Doctor: check this machine", "诊断：检查本机环境")),
        (LANGUAGE, "Language / 语言"),
        (QUIT, text("Quit", "退出")),
    ]


def banner() -> list[str]:
    """Return the lines above the menu."""
    about = text(
        "train large models; every choice is a YAML that runs again",
        "训练大模型；每次选择都写成可重复运行的 YAML",
    )
    return [*wrap(f"swiftbox {__version__}  {about}", columns()), ""]


def question() -> str:
    """Return the question of the home screen."""
    return text("What next?", "要做什么？")


def list_keys(question: str) -> str:
    """Return the keys of a list; shorter if they do not fit on the line of the question."""
    hints = (
        text("(arrows, Enter; Ctrl-C: back)", "（方向键选择，回车确认，Ctrl-C 返回）"),
        text("(Ctrl-C: back)", "（Ctrl-C 返回）"),
    )
    fitting = (hint for hint in hints if width(f"? {question} {hint}") <= columns())
    return next(fitting, " ")


def paint() -> int:
    """Write the home screen as the menu will draw it; return the number of lines it takes."""
    (_, first), *others = entries()
    choices = [f" » {first}", *(f"   {title}" for _, title in others)]
    lines = [*banner(), f"? {question()} {list_keys(question())}", *choices]
    print_line("\n".join(lines))
    return sum(map(screen_lines, lines))
