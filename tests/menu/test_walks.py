"""Walks through the menu by keys: choices become YAML, Ctrl-C goes one step back."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from box import HANG_S
from model_folder import qwen3_tensors, write_model, write_safetensors
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput
from tiny import write_chats
from walking import CLEAR, CTRL_C, DOWN, ENTER, UP, golden, keys, saved

from swiftbox.config.fields import cards
from swiftbox.fit.estimate import estimate
from swiftbox.formatting import width
from swiftbox.launch import prepare as launch
from swiftbox.menu import home, loop
from swiftbox.menu.draft import Draft
from swiftbox.menu.field_question import validation_error
from swiftbox.menu.questions import Back
from swiftbox.menu.review_screen import review
from swiftbox.menu.screens import SCREENS
from swiftbox.methods import METHODS
from swiftbox.tasks.load import load
from swiftbox.tasks.train import TRAIN as TRAINING


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a model and data under short names.

    No estimate is made: with little free memory the review would offer one more action.
    """
    monkeypatch.setattr(launch, "estimate", lambda *_: None)
    model = write_model(tmp_path / "model")
    seven_billion = {**qwen3_tensors(), "mtp.weight": 14_000_000_000}
    write_safetensors(model / "model.safetensors", seven_billion)
    write_chats(tmp_path / "chat.jsonl", 3)
    (tmp_path / "book.txt").write_text("a line\n\nanother\n", "utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


TRAIN, SFT, PT = ENTER, ENTER, DOWN * 3 + ENTER
MODEL, CHATS, BOOK = "./model" + ENTER, "./chat.jsonl" + ENTER, "./book.txt" + ENTER
LORA, FULL = ENTER, DOWN + ENTER
DEFAULTS = ENTER * 5
"""max_length, batch size, accumulation, learning rate, epochs"""
DTYPE = ENTER
RUN, DETACH, MORE, EDIT, SAVE, PREVIEW, LEAVE = (DOWN * n + ENTER for n in range(7))
QUIT = CTRL_C


def test_a_lora_training_is_configured_and_saved(desk: Path) -> None:
    walk = [TRAIN, SFT, MODEL, LORA, CLEAR, "16", ENTER, CHATS, DEFAULTS, DTYPE, SAVE, ENTER]
    with keys(*walk, LEAVE, QUIT, QUIT):
        assert loop.run() == 0
    assert saved(desk / "sft-lora-model.yaml") == golden("sft-lora")
    assert load(desk / "sft-lora-model.yaml").config.lora_rank == 16


def test_a_full_pretraining_is_configured_in_chinese(
    desk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWIFTBOX_LANG", "zh")
    walk = [TRAIN, PT, MODEL, FULL, BOOK, DEFAULTS, DTYPE, SAVE, ENTER, LEAVE, QUIT, QUIT]
    with keys(*walk):
        assert loop.run() == 0
    assert saved(desk / "pt-full-model.yaml") == golden("pt-full")
    assert "# 运行：swiftbox run" in (desk / "pt-full-model.yaml").read_text("utf-8")


def test_another_setting_is_changed_from_the_review(desk: Path) -> None:
    walk = [TRAIN, SFT, MODEL, LORA, ENTER, CHATS, DEFAULTS, DTYPE, MORE]
    change = ["seed", ENTER, CLEAR, "7", ENTER, ENTER]
    with keys(*walk, *change, SAVE, ENTER, LEAVE, QUIT, QUIT):
        loop.run()
    assert load(desk / "sft-lora-model.yaml").config.seed == 7


def test_ctrl_c_goes_one_question_back(desk: Path) -> None:
    walk = [TRAIN, SFT, MODEL, LORA, CTRL_C, FULL]  # from lora_rank back to tuner_type
    with keys(*walk, CHATS, DEFAULTS, DTYPE, SAVE, ENTER, LEAVE, QUIT, QUIT):
        loop.run()
    assert load(desk / "sft-full-model.yaml").config.tuner_type == "full"


@pytest.mark.usefixtures("desk")
def test_ctrl_c_leads_home_and_out_of_the_menu() -> None:
    with keys(TRAIN, SFT, MODEL, *[CTRL_C] * 4):
        assert loop.run() == 0


@pytest.mark.usefixtures("desk")
def test_the_end_of_the_input_leaves_without_a_traceback() -> None:
    with create_pipe_input() as typed, create_app_session(input=typed, output=DummyOutput()):
        typed.close()
        assert loop.run() == 0


def test_an_existing_yaml_is_overwritten_only_with_consent(desk: Path) -> None:
    (desk / "sft-lora-model.yaml").write_text("mine: true\n", "utf-8")
    walk = [TRAIN, SFT, MODEL, LORA, ENTER, CHATS, DEFAULTS, DTYPE, SAVE, ENTER]
    other = [ENTER, CLEAR, "b.yaml", ENTER]  # another name
    with keys(*walk, *other, LEAVE, QUIT, QUIT):
        loop.run()
    assert (desk / "sft-lora-model.yaml").read_text("utf-8") == "mine: true\n"
    assert (desk / "b.yaml").is_file()


def test_the_editor_changes_the_draft(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", "sed -i s/^lora_rank:.*/lora_rank:\\ 4/")
    walk = [TRAIN, SFT, MODEL, LORA, ENTER, CHATS, DEFAULTS, DTYPE, EDIT, SAVE, ENTER]
    with keys(*walk, LEAVE, QUIT, QUIT):
        loop.run()
    assert load(desk / "sft-lora-model.yaml").config.lora_rank == 4


def test_mistakes_made_in_the_editor_are_shown_and_can_be_dropped(
    desk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("VISUAL", raising=False)
    monkeypatch.setenv("EDITOR", "sed -i s/^lora_rank:.*/lora_rank:\\ 0/")
    walk = [TRAIN, SFT, MODEL, LORA, ENTER, CHATS, DEFAULTS, DTYPE, EDIT, DOWN, ENTER]
    with keys(*walk, SAVE, ENTER, LEAVE, QUIT, QUIT):
        loop.run()
    assert "lora_rank: should be at least 1" in capsys.readouterr().out
    assert load(desk / "sft-lora-model.yaml").config.lora_rank == 8


@pytest.mark.usefixtures("desk")
def test_the_review_shows_plan_yaml_and_command(capsys: pytest.CaptureFixture[str]) -> None:
    walk = [TRAIN, SFT, MODEL, LORA, ENTER, CHATS, DEFAULTS, DTYPE, LEAVE, QUIT, QUIT]
    with keys(*walk):
        loop.run()
    shown = capsys.readouterr().out
    assert "padding_free: true  # varlen keeps joined rows apart" in shown
    assert "lora_rank: 8" in shown
    assert "swiftbox new sft-lora -o sft-lora-model.yaml model=./model" in shown
    assert "rows: 3 (3 messages)" in shown


@pytest.mark.slow
def test_one_key_of_the_review_makes_a_training_fit(
    desk: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(launch, "estimate", estimate)
    values = {"model": "Qwen/Qwen2.5-72B-Instruct", "dataset": "o/rows", "tuner_type": "full"}
    with keys(ENTER, SAVE, ENTER, LEAVE), pytest.raises(Back):
        review(Draft(TRAINING.config_classes["sft"], values), SCREENS["train"])
    captured = capsys.readouterr()
    assert "does not fit" in captured.out + captured.err
    (yaml,) = desk.glob("sft-*.yaml")
    config = load(yaml).config
    assert config.model.startswith("Qwen/Qwen2.5-")
    assert config.model != values["model"]


def test_the_preview_shows_three_rows_with_the_learned_tokens(
    tmp_path: Path,
    tiny: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    write_chats(tmp_path / "chat.jsonl", 5)
    walk = [TRAIN, SFT, str(tiny), ENTER, LORA, ENTER, CHATS, DEFAULTS, DTYPE, PREVIEW, ENTER]
    with keys(*walk, LEAVE, QUIT, QUIT):
        loop.run()
    shown = capsys.readouterr().out
    assert "chat.jsonl:3" in shown
    assert "⟦" in shown
    assert "tokens per row: p50" in shown


def test_the_equivalent_command_the_review_makes_the_same_config(
    desk: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    walk = [TRAIN, SFT, MODEL, LORA, ENTER, CHATS, DEFAULTS, DTYPE, SAVE, CLEAR, "menu.yaml", ENTER]
    with keys(*walk, LEAVE, QUIT, QUIT):
        loop.run()
    shown = capsys.readouterr().out
    line = next(line for line in shown.splitlines() if "swiftbox new" in line)
    command = line[line.index("swiftbox new") :].split(" && ")[0]
    program = f"{sys.executable} -m {command}"
    subprocess.run(program, shell=True, check=True, cwd=desk, capture_output=True)
    assert load(desk / "sft-lora-model.yaml").config == load(desk / "menu.yaml").config


@pytest.mark.parametrize(
    ("name", "typed", "message"),
    [
        ("lora_rank", "0", "should be at least 1 (got 0)"),
        ("lora_rank", "x", "should be a whole number (got x)"),
        ("learning_rate", "-1", "should be greater than 0 (got -1)"),
        ("model", "./nowhere", "./nowhere does not exist"),
        ("model", "Qwen/Qwen3-0.6B", ""),
        ("max_steps", "", ""),
        ("learning_rate", "1e-4", ""),
    ],
)
def test_a_typed_value_is_checked_against_its_field(name: str, typed: str, message: str) -> None:
    model = METHODS["sft"].config
    card = next(card for card in cards(model) if card.name == name)
    assert validation_error(model, card, typed) == message


def test_the_language_is_changed_and_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    from swiftbox.language import language, saved_language

    with keys(UP * 2, ENTER, DOWN, ENTER, QUIT):
        loop.run()
    assert saved_language() == "zh"
    monkeypatch.delenv("SWIFTBOX_LANG")
    assert language() == "zh"


def test_without_a_terminal_the_menu_names_the_command_to_run() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "swiftbox"],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 2
    assert "swiftbox run FILE" in done.stderr


def test_the_first_paint_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom swiftbox.menu import home\nhome.paint()\n"
        "heavy = ('questionary', 'prompt_toolkit', 'pydantic', 'yaml', 'rich')\n"
        "sys.stderr.write(str([m for m in heavy if m in sys.modules]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "[]"
    assert "Train a model" in done.stdout


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("columns", [30, 40, 80])
def test_the_first_paint_counts_the_lines_that_a_narrow_terminal_breaks(
    columns: int,
    language: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SWIFTBOX_LANG", language)
    monkeypatch.setenv("COLUMNS", str(columns))
    painted = home.paint()
    lines = capsys.readouterr().out.splitlines()
    assert painted == sum(max(1, -(-width(line) // columns)) for line in lines)
    assert painted >= len(home.entries()) + 3


def test_keys_typed_before_the_menu_listens_reach_it() -> None:
    front, back = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "swiftbox"],
        stdin=back,
        stdout=back,
        stderr=back,
        env={**os.environ, "TERM": "xterm", "NO_COLOR": "1"},
    )
    os.close(back)
    os.write(front, (UP + ENTER).encode())  # from the first entry up to the last: Quit
    try:
        shown = b""
        while chunk := os.read(front, 4096):
            shown += chunk
            if b"\x1b[6n" in chunk:
                os.write(front, b"\x1b[1;1R")  # a terminal answers where its cursor is
    except OSError:
        pass
    finally:
        os.close(front)
    assert process.wait(timeout=HANG_S) == 0
    assert b"Traceback" not in shown


def test_ctrl_c_during_work_is_one_step_back(monkeypatch: pytest.MonkeyPatch) -> None:
    pressed = []

    def interrupted(_probe: object) -> None:
        pressed.append(1)
        raise KeyboardInterrupt

    monkeypatch.setattr(loop, "SCREENS", dict.fromkeys(loop.SCREENS, interrupted))
    with keys(ENTER, CTRL_C):
        assert loop.run() == 0
    assert pressed == [1]
