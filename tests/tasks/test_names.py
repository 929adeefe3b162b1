"""A model or adapter that does not exist is refused by every task, without asking a network."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from swiftbox.cli.main import main
from swiftbox.hub.download import Download
from swiftbox.hub.fetch import fetch_model
from swiftbox.launch.prepare import prepare_rerun, prepare_resume
from swiftbox.models.download_request import DownloadRequest
from swiftbox.runs import folder as run_folder
from swiftbox.runs.creation import create
from swiftbox.runs.events import Emit

PRESETS = Path(__file__).resolve().parents[2] / "configs"

FILES = {
    "sft": "task: train\nstage: sft\nmodel: Qwen/Qwen3-0.6B\ndataset: o/rows\n{line}",
    "dpo": "task: train\nstage: dpo\nmodel: Qwen/Qwen3-0.6B\ndataset: o/rows\n{line}",
    "merge": "task: merge\n{line}",
    "merge-several": "task: merge\nadapter: [o/first, {name}]\n",
    "quantize": "task: quantize\nmethod: bnb\n{line}",
    "evaluate": "task: evaluate\nbenchmarks: arc\n{line}",
    "evaluate-model": "task: evaluate\nbenchmarks: arc\nmodel: Qwen/Qwen3-0.6B\n{line}",
    "deploy": "task: deploy\n{line}",
    "deploy-model": "task: deploy\nmodel: Qwen/Qwen3-0.6B\n{line}",
    "chat": "task: chat\nprompt: hello\n{line}",
    "chat-model": "task: chat\nprompt: hello\nmodel: Qwen/Qwen3-0.6B\n{line}",
    "pipeline": (
        "task: pipeline\nsteps:\n"
        "  - name: serve\n    task: deploy\n    model: Qwen/Qwen3-0.6B\n    {line}"
    ),
}


@pytest.fixture(autouse=True)
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """A current folder with one adapter, and a record of every connection that is tried."""
    monkeypatch.chdir(tmp_path)
    run = create(tmp_path / "runs" / "my-lora")
    (run / run_folder.STATE).write_text('{"status": "done"}')
    (run / run_folder.SETTLED).write_text("task: train\nmodel: o/base\n")
    (run / run_folder.MODEL).mkdir()
    (run / run_folder.MODEL / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    addresses: list[object] = []

    def connect(_socket: object, address: object) -> None:
        addresses.append(address)
        raise OSError("no network in this test")

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *address, **_: connect(None, address))
    return addresses


def refusal(content: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Return what `swiftbox check` says of a file that it refuses."""
    Path("a.yaml").write_text(content)
    assert main(["check", "a.yaml"]) == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("task", FILES)
def test_an_adapter_that_does_not_exist_is_refused_by_every_task(
    task: str, opened: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    content = FILES[task].format(line="adapter: runs/my-lroa\n", name="runs/my-lroa")
    error = refusal(content, capsys)
    assert "adapter: no folder runs/my-lroa" in error
    assert "did you mean runs/my-lora?" in error
    assert opened == []


@pytest.mark.parametrize(
    ("content", "key"),
    [
        ("task: deploy\nmodel: Qwen/Qwen3-0.6B\nadapters: {a: runs/typo}\n", "adapters"),
        (
            "task: evaluate\nbenchmarks: arc\nmodel: Qwen/Qwen3-0.6B\ncompare: [runs/typo]\n",
            "compare",
        ),
        ("task: chat\nprompt: hello\nmodel: Qwen/Qwen3-0.6B\ncompare: runs/typo\n", "compare"),
        ("task: train\nstage: sft\nmodel: runs/typo\ndataset: o/rows\n", "model"),
        ("task: deploy\nmodel: runs/typo\n", "model"),
        ("task: quantize\nmodel: runs/typo\n", "model"),
        ("task: evaluate\nbenchmarks: arc\nmodel: runs/typo\n", "model"),
        ("task: chat\nprompt: hello\nmodel: runs/typo\n", "model"),
        ("task: merge\nadapter: o/adapter\nmodel: runs/typo\n", "model"),
    ],
)
def test_every_other_name_of_a_model_is_looked_for_the_same_way(
    content: str, key: str, opened: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    assert f"{key}: no folder runs/typo" in refusal(content, capsys)
    assert opened == []


SEVERAL = {
    "merge": "task: merge\nmodel: runs/base\nadapter: [runs/one, runs/two]\n",
    "quantize": "task: quantize\nmethod: bnb\nmodel: runs/base\nadapter: [runs/one, runs/two]\n",
    "deploy": ("task: deploy\nmodel: runs/base\nadapter: runs/one\nadapters: {second: runs/two}\n"),
    "evaluate": (
        "task: evaluate\nbenchmarks: arc\nmodel: runs/base\nadapter: runs/one\n"
        "compare: [runs/two]\n"
    ),
    "chat": "task: chat\nprompt: hello\nmodel: runs/base\nadapter: runs/one\ncompare: runs/two\n",
    "pipeline": (
        "task: pipeline\nsteps:\n"
        "  - {name: train, task: train, stage: sft, model: runs/base, dataset: runs/two}\n"
        "  - {name: merge, task: merge, model: o/base, adapter: runs/one}\n"
    ),
}
"""Three names that do not exist."""


@pytest.mark.parametrize("task", SEVERAL)
def test_a_name_that_does_not_exist_hides_no_other(
    task: str, opened: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    error = refusal(SEVERAL[task], capsys)
    assert [name for name in ("runs/base", "runs/one", "runs/two") if name not in error] == []
    assert opened == []


@pytest.mark.parametrize("preset", ["sft-lora", "dpo-lora"])
def test_a_preset_with_an_adapter_that_does_not_exist_is_refused(
    preset: str, opened: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(PRESETS / f"{preset}.yaml"), "adapter=runs/typo"]) == 2
    assert "adapter: no folder runs/typo" in capsys.readouterr().err
    assert opened == []


def test_the_base_of_an_adapter_on_a_hub_has_to_be_given_for_a_chat(
    opened: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    assert "the base of o/adapter is unknown" in refusal(
        "task: chat\nprompt: hello\nadapter: o/adapter\n", capsys
    )
    assert opened == []


@pytest.mark.parametrize("task", FILES)
def test_a_folder_spelled_wrongly_is_not_taken_for_an_id(
    task: str, opened: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "loras" / "tuned").mkdir(parents=True)
    error = refusal(FILES[task].format(line="adapter: loras/tunde\n", name="loras/tunde"), capsys)
    assert "adapter: no folder loras/tunde" in error
    assert "did you mean loras/tuned?" in error
    assert "swiftbox download loras/tunde" in error
    assert opened == []


def test_an_id_beside_a_folder_of_its_owner_is_accepted_with_a_remark(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "Qwen").mkdir()
    (tmp_path / "a.yaml").write_text("task: merge\nadapter: Qwen/My-LoRA\nmodel: Qwen/My-Model\n")
    assert main(["check", "a.yaml"]) == 0
    printed = capsys.readouterr()
    assert "model: Qwen/My-Model is an id on modelscope" in printed.out + printed.err


def test_a_recorded_id_stays_one_when_a_folder_like_it_appears(tmp_path: Path) -> None:
    run = create(tmp_path / "stopped")
    (run / run_folder.STATE).write_text('{"status": "stopped"}')
    settled = "task: merge\nadapter: Qwen/My-LoRA\nmodel: Qwen/My-Model\nmerge_base: full\n"
    settled += "dtype: stored\n"
    (run / run_folder.SETTLED).write_text(settled)
    (tmp_path / "Qwen" / "My-Modle").mkdir(parents=True)
    for prepared in (prepare_resume(run), prepare_rerun(run)):
        assert prepared.plan.config.model_dump()["model"] == "Qwen/My-Model"
    (tmp_path / "Qwen" / "My-Model").mkdir()
    assert prepare_resume(run).plan.config.model_dump()["model"] == "Qwen/My-Model"


def test_the_child_fetches_a_recorded_id_though_its_folder_appeared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "Qwen" / "My-Model").mkdir(parents=True)
    requested: list[str] = []

    def fetch(request: DownloadRequest, _emit: Emit) -> Download:
        requested.append(request.id)
        return Download(tmp_path / "fetched")

    monkeypatch.setattr("swiftbox.hub.fetch.download", fetch)
    model = fetch_model("Qwen/My-Model", hub="modelscope", revision=None)
    assert model.folder == tmp_path / "fetched"
    assert requested == ["Qwen/My-Model"]
