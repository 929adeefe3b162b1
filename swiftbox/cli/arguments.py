"""What the parsers share: argparse in both languages, common options and value types.

argparse takes its own words from the catalogues of gettext, which has none for Chinese. The
sentences are therefore translated here: titles when a parser is made, errors when they are raised.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn, TypeAlias

from swiftbox.cli.output import write_answer
from swiftbox.errors import ConfigError
from swiftbox.language import language, text

Verbs: TypeAlias = "argparse._SubParsersAction[Parser]"

ARGPARSE_ERRORS: tuple[tuple[str, str], ...] = (
    (r"the following arguments are required: (.*)", r"缺少参数：\1"),
    (r"unrecognized arguments: (.*)", r"无法识别的参数：\1"),
    (
        r"ambiguous option: (.*) could match (.*)",
        r"选项 \1 不明确，可能是：\2",
    ),
    (r"argument (.*): invalid choice: (.*) \(choose from (.*)\)", r"\1：没有 \2，可选：\3"),
    (r"argument (.*): expected one argument", r"\1：需要一个值"),
    (r"argument (.*): expected at least one argument", r"\1：至少需要一个值"),
    (r"argument (.*): expected \d+ arguments?", r"\1：值的个数不对"),
    (r"argument (.*): not allowed with argument (.*)", r"\1 不能与 \2 同用"),
    (r"argument (.*): ignored explicit argument (.*)", r"\1 不接受值：\2"),
    (r"argument (.*): invalid (?:float|int) value: (.*)", r"\1：不是数字：\2"),
    (r"argument (.*?): (.*)", r"\1：\2"),
)
"""The sentences of argparse (Python 3.11 to 3.13) and their Chinese; the first match counts."""

CHINESE_HEADING = r"(?m)^([\u4e00-\u9fff]+):$"
"""A heading of the help, to which argparse appends a colon; slow to compile."""

TASKS = ("train", "finetune", "pretrain", "merge", "quantize", "evaluate", "deploy", "serve")
"""Words that are tried as verbs; `run` does what they mean."""

CHOICE = re.compile(r"invalid choice: '(.*?)' \(choose from (.*)\)")


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Help whose usage line is in the current language."""

    def add_usage(
        self,
        usage: str | None,
        actions: Iterable[argparse.Action],
        groups: Iterable[Any],
        prefix: str | None = None,
    ) -> None:
        """Start the usage line with the word of the current language."""
        if prefix is None:  # empty when argparse derives the name of a subcommand
            prefix = text("usage: ", "用法：")
        super().add_usage(usage, actions, groups, prefix)


class Parser(argparse.ArgumentParser):
    """An ArgumentParser that speaks both languages and raises ConfigError."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        """Take what ArgumentParser takes."""
        options.setdefault("formatter_class", HelpFormatter)
        super().__init__(*arguments, **{**options, "add_help": False})
        self._positionals.title = text("arguments", "参数")
        self._optionals.title = text("options", "选项")
        self.add_argument("-h", "--help", action="help", help=text("show this help", "显示本帮助"))

    def format_help(self) -> str:
        """Return the help; in Chinese the headings end in a Chinese colon."""
        return re.sub(CHINESE_HEADING, r"\1：", super().format_help())

    def _print_message(self, message: str, _file: Any = None) -> None:
        """Write the help or the version to stdout; a stdout that is full is an error."""
        write_answer(message)

    def error(self, message: str) -> NoReturn:
        """Raise ConfigError with a mistake on the command line, and what was probably meant."""
        raise ConfigError(translated(message), hint=hint_for(message, self.prog))


def translated(message: str) -> str:
    """Return an error of argparse in the current language."""
    if language() != "zh":
        return message
    for pattern, chinese in ARGPARSE_ERRORS:
        if match := re.fullmatch(pattern, message, re.DOTALL):
            return match.expand(chinese)
    return message


def hint_for(message: str, program: str) -> str:
    """Suggest the nearest choice, or the help of the verb."""
    if match := CHOICE.search(message):
        from swiftbox.formatting import did_you_mean, nearest

        choices = [choice.strip(" '") for choice in match[2].split(",")]
        if "run" in choices and match[1].endswith((".yaml", ".yml")):
            return did_you_mean(f"swiftbox run {match[1]}")
        tasks = TASKS if "run" in choices else ()
        if (choice := nearest(match[1], [*choices, *tasks])) in tasks:
            return text(
                "tasks run from a YAML: `swiftbox new` lists presets, `swiftbox run FILE` runs one",
                "任务由 YAML 运行：`swiftbox new` 列出预设，`swiftbox run FILE` 运行它",
            )
        if choice:
            return did_you_mean(choice)
    return text(f"see `{program} --help`", f"参见 `{program} --help`")


# ---- common options


def add_verb(verbs: Verbs, name: str, about: str, *, example: str, module: str) -> Parser:
    """Add a verb: the function of that name in a module, which is imported on use."""
    verb = verbs.add_parser(
        name,
        help=about,
        description=about,
        epilog=text(f"example: {example}", f"示例：{example}"),
    )
    verb.set_defaults(module=f"swiftbox.{module}")
    return verb


def add_flag(verb: argparse.ArgumentParser, names: Sequence[str], about: str) -> None:
    """Add an option that is on or off."""
    verb.add_argument(*names, action="store_true", help=about)


def add_overrides(verb: argparse.ArgumentParser) -> None:
    """Add `key=value` arguments."""
    verb.add_argument(
        "overrides",
        nargs="*",
        default=[],  # without one, argparse reports it as missing together with FILE
        metavar="key=value",
        help=text("change a setting", "修改一项设置"),
    )


def add_json(verb: argparse.ArgumentParser, *, errors: bool = False) -> None:
    """Add `--json`; with `errors`, an error is answered as JSON too."""
    verb.set_defaults(json_errors=errors)
    add_flag(verb, ["--json"], text("write JSON for programs", "输出 JSON，供程序读取"))


def add_run_options(verb: argparse.ArgumentParser) -> None:
    """Add what every verb takes that starts a run."""
    add_detach(verb)
    add_plain(verb)
    add_yes(verb)


def add_yes(verb: argparse.ArgumentParser) -> None:
    """Add `--yes`."""
    add_flag(
        verb,
        ["--yes"],
        text(
            "agree without asking: run the code of the YAML, send its keys, install engines",
            "不再询问，直接同意：执行配置所指的代码、发送其密钥、安装缺少的引擎",
        ),
    )


def add_detach(verb: argparse.ArgumentParser) -> None:
    """Add `--detach`."""
    add_flag(verb, ["-d", "--detach"], text("run in the background", "在后台运行"))


def add_plain(verb: argparse.ArgumentParser) -> None:
    """Add `--plain`."""
    add_flag(
        verb,
        ["--plain"],
        text("print lines instead of the live display", "逐行输出，不用实时界面"),
    )


def add_output_file(verb: argparse.ArgumentParser) -> None:
    """Add `--output` and `--force`."""
    verb.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        type=not_empty,
        help=text("file to write; default: stdout", "写入的文件；默认为标准输出"),
    )
    add_flag(verb, ["--force"], text("overwrite FILE", "覆盖已有文件"))


def add_machine(verb: argparse.ArgumentParser) -> None:
    """Add `--on`."""
    verb.add_argument(
        "--on",
        metavar="BACKEND:GIBxN",
        type=not_empty,
        help=text(
            "plan for another machine, such as cuda:80x8", "按另一台机器计算，例如 cuda:80x8"
        ),
    )


# ---- value types


def not_empty(typed: str) -> str:
    """Read a text that says something."""
    if not typed.strip():
        raise argparse.ArgumentTypeError(text("should not be empty", "不能为空"))
    return typed


def row_count(typed: str) -> int:
    """Read a number of rows."""
    if not typed.isdecimal():
        raise argparse.ArgumentTypeError(text(f"not a row count: {typed}", f"不是行数：{typed}"))
    return int(typed)


def preview_count(typed: str) -> int:
    """Read a number of rows of which there is at least one."""
    if not (count := row_count(typed)):
        raise argparse.ArgumentTypeError(
            text(f"should be at least 1 (got {typed})", f"应至少为 1（当前为 {typed}）")
        )
    return count


def row_place(typed: str) -> tuple[str, int]:
    """Read the place of a row, as errors name it: a file and a line."""
    file, _, line = typed.rpartition(":")
    if not file or not line.isdecimal():
        raise argparse.ArgumentTypeError(
            text(
                f"should be a file and a line, such as chat.jsonl:12 (got {typed})",
                f"应为文件与行号，例如 chat.jsonl:12（当前为 {typed}）",
            )
        )
    return file, int(line)


def billions(typed: str) -> float:
    """Read a size in billions of parameters."""
    try:
        size = float(typed)
    except ValueError:
        size = 0.0
    if not size > 0:  # refuses nan too
        raise argparse.ArgumentTypeError(text(f"not a size: {typed}", f"不是参数量：{typed}"))
    return size
