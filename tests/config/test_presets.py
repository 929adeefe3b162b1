"""Presets: their comments, and an example adapter that gives way to the user's model."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from prose_laws import CHINESE
from pydantic import BaseModel

from swiftbox.cli.main import main
from swiftbox.config.fields import cards
from swiftbox.config.pipeline import PipelineConfig
from swiftbox.config.presets import presets
from swiftbox.tasks.load import load

COMMENT = re.compile(r"(?m)^ *(\w+): *\S?.*?  # (.*)$")


def new(folder: Path, *arguments: str) -> Path:
    target = folder / "new.yaml"
    assert main(["new", *arguments, "-o", str(target)]) == 0
    return target


@pytest.mark.parametrize("preset", ["quantize", "quantize-gptq", "deploy", "chat", "evaluate"])
def test_a_model_replaces_the_example_adapter(preset: str, tmp_path: Path) -> None:
    target = new(tmp_path, preset, "model=X")
    assert "\nadapter:" not in target.read_text("utf-8")
    config = load(target).config.model_dump()
    assert (config["model"], config["adapter"]) == ("X", None)


@pytest.mark.parametrize("preset", ["chat", "evaluate"])
def test_a_server_replaces_the_example_adapter(preset: str, tmp_path: Path) -> None:
    target = new(tmp_path, preset, "endpoint=http://127.0.0.1:1/v1")
    assert load(target).config.model_dump()["adapter"] is None


def test_an_adapter_that_the_user_names_stays_beside_the_model(tmp_path: Path) -> None:
    target = new(tmp_path, "quantize", "model=X", "adapter=runs/my-lora")
    assert load(target).config.model_dump()["adapter"] == "runs/my-lora"


def test_a_merge_keeps_its_adapter_since_it_needs_one(tmp_path: Path) -> None:
    assert load(new(tmp_path, "merge", "model=X")).config.model_dump()["adapter"] == "runs/my-lora"


def comments(path: Path) -> list[tuple[type[BaseModel], str, str]]:
    """Return the class, key and comment of every commented key of a preset."""
    config = load(path).config
    if isinstance(config, PipelineConfig):
        classes = [type(step.config) for step in config.steps]
    else:
        classes = [type(config)]
    content = re.split(r"(?m)^- name: .*$", path.read_text("utf-8"))
    outside, blocks = content[0], content[1:]
    triples = [(type(config), *pair) for pair in COMMENT.findall(outside)]
    for model, block in zip(classes, blocks, strict=False):
        triples += [(model, *pair) for pair in COMMENT.findall(block)]
    return triples


@pytest.mark.parametrize("name", sorted(presets()))
def test_the_comments_of_a_preset_are_the_help_of_its_fields(name: str) -> None:
    commented = comments(presets()[name])
    assert commented
    for model, key, comment in commented:
        assert {card.name: card.help for card in cards(model)}[key] == comment, key


@pytest.mark.parametrize("name", sorted(presets()))
def test_a_preset_says_what_it_does_and_how_to_run_it(name: str) -> None:
    lines = presets()[name].read_text("utf-8").splitlines()
    assert lines[0].startswith("# ")
    assert CHINESE.search(lines[1])
    assert not CHINESE.search(lines[0])
    assert lines[2].startswith(f"# Run: swiftbox run configs/{name}.yaml")
