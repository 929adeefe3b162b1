"""vLLM's parsers are chosen by what a template renders, and only where they lose nothing."""

from __future__ import annotations

import pytest
from template_rows import wheel_template

from swiftbox.serving.vllm_parsers import choose_parsers
from swiftbox.templates.call_formats.table import FORMATS

THINK = {"<think>", "</think>"}
ALL = THINK | {token for row in FORMATS.values() for token in row.vllm.tokens}

CHOICES = {
    "qwen2_5": ("hermes", ""),
    "qwen3": ("hermes", "qwen3"),
    "qwen3_instruct_2507": ("hermes", ""),
    "qwen3_5_think": ("qwen3_coder", "qwen3"),
    "qwen3_5_nothink": ("qwen3_coder", "deepseek_v3"),
    "nemotron_3_nano": ("qwen3_coder", "qwen3"),
    "glm4moe": ("glm45", "glm45"),
    "llama3_1": ("llama3_json", ""),
    "llama3": ("", ""),
    "deepseek_r1_distill": ("", "holo2"),
    "gemma4": ("gemma4", "gemma4"),
    "gptoss": ("openai", "openai_gptoss"),
    "gemma3": ("", ""),
    # Its models think or do not: vLLM would take an answer without reasoning for reasoning.
    "lfm2_2_5": ("lfm2", ""),
}


@pytest.mark.parametrize("name", CHOICES)
def test_the_template_decides(name: str) -> None:
    parsers = choose_parsers(wheel_template(name), ALL, "gpt_oss")
    assert (parsers.tools, parsers.reasoning) == CHOICES[name]


def test_reasoning_that_is_switched_off_is_read_only_on_request() -> None:
    template = wheel_template("qwen3").with_variables({"enable_thinking": False})
    assert choose_parsers(template, ALL, "").reasoning == "deepseek_v3"


def test_a_vocabulary_without_the_marks_gets_no_parser_that_wants_them() -> None:
    plain = choose_parsers(wheel_template("qwen3"), set(), "")
    assert (plain.tools, plain.reasoning) == ("hermes", "")
    assert "reasoning stays in the content" in plain.lines()[-1]
    llama = choose_parsers(wheel_template("llama3_1"), THINK, "")
    assert llama.tools == ""
    assert "its vocabulary lacks <|python_tag|>" in llama.lines()[0]


def test_only_gpt_oss_has_the_harmony_format_in_vllm() -> None:
    parsers = choose_parsers(wheel_template("gptoss"), ALL, "qwen3")
    assert (parsers.tools, parsers.reasoning) == ("", "")
    assert len(parsers.remarks) == 2
