"""New tokens in a config: lists, files, names of other tools, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from made_up import made_up
from tiny import write_chats

from swiftbox.errors import ConfigError
from swiftbox.launch.prepare import prepare
from swiftbox.plan import Plan, plan
from swiftbox.tasks.load import loads
from swiftbox.tasks.training_vocabulary import known_tokens, tokens_from_files


def planned(*overrides: str) -> Plan:
    loaded = loads("", source="a.yaml", overrides=["model=m", "dataset=d", *overrides])
    return plan(loaded.config, made_up("cpu"))


def test_a_list_in_a_text_is_a_list_without_repetitions() -> None:
    config: Any = planned("add_tokens=<a>, <b>,<a>", "resize_vocab=true").config
    assert config.new_tokens == ["<a>", "<b>"]


def test_a_file_has_a_token_on_each_line(tmp_path: Path) -> None:
    path = tmp_path / "tokens.txt"
    path.write_text("\ufeff<a>\n\nblue sky\n<a>\n", "utf-8")
    config: Any = planned(f"new_special_tokens={path}").config
    assert tokens_from_files(config) == {"new_special_tokens": ["<a>", "blue sky"]}


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00", b"a" * 300])
def test_a_file_that_holds_no_tokens_is_refused(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "tokens.txt"
    if content is not None:
        path.write_bytes(content)
    config: Any = planned(f"new_tokens={path}").config
    with pytest.raises(ConfigError, match=r"new_tokens: .*tokens\.txt"):
        tokens_from_files(config)


REFUSED: dict[str, tuple[tuple[str, ...], str]] = {
    "a score": (("stage=reward",), "has not been verified with stage: reward"),
    "an adapter": (("adapter=runs/a",), "cannot be added to an adapter"),
    "a changed base": (("init_lora_weights=pissa",), "with init_lora_weights: pissa"),
    "another optimizer": (("optim=lora_fa",), "with optim: lora_fa"),
    "two rates": (("lora_plus_lr_ratio=4",), "with lora_plus_lr_ratio: 4"),
    "half of the rows": (("modules_to_save=[lm_head]",), "modules_to_save names the"),
    "a targeted head": (
        ("target_modules=[q_proj,lm_head]",),
        "target_modules names the",
    ),
    "a blank": (("new_special_tokens=['  ']",), "should have 1 to 256 characters"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_have_new_tokens_is_refused(name: str) -> None:
    overrides, message = REFUSED[name]
    with pytest.raises(ConfigError, match=message):
        planned("new_tokens=[<a>]", *overrides)


def test_the_check_names_tokens_that_the_tokenizer_has(tmp_path: Path, tiny: Path) -> None:
    data = write_chats(tmp_path / "chat.jsonl", 12)
    known = "<|im_end|>"
    assert known in known_tokens(tiny)
    overrides = [f"model={tiny}", f"dataset={data}", f"new_tokens=['{known}','<a>']"]
    prepared = prepare(None, overrides, machine=made_up("cpu"))
    assert any(f"has 1 of these tokens already: {known}" in line for line in prepared.remarks)
