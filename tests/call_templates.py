"""A chat template of each format of calls, and tokenizers that have them."""

from __future__ import annotations

from typing import Any

from forced_server import tokenizer_with
from template_rows import wheel_source

from swiftbox.templates.call_formats.table import FORMATS

MISTRAL = """{{ bos_token }}{% if tools %}[AVAILABLE_TOOLS] {{ tools | tojson }}[/AVAILABLE_TOOLS]
{%- endif %}{% for m in messages %}{% if m.tool_calls %}[TOOL_CALLS] [
{%- for call in m.tool_calls %}{% if call.id | length != 9 %}{{ raise_exception('bad id') }}
{%- endif %}{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}
{#- #}, "id": "{{ call.id }}"}{% if not loop.last %}, {% endif %}{% endfor %}]{{ eos_token }}
{%- elif m.role == 'tool' %}[TOOL_RESULTS] {{ m.tool_call_id }} {{ m.content }}[/TOOL_RESULTS]
{%- elif m.role == 'assistant' %} {{ m.content }}{{ eos_token }}
{%- else %}[INST] {{ m.content }}[/INST]{% endif %}{% endfor %}"""
"""In the form of Mistral's templates, which accept ids of nine letters only."""

DEEPSEEK = """{{ bos_token }}{% for tool in tools or [] %}{{ tool | tojson }}{% endfor %}
{%- for m in messages %}{% if m.role == 'assistant' %}<｜Assistant｜></think>{{ m.content or '' }}
{%- if m.tool_calls %}<｜tool▁calls▁begin｜>{% for call in m.tool_calls %}<｜tool▁call▁begin｜>
{{- call.function.name }}<｜tool▁sep｜>{{ call.function.arguments }}<｜tool▁call▁end｜>{% endfor %}
{#- #}<｜tool▁calls▁end｜>{% endif %}<｜end▁of▁sentence｜>
{%- else %}<｜User｜>{{ m.content }}{% endif %}{% endfor %}
{%- if add_generation_prompt %}<｜Assistant｜>{{ '<think>' if thinking else '</think>' }}
{%- endif %}"""
"""In the form of DeepSeek-V3.1's template, which takes arguments as text."""

TEMPLATES = {
    "hermes": wheel_source("qwen3"),
    "qwen3_coder": wheel_source("qwen3_5_nothink"),
    "glm": wheel_source("glm4moe"),
    "deepseek": DEEPSEEK,
    "mistral": MISTRAL,
    "harmony": wheel_source("gptoss"),
    "gemma4": wheel_source("gemma4"),
    "lfm2": wheel_source("lfm2_2_5"),
    "llama3_json": wheel_source("llama3_1"),
}
SPECIAL = {"harmony", "gemma4", "mistral", "llama3_json", "lfm2"}
"""Formats whose marks are special tokens of their models, which are usually left out of texts."""


def special_of(name: str) -> list[str]:
    if name not in SPECIAL:
        return []
    row = FORMATS[name]
    marks = {*row.special, *row.stops, *(["<|channel>", "<channel|>"] if name == "gemma4" else [])}
    return sorted(mark for mark in marks if mark != ";")


def call_tokenizers() -> dict[str, Any]:
    """Return a tokenizer of each format, and one without tools for the base model."""
    tokenizers = {
        name: tokenizer_with(template, special_of(name)) for name, template in TEMPLATES.items()
    }
    bare = tokenizer_with("{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}", [])
    return {"": bare, **tokenizers}
