"""The verbs and their arguments; light, so that `--help` and a typo are answered at once."""

from __future__ import annotations

from swiftbox.cli.arguments import Parser
from swiftbox.cli.machine_parsers import add_demo, add_doctor, add_engines, add_guide
from swiftbox.cli.model_parsers import add_convert, add_datasets, add_download, add_models
from swiftbox.cli.run_parsers import add_chat, add_runs
from swiftbox.cli.yaml_parsers import add_check, add_import, add_new, add_run, add_schema
from swiftbox.language import text

ADD_VERBS = (
    add_run,
    add_check,
    add_new,
    add_import,
    add_schema,
    add_download,
    add_models,
    add_datasets,
    add_convert,
    add_runs,
    add_engines,
    add_chat,
    add_doctor,
    add_demo,
    add_guide,
)
"""In the order of `swiftbox --help`."""


def parser() -> Parser:
    """Return the parser of the whole command line."""
    from swiftbox import __version__

    top = Parser(
        prog="swiftbox",
        description=text(
            "Train large models from a menu, or from the YAML that the menu writes. "
            "Without a verb: the menu.",
            "通过菜单训练大模型，或直接运行菜单写出的 YAML。不带子命令时打开菜单。",
        ),
    )
    top.add_argument(
        "--version",
        action="version",
        version=f"swiftbox {__version__}",
        help=text("show the version", "显示版本号"),
    )
    verbs = top.add_subparsers(
        dest="verb", metavar=text("VERB", "子命令"), required=True, title=text("verbs", "子命令")
    )
    for add in ADD_VERBS:
        add(verbs)
    return top
