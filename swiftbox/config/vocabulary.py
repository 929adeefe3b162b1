"""Tokens that a training adds to the tokenizer and to the model."""

from __future__ import annotations

from pydantic import field_validator

from swiftbox.config.fields import setting
from swiftbox.config.groups import Frozen
from swiftbox.language import text

TUNERS = ("lora", "qlora", "full")
"""Tuners that train the rows of new tokens."""

ROWS = 64
"""Embeddings are resized to a multiple of this: matrix kernels and servers are fastest then, and
it costs 63 rows at most. Many models have spare rows, so that nothing is resized."""

FILE_ENDING = ".txt"

LONGEST = 256
"""Characters of a token; longer ones are texts."""

MOST = 100_000


class VocabularyFields(Frozen):
    """New tokens."""

    new_tokens: str | list[str] = setting(
        [],
        label_zh="新增词元",
        en="tokens to add, which are then learned: a list, or a .txt file with one a line",
        zh="要新增并学习的词元：列表，或每行一个的 .txt 文件",
        section="model",
        only={"tuner_type": TUNERS},
    )
    new_special_tokens: str | list[str] = setting(
        [],
        label_zh="新增特殊词元",
        en="the same for special tokens, which answers do not show, such as [<tool>, </tool>]",
        zh="同上，用于特殊词元（回答中不显示），例如 [<tool>, </tool>]",
        section="model",
        only={"tuner_type": TUNERS},
    )

    @property
    def adds_tokens(self) -> bool:
        """Return whether tokens are added."""
        return bool(self.new_tokens or self.new_special_tokens)

    @field_validator("new_tokens", "new_special_tokens")
    @classmethod
    def _usable_tokens(cls, value: str | list[str]) -> str | list[str]:
        if isinstance(value, str) and value.endswith(FILE_ENDING):
            return value
        tokens = value
        if isinstance(value, str):  # `a, b` as other tools write lists
            tokens = [token.strip() for token in value.split(",") if token.strip()]
        return require_tokens(list(tokens))


def require_tokens(tokens: list[str]) -> list[str]:
    """Return tokens without repetitions; raise ValueError for texts that cannot be tokens."""
    for token in tokens:
        if not token.strip() or len(token) > LONGEST or "\n" in token:
            raise ValueError(
                text(
                    f"a token should have 1 to {LONGEST} characters, not only blanks, on one line",
                    f"词元应为单行的 1 至 {LONGEST} 个字符，且不能只有空白",
                )
            )
    if len(tokens) > MOST:
        raise ValueError(text(f"should be at most {MOST:,} tokens", f"最多 {MOST:,} 个词元"))
    return list(dict.fromkeys(tokens))
