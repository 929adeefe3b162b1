"""What a hub, a config or an adapter names: nothing outside of the caches' roots changes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from box import HANG_S
from downloading import Desk
from file_trees import home_with_sentinels, tree
from hostile_hub import hostile_hub
from model_folder import write_safetensors

TESTS = Path(__file__).resolve().parents[1]
COUNT = int(os.environ.get("SWIFTBOX_HOSTILE_TEXTS", "3"))
"""Texts of each kind that are tried; 0 tries all."""

OTHER_DOWNLOADS = (
    "hf/token",
    "hf/hub/models--x--y/refs/main",
    "hf/hub/models--x--y/blobs/escaped",
    "ms/models/x--y/snapshots/master/config.json",
    "state/locks/escaped",
)
"""Files in the roots of the caches that belong to others."""


def printed_table(outcomes: Counter[str]) -> None:
    """Print how many texts were refused and fetched, by place and kind."""
    print(f"{'place':12} {'kind':12} {'refused':>8} {'fetched':>8}")
    for place, kind in sorted({tuple(key.split()[:2]) for key in outcomes}):
        counts = [outcomes[f"{place} {kind} {end}"] for end in ("refused", "fetched")]
        print(f"{place:12} {kind:12} {counts[0]:8} {counts[1]:8}")


@pytest.mark.slow
def test_no_name_that_a_hub_gives_changes_a_file_outside_of_the_caches(tmp_path: Path) -> None:
    work = home_with_sentinels(tmp_path)
    desk = Desk(tmp_path)
    roots = {"ms", "hf", "state", ".modelscope", "work/models"}
    for name in OTHER_DOWNLOADS:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("mine")
    before = tree(tmp_path, roots)
    done = subprocess.run(
        [sys.executable, str(TESTS / "hostile_hub.py"), str(COUNT), str(work)],
        cwd=work,
        env={**desk.environment(), "PYTHONPATH": f"{TESTS}:{TESTS.parent}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=30 * HANG_S,
    )
    assert done.returncode == 0, done.stderr
    outcomes = Counter(json.loads(done.stdout.splitlines()[-1]))
    printed_table(outcomes)
    assert tree(tmp_path, roots) == before
    assert all((tmp_path / name).read_text() == "mine" for name in OTHER_DOWNLOADS)
    assert outcomes["all hidden"] == outcomes["all without hint"] == 0
    assert all(outcomes[f"{place} climbing refused"] for place in ("path", "commit", "revision"))


LORA_A, LORA_B = (
    f"base_model.model.model.layers.0.self_attn.q_proj.lora_{part}.weight" for part in "AB"
)

ESCAPES = [("huggingface", "../../../../.profile"), ("modelscope", "../../../../.config")]
"""Revisions that lead out of the caches of a Desk."""


@pytest.mark.parametrize(("name", "revision"), ESCAPES)
def test_a_revision_in_a_yaml_replaces_no_file_of_the_user(
    tmp_path: Path, name: str, revision: str
) -> None:
    home_with_sentinels(tmp_path)
    (tmp_path / "a.yaml").write_text(
        f"task: download\nmodel: o/n\nhub: {name}\nrevision: {revision}\n", "utf-8"
    )
    before = tree(tmp_path)
    with hostile_hub() as server:
        desk = Desk(tmp_path, server.address, server.address)
        ends = [desk.box("run", "a.yaml", "--plain"), desk.box("check", "a.yaml")]
    assert tree(tmp_path, ["state"]) == before
    for done in ends:
        assert "a.yaml:4 revision: a branch, tag or commit has no" in done.err
        assert done.code == 2


@pytest.mark.parametrize(("name", "revision"), ESCAPES)
def test_a_revision_in_an_adapter_replaces_no_file_of_the_user(
    tmp_path: Path, name: str, revision: str
) -> None:
    home_with_sentinels(tmp_path)
    folder = tmp_path / "adapter"
    folder.mkdir()
    write_safetensors(folder / "adapter_model.safetensors", {LORA_A: 16, LORA_B: 16})
    config = {"peft_type": "LORA", "base_model_name_or_path": "o/n", "revision": revision}
    config["target_modules"] = ["q_proj"]
    (folder / "adapter_config.json").write_text(json.dumps(config))
    (tmp_path / "a.yaml").write_text(f"task: merge\nadapter: ./adapter\nhub: {name}\n", "utf-8")
    before = tree(tmp_path)
    with hostile_hub() as server:
        desk = Desk(tmp_path, server.address, server.address)
        ends = [desk.box("run", "a.yaml", "--plain"), desk.box("check", "a.yaml")]
    assert tree(tmp_path, ["state"]) == before
    for done in ends:
        assert "adapter: revision" in done.err.replace(str(folder), "adapter")
        assert done.code == 2
