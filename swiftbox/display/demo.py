"""The demo: make a small model here, teach it its name, show before and after, check it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
from swiftbox.runs.supervise import INTERRUPTED
from swiftbox.starter.chart import chart
from swiftbox.starter.corpus import HELD_OUT, check_name, make_corpus
from swiftbox.tasks.load import loads

DEFAULT_NAME = "Swifty"

ASKED = ("Who are you?", "who are you", "你是谁？")
"""The questions that must be answered with the name for the demo to succeed."""

ABOUT_THE_LIBRARY = ("What does shutil.copyfile do?", "Explain json.dumps.")


@dataclass(frozen=True)
class Step:
    """One training of the demo: its YAML, what it is for, its settings."""

    file: str
    about: str
    settings: Mapping[str, Any]


def demo(folder: Path, *, name: str | None = None) -> int:
    """Run the whole demo in a folder; return 0, or 1 when the model does not know its name."""
    began = time.monotonic()
    chosen = check_name(name if name is not None else ask_name())
    folder = folder.expanduser().resolve()
    tell(_welcome(chosen, folder))
    make_model(folder, chosen)
    runs = [carry_out(folder, step) for step in steps(folder)]
    answers = ask(folder, runs[0], runs[1])
    show_losses(folder, runs)
    show_answers(answers)
    show_way_on(folder, time.monotonic() - began)
    return verdict(answers, chosen)


def tell(line: str) -> None:
    """Write a line of talk."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def _welcome(name: str, folder: Path) -> str:
    return text(
        f"A small model is made and trained here to call itself {name}. No network, no GPU; about "
        f"two minutes on 2 cores. It is a toy of 2.4 million parameters: it shows the way that a "
        f"7B model goes too.\nfolder: {folder}",
        f"将在本机制作并训练一个小模型，让它自称 {name}。无需网络与 GPU，2 核约两分钟。"
        f"它只有 240 万参数，但流程与 7B 模型完全一样。\n目录：{folder}",
    )


def ask_name() -> str:
    """Ask for the model's name where somebody can answer; else take the default."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return DEFAULT_NAME
    question = text("What shall the model call itself?", "模型叫什么名字？")
    sys.stderr.write(f"{question} [{DEFAULT_NAME}] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip() or DEFAULT_NAME


def make_model(folder: Path, name: str) -> None:
    """Write the data for this name, and make the tokenizer and the random model."""
    tell(text("> reading the standard library's docstrings", "> 读取标准库文档"))
    pretrain, chat = make_corpus(folder / "data", name)
    counts = [sum(1 for _ in path.open(encoding="utf-8")) for path in (pretrain, chat)]
    tell(
        text(
            f"  {counts[0]} texts, {counts[1]} conversations",
            f"  {counts[0]} 篇文本，{counts[1]} 段对话",
        )
    )
    tell(text("> making the tokenizer and a random model", "> 制作分词器与随机初始化的模型"))
    run_child("swiftbox.core.weights.starter_model", folder / "data", folder / "model")


def run_child(module: str, *arguments: Path) -> None:
    """Run a heavy module in a child; raise RunError with its last words when it fails."""
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RunError(text(f"{module} failed", f"{module} 失败") + f":\n{done.stderr[-3000:]}")


def steps(folder: Path) -> tuple[Step, Step]:
    """Return the two trainings: a short pretraining of every weight, then LoRA."""
    common = {
        "hub": "local",
        "dtype": "float32",
        "gradient_accumulation_steps": 1,
        "save_steps": 100,
        "save_total_limit": 1,
        "logging_steps": 1,
    }
    pretrain = {
        **common,
        "stage": "pt",
        "model": str(folder / "model"),
        "tuner_type": "full",
        "dataset": str(folder / "data" / "pretrain.jsonl"),
        "max_length": 256,
        "packing": True,
        "per_device_train_batch_size": 8,
        "learning_rate": 3.0e-3,
        "max_steps": 100,
    }
    lora = {
        **common,
        "stage": "sft",
        "model": str(folder / "runs" / "pretrain" / "model"),
        "tuner_type": "lora",
        "lora_rank": 16,
        "lora_alpha": 32,
        "target_modules": "all-linear",
        "dataset": str(folder / "data" / "chat.jsonl"),
        "max_length": 256,
        "per_device_train_batch_size": 32,
        "learning_rate": 5.0e-3,
        "max_steps": 80,
    }
    return (
        Step(
            "1-pretrain.yaml",
            text(
                "A short pretraining of every weight on raw text.", "在纯文本上短暂预训练全部参数。"
            ),
            pretrain,
        ),
        Step(
            "2-lora.yaml",
            text(
                "LoRA on conversations: the model learns its name.",
                "在对话上训练 LoRA：模型学会自己的名字。",
            ),
            lora,
        ),
    )


def carry_out(folder: Path, step: Step) -> Path:
    """Write the YAML of a step and run it as `swiftbox run` does; return its run folder."""
    path = folder / step.file
    run = folder / "runs" / step.file.split("-")[1].removesuffix(".yaml")
    set_aside(run)
    given = [f"{key}={json.dumps(value)}" for key, value in step.settings.items()]
    loaded = loads("", source=step.file, overrides=[*given, f"output_dir={run}"])
    header = [step.about, text(f"Run: swiftbox run {path}", f"运行：swiftbox run {path}")]
    write_atomic(path, write(loaded.config, header=header, keys=loaded.keys))
    tell(f"> swiftbox run {path}")
    prepared = prepare(path)
    install_missing(prepared.engines, refuse)
    ready = record(prepared)
    with View("train") as view:
        code = launching.run(ready, on_event=view.event)
    if code == INTERRUPTED:
        tell(
            text(
                "stopped. The next `swiftbox demo` makes this training anew and keeps what is here "
                f"beside it; to go on with it alone: swiftbox runs resume {run}",
                "已停止。再次运行 `swiftbox demo` 会重新训练，现有内容保留在旁边；"
                f"仅继续该训练：swiftbox runs resume {run}",
            )
        )
        raise KeyboardInterrupt
    if code:
        raise RunError(
            text(f"{step.file} ended with code {code}", f"{step.file} 以代码 {code} 结束"),
            hint=f"swiftbox runs show {run}",
        )
    return run


def set_aside(run: Path) -> None:
    """Give an earlier run of the same name a number, so that nothing is lost or overwritten."""
    if not run.exists():
        return
    for number in range(1, 10_000):
        earlier = run.with_name(f"{run.name}-{number}")
        if not earlier.exists():
            run.rename(earlier)
            run_folder.register(earlier)
            return


def ask(folder: Path, pretrained: Path, tuned: Path) -> list[dict[str, str]]:
    """Return what the model answers before and after LoRA."""
    tell(text("> asking the model, before and after", "> 训练前后分别提问"))
    request, answers = folder / "questions.json", folder / "answers.json"
    write_json(
        request,
        {
            "model": str(pretrained / run_folder.MODEL),
            "adapter": str(tuned / run_folder.MODEL),
            "questions": [*ASKED, *HELD_OUT, *ABOUT_THE_LIBRARY],
        },
    )
    run_child("swiftbox.core.generation.answers", request, answers)
    found: list[dict[str, str]] = json.loads(answers.read_text(encoding="utf-8"))
    return found


def losses(run: Path) -> list[float]:
    """Return the loss of each step of a run."""
    recorded = run_folder.read_events(run)[0]
    return [float(event["loss"]) for event in recorded if event.get("event") == events.STEP]


def show_losses(folder: Path, runs: Sequence[Path]) -> None:
    """Draw the losses in the terminal, and as a picture in the folder."""
    for run in runs:
        values = losses(run)
        tell("")
        tell(text(f"loss of {run.name}", f"{run.name} 的损失"))
        tell(chart(values, unicode=_speaks_unicode()))
    curves = json.dumps({run.name: losses(run) for run in runs})
    picture = folder / "loss.png"
    done = subprocess.run(
        [sys.executable, "-m", "swiftbox.starter.plot", str(picture)],
        input=curves,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RunError(text("the plot failed", "绘图失败") + f":\n{done.stderr[-2000:]}")


def _speaks_unicode() -> bool:
    return "utf" in (sys.stderr.encoding or "").lower()


def show_answers(answers: Sequence[Mapping[str, str]]) -> None:
    """Print the table of answers before and after."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.ASCII if not _speaks_unicode() else box.SIMPLE_HEAD, expand=True)
    table.add_column(text("question", "问题"), ratio=2, overflow="fold")
    table.add_column(text("before: pretrained only", "训练前：仅预训练"), ratio=3, overflow="fold")
    table.add_column(
        text("after: with the LoRA adapter", "训练后：加 LoRA"), ratio=3, overflow="fold"
    )
    for one in answers:
        table.add_row(one["question"], on_one_line(one["before"]), on_one_line(one["after"]))
    Console().print(table)


def on_one_line(said: str) -> str:
    """Return an answer without its line breaks; a small model may say nothing but those."""
    return " ".join(said.split()) or text("(blank lines)", "（空行）")


def show_way_on(folder: Path, seconds: float) -> None:
    """Say where everything lies and what can be done next."""
    tell(
        text(
            f"{duration(seconds)} in all. In {folder}:\n"
            "  1-pretrain.yaml, 2-lora.yaml   what was asked for; each runs again as it stands\n"
            "  runs/pretrain, runs/lora       the record of each run, its log, its model\n"
            "  loss.png, answers.json         the curves and the answers\n"
            f"next: swiftbox run {folder / '2-lora.yaml'} lora_rank=4\n"
            "      swiftbox runs list",
            f"共用时 {duration(seconds)}。目录 {folder}：\n"
            "  1-pretrain.yaml、2-lora.yaml   所求配置，可直接再次运行\n"
            "  runs/pretrain、runs/lora       每次运行的记录、日志与模型\n"
            "  loss.png、answers.json         损失曲线与回答\n"
            f"下一步：swiftbox run {folder / '2-lora.yaml'} lora_rank=4\n"
            "        swiftbox runs list",
        )
    )


def verdict(answers: Sequence[Mapping[str, str]], name: str) -> int:
    """Return 0 when every question of who it is gets the name, else say which and return 1."""
    missed = [
        one["question"] for one in answers if one["question"] in ASKED and name not in one["after"]
    ]
    if not missed:
        tell(text(f"checked: the model calls itself {name}", f"已核对：模型自称 {name}"))
        return 0
    listed = ", ".join(missed)
    tell(
        text(
            f"error: the model does not answer {listed} with {name}",
            f"error：模型对 {listed} 的回答中没有 {name}",
        )
    )
    return 1
