"""A folder's template and special tokens are those of its tokenizer, without loading that."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tiny import train_tokenizer
from transformers import AutoTokenizer

from swiftbox.config.groups import ModelFields
from swiftbox.errors import ConfigError, DataError
from swiftbox.templates.chatml import CHATML
from swiftbox.templates.folder import template_of_folder
from swiftbox.templates.template import ConversationTemplate

TURNS = [{"role": "user", "content": "Hi."}]
SHOWS_TOKENS = "{{ bos_token }}|{{ eos_token }}|{{ pad_token }}|{{ unk_token }}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    train_tokenizer().save_pretrained(tmp_path)
    return tmp_path


def change(folder: Path, **settings: Any) -> None:
    path = folder / "tokenizer_config.json"
    content = json.loads(path.read_text("utf-8")) | settings
    content = {key: value for key, value in content.items() if value != "absent"}
    path.write_text(json.dumps(content), "utf-8")


def config(folder: Path, **values: Any) -> ModelFields:
    return ModelFields(model=str(folder), **values)


def require_equal(folder: Path, tools: tuple[Any, ...] = ()) -> ConversationTemplate:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    loaded = ConversationTemplate.of_tokenizer(tokenizer)
    read = template_of_folder(folder, config(folder))
    assert (read.source, read.tool_source) == (loaded.source, loaded.tool_source)
    assert read.special_tokens == loaded.special_tokens
    rendered = tokenizer.apply_chat_template(TURNS, tools=list(tools) or None, tokenize=False)
    assert read.render(TURNS, tools) == rendered
    return read


def test_the_template_of_a_saved_tokenizer(folder: Path) -> None:
    require_equal(folder)


def test_a_template_in_the_settings(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink()
    change(folder, chat_template="settings")
    assert require_equal(folder).source == "settings"


def test_a_file_comes_before_the_settings(folder: Path) -> None:
    change(folder, chat_template="settings")
    assert require_equal(folder).source != "settings"


@pytest.mark.parametrize("in_files", [True, False])
def test_the_tool_template_of_a_model_with_several(folder: Path, in_files: bool) -> None:
    (folder / "chat_template.jinja").write_text("default", "utf-8")
    if in_files:
        (folder / "additional_chat_templates").mkdir()
        path = folder / "additional_chat_templates" / "tool_use.jinja"
        path.write_text("tools {{ tools | tojson }}", "utf-8")
    else:
        (folder / "chat_template.jinja").unlink()
        named = {"default": "default", "tool_use": "tools {{ tools | tojson }}"}
        change(
            folder,
            chat_template=[{"name": name, "template": text} for name, text in named.items()],
        )
    assert require_equal(folder).render(TURNS) == "default"
    require_equal(folder, ({"type": "function", "function": {"name": "f"}},))


@pytest.mark.parametrize(
    "settings",
    [
        {"bos_token": "<|endoftext|>"},
        {"bos_token": {"__type": "AddedToken", "content": "<|endoftext|>", "lstrip": False}},
        {"tokenizer_class": "Qwen2Tokenizer", "eos_token": "absent", "pad_token": "absent"},
        {"tokenizer_class": "GemmaTokenizer", "eos_token": "absent"},
    ],
)
def test_special_tokens_in_every_place(folder: Path, settings: dict[str, Any]) -> None:
    (folder / "chat_template.jinja").write_text(SHOWS_TOKENS, "utf-8")
    change(folder, **settings)
    require_equal(folder)


@pytest.mark.parametrize("has_decoder", [True, False])
def test_special_tokens_of_an_older_file(folder: Path, has_decoder: bool) -> None:
    (folder / "chat_template.jinja").write_text(SHOWS_TOKENS, "utf-8")
    (folder / "special_tokens_map.json").write_text('{"eos_token": "<|endoftext|>"}', "utf-8")
    decoder = {"0": {"content": "<|endoftext|>", "special": True}}
    change(folder, added_tokens_decoder=decoder if has_decoder else "absent")
    require_equal(folder)


def test_the_template_that_the_config_names(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "mine.jinja"
    path.write_text("mine {{ quiet }}", "utf-8")
    chosen = template_of_folder(folder, config(folder, template=str(path)))
    assert chosen.with_variables({"quiet": 1}).render(TURNS) == "mine 1"
    assert template_of_folder(folder, config(folder, template="chatml")).source == CHATML


def test_a_folder_without_template_and_a_file_that_is_none(folder: Path) -> None:
    (folder / "chat_template.jinja").write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="cannot be read"):
        template_of_folder(folder, config(folder))
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(DataError, match="no chat template"):
        template_of_folder(folder, config(folder))
