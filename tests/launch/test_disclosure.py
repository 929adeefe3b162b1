"""What a YAML executes, sends and writes is said before a start, and asked once."""

from __future__ import annotations

import io
import json
import os
import sys
import termios
from collections.abc import Callable
from pathlib import Path

import pytest
from model_folder import write_model

from swiftbox.cli.agreement import show
from swiftbox.cli.main import main
from swiftbox.errors import ConfigError
from swiftbox.launch.disclosure import Disclosure, refuse, require_agreement
from swiftbox.launch.prepare import Prepared, agreed, prepare
from swiftbox.launch.record import record
from swiftbox.tasks import TASKS
from swiftbox.tasks.effects import Effect, Effects
from swiftbox.tasks.load import load, loads


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: a model with code, a file of rewards, rows, and YAMLs that use them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "cache"))
    model = write_model(tmp_path / "model")
    (model / "modeling_own.py").write_text("open('RAN', 'w')\n", "utf-8")
    (tmp_path / "rewards.py").write_text(
        "open('RAN', 'w')\ndef good(completions, **columns):\n    return [1.0]\n", "utf-8"
    )
    (tmp_path / "rows.jsonl").write_text('{"prompt": "a"}\n', "utf-8")
    (tmp_path / "grpo.yaml").write_text(
        "stage: grpo\nmodel: model\ndataset: rows.jsonl\nnum_generations: 2\n"
        "reward_funcs: [length, 'rewards.py:good']\ntrust_remote_code: true\n"
        "gradient_accumulation_steps: 2\n",
        "utf-8",
    )
    return tmp_path


def make_endless(file: Path) -> None:
    """Make a file that takes no room on the disk, and that nobody reads to its end."""
    with file.open("wb") as content:
        content.truncate(2**40)


def block(yaml: str) -> list[str]:
    """Return the lines of the block for a YAML text."""
    config = loads(yaml, source="a.yaml").config
    return TASKS[config.task].effects(config).lines()


EVALUATE = """task: evaluate
endpoint: https://example.org/v1
api_key_env: HF_TOKEN
judge_endpoint: http://127.0.0.1:9/v1
judge_model: j
judge_key_env: MY_KEY
benchmarks: [sample_ceval]
"""


def test_the_block_of_a_training_names_the_code(workplace: Path) -> None:
    assert prepare(workplace / "grpo.yaml").disclosure.lines() == [
        "runs this code with your rights:",
        f"  trust_remote_code: the Python files of {workplace}/model (modeling_own.py)",
        f"  reward_funcs: {workplace}/rewards.py, function good",
    ]


def test_the_block_of_an_evaluation_names_secrets_and_servers() -> None:
    lines = block(EVALUATE)
    assert lines[0] == "sends:"
    assert (
        "  api_key_env: $HF_TOKEN to https://example.org (endpoint: answers the questions)" in lines
    )
    assert (
        "  judge_key_env: $MY_KEY to http://127.0.0.1:9 (judge_endpoint: judges the answers)"
        in lines
    )
    assert "  endpoint: requests to https://example.org" in lines


def test_the_block_in_chinese(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWIFTBOX_LANG", "zh")
    yaml = "task: pipeline\noutput_dir: /elsewworkplace\nsteps:\n- name: get\n  task: download\n"
    yaml += "  model: o/n\n  endpoint: https://mirror.example\n- name: fit\n"
    yaml += (
        "  task: train\n  model: ${get.model}\n  dataset: rows.jsonl\n  trust_remote_code: true\n"
    )
    assert block(yaml) == [
        "以你的权限执行这些代码：",
        "  fit.trust_remote_code：${get.model} 中的 Python 文件",
        "发送：",
        "  get.endpoint：请求发往 https://mirror.example",
        "写入：",
        "  output_dir：/elsewworkplace",
        f"  get.hub：{workplace}/cache（下载）",
    ]


def test_code_that_another_repository_holds_is_named(workplace: Path) -> None:
    config = workplace / "model" / "config.json"
    config.write_text(
        json.dumps(
            {**json.loads(config.read_text("utf-8")), "auto_map": {"AutoModel": "a/b--m.M"}}
        ),
        "utf-8",
    )
    lines = block(f"task: merge\nadapter: ./x\nmodel: {workplace}/model\ntrust_remote_code: true\n")
    assert any(line.endswith("and those of a/b on the hub") for line in lines)


def test_a_model_without_code_executes_nothing(workplace: Path) -> None:
    (workplace / "model" / "modeling_own.py").unlink()
    assert block(f"model: {workplace}/model\ndataset: rows.jsonl\ntrust_remote_code: true\n") == []


def test_every_task_declares_its_effects() -> None:
    for task in TASKS.values():
        assert callable(task.effects), task.name


def test_check_says_what_runs_and_that_run_asks(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", "grpo.yaml"]) == 0
    shown = capsys.readouterr()
    assert "runs this code with your rights:" in shown.out
    assert f"  reward_funcs: {workplace}/rewards.py, function good" in shown.out
    assert "without a terminal it needs --yes" in shown.err
    assert main(["check", "grpo.yaml", "--json"]) == 0
    effects = json.loads(capsys.readouterr().out)["effects"]
    assert effects["asks"]
    assert len(effects["runs"]) == 2
    assert not (workplace / "RAN").exists()


def test_without_a_terminal_code_of_a_yaml_is_refused(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "grpo.yaml"]) == 2
    refused = capsys.readouterr().err
    assert "not started: nobody has agreed to this:" in refused
    assert "hint: if you trust it, add --yes" in refused
    assert not (workplace / "RAN").exists()
    assert not (workplace / "runs").exists()


def test_what_the_user_typed_is_not_asked(workplace: Path) -> None:
    with pytest.raises(ConfigError, match="reward_funcs"):
        record(prepare(workplace / "grpo.yaml", ["trust_remote_code=true"]))
    typed = ["trust_remote_code=true", "reward_funcs=rewards.py:good"]
    assert not prepare(workplace / "grpo.yaml", typed).disclosure.needs_agreement
    assert record(prepare(workplace / "grpo.yaml", typed)).folder.is_dir()


def test_an_agreement_holds_until_the_code_changes(workplace: Path) -> None:
    def asks() -> bool:
        return prepare(workplace / "grpo.yaml").disclosure.needs_agreement

    assert asks()
    agreed(prepare(workplace / "grpo.yaml"), lambda _: True)
    assert not asks()
    assert record(prepare(workplace / "grpo.yaml")).folder.is_dir()
    code = workplace / "rewards.py"
    before = code.read_text("utf-8")
    code.write_text(before + "open('OTHER', 'w')\n", "utf-8")
    assert asks()
    code.write_text(before, "utf-8")
    assert not asks()
    (workplace / "model" / "more.py").touch()
    assert asks()


@pytest.mark.parametrize("kind", ["device", "pipe", "folder", "endless"])
def test_code_in_a_device_or_an_endless_file_does_not_stop_a_check(
    workplace: Path, kind: str
) -> None:
    code = workplace / "model" / "more.py"
    if kind == "device":
        code.symlink_to("/dev/zero")
    elif kind == "pipe":
        os.mkfifo(code)
    elif kind == "folder":
        code.mkdir()
    else:
        make_endless(code)
    loaded = load(workplace / "grpo.yaml")
    disclosure = Disclosure(TASKS["train"].effects(loaded.config))
    assert disclosure.needs_agreement
    disclosure.remember()
    assert not disclosure.needs_agreement


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (os.mkfifo, "is not a regular file"),
        (Path.mkdir, "it is a folder"),
        (lambda path: path.unlink(missing_ok=True), "does not exist"),
        (make_endless, "it is larger than"),
    ],
    ids=["pipe", "folder", "missing", "endless"],
)
def test_rewards_that_cannot_be_read_are_refused(
    workplace: Path, make: Callable[[Path], object], reason: str
) -> None:
    (workplace / "rewards.py").unlink()
    make(workplace / "rewards.py")
    with pytest.raises(ConfigError, match=reason):
        prepare(workplace / "grpo.yaml")


@pytest.mark.parametrize(("revision", "lasts"), [("main", False), ("", False), ("a" * 40, True)])
def test_an_agreement_to_code_on_a_hub_lasts_only_for_a_commit(revision: str, lasts: bool) -> None:
    yaml = "task: merge\nmodel: owner/name\nadapter: o/a\ntrust_remote_code: true\n"
    yaml += f"revision: {revision}\n" if revision else ""
    loaded = loads(yaml, source="a.yaml")
    disclosure = Disclosure(TASKS["merge"].effects(loaded.config))
    assert disclosure.needs_agreement
    disclosure.remember()
    assert disclosure.needs_agreement is not lasts


def test_a_refusal_is_not_remembered(workplace: Path) -> None:
    prepared = prepare(workplace / "grpo.yaml")
    with pytest.raises(ConfigError):
        agreed(prepared, refuse)
    assert prepared.disclosure.needs_agreement


class Terminal(io.StringIO):
    """A terminal at which these lines are typed."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("typed", "code"), [("\n", 2), ("", 2), ("n\n", 2), ("y\n", 0), ("是\n", 0)]
)
def test_a_terminal_is_asked_and_enter_means_no(
    workplace: Path, typed: str, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal(typed))
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setattr("swiftbox.cli.run.run_recorded", lambda *_: 0)
    assert main(["run", "grpo.yaml"]) == code
    assert "Start it? [y/N] " in screen.getvalue()
    assert ("not started: you did not agree" in screen.getvalue()) == (code == 2)
    assert "--yes" not in screen.getvalue()  # the user was asked and has answered
    assert (workplace / "runs").exists() == (code == 0)


def test_yes_agrees_and_the_block_is_shown(
    workplace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("swiftbox.cli.run.run_recorded", lambda *_: 0)
    assert main(["run", "grpo.yaml", "--yes"]) == 0
    assert "runs this code with your rights:" in capsys.readouterr().err
    assert main(["run", "grpo.yaml"]) == 0  # agreed to already
    assert not (workplace / "RAN").exists()


@pytest.mark.parametrize(
    ("settings", "is_asked"),
    [
        ("endpoint: http://127.0.0.1:9/v1\napi_key_env: MY_MODEL_KEY\n", False),
        ("endpoint: http://127.0.0.1:9/v1\napi_key_env: HF_TOKEN\n", True),
        ("endpoint: https://example.org/v1\napi_key_env: GITHUB_TOKEN\n", True),
        ("endpoint: https://example.org/v1\napi_key_env: OPENAI_API_KEY\n", False),
        ("endpoint: http://example.org/v1\napi_key_env: OPENAI_API_KEY\n", True),
        ("endpoint: https://example.org/v1\n", False),
    ],
)
def test_a_token_made_for_another_service_is_asked_for(settings: str, is_asked: bool) -> None:
    loaded = loads(f"task: chat\nprompt: hi\n{settings}", source="a.yaml")
    effects = TASKS["chat"].effects(loaded.config)
    assert Disclosure(effects).needs_agreement == is_asked
    typed = frozenset({"endpoint", "api_key_env"})
    assert not Disclosure(effects, typed).needs_agreement
    if is_asked:
        with pytest.raises(ConfigError, match="api_key_env"):
            require_agreement(Disclosure(effects, frozenset({"api_key_env"})), refuse)


def test_a_key_that_the_user_sends_to_a_server_is_still_asked_for_at_another() -> None:
    yaml = "task: evaluate\njudge_endpoint: https://evil.example\njudge_model: j\n"
    yaml += "judge_key_env: HF_TOKEN\nbenchmarks: [sample_ceval]\n"
    typed = ["endpoint=https://mine.example/v1", "api_key_env=HF_TOKEN"]
    loaded = loads(yaml, source="a.yaml", overrides=typed)
    questions = Disclosure(TASKS["evaluate"].effects(loaded.config), loaded.typed).questions
    assert [effect.keys for effect in questions] == [("judge_key_env", "judge_endpoint")]


def test_a_start_is_agreed_even_if_the_home_cannot_be_written(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workplace / "file").touch()
    monkeypatch.setenv("SWIFTBOX_HOME", str(workplace / "file"))
    prepared: Prepared = agreed(prepare(workplace / "grpo.yaml"), lambda _: True)
    assert prepared.disclosure.needs_agreement  # it is not remembered
    assert record(prepared).folder.is_dir()


def test_a_long_name_cannot_pose_as_a_line_of_the_block(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "a" + " " * 60 + "sends: nothing"
    effects = Effects(runs=(Effect(("reward_funcs",), name, True, "run"),))
    reading, writing = os.openpty()
    try:
        termios.tcsetwinsize(writing, (20, 40))
        with open(writing, "w", encoding="utf-8", closefd=False) as screen:
            monkeypatch.setattr(sys, "stderr", screen)
            show(Disclosure(effects))
            screen.flush()
        shown = b""
        while b"nothing" not in shown:
            shown += os.read(reading, 4096)
    finally:
        os.close(reading)
        os.close(writing)
    assert shown.decode().splitlines() == [
        "runs this code with your rights:",
        "  reward_funcs: a",
        "      sends: nothing",
    ]
