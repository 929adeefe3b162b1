"""Rows in one line under variable-length attention equal each row alone; nothing is T x T."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from attention_models import WINDOW, tiny_model
from torch.utils._python_dispatch import TorchDispatchMode

from swiftbox.core.attention import kernels
from swiftbox.core.attention.kernels import HeadShape, Rows, kernel_for, row_by_row
from swiftbox.core.attention.varlen import (
    UnsupportedAttentionError,
    implementation,
    use_varlen,
    with_masks,
)
from swiftbox.core.data.batches import LINES, ONE_LINE, collate_rows
from swiftbox.core.data.samples import TokenRow

TOLERANCE = 1e-5
"""Models are float64; RMSNorm rounds to float32, by 6e-8 of numbers up to 10."""

EXACT = ("qwen3", "llama", "mistral", "qwen3 windows")
LENGTHS = (3, 2 * WINDOW + 5, 11)
CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def token_rows(lengths: Sequence[int] = LENGTHS) -> list[list[TokenRow]]:
    rng = np.random.default_rng(0)
    rows = [rng.integers(0, 600, length).astype(np.int32) for length in lengths]
    return [[TokenRow(ids, ids)] for ids in rows]


def switched(kind: str, **settings: Any) -> Any:
    model = tiny_model(kind, **settings)
    assert use_varlen(model, torch.float32, CPU) == ""
    return model


def logits_of(model: Any, batch: dict[str, Any]) -> torch.Tensor:
    inputs = {key: value for key, value in batch.items() if key != "labels"}
    return model(**inputs, use_cache=False).logits


def gradients_of(model: Any, logits: torch.Tensor) -> torch.Tensor:
    model.zero_grad()
    torch.sin(logits).sum().backward()  # every logit has another gradient
    parts = [weight.grad for weight in model.parameters() if weight.grad is not None]
    return torch.cat([part.flatten() for part in parts])


@pytest.mark.parametrize("kind", EXACT)
def test_joined_rows_equal_each_row_alone(kind: str) -> None:
    rows = token_rows()
    joined_model, single_model = switched(kind), tiny_model(kind)
    joined = logits_of(joined_model, collate_rows(rows, ONE_LINE))
    single = torch.cat([logits_of(single_model, collate_rows([row], LINES)) for row in rows], 1)
    assert torch.allclose(joined, single, rtol=0, atol=TOLERANCE)
    ours, theirs = gradients_of(joined_model, joined), gradients_of(single_model, single)
    assert (ours - theirs).norm() <= TOLERANCE * theirs.norm()


def test_recomputed_activations_give_the_same_gradients() -> None:
    batch = collate_rows(token_rows(), ONE_LINE)
    model = switched("qwen3 windows").train()
    expected = gradients_of(model, logits_of(model, batch))
    model.activation_checkpointing_enable({"use_reentrant": False})
    assert torch.equal(gradients_of(model, logits_of(model, batch)), expected)


def test_generation_is_as_with_sdpa() -> None:
    model = tiny_model("qwen3 windows", torch.float32).eval()
    prompt = torch.arange(2, 2 + 2 * WINDOW)[None]
    settings = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0}
    expected = model.generate(prompt, attention_mask=torch.ones_like(prompt), **settings)
    assert use_varlen(model, torch.float32, CPU) == ""
    assert torch.equal(
        model.generate(prompt, attention_mask=torch.ones_like(prompt), **settings), expected
    )
    padded = torch.nn.functional.pad(prompt, (4, 0))
    mask = torch.nn.functional.pad(torch.ones_like(prompt), (4, 0))
    with with_masks(model):
        assert torch.equal(model.generate(padded, attention_mask=mask, **settings)[:, 4:], expected)
    assert implementation(model) == "swiftbox_varlen"


def test_the_private_name_is_not_saved(tmp_path: Path) -> None:
    model = switched("qwen3")
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text("utf-8"))
    assert not [key for key in config if "attn" in key]
    assert "varlen" not in json.dumps(config)


@pytest.mark.parametrize(
    ("kind", "settings", "reason"),
    [
        ("gemma2", {}, "scores are capped"),
        ("llama", {"attention_chunk_size": 4}, "attends in chunks"),
    ],
)
def test_models_that_need_more_than_bounds_are_refused(
    kind: str, settings: dict[str, Any], reason: str
) -> None:
    model = tiny_model(kind, torch.float32, **settings)
    before = implementation(model)
    assert reason in use_varlen(model, torch.float32, CPU)
    assert implementation(model) == before


@pytest.mark.parametrize(("kind", "settings"), [("gpt_oss", {}), ("llama", {"dropout": 0.1})])
def test_sinks_and_dropout_are_noticed_when_they_reach_the_kernel(
    kind: str, settings: dict[str, float]
) -> None:
    model = tiny_model(
        kind, torch.float32, **{f"attention_{key}": value for key, value in settings.items()}
    ).train()
    assert use_varlen(model, torch.float32, CPU) == ""
    with pytest.raises(UnsupportedAttentionError):
        logits_of(model, collate_rows(token_rows(), ONE_LINE))


def test_a_model_without_free_arguments_is_refused() -> None:
    model = tiny_model("llama", torch.float32)
    model.forward = lambda input_ids: input_ids
    assert "does not pass" in use_varlen(model, torch.float32, CPU)


class LargestTensor(TorchDispatchMode):
    """Records the size of the largest tensor that an operation returns, and reads of numbers."""

    numel, reads = 0, 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        output = function(*args, **(kwargs or {}))
        self.reads += function.overloadpacket is torch.ops.aten._local_scalar_dense
        for result in _tensors(output):
            self.numel = max(self.numel, result.numel())
        return output


def _tensors(output: Any) -> Iterator[torch.Tensor]:
    if isinstance(output, torch.Tensor):
        yield output
    elif isinstance(output, list | tuple):
        for part in output:
            yield from _tensors(part)


def step(model: Any, batch: dict[str, Any]) -> LargestTensor:
    with LargestTensor() as largest:
        model.model(
            **{key: value for key, value in batch.items() if key != "labels"}, use_cache=False
        ).last_hidden_state.sum().backward()
    return largest


TOKENS = 600
"""T x T is then larger than anything else in a tiny model: T x 128 of the MLP, and V x 64."""


def test_variable_length_attention_makes_nothing_of_tokens_squared() -> None:
    batch = collate_rows(token_rows([100] * (TOKENS // 100)), ONE_LINE)
    model = tiny_model("qwen3", torch.float32)
    assert step(model, batch).numel >= TOKENS**2  # the mask of sdpa
    assert use_varlen(model, torch.float32, CPU) == ""
    assert step(model, batch).numel < TOKENS**2


def test_variable_length_attention_never_reads_a_number_from_the_device() -> None:
    rows, model = token_rows(), tiny_model("qwen3", torch.float32)
    assert step(model, collate_rows(rows, LINES)).reads > 0  # transformers looks for joined rows
    assert use_varlen(model, torch.float32, CPU) == ""
    assert step(model, collate_rows(rows, ONE_LINE)).reads == 0


def test_lines_of_a_single_row_need_no_mask() -> None:
    batch = collate_rows(token_rows([TOKENS, TOKENS - 50, TOKENS - 7]), LINES)
    assert batch["input_ids"].shape == (3, TOKENS)
    assert step(tiny_model("qwen3", torch.float32), batch).numel < TOKENS**2


# ---- the kernels


def queries_keys_values(rows: int = 40, keys: int = 56) -> list[torch.Tensor]:
    torch.manual_seed(0)
    shapes = ((rows, 4, 16), (keys, 2, 16), (keys, 2, 16))
    return [torch.randn(shape, dtype=torch.float64) for shape in shapes]


def bounds(window: int | None = None, *, causal: bool = True) -> Rows:
    """Three rows; the last continues 16 tokens of another."""
    starts = (
        torch.tensor(list(row), dtype=torch.int32) for row in ((0, 24, 32, 40), (0, 24, 32, 56))
    )
    queries, keys = starts
    return Rows(queries, keys, 24, 24, window=window, causal=causal)


@pytest.mark.parametrize("window", [None, 5, 24])
def test_the_loop_over_rows_computes_softmax_attention(window: int | None) -> None:
    query, key, value = queries_keys_values()
    rows = bounds(window)
    output = row_by_row(query, key, value, rows)
    for token in (0, 23, 24, 31, 32, 39):
        number = sum(token >= start for start in rows.query_starts.tolist()[1:])
        end = rows.key_starts.tolist()[number + 1]
        last = end - (rows.query_starts.tolist()[number + 1] - token)  # its own key
        first = rows.key_starts.tolist()[number]
        first = first if window is None else max(first, last - window + 1)
        for head in range(4):
            scores = key[first : last + 1, head // 2] @ query[token, head] / 4
            expected = scores.softmax(0) @ value[first : last + 1, head // 2]
            # float64 products of 16 numbers of size 1
            assert torch.allclose(output[token, head], expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (bounds(), (-1, 0)),
        (bounds(5), (4, 0)),
        (bounds(24), (-1, 0)),
        (bounds(causal=False), (-1, -1)),
    ],
)
def test_the_window_reaches_the_kernel_as_tokens_to_the_left_and_right(
    rows: Rows, expected: tuple[int, int]
) -> None:
    assert rows.bounds == expected


def stand_in(
    monkeypatch: pytest.MonkeyPatch, calls: list[dict[str, Any]], *, grouped: bool
) -> None:
    """Replace torch's kernel, which needs a device, by the loop; with either signature."""

    def attend(*args: Any, scale: float | None, window_size: tuple[int, int]) -> torch.Tensor:
        query, key, value, *positions = args
        calls.append({"dtype": query.dtype, "window": window_size, "positions": positions})
        left = window_size[0]
        rows = Rows(*positions, scale=scale, window=left + 1 if left >= 0 else None)
        return row_by_row(query, key, value, rows)

    def of_2_11(*args: Any, scale: Any = None, window_size: Any = (-1, -1)) -> torch.Tensor:
        return attend(*args, scale=scale, window_size=window_size)

    def of_2_13(
        *args: Any, scale: Any = None, window_size: Any = (-1, -1), enable_gqa: bool = False
    ) -> torch.Tensor:
        assert enable_gqa or args[0].shape[1] == args[1].shape[1]
        return attend(*args, scale=scale, window_size=window_size)

    from torch.nn.attention import varlen

    monkeypatch.setattr(varlen, "varlen_attn", of_2_13 if grouped else of_2_11)


@pytest.mark.parametrize("grouped", [True, False])
def test_torchs_kernel_is_called_as_its_version_wants(
    monkeypatch: pytest.MonkeyPatch, grouped: bool
) -> None:
    calls: list[dict[str, Any]] = []
    stand_in(monkeypatch, calls, grouped=grouped)
    query, key, value = queries_keys_values()
    output = kernel_for(CUDA)(query, key, value[..., :8], bounds(5))  # values may be narrower
    expected = row_by_row(query, key, value, bounds(5))[..., :8]
    assert torch.allclose(output, expected, rtol=0, atol=1e-12)  # float64
    assert calls[0]["window"] == (4, 0)
    assert [type(number) for number in calls[0]["positions"]] == [torch.Tensor] * 2 + [int] * 2


def test_torchs_kernel_gets_the_number_type_of_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[dict[str, Any]] = []
    stand_in(monkeypatch, calls, grouped=True)
    inputs = [part.float() for part in queries_keys_values()]
    with torch.autocast("cpu", torch.bfloat16):
        assert kernel_for(CUDA)(*inputs, bounds()).dtype == torch.bfloat16
    assert calls[0]["dtype"] == torch.bfloat16


def test_a_kernel_that_ignores_the_bounds_is_not_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    def one_row(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *_: Any) -> Any:
        ends = [torch.tensor([0, len(part)], dtype=torch.int32) for part in (query, key)]
        return row_by_row(query, key, value, Rows(*ends, len(query), len(key)))

    heads = HeadShape(4, 2, 16)
    results = {
        kernel: kernels._trial(heads, kernel, torch.float32, CPU)
        for kernel in (row_by_row, one_row)
    }
    monkeypatch.setattr(
        kernels, "_trial", lambda _heads, kernel, *_: results.get(kernel, results[one_row])
    )
    assert "differs" in kernels.kernel_problem(heads, torch.bfloat16, CUDA)


def test_the_reason_of_a_kernel_that_fails_is_its_first_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("FlashAttention only supports Ampere GPUs or newer.\nmore")

    monkeypatch.setattr(kernels, "_trial", fail)
    problem = kernels.kernel_problem(HeadShape(4, 2, 16), torch.float16, CUDA)
    assert problem == "FlashAttention only supports Ampere GPUs or newer."
