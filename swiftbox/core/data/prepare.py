"""From dataset files to the rows that are trained on; needs a tokenizer, not yet a model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer

from swiftbox.config.train import TrainConfig
from swiftbox.core.data.cache import Encoding, encoded
from swiftbox.core.data.rows import fit, hold_out, preview
from swiftbox.core.data.samples import Sample
from swiftbox.data.source import RowSource
from swiftbox.runs import events
from swiftbox.runs.events import Emit

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
    config: TrainConfig, method: Any, tokenizer: Any, sources: Sequence[RowSource], emit: Emit
) -> tuple[Sequence[Sample], Sequence[Sample]]:
    """Read, check, encode, cut and split the data; record what was found."""
    encoding = Encoding(method.name, method.encode, tokenizer, config)
    samples, found = encoded(sources, encoding, emit)
    fitted = fit(samples, max_length=config.max_length, truncation=config.truncation)
    training, held_out = hold_out(fitted.rows, config.val_size, config.seed)
    emit(
        events.DATA,
        rows=len(training),
        held_out=len(held_out),
        bad=found["bad"],
        cut=fitted.cut,
        dropped=fitted.dropped,
        nothing_to_learn=fitted.nothing_to_learn,
        tokens=fitted.tokens,
        trained_tokens=fitted.trained_tokens,
        percentiles=fitted.percentiles,
        max_length=config.max_length,
        preferences=found["preferences"],
        preview=preview(fitted.rows, tokenizer),
    )
    return training, held_out
