"""Rows of exact lengths: words that are one token each."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

MEDIAN_PROMPT, MEDIAN_ANSWER, SPREAD = 60, 180, 0.9
"""Of the chat mixture, in tokens: log-normal, as published chats are; most short, a few long."""

LONGEST_PART = 1500


def single_tokens(tokenizer: Any) -> list[str]:
    """Return words that are one token when a space precedes them."""
    vocabulary = {
        tokenizer.decode([number]).strip()
        for number in range(3, tokenizer.vocab_size)
        if tokenizer.convert_ids_to_tokens(number).startswith("Ġ")
    }
    return sorted(
        word
        for word in vocabulary
        if word.isalpha()
        and len(tokenizer.encode(f" {word} {word}", add_special_tokens=False)) == 2
    )


class RowWriter:
    """Writes rows for a tokenizer; `lengths` are the token counts of what it wrote."""

    def __init__(self, tokenizer: Any) -> None:
        self.chooser = random.Random(0)
        self.vocabulary = single_tokens(tokenizer)
        self.frame = len(tokenizer.apply_chat_template(self._chat("", ""), return_dict=False))
        self.lengths: list[int] = []
        self.learned: list[int] = []

    def _chat(self, question: str, answer: str) -> list[dict[str, str]]:
        return [
            {"role": "user", "content": question},
            {"role": "assistant", "content": answer},
        ]

    def text(self, tokens: int) -> str:
        """Return a text of so many tokens."""
        return "".join(f" {self.chooser.choice(self.vocabulary)}" for _ in range(max(1, tokens)))

    def chat(self, prompt: int, answer: int) -> dict[str, Any]:
        """Return a chat whose prompt and answer have so many tokens."""
        self.lengths.append(prompt + answer + self.frame)
        self.learned.append(answer)
        return {"messages": self._chat(self.text(prompt), self.text(answer))}

    def pair(self, prompt: int, answer: int) -> dict[str, Any]:
        """Return a preference; both answers have nearly so many tokens."""
        self.lengths.append(2 * (prompt + answer + self.frame))
        self.learned.append(2 * answer)
        chosen, rejected = (
            self._chat("", self.text(answer))[1:],
            self._chat("", self.text(answer))[1:],
        )
        return {
            "prompt": self._chat(self.text(prompt), "")[:1],
            "chosen": chosen,
            "rejected": rejected,
        }

    def sizes(self, kind: str, *, pairs: bool) -> tuple[int, int]:
        """Return the tokens of a prompt and an answer: of a length, or drawn from the mixture.

        Answers are three quarters of a chat, and half of each side of a pair.
        """
        if kind == "chat":
            prompt, answer = (
                round(median * self.chooser.lognormvariate(0, SPREAD))
                for median in (MEDIAN_PROMPT, MEDIAN_ANSWER)
            )
            return max(4, min(LONGEST_PART, prompt)), max(4, min(LONGEST_PART, answer))
        rest = int(kind) - self.frame
        prompt = rest // (2 if pairs else 4)
        return prompt, rest - prompt

    def write(self, path: Path, kind: str, count: int, *, pairs: bool = False) -> Path:
        """Write `count` rows of a kind: a number of tokens, or chat."""
        create = self.pair if pairs else self.chat
        with path.open("w", encoding="utf-8") as file:
            for _ in range(count):
                file.write(json.dumps(create(*self.sizes(kind, pairs=pairs))) + "\n")
        return path
