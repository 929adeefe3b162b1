"""The demo: make a small model, teach it its name, compare its answers before and after.

It runs what a user would run: the corpus and the starter model, two YAML files through `swiftbox
run`, and questions to the model with its adapter off and on.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from swiftbox.config.writing import write
from swiftbox.display.live import View
from swiftbox.engines.consent import install_missing, refuse
from swiftbox.errors import RunError
from swiftbox.files import write_atomic, write_json
from swiftbox.formatting import duration
from swiftbox.language import text
from swiftbox.launch import run as launching
from swiftbox.launch.prepare import prepare
from swiftbox.launch.record import record
from swiftbox.runs import events
from swiftbox.runs import folder as run_folder
from swiftbox.runs.endings import INTERRUPTED
from swiftbox.security.children import child_environment, module_command
from swiftbox.security.printable import printable
from swiftbox.starter.chart import chart
from swiftbox.starter.corpus import HELD_OUT_QUESTIONS, check_name, make_corpus
from swiftbox.starter.trainings import DemoTraining, demo_trainings
from swiftbox.tasks.load import loads
from swiftbox.tasks.places import fault_of_place

DEFAULT_NAME = "Swifty"

NAME_QUESTIONS = ("Who are you?", "who are you", "你是谁？")
"""The demo succeeds if the model answers all of these with its name."""

LIBRARY_QUESTIONS = ("What does shutil.copyfile do?", "Explain json.dumps.")

ERROR_CHARACTERS = 3000
"""Lines of a child's stderr shown after an unexpected failure."""

Answer = Mapping[str, str]
"""A question, and the answers before and after LoRA."""


def demo(folder: Path, *, name: str | None = None) -> int:
    """Run the whole demo in a folder; return 0, or 1 if the model does not know its name."""
    began = time.monotonic()
    model_name = check_name(name if name is not None else ask_name())
    folder = folder.expanduser().resolve()
    if fault := fault_of_place(folder):
        raise _unusable(folder, fault)
    _say(_welcome(model_name, folder))
    make_model(folder, model_name)
    pretrained, tuned = (run_training(folder, training) for training in demo_trainings(folder))
    answers = ask_model(folder, pretrained, tuned)
    show_losses(folder, (pretrained, tuned))
    show_answers(answers)
    show_results(folder, time.monotonic() - began)
    return check_answers(answers, model_name)


def _unusable(folder: Path, fault: str) -> RunError:
    return RunError(
        text(f"{folder}: {fault}", f"{folder}：{fault}"),
        hint=text("choose another one with --folder", "请用 --folder 另选目录"),
    )


def _say(line: str) -> None:
    sys.stderr.write(printable(line, lines=True) + "\n")
    sys.stderr.flush()


def _welcome(name: str, folder: Path) -> str:
    return text(
        f"Makes a small model on this machine and trains it to call itself {name}. It needs no "
        f"network and no GPU, and takes about two minutes on 2 cores. With 2.4 million parameters "
        f"it is a toy; the steps are those for a 7B model.\nfolder: {folder}",
        f"将在本机制作并训练一个小模型，让它自称 {name}。无需网络与 GPU，2 核约两分钟。"
        f"它只有 240 万参数，但流程与 7B 模型完全一样。\n目录：{folder}",
    )


def ask_name() -> str:
    """Ask for the model's name at a terminal; without one take the default."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return DEFAULT_NAME
    question = text("What should the model call itself?", "模型叫什么名字？")
    sys.stderr.write(f"{question} [{DEFAULT_NAME}] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip() or DEFAULT_NAME


def make_model(folder: Path, name: str) -> None:
    """Write the data for this name, and make the tokenizer and the random model."""
    _say(text("> reading the standard library's docstrings", "> 读取标准库文档"))
    texts, conversations = (
        sum(1 for _ in file.open(encoding="utf-8")) for file in make_corpus(folder / "data", name)
    )
    _say(
        text(
            f"  {texts} texts, {conversations} conversations",
            f"  {texts} 篇文本，{conversations} 段对话",
        )
    )
    _say(text("> building the tokenizer and a random model", "> 制作分词器与随机初始化的模型"))
    run_module("swiftbox.core.weights.starter_model", folder / "data", folder / "model")


def run_module(module: str, *arguments: Path, stdin: str | None = None) -> None:
    """Run a heavy module in a child process; raise RunError with its stderr if it fails."""
    child = subprocess.run(
        module_command(module, *map(str, arguments)),
        env=child_environment(),
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    if child.returncode:
        message = text(f"{module} failed", f"{module} 失败")
        raise RunError(
            f"{message}:\n{child.stderr[-ERROR_CHARACTERS:]}",
            hint=text(
                "if the last lines name no cause on this machine, report them",
                "若末尾几行没有指出本机的原因，请反馈这些内容",
            ),
        )


def run_training(folder: Path, training: DemoTraining) -> Path:
    """Write the YAML of a training and run it as `swiftbox run` does; return its run folder."""
    path, run = folder / training.file, folder / "runs" / training.name
    set_aside(run)
    settings = [f"{key}={json.dumps(value)}" for key, value in training.settings.items()]
    loaded = loads("", source=training.file, overrides=[*settings, f"output_dir={run}"])
    header = [training.purpose, text(f"Run: swiftbox run {path}", f"运行：swiftbox run {path}")]
    write_atomic(path, write(loaded.config, header=header, keys=loaded.keys))
    _say(f"> swiftbox run {path}")
    prepared = prepare(path)
    install_missing(prepared.engines, refuse)
    ready = record(prepared)
    with View("train") as view:
        code = launching.run(ready, on_event=view.event)
    if code == INTERRUPTED:
        _say(_stopped(run))
        raise KeyboardInterrupt
    if code:
        raise RunError(
            text(f"{training.file} ended with code {code}", f"{training.file} 以代码 {code} 结束"),
            hint=f"swiftbox runs show {run}",
        )
    return run


def _stopped(run: Path) -> str:
    return text(
        "stopped. The next `swiftbox demo` trains again and keeps these files; "
        f"to continue only this training: swiftbox runs resume {run}",
        "已停止。再次运行 `swiftbox demo` 会重新训练，现有内容保留在旁边；"
        f"仅继续该训练：swiftbox runs resume {run}",
    )


def set_aside(run: Path) -> None:
    """Rename an earlier run of the same name to the next free number."""
    if not run.exists():
        return
    number = 1
    while (earlier := run.with_name(f"{run.name}-{number}")).exists():
        number += 1
    run.rename(earlier)
    run_folder.register(earlier)


def ask_model(folder: Path, pretrained: Path, tuned: Path) -> list[Answer]:
    """Return the model's answers before and after LoRA."""
    _say(text("> asking the model, before and after", "> 训练前后分别提问"))
    request, file = folder / "questions.json", folder / "answers.json"
    questions = {
        "model": str(pretrained / run_folder.MODEL),
        "adapter": str(tuned / run_folder.MODEL),
        "questions": [*NAME_QUESTIONS, *HELD_OUT_QUESTIONS, *LIBRARY_QUESTIONS],
    }
    write_json(request, questions)
    run_module("swiftbox.core.generation.answers", request, file)
    answers: list[Answer] = json.loads(file.read_text(encoding="utf-8"))
    return answers


def losses_of(run: Path) -> list[float]:
    """Return the loss of each step of a run."""
    recorded = run_folder.every_event(run)
    return [float(event["loss"]) for event in recorded if event["event"] == events.STEP]


def show_losses(folder: Path, runs: Sequence[Path]) -> None:
    """Draw the losses in the terminal, and as a picture in the folder."""
    curves = {run.name: losses_of(run) for run in runs}
    for name, losses in curves.items():
        _say("\n" + text(f"loss of {name}", f"{name} 的损失"))
        _say(chart(losses, unicode=_has_unicode()))
    run_module("swiftbox.starter.plot", folder / "loss.png", stdin=json.dumps(curves))


def _has_unicode() -> bool:
    return "utf" in (sys.stderr.encoding or "").lower()


def show_answers(answers: Sequence[Answer]) -> None:
    """Print the table of answers before and after."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD if _has_unicode() else box.ASCII, expand=True)
    table.add_column(text("question", "问题"), ratio=2, overflow="fold")
    table.add_column(text("before: pretrained only", "训练前：仅预训练"), ratio=3, overflow="fold")
    table.add_column(
        text("after: with the LoRA adapter", "训练后：加 LoRA"), ratio=3, overflow="fold"
    )
    for answer in answers:
        before, after = on_one_line(answer["before"]), on_one_line(answer["after"])
        table.add_row(*(Text(printable(cell)) for cell in (answer["question"], before, after)))
    Console().print(table)


def on_one_line(answer: str) -> str:
    """Return an answer without line breaks; a small model may generate nothing else."""
    return " ".join(printable(answer).split()) or text("(blank lines)", "（空行）")


def show_results(folder: Path, seconds: float) -> None:
    """Show what the demo left in its folder, and what to try next."""
    total = duration(seconds)
    _say(
        text(
            f"{total} in total. In {folder}:\n"
            "  1-pretrain.yaml, 2-lora.yaml   the settings; run them again as they are\n"
            "  runs/pretrain, runs/lora       the record of each run, its log, its model\n"
            "  loss.png, answers.json         the curves and the answers\n"
            f"next: swiftbox run {folder / '2-lora.yaml'} lora_rank=4\n"
            "      swiftbox runs list",
            f"共用时 {total}。目录 {folder}：\n"
            "  1-pretrain.yaml、2-lora.yaml   配置，可直接再次运行\n"
            "  runs/pretrain、runs/lora       每次运行的记录、日志与模型\n"
            "  loss.png、answers.json         损失曲线与回答\n"
            f"下一步：swiftbox run {folder / '2-lora.yaml'} lora_rank=4\n"
            "        swiftbox runs list",
        )
    )


def check_answers(answers: Sequence[Answer], name: str) -> int:
    """Return 0 if every question about the name is answered with it; else report and return 1."""
    wrong = [
        answer["question"]
        for answer in answers
        if answer["question"] in NAME_QUESTIONS and name not in answer["after"]
    ]
    if not wrong:
        _say(text(f"checked: the model calls itself {name}", f"已核对：模型自称 {name}"))
        return 0
    questions = ", ".join(wrong)
    _say(
        text(
            f"error: the model does not answer {questions} with {name}",
            f"错误：模型对 {questions} 的回答中没有 {name}",
        )
    )
    return 1
