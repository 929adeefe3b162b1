"""Measure a GGUF file with llama.cpp: perplexity on given tokens, greedy answers, its tokenizer.

Runs in the environment of the engine `llama_cpp`. Its only argument is the path of a request in
JSON; it prints events as lines and writes its result to request["result"].
Shapes: T tokens of a text, B tokens of a batch, V vocabulary.
"""

from __future__ import annotations

import ctypes
import json
import math
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np

BATCH = 512
"""Positions whose float32 logits exist at once."""

ROWS = 64
"""Positions whose float64 logits exist at once."""

WARNING = 3
"""llama.cpp's level from which its lines are shown: below, there are hundreds for each file."""

CONTINUED = 5
"""Marks a piece of the line before."""


class LoadedFile:
    """A GGUF file in memory, with one sequence."""

    def __init__(self, path: str, length: int) -> None:
        llama_cpp.llama_backend_init()
        parameters = llama_cpp.llama_model_default_params()
        self.model = llama_cpp.llama_model_load_from_file(path.encode(), parameters)
        if not self.model:
            raise SystemExit(f"llama.cpp cannot load {path}")
        self.vocabulary = llama_cpp.llama_model_get_vocab(self.model)
        self.size = llama_cpp.llama_vocab_n_tokens(self.vocabulary)
        settings = llama_cpp.llama_context_default_params()
        settings.n_ctx = length
        settings.n_batch = settings.n_ubatch = min(BATCH, length)
        self.context = llama_cpp.llama_init_from_model(self.model, settings)
        if not self.context:
            raise SystemExit(f"llama.cpp has no memory for {length} tokens of {path}")
        self.batch = llama_cpp.llama_batch_init(BATCH, 0, 1)

    def forget(self) -> None:
        """Forget the tokens read so far."""
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self.context), True)

    def read(self, tokens: list[int], first: int) -> Any:
        """Read B tokens from position `first` on; return their logits, (B, V) in float32."""
        self.batch.n_tokens = len(tokens)
        for index, token in enumerate(tokens):
            self.batch.token[index] = token
            self.batch.pos[index] = first + index
            self.batch.n_seq_id[index] = 1
            self.batch.seq_id[index][0] = 0
            self.batch.logits[index] = True
        code = llama_cpp.llama_decode(self.context, self.batch)
        if code:
            raise SystemExit(f"llama.cpp cannot read {len(tokens)} tokens: code {code}")
        logits = llama_cpp.llama_get_logits(self.context)
        return np.ctypeslib.as_array(logits, shape=(len(tokens), self.size))

    def tokens_of(self, text: str) -> list[int]:
        """Return the tokens of a text, control tokens included."""
        data = text.encode()
        count = len(data) + 8
        tokens = (llama_cpp.llama_token * count)()
        length = llama_cpp.llama_tokenize(
            self.vocabulary, data, len(data), tokens, count, False, True
        )
        return list(tokens[:length])


def main() -> int:
    """Measure the file of the request."""
    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    callback = llama_cpp.llama_log_callback(show)
    llama_cpp.llama_log_set(callback, ctypes.c_void_p(0))
    texts = json.loads(Path(request["pieces"]).read_text(encoding="utf-8"))["held_out"]
    prompts = request["prompts"]
    answer_tokens = request["answer_tokens"]
    longest = max(map(len, [*texts, *(prompt + [0] * answer_tokens for prompt in prompts)]))
    model = LoadedFile(request["model"], longest)
    is_end = llama_cpp.llama_vocab_is_eog
    started = time.monotonic()
    answers = [answer(model, prompt, answer_tokens) for prompt in prompts]
    seconds = time.monotonic() - started
    result = {
        **perplexity(model, texts),
        "answers": answers,
        "seconds": seconds,
        "not_ends": [end for end in request["ends"] if not is_end(model.vocabulary, end)],
        "tokenized": [model.tokens_of(text) for text in request["texts"]],
        "versions": {"llama-cpp-python": metadata.version("llama-cpp-python")},
    }
    Path(request["result"]).write_text(json.dumps(result), encoding="utf-8")
    return 0


def perplexity(model: LoadedFile, texts: list[list[int]]) -> dict[str, Any]:
    """Return exp of the mean loss over all tokens but the first of each text."""
    total, count, finite = 0.0, 0, True
    for index, tokens in enumerate(texts):
        model.forget()
        for first in range(0, len(tokens), BATCH):
            logits = model.read(tokens[first : first + BATCH], first)  # (B, V)
            targets = np.array(tokens[first + 1 : first + 1 + len(logits)])
            for row in range(0, len(targets), ROWS):
                rows = logits[row : row + ROWS][: len(targets) - row].astype(np.float64)
                finite = finite and bool(np.isfinite(rows).all())
                total += loss(rows, targets[row : row + ROWS])
            count += len(targets)
        say("measuring", done=index + 1, of=len(texts))
    mean = total / max(1, count)
    return {
        "perplexity": math.exp(mean) if finite and mean < 700 else None,
        "tokens": count,
        "finite": finite,
    }


def loss(logits: Any, targets: Any) -> float:
    """Return the sum of the cross entropies of rows of logits."""
    largest = logits.max(axis=1, keepdims=True)
    sums = np.log(np.exp(logits - largest).sum(axis=1)) + largest[:, 0]
    return float((sums - logits[np.arange(len(targets)), targets]).sum())


def answer(model: LoadedFile, prompt: list[int], tokens: int) -> dict[str, Any]:
    """Return a greedy answer: its tokens without the end, and the lead of each, the end's too."""
    model.forget()
    for first in range(0, len(prompt), BATCH):
        logits = model.read(prompt[first : first + BATCH], first)
    ids: list[int] = []
    margins: list[float] = []
    scale = 0.0
    while True:
        row = logits[-1]
        best = int(row.argmax())
        second, first_logit = np.partition(row, -2)[-2:].tolist()
        margins.append(first_logit - second)
        scale = max(scale, abs(first_logit))
        if llama_cpp.llama_vocab_is_eog(model.vocabulary, best):
            break
        ids.append(best)
        if len(ids) == tokens:
            break
        logits = model.read([best], len(prompt) + len(ids) - 1)
    return {"ids": ids, "margins": margins, "scale": scale}


def show(level: int, text: bytes, _data: Any) -> None:
    """Pass on the warnings and errors of llama.cpp."""
    if WARNING <= level < CONTINUED:
        sys.stderr.write(text.decode("utf-8", "replace"))


def say(event: str, **fields: Any) -> None:
    """Print one event."""
    sys.stdout.write(json.dumps({"event": event, **fields}) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
