"""Answers are read as the parser of transformers reads them, by the rules of trl."""

from __future__ import annotations

from typing import Any

import pytest
from call_answers import FULL, SHORT, TOOLS, WRITTEN
from transformers.utils.chat_parsing import parse_response
from trl import chat_template_utils as trl

from swiftbox.templates.call_formats.table import AnswerForm

GEMMA = ("<|channel>thought", "<channel|>")
THINK = ("<think>", "</think>")
CASES: list[tuple[str, Any, str, tuple[str, str]]] = [
    ("hermes", trl.qwen3_template, "<|im_end|>", THINK),
    ("qwen3_coder", trl.qwen3_5_template, "<|im_end|>", THINK),
    ("glm", trl.glm4moe_template, "<|user|>", THINK),
    ("gemma4", trl.gemma4_template, "<turn|>", GEMMA),
    ("harmony", trl.gptoss_template, "", THINK),
    ("llama3_json", trl.llama3_template, "<|eot_id|>", THINK),
]
"""Names, transformers' rules, the closing token, and the marks of reasoning.

Left out is LFM 2, where those rules lose types, and what they have no rules for.
"""


@pytest.mark.parametrize(
    ("name", "rules", "closing", "think"), CASES, ids=[row[0] for row in CASES]
)
def test_an_answer_is_read_as_transformers_reads_it(
    name: str, rules: Any, closing: str, think: tuple[str, str]
) -> None:
    calls = [("weather", FULL), ("weather", SHORT)]
    written = WRITTEN[name]
    text = f"{think[0]}\nHm.\n{think[1]}\n\nI look.\n{written.calls(*calls)}"
    if name == "harmony":  # trl's rules know one form of the header, and one call
        header = "<|start|>assistant to=functions.weather<|channel|>commentary json<|message|>"
        calls = calls[1:]
        text = f'<|channel|>analysis<|message|>Hm.<|end|>{header}{{"city": "Paris"}}<|call|>'
    if name == "llama3_json":  # no reasoning, and one call
        calls = calls[1:]
        text = f"I look.\n{written.calls(*calls)}"
    expected = parse_response(text + closing, rules, prefix="", tools=TOOLS)
    reader = AnswerForm((written.format,), think).reader(TOOLS)
    parts = [reader.feed(text), reader.finish()]
    functions = [call["function"] for call in expected.get("tool_calls", [])]
    assert [(function["name"], function["arguments"]) for function in functions] == calls
    assert [(call.name, call.arguments) for part in parts for call in part.calls] == calls
    reasoning = expected.get("reasoning_content") or expected.get("thinking") or ""
    assert "".join(part.reasoning for part in parts) == reasoning
    assert "".join(part.content for part in parts) == expected.get("content", "")
