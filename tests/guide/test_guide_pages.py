"""The guide: complete in both languages, true to the code, rendered or plain."""

from __future__ import annotations

import os
import pty
import re
import shlex
import subprocess
import sys

import pytest
from box import COMMAND, HANG_S
from documents import DOCUMENTS, README, ROOT, blocks, commands, inline_commands

from swiftbox.cli.main import main, parse
from swiftbox.config.presets import presets
from swiftbox.guide.pages import FOLDER, TOPICS, path_of

CHINESE = re.compile(r"[\u4e00-\u9fff]")


def test_every_page_is_a_topic_and_exists_in_both_languages() -> None:
    for language in ("en", "zh"):
        assert {path.stem for path in (FOLDER / language).glob("*.md")} == set(TOPICS)


@pytest.mark.parametrize("topic", TOPICS)
def test_both_languages_hold_the_same_code_and_structure(topic: str) -> None:
    english, chinese = DOCUMENTS[f"en/{topic}"], DOCUMENTS[f"zh/{topic}"]
    assert commands(chinese) == commands(english)
    for language in ("python", "json"):
        assert blocks(chinese, language) == blocks(english, language)
    assert headings(chinese) == headings(english)
    assert chinese.count("\n| ") == english.count("\n| ")
    assert CHINESE.search(chinese.splitlines()[0])
    assert not CHINESE.search(english.replace("你好", ""))


def headings(page: str) -> list[int]:
    """Return the level of every heading outside code."""
    text = re.sub(r"```.*?```", "", page, flags=re.DOTALL)
    return [len(marks) for marks in re.findall(r"^(#+) ", text, re.MULTILINE)]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_link_leads_to_a_file(name: str) -> None:
    folder = ROOT if name == "README" else FOLDER / name.partition("/")[0]
    for target in re.findall(r"\]\(([^)#]+)\)", DOCUMENTS[name]):
        assert (folder / target).is_file(), target


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_command_in_the_text_is_one_of_the_command_line(name: str) -> None:
    for command in inline_commands(DOCUMENTS[name]):
        arguments = shlex.split(command)[1:]
        if "--help" in arguments or not arguments:
            continue
        parse(["runs", "list"] if arguments == ["runs"] else completed(arguments))


def completed(arguments: list[str]) -> list[str]:
    """Add what a verb that is only named in the text would need."""
    required = {"download": "o/n", "import": "a.yaml", "check": "a.yaml", "run": "a.yaml"}
    return (
        [*arguments, required[arguments[0]]]
        if len(arguments) == 1 and arguments[0] in required
        else arguments
    )


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_preset_that_is_named_exists(name: str) -> None:
    known = set(presets())
    for command in [*commands(DOCUMENTS[name]), *inline_commands(DOCUMENTS[name])]:
        if match := re.match(r"swiftbox (?:new|run configs/)\s*([a-z-]+)", command):
            assert match[1] in known | {"a"}, command


def test_the_topics_are_listed_with_their_titles(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["guide"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(TOPICS)
    assert "quantize         Quantizing a model" in lines
    monkeypatch.setenv("SWIFTBOX_LANG", "zh")
    assert main(["guide"]) == 0
    assert "quantize         量化模型" in capsys.readouterr().out


def test_a_wrong_topic_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["guide", "quantise"]) == 2
    assert "hint: did you mean quantize?" in capsys.readouterr().err
    assert main(["guide", "zzz"]) == 2
    assert "`swiftbox guide` lists the topics" in capsys.readouterr().err


def test_a_piped_page_is_plain_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["guide", "quantize"]) == 0
    page = capsys.readouterr().out
    assert page.splitlines()[0] == "Quantizing a model"
    assert "    swiftbox run configs/quantize.yaml adapter=runs/my-lora" in page.splitlines()
    for mark in ("\x1b", "```", "`", "](", "<!--"):
        assert mark not in page


def test_a_terminal_gets_the_page_rendered() -> None:
    reader, writer = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "SWIFTBOX_LANG": "en"}
    environment.pop("NO_COLOR", None)
    process = subprocess.Popen([*COMMAND, "guide", "python"], stdout=writer, env=environment)
    os.close(writer)
    page = b""
    try:
        while part := os.read(reader, 4096):
            page += part
    except OSError:  # Linux says so at the end of a terminal
        pass
    os.close(reader)
    assert process.wait(HANG_S) == 0
    assert b"\x1b[" in page
    assert b"```" not in page


def test_the_guide_loads_nothing_heavy() -> None:
    code = (
        "import sys, contextlib, io\n"
        "from swiftbox.cli.main import main\n"
        "with contextlib.redirect_stdout(io.StringIO()): main(['guide', 'train'])\n"
        "print([m for m in ('torch', 'pydantic', 'yaml', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_generated_files_are_up_to_date() -> None:
    subprocess.run([sys.executable, str(ROOT / "scripts" / "reference"), "--check"], check=True)


def test_the_reference_holds_every_key_of_every_task() -> None:
    from swiftbox.tasks import TASKS

    for file in ("README.md", "README.zh.md"):
        content = (ROOT / "configs" / file).read_text("utf-8")
        for task in TASKS.values():
            for config in task.config_classes.values():
                for key in config.model_fields:
                    assert f"| `{key}` |" in content, key


def test_no_placeholder_is_left() -> None:
    for name, document in DOCUMENTS.items():
        assert not re.findall(r"@[A-Z]+@|TODO|FIXME", document), name


def test_every_topic_is_linked_from_the_readme() -> None:
    for topic in TOPICS:
        if topic not in ("openai",):  # linked from deploy
            assert path_of(topic, "en").relative_to(ROOT).as_posix() in README, topic
