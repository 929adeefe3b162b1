"""Steps that are skipped: what later ones use instead, and the status of such a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from in_process import box
from made_up import made_up
from model_folder import write_model
from tiny import SIZES

from swiftbox.config.pipeline import PipelineConfig
from swiftbox.config.writing import write
from swiftbox.errors import ConfigError
from swiftbox.plan import plan
from swiftbox.tasks.load import loads
from swiftbox.tasks.pipeline.skipping import chain_without
from swiftbox.tasks.pipeline.task import lines_without

TRAIN = {"name": "train", "task": "train", "model": "o/m", "dataset": "o/d"}
DPO = {
    "name": "dpo", "task": "train", "stage": "dpo", "model": "o/m", "dataset": "o/p",
    "adapter": "${train.adapter}",
}  # fmt: skip
MERGE = {"name": "merge", "task": "merge", "adapter": "${train.adapter}"}
QUANTIZE = {"name": "quantize", "task": "quantize", "model": "${merge.model}"}
EVALUATE = {
    "name": "evaluate", "task": "evaluate", "model": "o/m", "adapter": "${train.adapter}",
    "compare": {"quantized": "${quantize.model}"}, "benchmarks": "sample_ceval",
}  # fmt: skip
DEPLOY = {"name": "deploy", "task": "deploy", "model": "${quantize.model}", "port": 0}
CHAT = {
    "name": "chat", "task": "chat", "endpoint": "${deploy.url}/v1", "model": "m", "prompt": "hi",
}  # fmt: skip


def pipeline(*steps: dict[str, Any], **keys: Any) -> PipelineConfig:
    content = {"task": "pipeline", **keys, "steps": list(steps)}
    config = loads(yaml.safe_dump(content, sort_keys=False), source="p.yaml").config
    assert isinstance(config, PipelineConfig)
    return config


def inputs(config: PipelineConfig, name: str) -> tuple[Any, Any]:
    """Return the model and the adapter that a step uses."""
    (values,) = [step.config.model_dump() for step in config.steps if step.name == name]
    return values["model"], values["adapter"]


def test_the_merged_model_stands_for_the_quantized_one() -> None:
    chain = chain_without(pipeline(TRAIN, MERGE, QUANTIZE, EVALUATE, DEPLOY), {"quantize": "x"})
    assert inputs(chain.config, "deploy") == ("${merge.model}", None)
    assert chain.changes["deploy"] == ("deploy uses ${merge.model} in place of ${quantize.model}",)
    assert chain.skipped == {"quantize": "x"}


def test_a_server_of_gguf_files_gives_way_to_the_built_in_one() -> None:
    deploy = {**DEPLOY, "engine": "llama_cpp"}
    chain = chain_without(pipeline(TRAIN, MERGE, QUANTIZE, deploy), {"quantize": "x"})
    assert chain.config.steps[-1].config.model_dump()["engine"] == "builtin"
    assert chain.changes["deploy"][1] == "deploy uses engine: builtin"


def test_an_entry_of_a_comparison_is_left_out() -> None:
    chain = chain_without(pipeline(TRAIN, MERGE, QUANTIZE, EVALUATE), {"quantize": "x"})
    (evaluation,) = [step.config for step in chain.config.steps if step.name == "evaluate"]
    assert evaluation.model_dump()["compare"] is None
    assert chain.changes["evaluate"] == ("evaluate leaves ${quantize.model} out",)


def test_base_and_adapter_stand_for_the_merged_model() -> None:
    merge = {**MERGE, "model": "o/m", "hub": "huggingface", "revision": "abc"}
    chain = chain_without(
        pipeline(TRAIN, merge, {**DEPLOY, "model": "${merge.model}"}), {"merge": "x"}
    )
    assert inputs(chain.config, "deploy") == ("o/m", "${train.adapter}")
    values = chain.config.steps[-1].config.model_dump()
    assert (values["hub"], values["revision"]) == ("huggingface", "abc")


def test_two_skipped_steps_in_a_row_lead_to_the_last_result() -> None:
    chain = chain_without(pipeline(TRAIN, MERGE, QUANTIZE, DEPLOY), {"merge": "x", "quantize": "y"})
    assert inputs(chain.config, "deploy") == (None, "${train.adapter}")


def test_nothing_stands_for_a_first_training() -> None:
    chain = chain_without(pipeline(TRAIN, MERGE, QUANTIZE, DEPLOY), {"train": "x"})
    assert not chain.config.steps
    assert chain.skipped["merge"] == "it needs ${train.adapter}, and nothing stands for it"
    assert list(chain.skipped) == ["train", "merge", "quantize", "deploy"]


def test_an_earlier_training_stands_for_a_later_one() -> None:
    merge = {**MERGE, "adapter": "${dpo.adapter}"}
    chain = chain_without(pipeline(TRAIN, DPO, merge), {"dpo": "x"})
    assert inputs(chain.config, "merge") == ("o/m", "${train.adapter}")


def test_a_training_does_not_continue_an_adapter_in_place_of_a_merged_model() -> None:
    dpo = {**DPO, "model": "${merge.model}"}
    del dpo["adapter"]
    chain = chain_without(pipeline(TRAIN, MERGE, dpo), {"merge": "x"})
    assert chain.skipped["dpo"].startswith("it needs ${merge.model}")


def test_a_server_without_users_is_skipped() -> None:
    chain = chain_without(pipeline(TRAIN, MERGE, QUANTIZE, DEPLOY, CHAT), {"chat": "x"})
    assert chain.skipped == {"chat": "x", "deploy": "no step uses it"}


def test_a_step_with_skip_true_is_left_out_from_the_start() -> None:
    config = pipeline(TRAIN, MERGE, {**QUANTIZE, "skip": True}, DEPLOY)
    chain = chain_without(config, {})
    assert chain.skipped == {"quantize": "skip: true"}
    assert [step.name for step in chain.config.steps] == ["train", "merge", "deploy"]


def test_the_keys_of_a_step_survive_writing_and_reading() -> None:
    config = pipeline(TRAIN, {**MERGE, "on_failure": "skip", "skip": False}, on_failure="stop")
    assert loads(write(config), source="w").config == config
    assert [config.policy_of(step) for step in config.steps] == ["stop", "skip"]


def test_a_wrong_key_of_a_step_is_reported_with_its_line() -> None:
    with pytest.raises(ConfigError, match=r"p.yaml:\d+ train.on_failure: "):
        pipeline({**TRAIN, "on_failure": "retry"})


def test_check_finds_what_a_failure_changes(tiny: Path) -> None:
    model = str(tiny)
    source = {"hub": "local", "model": model}
    config = plan(
        pipeline({**QUANTIZE, **source}, DEPLOY, on_failure="skip"), made_up("cpu")
    ).config
    assert isinstance(config, PipelineConfig)
    assert lines_without(config, "quantize") == [
        f"deploy uses {model} in place of ${{quantize.model}}"
    ]


def test_check_tries_what_stands_for_a_result(tmp_path: Path) -> None:
    source = {"hub": "local", "model": str(tmp_path / "missing")}
    config = pipeline({**QUANTIZE, **source}, DEPLOY)
    (line,) = lines_without(config, "quantize")
    assert line.startswith("deploy is skipped: model: no folder")


def copy(name: str, source: object, into: Path, **keys: Any) -> dict[str, Any]:
    task = {"name": name, "task": "download", "hub": "local", "local_dir": str(into / f"to-{name}")}
    return {**task, "model": str(source), **keys}


@pytest.fixture
def failing(tmp_path: Path) -> dict[str, Path]:
    """A pipeline whose step b fails, whose step c uses b, and whose step d uses none of them."""
    source = write_model(tmp_path / "here", **SIZES)
    (tmp_path / "file").write_text("", encoding="utf-8")
    steps = [
        copy("a", source, tmp_path),
        copy("b", source, tmp_path, local_dir=str(tmp_path / "file" / "inside")),
        copy("c", "${b.model}", tmp_path),
        copy("d", source, tmp_path),
    ]
    content = {"task": "pipeline", "output_dir": str(tmp_path / "out"), "steps": steps}
    path = tmp_path / "p.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
    return {"yaml": path, "out": tmp_path / "out", "cwd": tmp_path}


def statuses(folder: Path) -> list[str]:
    records = json.loads((folder / "pipeline.json").read_text(encoding="utf-8"))["steps"]
    return [record["status"] for record in records]


def run(failing: dict[str, Path], *arguments: str, code: int) -> str:
    return box(*arguments, "--plain", cwd=failing["cwd"], code=code).stderr


def test_a_run_with_skipped_steps_is_partial(
    failing: dict[str, Path],
) -> None:
    shown = run(failing, "run", str(failing["yaml"]), "on_failure=skip", code=3)
    assert "== step 2/4 b: skipped: " in shown
    assert "== step 3/4 c: skipped: it needs ${b.model}, and nothing stands for it" in shown
    assert "! b skipped: " in shown
    assert statuses(failing["out"]) == ["done", "skipped", "skipped", "done"]
    (row,) = json.loads(box("runs", "list", "--json", cwd=failing["cwd"]).stdout)
    assert row["status"] == "partial"
    assert "4/4 d" in box("runs", "list", cwd=failing["cwd"]).stdout
    assert "it needs ${b.model}" in box("runs", "show", "out", cwd=failing["cwd"]).stdout


def test_a_skipped_step_stays_skipped_until_it_is_asked_for(failing: dict[str, Path]) -> None:
    run(failing, "run", str(failing["yaml"]), "on_failure=skip", code=3)
    out = str(failing["out"])
    shown = run(failing, "runs", "resume", out, code=3)
    assert "> fetching" not in shown
    assert "== step 2/4 b: skipped: " in shown
    shown = run(failing, "runs", "resume", out, "b.skip=false", code=3)
    assert "== step 2/4 b: resumes" in shown
    there = failing["cwd"] / "there"
    shown = run(failing, "runs", "resume", out, f"b.local_dir={there}", code=0)
    assert f"b: local_dir: {failing['cwd'] / 'file' / 'inside'} -> {there}" in shown
    assert statuses(failing["out"]) == ["done"] * 4


def test_a_failed_step_is_skipped_by_its_key_on_resume(failing: dict[str, Path]) -> None:
    shown = run(failing, "run", str(failing["yaml"]), code=1)
    assert "or b.skip=true to skip it" in shown
    assert statuses(failing["out"]) == ["done", "failed", "waiting", "waiting"]
    shown = run(failing, "runs", "resume", str(failing["out"]), "b.skip=true", code=3)
    assert "== step 1/4 a: unchanged, kept" in shown
    assert statuses(failing["out"]) == ["done", "skipped", "skipped", "done"]


def test_a_policy_of_a_step_wins_over_that_of_the_pipeline(failing: dict[str, Path]) -> None:
    settings = ["on_failure=skip", "b.on_failure=stop"]
    run(failing, "run", str(failing["yaml"]), *settings, code=1)
    assert statuses(failing["out"]) == ["done", "failed", "waiting", "waiting"]


def test_a_run_of_which_nothing_is_left_has_failed(failing: dict[str, Path]) -> None:
    settings = ["on_failure=skip", "a.skip=true", "d.skip=true"]
    run(failing, "run", str(failing["yaml"]), *settings, code=1)


def test_check_says_what_a_failure_changes(failing: dict[str, Path]) -> None:
    done = box("check", str(failing["yaml"]), "b.on_failure=skip", cwd=failing["cwd"])
    output = done.stdout + done.stderr
    assert "if b fails, it is skipped: c is skipped: it needs ${b.model}" in output
