"""Whether the embeddings have a row for each token of an adapter, by the headers of the files.

Shapes: R rank, V rows of the vocabulary, H hidden.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from swiftbox.config.vocabulary import ROWS
from swiftbox.errors import ConfigError
from swiftbox.language import text
from swiftbox.models.adapters import Adapter
from swiftbox.models.token_ids import token_ids

EMBEDDINGS = r"(?:^|\.)(?:embed_tokens|wte|word_embeddings|embed_in|tok_embeddings)"
"""The modules that hold the embeddings, in the families that there are."""

TABLE = re.compile(
    EMBEDDINGS + r"(?:\.modules_to_save)?(?:\.token_adapter)?(?:\.base_layer)?\.weight$"
)
"""All rows of the embeddings, in a model or in an adapter.  # (V, H)"""

ADAPTED_TABLE = re.compile(EMBEDDINGS + r"\.lora_embedding_A$")
"""A LoRA of the embeddings.  # (R, V)"""

HEADS = ("lm_head", "embed_out", "output")
"""Modules that compute logits; a model with tied embeddings need not store theirs."""

Shapes = Mapping[str, tuple[int, ...]]


def require_rows(shapes: Shapes, adapters: Sequence[Adapter]) -> None:
    """Raise ConfigError if an adapter trains rows that neither it nor its base has.

    `shapes` are the base's.
    """
    _rows_with(shapes, adapters)


def require_rows_of_tokens(folder: Path, shapes: Shapes, adapters: Sequence[Adapter]) -> None:
    """Raise ConfigError for such rows, and for tokens of the last tokenizer that have no row.

    Those that the base's tokenizer has as well are left as they are: some published tokenizers
    exceed their embeddings.
    """
    rows = _rows_with(shapes, adapters)
    tokenizers = [adapter.folder for adapter in adapters if adapter.has_tokenizer]
    if rows is None or not tokenizers:
        return
    beyond = {token: row for token, row in token_ids(tokenizers[-1]).items() if row >= rows}
    if beyond and (added := beyond.items() - token_ids(folder).items()):
        token, row = min(added, key=lambda item: item[1])
        raise _no_row_of_token(tokenizers[-1], token, row, rows)


def _rows_with(shapes: Shapes, adapters: Sequence[Adapter]) -> int | None:
    """Return the rows that a base has with its adapters; None if they are not known."""
    rows = rows_of(shapes)
    for adapter in adapters:
        rows = rows_of(adapter.shapes) or rows
        trained = trained_rows(adapter.config)
        beyond = {row for row in trained if row >= (rows or 0)}
        if rows is None or not beyond:
            continue
        if beyond != set(range(rows, rows + len(beyond))):
            raise _no_such_rows(adapter.folder, rows)
        rows = -(-(rows + len(beyond)) // ROWS) * ROWS
    return rows


def rows_of(shapes: Shapes) -> int | None:
    """Return the rows of the embeddings; None without any, or with embeddings of two sizes."""
    rows = {shape[0] for name, shape in shapes.items() if shape and TABLE.search(name)}
    rows |= {
        shape[1] for name, shape in shapes.items() if len(shape) == 2 and ADAPTED_TABLE.search(name)
    }
    return rows.pop() if len(rows) == 1 else None


def trained_rows(config: Mapping[str, Any]) -> set[int]:
    """Return the rows that an adapter trains alone."""
    rows = config.get("trainable_token_indices") or []
    return {row for group in (rows.values() if isinstance(rows, dict) else [rows]) for row in group}


# ---- messages


def _no_such_rows(folder: Path, rows: int) -> ConfigError:
    return ConfigError(
        text(
            f"adapter: {folder} trains rows of the embeddings that do not continue the {rows:,} "
            "of the base",
            f"adapter：{folder} 训练的词嵌入行与基座的 {rows:,} 行不相接",
        ),
        hint=text(
            "set model to the base that the adapter was trained on; if its embeddings were resized "
            "before the training, to the resized model",
            "请将 model 设为其训练基座；若训练前扩展过词嵌入，请给出扩展后的模型",
        ),
    )


def _no_row_of_token(folder: Path, token: str, row: int, rows: int) -> ConfigError:
    return ConfigError(
        text(
            f"adapter: {folder}: its tokenizer has token {row} ({token!r}), the embeddings have "
            f"{rows} rows, and the adapter was saved without more",
            f"adapter：{folder}：其分词器有词元 {row}（{token!r}），而词嵌入只有 {rows} 行，"
            "适配器中也没有新增的行",
        ),
        hint=text(
            "to use it without the new tokens, give a copy of the adapter that has no "
            "tokenizer_config.json; to have them, train with new_tokens",
            "若不需要新词元，请给出不含 tokenizer_config.json 的适配器副本；"
            "若需要，请以 new_tokens 训练",
        ),
    )
