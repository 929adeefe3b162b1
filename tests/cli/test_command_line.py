"""What the command line answers to a mistake: in both languages, with exit code 2."""

from __future__ import annotations

import io
import json
import re
import sys

import pytest
from prose_laws import CHINESE

from swiftbox.cli import output
from swiftbox.cli.arguments import translated
from swiftbox.cli.main import main
from swiftbox.cli.parser import parser
from swiftbox.errors import ConfigError


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(arguments) == output.WRONG
    answer = capsys.readouterr()
    assert answer.out == ""
    return answer.err


def test_an_error_is_labelled_in_the_language_of_the_user(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refusal(capsys, "schema", "trian") == (
        "error: no task named trian\nhint: tasks: train, download, starter, merge, extract, mix, "
        "quantize, evaluate, deploy, chat, pipeline\n"
    )
    monkeypatch.setenv("SWIFTBOX_LANG", "zh")
    lines = refusal(capsys, "schema", "trian").splitlines()
    assert lines[0] == "错误：没有名为 trian 的任务"
    assert lines[1].startswith("建议：可选：")


FROM_YAML = "tasks run from a YAML: `swiftbox new` lists presets, `swiftbox run FILE` runs one"


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        (["chek", "a.yaml"], "invalid choice", "did you mean check?"),
        (["trian"], "invalid choice", FROM_YAML),
        (["finetnue", "a.yaml"], "invalid choice", FROM_YAML),
        (["a.yaml"], "invalid choice", "did you mean swiftbox run a.yaml?"),
        (["check", "a.yaml", "--foo"], "unrecognized arguments: --foo", "see `swiftbox --help`"),
        (["doctor", "a=b"], "unrecognized arguments: a=b", "see `swiftbox --help`"),
        (["models", "--limit", "x"], "not a row count: x", "see `swiftbox models --help`"),
    ],
)
def test_a_wrong_argument_is_refused_with_a_hint(
    arguments: list[str], error: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = refusal(capsys, *arguments).splitlines()
    assert lines[0].startswith("error: ")
    assert error in lines[0]
    assert lines[-1] == f"hint: {hint}"


def test_only_the_file_is_reported_as_missing(capsys: pytest.CaptureFixture[str]) -> None:
    for verb in ("run", "check"):
        assert refusal(capsys, verb).splitlines() == [
            "error: the following arguments are required: FILE",
            f"hint: see `swiftbox {verb} --help`",
        ]


@pytest.mark.parametrize("encoding", ["gbk", "latin-1", "ascii"])
def test_a_character_that_the_terminal_lacks_is_escaped(
    encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), encoding=encoding))
    monkeypatch.setattr("swiftbox.cli.main.run_verb", lambda _: output.answer("\N{SNOWMAN}") or 0)
    assert main(["doctor"]) == output.DONE
    sys.stdout.seek(0)
    assert sys.stdout.read() == "\\u2603\n"


MISTAKES = (
    ["chek"],
    ["check"],
    ["check", "--json=3", "a.yaml"],
    ["check", "a.yaml", "--on"],
    ["download", "o/n", "--hub", "elsewhere"],
    ["download", "--hub"],
    ["runs", "stop", "--wait", "long"],
    ["runs", "lst"],
    ["models", "--l"],
    ["models", "--limit", "x"],
    ["models", "--max-size", "nan"],
)


@pytest.mark.parametrize("arguments", MISTAKES, ids=" ".join)
def test_argparse_speaks_chinese(arguments: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWIFTBOX_LANG", "zh")
    with pytest.raises(ConfigError) as refused:
        parser().parse_args(arguments)
    for line in (refused.value.message, refused.value.hint):
        assert CHINESE.search(line), line
        assert not re.search(r"argument|choice|invalid|expected|option", line), line


def test_every_line_of_help_is_chinese(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWIFTBOX_LANG", "zh")
    page = parser().format_help()
    assert page.startswith("用法：swiftbox")
    assert "显示本帮助" in page
    for english in ("usage", "options:", "positional", "show this", "examples"):
        assert english not in page


def test_an_unknown_sentence_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWIFTBOX_LANG", "zh")
    assert translated("something new in argparse") == "something new in argparse"


def test_an_error_is_json_where_json_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "nowhere.yaml", "--json"]) == output.WRONG
    answer = json.loads(capsys.readouterr().out)
    assert answer["ok"] is False
    assert "nowhere.yaml" in answer["error"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("variables", "colored"),
    [
        ({"TERM": "xterm"}, True),
        ({"TERM": "dumb"}, False),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False),
    ],
)
def test_no_color_is_obeyed(
    variables: dict[str, str], colored: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    output.report_error(ConfigError("wrong"))
    assert terminal.getvalue() == ("\x1b[31merror:\x1b[0m wrong\n" if colored else "error: wrong\n")
    assert not output.uses_color(io.StringIO())


def test_an_unknown_verb_and_the_headings_of_help_are_chinese(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SWIFTBOX_LANG", "zh")
    error = refusal(capsys, "zzz").splitlines()[0]
    assert error.startswith("错误：子命令：没有 'zzz'，可选：'run', ")
    with pytest.raises(SystemExit):
        main(["runs", "--help"])
    shown = capsys.readouterr().out
    assert "\n选项：\n" in shown
    assert "ACTION" not in shown


def test_the_presets_are_listed_in_the_language_of_the_user(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["new"])
    assert "LoRA fine-tuning on conversations" in capsys.readouterr().out
    monkeypatch.setenv("SWIFTBOX_LANG", "zh")
    main(["new"])
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if not CHINESE.search(line)] == []
