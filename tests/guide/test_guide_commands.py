"""Every command of the README and the guide is run, on tiny models and files."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from adapters import make_adapter, make_run
from box import COMMAND, events, state, until
from box import box as box_in_child
from documents import DOCUMENTS, ROOT, blocks, commands
from in_process import box
from made_up import made_up
from model_folder import write_model
from test_mixing_commands import EXTRACT, MIX
from tiny import write_chats, write_labels, write_pairs

from swiftbox.cli.main import main
from swiftbox.data.check import check_rows
from swiftbox.data.source import parse_sources
from swiftbox.devices.hypothetical import hypothetical_machine
from swiftbox.errors import HubError
from swiftbox.launch.prepare import check_config, with_absolute_paths
from swiftbox.plan import plan
from swiftbox.tasks.load import load

PLANNED = ("bash scripts/quickstart --demo", "bash scripts/test")
"""Set-up commands: their plans are looked at here, their work in tests/scripts and by CI itself."""

BUILT_ELSEWHERE = "docker build --build-arg BACKEND=cuda -t swiftbox ."
"""Needs an engine; tests/scripts/test_dockerfile.py carries out its steps."""


def test_every_command_is_known_here() -> None:
    known = [*PLANNED, BUILT_ELSEWHERE, *REAL_JOB, TORCHRUN, *DOWNLOADS, *CATALOGUE, *LOCAL, MERGE]
    known += [*DEPLOY, CHAT, *ENGINES, *EVALUATE, QUANTIZE, *CHAIN, *GUIDE, *PRESETS, IMPORT]
    known += [*SEVERAL_DEVICES, *RUNS, EXTRACT, MIX]
    written = {command for document in DOCUMENTS.values() for command in commands(document)}
    assert written == set(known)


CATALOGUE = (
    "swiftbox models",
    "swiftbox models qwen --fits --modality image --kind chat --on cuda:24",
    "swiftbox models Qwen/Qwen2.5-72B-Instruct",
    "swiftbox datasets zh sft",
)


@pytest.mark.parametrize("command", CATALOGUE)
def test_the_catalogue_answers_as_the_page_says(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(shlex.split(command)[1:]) == 0
    assert len(capsys.readouterr().out.splitlines()) >= 6


DEPLOY = (
    "swiftbox run configs/deploy.yaml adapter=runs/my-lora --detach",
    "swiftbox runs list",
    "swiftbox runs stop last",
)

CHAT = "swiftbox chat runs/my-lora --compare base"


@pytest.mark.slow
def test_an_adapter_is_deployed_and_queried_as_the_page_says(tmp_path: Path, tiny: Path) -> None:
    adapter = make_adapter(tiny, tmp_path / "runs/my-lora/model")
    make_run(adapter, tiny)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    start, listing, stop = (shlex.split(line)[1:] for line in DEPLOY)
    box_in_child(*start, "port=0", cwd=tmp_path)
    try:
        (run,) = (tmp_path / "runs").glob("*-deploy-my-lora")
        until(lambda: events(run, "serving"), what="the address")

        def listed() -> str:  # the supervisor records the address after the event
            (row,) = box(*listing, cwd=tmp_path).stdout.splitlines()
            return str(row)

        until(lambda: listed().endswith("  ok"), what="the health")
        done = subprocess.run(
            [*COMMAND, *shlex.split(CHAT)[1:], "max_tokens=8"],
            cwd=tmp_path,
            input="hello\n",
            capture_output=True,
            text=True,
            check=True,
        )
        assert "base> " in done.stdout
        assert "my-lora> " in done.stdout
    finally:
        box(*stop, cwd=tmp_path)
    (parity,) = events(run, "parity")
    assert [model["differences"] for model in parity["models"]] == [[], []]


MERGE = "swiftbox run configs/merge.yaml adapter=runs/my-lora"


@pytest.mark.slow
def test_the_adapter_of_a_run_is_merged_as_the_page_says(tmp_path: Path, tiny: Path) -> None:
    write_chats(tmp_path / "my.jsonl", 8)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    settings = (f"model={tiny}", "dataset=my.jsonl", "max_steps=1", "output_dir=runs/my-lora")
    box("run", "configs/sft-lora.yaml", *settings, "--plain", cwd=tmp_path)
    box(*shlex.split(MERGE)[1:], "--plain", cwd=tmp_path)
    (run,) = (tmp_path / "runs").glob("*merge*")
    assert (run / "model" / "model.safetensors").is_file()
    left, carried = (
        json.loads((folder / "model" / "parity.json").read_text("utf-8"))
        for folder in (tmp_path / "runs" / "my-lora", run)
    )
    assert len(left["answers"]) == 3
    assert (carried["prompts"], carried["answers"]) == (left["prompts"], left["answers"])
    assert json.loads((run / "merge.json").read_text())["steps"]


ENGINES = (
    "swiftbox engines list",
    "swiftbox engines install gptq",
    "swiftbox engines test gptq",
    "swiftbox engines remove gptq --yes",
)


@pytest.mark.slow
def test_an_engine_is_installed_and_removed_as_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from toy_engine import make_index, toy_command, variables

    for name, value in variables(make_index(tmp_path / "wheels"), tmp_path / "home").items():
        monkeypatch.setenv(name, value)
    for line in ENGINES:
        command = toy_command(*shlex.split(line.replace("gptq", "toy"))[1:])
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    assert list((tmp_path / "home" / "engines").iterdir()) == []


EVALUATE = tuple(
    f"swiftbox run configs/evaluate.yaml adapter=runs/my-lora {settings}".rstrip()
    for settings in (
        *("benchmarks=none", "benchmarks=none test_dataset=test.jsonl", ""),
        *("benchmarks=sample_ceval,sample_mmlu", "benchmarks=sample_mmlu backend=lm_eval"),
    )
)
"""Planned and checked here; carried out by the tests of tasks."""


@pytest.mark.parametrize("command", EVALUATE)
def test_an_evaluation_is_started_as_the_page_says(
    command: str, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training_records import recorded

    monkeypatch.setenv("MODELSCOPE_ENDPOINT", "http://127.0.0.1:9")  # where nothing listens
    monkeypatch.chdir(tmp_path)
    write_chats(recorded(tiny, tmp_path, "runs/my-lora", val_size=2) / "../../test.jsonl", 3)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    _, _, preset, *overrides = shlex.split(command)
    planned = plan(load(Path(preset), overrides).config, made_up("cpu"))
    config = with_absolute_paths(planned.config)
    if len(overrides) == 1:
        with pytest.raises(HubError, match="data of ceval, mmlu is not on this machine"):
            check_config(config)
        return
    check_config(config)
    assert config.model_dump()["model"] == str(tiny)


QUANTIZE = "swiftbox run configs/quantize.yaml adapter=runs/my-lora"
"""Carried out by tests/tasks/test_quantize_run.py."""

LOCAL = (
    "swiftbox models --local",
    "swiftbox models Qwen/Qwen3-0.6B --verify",
    "swiftbox models Qwen/Qwen3-0.6B --remove --yes",
    "swiftbox models qwen3 --online",
)


@pytest.mark.parametrize("command", LOCAL)
def test_local_models_are_managed_as_the_page_says(
    command: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for hub in ("MODELSCOPE_ENDPOINT", "HF_ENDPOINT"):
        monkeypatch.setenv(hub, "http://127.0.0.1:9")  # where nothing listens
    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    folder = write_model(tmp_path / "models/Qwen--Qwen3-0.6B/snapshots/master")
    assert main(shlex.split(command)[1:]) == 0
    assert "Qwen/Qwen3-0.6B" in capsys.readouterr().out
    assert folder.exists() is ("--remove" not in command)


DOWNLOADS = (
    "swiftbox download Qwen/Qwen3-0.6B Qwen/Qwen3-8B",
    "swiftbox download AI-ModelScope/alpaca-gpt4-data-en --dataset --to data",
)
"""Carried out by tests/hub/test_fallback.py, which has a hub on loopback."""

REAL_JOB = [
    "swiftbox doctor",
    "swiftbox new sft-lora -o a.yaml model=Qwen/Qwen3-4B-Instruct-2507 dataset=my.jsonl",
    "swiftbox check a.yaml",
    "swiftbox run a.yaml --detach",
    "swiftbox runs logs last -f",
]

TORCHRUN = (
    "torchrun --nproc_per_node=8 scripts/train.py --model_type qwen --train_type fsdp "
    "--sharding_strategy SHARD_GRAD_OP --model Qwen/Qwen3-4B-Instruct-2507 --dataset my.jsonl"
)


@pytest.mark.slow
def test_the_real_job_runs_from_new_to_a_followed_run(tmp_path: Path, tiny: Path) -> None:
    write_chats(tmp_path / "my.jsonl", 40)
    for line in REAL_JOB:
        arguments = shlex.split(line.replace("Qwen/Qwen3-4B-Instruct-2507", str(tiny)))[1:]
        box_in_child(*arguments, cwd=tmp_path)
    (run,) = (tmp_path / "runs").iterdir()
    until(lambda: state(run)["status"] == "done", what="the recorded end")
    assert events(run, "done")
    assert (run / "model" / "adapter_model.safetensors").is_file()


def test_the_torchrun_command_is_read_and_refused_where_fsdp_cannot_shard(
    tmp_path: Path, tiny: Path
) -> None:
    write_chats(tmp_path / "my.jsonl", 4)
    line = TORCHRUN.replace("Qwen/Qwen3-4B-Instruct-2507", str(tiny))
    arguments = shlex.split(line)[3:]
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "train.py"), *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "WORLD_SIZE": "8", "RANK": "0"},
    )
    assert done.returncode == 2, done.stderr
    assert "distributed: fsdp" in done.stderr


@pytest.mark.parametrize("line", PLANNED)
def test_the_setup_commands_exist(line: str) -> None:
    script = ROOT / line.split()[1]
    done = subprocess.run(
        ["bash", str(script), "--help"], capture_output=True, text=True, check=True
    )
    assert Path(script).name in done.stdout


def test_the_python_example_runs(tiny: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    (code,) = blocks(DOCUMENTS["en/python"], "python")
    names = {"base_model": AutoModelForCausalLM.from_pretrained(tiny)}
    exec(code, names)
    assert isinstance(names["model"], PeftModel)


@pytest.mark.parametrize("row", blocks(DOCUMENTS["en/data"], "json")[0].splitlines())
def test_every_row_of_data_loads(row: str, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(row + "\n", "utf-8")
    columns = {"text": "pt", "rejected": "dpo", "rejected_response": "dpo", "label": "kto"}
    stage = next((columns[name] for name in json.loads(row) if name in columns), "sft")
    sources = parse_sources([str(tmp_path / "a.jsonl")], columns={})
    assert check_rows(sources, stage=stage, max_bad_rows=0).rows == 1


CHAIN = (
    "swiftbox new pipeline-lora -o chain.yaml train.dataset=my.jsonl",
    "swiftbox run chain.yaml train.learning_rate=1e-4",
)


@pytest.mark.slow
def test_a_chain_is_written_and_run_as_the_page_says(tmp_path: Path, tiny: Path) -> None:
    write_chats(tmp_path / "my.jsonl", 8)
    small = ("train.max_steps=1", f"train.model={tiny}", "train.hub=local", "train.val_size=0")
    box(*shlex.split(CHAIN[0])[1:], *small, cwd=tmp_path)
    chain = yaml.safe_load((tmp_path / "chain.yaml").read_text("utf-8"))
    steps = [step for step in chain["steps"] if step["name"] in ("train", "merge")]
    assert steps[0]["dataset"] == "my.jsonl"
    steps[1]["model"] = str(tiny)
    content = yaml.safe_dump({**chain, "steps": steps})
    (tmp_path / "chain.yaml").write_text(content, encoding="utf-8")
    box(*shlex.split(CHAIN[1])[1:], "output_dir=out", "--plain", cwd=tmp_path)
    assert (tmp_path / "out/steps/02-merge/model/model.safetensors").is_file()
    settled = (tmp_path / "out/steps/01-train/settled.yaml").read_text("utf-8")
    assert "learning_rate: 0.0001" in settled


GUIDE = ("swiftbox guide", "swiftbox guide quantize")


@pytest.mark.parametrize("command", GUIDE)
def test_the_guide_is_shown(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(shlex.split(command)[1:]) == 0
    assert len(capsys.readouterr().out.splitlines()) > 20


PRESETS = (
    "swiftbox new dpo-lora -o dpo.yaml model=Qwen/Qwen3-4B-Instruct-2507 dataset=pairs.jsonl",
    "swiftbox new kto-lora -o kto.yaml model=Qwen/Qwen3-4B-Instruct-2507 dataset=labelled.jsonl",
    "swiftbox new reward-lora -o reward.yaml model=Qwen/Qwen3-4B-Instruct-2507 dataset=pairs.jsonl",
    "swiftbox new classification-lora -o classes.yaml model=Qwen/Qwen3-4B-Instruct-2507 "
    "dataset=labelled-texts.jsonl",
    "swiftbox new grpo-lora -o grpo.yaml model=Qwen/Qwen3-4B-Instruct-2507",
    "swiftbox new gkd-lora -o gkd.yaml model=Qwen/Qwen3-0.6B teacher_model=Qwen/Qwen3-4B",
)


@pytest.mark.parametrize("command", PRESETS)
def test_a_preset_is_written_and_checked(
    command: str, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_pairs(tmp_path / "pairs.jsonl", 8)
    write_labels(tmp_path / "labelled.jsonl", 8)
    (tmp_path / "labelled-texts.jsonl").write_text(
        '{"text": "good", "label": 1}\n{"text": "poor", "label": 0}\n', "utf-8"
    )
    arguments = shlex.split(command.replace("Qwen/Qwen3-4B-Instruct-2507", str(tiny)))[1:]
    assert main(arguments) == 0
    loaded = load(Path(arguments[3]), ["hub=local"])
    assert loaded.config.model_dump()["stage"] == arguments[1].removesuffix("-lora")
    if arguments[1] not in ("grpo-lora", "gkd-lora"):  # their presets ask a hub for the rows
        assert main(["check", arguments[3], "hub=local", "val_size=0"]) == 0


IMPORT = "swiftbox import qwen3_lora_sft.yaml -o a.yaml"


def test_a_config_of_another_tool_is_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source = ROOT / "tests/converters/configs/llamafactory_sft.yaml"
    (tmp_path / "qwen3_lora_sft.yaml").write_bytes(source.read_bytes())
    assert main(shlex.split(IMPORT)[1:]) == 0
    assert load(tmp_path / "a.yaml").config.task == "train"


SEVERAL_DEVICES = (
    "swiftbox run configs/sft-lora-ddp.yaml model=Qwen/Qwen3-4B-Instruct-2507 dataset=my.jsonl",
    "swiftbox run configs/sft-full-fsdp.yaml model=Qwen/Qwen3-4B-Instruct-2507 dataset=my.jsonl",
)
"""Planned here; carried out on two processes by tests/core."""


@pytest.mark.parametrize("command", SEVERAL_DEVICES)
def test_several_devices_are_planned(command: str) -> None:
    _, _, preset, *overrides = shlex.split(command)
    planned = plan(load(ROOT / preset, overrides).config, hypothetical_machine("cuda:80x8"))
    assert "torch.distributed.run" in planned.command
    assert planned.config.model_dump()["distributed"] == ("ddp" if "ddp" in preset else "fsdp")


RUNS = (
    "swiftbox runs list",
    "swiftbox runs show last",
    "swiftbox runs logs last -f",
    "swiftbox runs stop last",
    "swiftbox runs resume last",
    "swiftbox runs rerun last --detach",
    "swiftbox runs extend last num_train_epochs=3",
)


def test_runs_are_listed_stopped_and_repeated(tmp_path: Path) -> None:
    write_model(tmp_path / "model")
    source = "task: download\nmodel: model\nhub: local\nlocal_dir: copy\n"
    (tmp_path / "a.yaml").write_text(source, "utf-8")
    box("run", "a.yaml", "--plain", cwd=tmp_path)
    listing, show, logs, stop, resume, rerun, extend = (shlex.split(line)[1:] for line in RUNS)
    assert " done " in box(*listing, cwd=tmp_path).stdout
    assert "status: done" in box(*show, cwd=tmp_path).stdout
    box(*logs, cwd=tmp_path)
    assert "is not running" in box(*stop, cwd=tmp_path).stderr
    assert "hint: " in box(*resume, cwd=tmp_path, code=2).stderr
    assert "is not a training" in box(*extend, cwd=tmp_path, code=2).stderr
    box(*rerun, cwd=tmp_path)
    until(lambda: len(list((tmp_path / "runs").iterdir())) == 2, what="the second run")
    newest = max((tmp_path / "runs").iterdir(), key=lambda folder: folder.stat().st_mtime)
    until(lambda: state(newest)["status"] == "done", what="its end")
