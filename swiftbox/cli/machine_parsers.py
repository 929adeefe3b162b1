"""The arguments of `engines`, `doctor`, `demo` and `guide`."""

from __future__ import annotations

from swiftbox.cli.arguments import Verbs, add_flag, add_json, add_verb
from swiftbox.language import text


def add_engines(verbs: Verbs) -> None:
    """Add `engines`."""
    engines = add_verb(
        verbs,
        "engines",
        text("tools in isolated environments", "独立环境中的工具（引擎）"),
        example="swiftbox engines install gptq --yes",
        module="cli.engines",
    )
    actions = engines.add_subparsers(
        dest="action", metavar=text("ACTION", "操作"), title=text("actions", "操作")
    )
    listing = actions.add_parser("list", help=text("engines and their state", "引擎及其状态"))
    add_json(listing, errors=True)
    for name, about in (
        ("install", text("install, or resume an installation", "安装，或继续未完成的安装")),
        ("remove", text("delete an engine", "删除引擎")),
        ("test", text("verify files and versions, then use it", "校验文件与版本，并试用")),
    ):
        verb = actions.add_parser(name, help=about, description=about)
        verb.add_argument(
            "name",
            metavar="NAME",
            nargs="?" if name == "test" else None,
            help=text("engine", "引擎名称")
            if name != "test"
            else text("engine; default: all installed", "引擎名称；默认为全部已安装的"),
        )
        if name != "test":
            add_flag(verb, ["--yes"], text("do not ask", "不再询问"))
        add_json(verb, errors=True)


def add_doctor(verbs: Verbs) -> None:
    """Add `doctor`."""
    verb = add_verb(
        verbs,
        "doctor",
        text("show what this machine has and lacks", "检查本机环境"),
        example="swiftbox doctor",
        module="cli.machine",
    )
    add_json(verb)


def add_demo(verbs: Verbs) -> None:
    """Add `demo`."""
    verb = add_verb(
        verbs,
        "demo",
        text(
            "make, train and try a small model, without GPU or network",
            "离线制作、训练并试用一个小模型，无需 GPU",
        ),
        example="swiftbox demo --name Ada",
        module="cli.machine",
    )
    verb.add_argument("--name", help=text("what the model calls itself", "模型的自称"))
    verb.add_argument(
        "--folder",
        default="swiftbox-demo",
        help=text("where to work; default: swiftbox-demo", "工作目录；默认为 swiftbox-demo"),
    )


def add_guide(verbs: Verbs) -> None:
    """Add `guide`."""
    verb = add_verb(
        verbs,
        "guide",
        text("read the user guide", "阅读使用指南"),
        example="swiftbox guide quantize",
        module="cli.guide",
    )
    verb.add_argument(
        "topic",
        metavar="TOPIC",
        nargs="?",
        help=text("page to show; default: list them", "要看的主题；留空则列出全部"),
    )
