"""The arguments of runs and chat."""

from __future__ import annotations

from swiftbox.cli.arguments import (
    Parser,
    Verbs,
    add_flag,
    add_json,
    add_overrides,
    add_plain,
    add_run_options,
    add_verb,
    add_yes,
)
from swiftbox.language import text


def add_runs(verbs: Verbs) -> None:
    """Add `runs`."""
    runs = add_verb(
        verbs,
        "runs",
        text("list, follow, stop and resume runs", "列出、跟踪、停止、继续运行"),
        example="swiftbox runs logs last -f",
        module="cli.runs",
    )
    actions = runs.add_subparsers(
        dest="action", metavar=text("ACTION", "操作"), title=text("actions", "操作")
    )
    add_json(actions.add_parser("list", help=text("all runs, newest first", "全部运行，最新在前")))
    show = _run_action(actions, "show", text("details of a run", "一次运行的详情"))
    add_json(show)
    logs = _run_action(actions, "logs", text("output of a run", "一次运行的输出"))
    add_flag(logs, ["-f", "--follow"], text("follow until the run ends", "持续跟踪到结束"))
    add_plain(logs)
    stop = _run_action(actions, "stop", text("save a checkpoint and stop", "保存检查点并停止"))
    stop.add_argument(
        "--wait",
        type=float,
        default=120,
        metavar="S",
        help=text("seconds to wait; default: 120", "等待的秒数；默认 120"),
    )
    for name, about in STARTS:
        verb = _run_action(actions, name, text(*about))
        add_overrides(verb)
        add_run_options(verb)


STARTS = (
    ("resume", ("continue from the last checkpoint", "从最后的检查点继续")),
    ("rerun", ("run settled.yaml again in a new folder", "在新目录中再次运行 settled.yaml")),
    (
        "extend",
        (
            "train longer, such as num_train_epochs=3, from the last checkpoint",
            "从最后的检查点延长训练，例如 num_train_epochs=3",
        ),
    ),
)
"""Actions that start a process: name, and help in both languages."""


def _run_action(actions: Verbs, name: str, about: str) -> Parser:
    verb = actions.add_parser(name, help=about, description=about)
    verb.add_argument(
        "run",
        metavar="RUN",
        nargs="?",
        default="last",
        help=text("name or folder; default: last", "名称或目录；默认为 last（最新）"),
    )
    return verb


def add_chat(verbs: Verbs) -> None:
    """Add `chat`."""
    verb = add_verb(
        verbs,
        "chat",
        text("chat with a run, a model or a server", "与运行、模型或服务对话"),
        example="swiftbox chat runs/my-lora --compare base",
        module="cli.chat",
    )
    verb.add_argument(
        "target",
        nargs="?",
        metavar="TARGET",
        help=text(
            "run, folder, id, URL or YAML; default: the newest run",
            "运行、目录、id、URL 或 YAML；默认为最新的运行",
        ),
    )
    verb.add_argument("--adapter", help=text("adapter on the model", "模型上的适配器"))
    verb.add_argument("--system", metavar="TEXT", help=text("system prompt", "系统提示词"))
    verb.add_argument(
        "--compare",
        metavar="OTHER",
        help=text(
            "second model to answer side by side; `base`: the base model",
            "并排作答的另一模型；`base` 为基座",
        ),
    )
    verb.add_argument(
        "-m",
        "--message",
        metavar="TEXT",
        help=text("ask one question and exit", "只问这一句，答完退出"),
    )
    add_yes(verb)
    verb.set_defaults(overrides=[])
