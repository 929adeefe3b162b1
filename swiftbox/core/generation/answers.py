"""Let a model answer questions in a child process.

Usage: `python -m swiftbox.core.generation.answers REQUEST.json ANSWERS.json`.

The request holds `model`, `adapter` and `questions`. The answers are greedy: one with the adapter
off (`before`), one with it on (`after`).
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer

from swiftbox.core.weights.adapters import adapter_shapes, attach_adapter
from swiftbox.core.weights.load import load_pretrained
from swiftbox.templates.client_messages import render_for_client
from swiftbox.templates.template import ConversationTemplate

MAX_ANSWER_TOKENS = 48


def main() -> int:
    """Answer the request."""
    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    tokenizer = AutoTokenizer.from_pretrained(request["model"], local_files_only=True)
    base_model = load_pretrained(Path(request["model"]))
    adapter = Path(request["adapter"])
    model = attach_adapter(base_model, adapter, adapter_shapes(adapter))
    questions = request["questions"]
    with model.disable_adapter():
        before = answer_all(model, tokenizer, questions)
    after = answer_all(model, tokenizer, questions)
    rows = [
        {"question": question, "before": first, "after": second}
        for question, first, second in zip(questions, before, after, strict=True)
    ]
    content = json.dumps(rows, ensure_ascii=False, indent=2)
    Path(sys.argv[2]).write_text(content, encoding="utf-8")
    return 0


def answer_all(model: Any, tokenizer: Any, questions: Sequence[str]) -> list[str]:
    """Return the greedy answer to each question."""
    return [answer(model, tokenizer, question) for question in questions]


def answer(model: Any, tokenizer: Any, question: str) -> str:
    """Return the greedy answer to one question."""
    turn = {"role": "user", "content": question}
    rendered = render_for_client(
        ConversationTemplate.of_tokenizer(tokenizer), [turn], [], prompt=True
    )
    prompt = tokenizer(rendered, add_special_tokens=False, return_tensors="pt")
    with torch.no_grad(), contextlib.redirect_stdout(sys.stderr):
        output = model.generate(**prompt, max_new_tokens=MAX_ANSWER_TOKENS, do_sample=False)
    tokens = output[0, prompt["input_ids"].shape[1] :]
    return str(tokenizer.decode(tokens, skip_special_tokens=True)).strip()


if __name__ == "__main__":
    sys.exit(main())
