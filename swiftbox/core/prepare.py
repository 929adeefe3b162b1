"""From dataset files to the rows that are trained on; needs a tokenizer, not yet a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from swiftbox.config.train import TrainConfig
from swiftbox.core.encoding import Row
from swiftbox.core.rows import fit, hold_out, preview
from swiftbox.data.check import load_examples
from swiftbox.data.source import Source

Emit = Callable[..., None]

CHATML = """{%- for message in messages %}
{{- '<|im_start|>' + message['role'] + '\\n' }}
{%- if message['role'] == 'assistant' %}
{%- generation %}{{- message['content'] + '<|im_end|>' }}{%- endgeneration %}
{%- else %}
{{- message['content'] + '<|im_end|>' }}
{%- endif %}
{{- '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
{{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""
"""The ChatML template, for base models that bring none."""


def load_tokenizer(folder: Path, config: TrainConfig) -> Any:
    """Load the tokenizer, with the chat template that the config asks for."""
    tokenizer = AutoTokenizer.from_pretrained(
        str(folder), trust_remote_code=config.trust_remote_code, local_files_only=True
    )
    if config.template == "chatml":
        tokenizer.chat_template = CHATML
    elif config.template != "auto":
        path = Path(config.template).expanduser()
        tokenizer.chat_template = path.read_text(encoding="utf-8")
    return tokenizer


def prepare_rows(
    config: TrainConfig, method: Any, tokenizer: Any, sources: Sequence[Source], emit: Emit
) -> tuple[list[Row], list[Row]]:
    """Read, check, encode, cut and split the data; record what was found."""
    checked = load_examples(
        sources, stage=method.name, max_bad_rows=config.max_bad_rows, seed=config.seed
    )
    encoded = [row for rows in method.encode(checked.examples, tokenizer, config) for row in rows]
    fitted = fit(encoded, max_length=config.max_length, truncation=config.truncation)
    training, held_out = hold_out(fitted.rows, config.val_size, config.seed)
    emit(
        "data",
        rows=len(training),
        held_out=len(held_out),
        bad=len(checked.bad),
        cut=fitted.cut,
        dropped=fitted.dropped,
        nothing_to_learn=fitted.nothing_to_learn,
        tokens=fitted.tokens,
        trained_tokens=fitted.trained_tokens,
        percentiles=fitted.percentiles,
        max_length=config.max_length,
        preferences=checked.preference_data(),
        preview=preview(fitted.rows, tokenizer),
    )
    return training, held_out
