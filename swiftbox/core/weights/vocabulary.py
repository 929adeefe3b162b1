"""New tokens: in a tokenizer, and as rows of the embeddings and of the head.

A new row begins as the mean of the rows of the pieces that its token consisted of before, in the
embeddings and in the head alike, so that the model reads it about as it read the pieces (as in
arXiv:2407.05841). Rows that no token has, which fill up a multiple of ROWS, are the mean of all.
Shapes: V rows of the vocabulary, H hidden.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from swiftbox.config.groups import as_list
from swiftbox.config.train import TrainConfig
from swiftbox.config.vocabulary import ROWS
from swiftbox.formatting import counted
from swiftbox.language import text

LISTED = 5
"""Tokens that a message names."""


@dataclass(frozen=True)
class NewTokens:
    """The tokens that were added to a tokenizer."""

    pieces: Mapping[int, tuple[int, ...]]
    """The ids of the tokens that each new one was encoded as before, by its id."""
    known: tuple[str, ...] = ()
    """Requested tokens that the tokenizer had already."""

    @property
    def ids(self) -> tuple[int, ...]:
        """Return the ids of the new tokens in order."""
        return tuple(sorted(self.pieces))


def add_tokens(tokenizer: Any, config: TrainConfig) -> NewTokens:
    """Add the new tokens of a config to a tokenizer that has none of them yet."""
    vocabulary = tokenizer.get_vocab()
    requested = [as_list(config.new_tokens), as_list(config.new_special_tokens)]
    known = tuple(token for group in requested for token in group if token in vocabulary)
    groups = [[token for token in group if token not in vocabulary] for group in requested]
    fresh = list(dict.fromkeys(token for group in groups for token in group))
    pieces = [tuple(tokenizer.encode(token, add_special_tokens=False)) for token in fresh]
    tokenizer.add_tokens([token for token in groups[0] if token not in groups[1]])
    tokenizer.add_tokens(groups[1], special_tokens=True)
    ids = tokenizer.convert_tokens_to_ids(fresh)
    return NewTokens(dict(zip(ids, pieces, strict=True)), known)


def language_head(model: Any) -> Any:
    """Return the layer that computes logits; None for a model without one."""
    return model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None


def embedding_tables(model: Any) -> list[Any]:
    """Return the weights of the embeddings, and of the head unless it shares them.  # (V, H)"""
    embeddings = model.get_input_embeddings().weight
    head = language_head(model)
    if head is None or head.weight is embeddings:
        return [embeddings]
    return [embeddings, head.weight]


def shares_embeddings(model: Any) -> bool:
    """Return whether the head has the weights of the embeddings."""
    return len(embedding_tables(model)) == 1


@torch.no_grad()  # type: ignore[untyped-decorator]  # torch is not read by mypy
def grow(model: Any, needed: int) -> int:
    """Give a model rows for `needed` tokens, a multiple of ROWS; return the number it has now.

    New rows are the mean of the others. A model that has enough rows is left as it is.
    """
    rows = int(model.get_input_embeddings().weight.shape[0])
    if needed <= rows:
        return rows
    means = [table.float().mean(dim=0) for table in embedding_tables(model)]  # (H,) each
    total = -(-needed // ROWS) * ROWS
    model.resize_token_embeddings(total, mean_resizing=False)
    for table, mean in zip(embedding_tables(model), means, strict=True):
        table[rows:] = mean.to(table.dtype)
    return total


@torch.no_grad()  # type: ignore[untyped-decorator]  # torch is not read by mypy
def begin_rows(model: Any, tokens: NewTokens) -> None:
    """Set the rows of new tokens to the mean of those of their pieces."""
    for table in embedding_tables(model):
        for token, pieces in tokens.pieces.items():
            if pieces:
                row = table[list(pieces)].float().mean(dim=0)  # (H,)
                table[token] = row.to(table.dtype)


def extend_model(model: Any, tokens: NewTokens, *, saves_adapter: bool) -> Iterator[str]:
    """Give new tokens their rows; yield what was done.

    With an adapter the config keeps the old size: peft would otherwise save all embeddings with
    it, although the adapter has the new rows.
    """
    if tokens.known:
        yield _known(tokens.known)
    if not tokens.ids:
        return
    before = int(model.get_input_embeddings().weight.shape[0])
    described = model.config.get_text_config()
    size = described.vocab_size
    after = grow(model, tokens.ids[-1] + 1)
    if saves_adapter:
        described.vocab_size = size
    begin_rows(model, tokens)
    yield _added(len(tokens.ids), before, after)


def trained_rows(model: Any, ids: Sequence[int], excluded: Sequence[str]) -> dict[str, list[int]]:
    """Return peft's `trainable_token_indices`: the rows by the name of their module.

    Modules that are trained completely (`excluded`) are left out; a head that shares the
    embeddings follows them.
    """
    head = None if shares_embeddings(model) else model.get_output_embeddings()
    modules = [module for module in (model.get_input_embeddings(), head) if module is not None]
    names = {id(module): name for name, module in model.named_modules()}
    listed = [names[id(module)] for module in modules]
    return {name: list(ids) for name in listed if name.rpartition(".")[2] not in excluded}


# ---- messages


def _known(tokens: Sequence[str]) -> str:
    listed = ", ".join(tokens[:LISTED])
    return text(
        f"{counted(len(tokens), 'token')} not added, because the tokenizer has them: {listed}",
        f"分词器已有 {len(tokens)} 个词元，不再新增：{listed}",
    )


def _added(count: int, before: int, after: int) -> str:
    number = counted(count, "new token")
    rows = text(
        f"the embeddings have spare rows for them ({before:,})",
        f"词嵌入尚有空余的行（共 {before:,} 行）",
    )
    if after != before:
        rows = text(
            f"the embeddings grow from {before:,} to {after:,} rows, a multiple of {ROWS}",
            f"词嵌入由 {before:,} 行扩为 {after:,} 行（{ROWS} 的倍数）",
        )
    return text(
        f"{number}; {rows}; each row begins as the mean of those of the pieces it was before",
        f"新增 {count} 个词元；{rows}；每个新行的初值为该词元原先各片段所在行的平均值",
    )


def rows_message(rows: Mapping[str, Sequence[int]], *, tied: bool) -> str:
    """Say which rows an adapter trains and saves."""
    if not rows:
        return text(
            "modules_to_save trains all embeddings, and so the new rows",
            "modules_to_save 会训练全部词嵌入，其中包含新行",
        )
    names, count = " + ".join(rows), len(next(iter(rows.values())))
    shared = text(", which the head shares", "，输出头与其共享") if tied else ""
    return text(
        f"the adapter trains and saves {counted(count, 'row')} of {names}{shared}, not the other "
        "rows (trainable_token_indices of peft)",
        f"适配器只训练并保存 {names} 的 {count} 行{shared}（peft 的 trainable_token_indices）",
    )
