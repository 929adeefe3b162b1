"""`vllm_args`: what swiftbox decides is refused in every spelling, and values stay values."""

from __future__ import annotations

from typing import Any

import pytest
from made_up import made_up

from swiftbox.config.vllm_arguments import IMPORTING, rendered
from swiftbox.errors import ConfigError
from swiftbox.plan import plan
from swiftbox.tasks import TASKS
from swiftbox.tasks.load import loads


def loaded(arguments: str, engine: str = "vllm") -> Any:
    content = f"task: deploy\nmodel: o/n\nengine: {engine}\nvllm_args: {arguments}\n"
    return loads(content, source="a.yaml").config


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("host", "set host instead"),
        ("hos", "set host instead"),
        ("api-key", "set api_key_env instead"),
        ("API_KEY", "set api_key_env instead"),
        ("max_model_len", "set max_model_len instead"),
        ("no-enable-lora", "set adapters instead"),
        ("disable_lora", "set adapters instead"),
        ("default-chat-template-kwargs.thinking", "set chat_template_kwargs instead"),
        ("middlew", "cannot be set"),
        ("config", "cannot be set"),
        ("ssl_keyfile", "a proxy in front encrypts"),
        ("-O", "not the name of an argument"),
        ("a b", "not the name of an argument"),
        ("seed=1", "not the name of an argument"),
    ],
)
def test_what_swiftbox_decides_is_refused_in_every_spelling(name: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        loaded(f"{{'{name}': 1}}")


def test_all_faults_are_named_at_once() -> None:
    with pytest.raises(ConfigError, match=r"set port instead; .*tp: set tensor_parallel_size"):
        loaded("{port: 1, tp: 2}")


def test_values_cannot_become_arguments() -> None:
    arguments = {
        "seed": 7,
        "enforce_eager": True,
        "enable-prefix-caching": False,
        "tokenizer-mode": "--host=0.0.0.0",
        "compilation_config.some_key": "x y",
        "cudagraph-capture-sizes": [1, 2],
        "limit-mm-per-prompt": {"image": 1},
    }
    assert rendered(arguments) == [
        "--seed=7",
        "--enforce-eager",
        "--no-enable-prefix-caching",
        "--tokenizer-mode=--host=0.0.0.0",
        "--compilation-config.some_key=x y",
        *("--cudagraph-capture-sizes", "1", "2"),
        '--limit-mm-per-prompt={"image": 1}',
    ]
    for value in ("[--host]", "[[1]]", "[]", "null"):
        with pytest.raises(ConfigError, match="vllm_args"):
            loaded(f"{{cudagraph-capture-sizes: {value}}}")


def test_only_vllm_takes_them() -> None:
    with pytest.raises(ConfigError, match="only vllm takes them, and engine is builtin"):
        plan(loaded("{seed: 1}", "builtin"), made_up("cuda"))


@pytest.mark.parametrize("name", [*IMPORTING, "worker-c", "tool_parser_plugin"])
def test_code_that_they_name_needs_an_agreement(name: str) -> None:
    effects = TASKS["deploy"].effects(loaded(f"{{{name}: /x.py}}"))
    (effect,) = effects.runs
    assert effect.needs_consent
    assert "/x.py" in effect.what
    assert TASKS["deploy"].effects(loaded("{seed: 1}")).runs == ()
