"""The layout and the attention of a training are those that are exact for the loaded model."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from attention_models import tiny_model
from transformers import AttentionInterface

from swiftbox.core.attention.varlen import implementation, varlen_attention, with_masks
from swiftbox.core.data.batches import LINES, ONE_LINE, PADDED, SHARED, SHARED_LINE
from swiftbox.core.data.layouts import PAIRS, choose_layout
from swiftbox.methods import METHODS
from swiftbox.runs import events

FLASH = "flash_attention_2"


def config_of(attention: str, **settings: Any) -> Any:
    values = {"attn_implementation": attention, "dtype": "float32", "prefix_sharing": "true"}
    config_class = METHODS["dpo" if "packing" not in settings else "sft"].config
    known = config_class.model_fields
    values = {key: value for key, value in (values | settings).items() if key in known}
    return config_class.model_construct(**values)


class Notes:
    """Collects the messages of a choice."""

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.notes: dict[str, str] = {}

    def __call__(self, event: str, **fields: Any) -> None:
        if event == events.WARNING:
            self.warnings.append(fields["message"])
        else:
            self.notes[fields["key"]] = fields["message"]


def forgetful(model: Any) -> Any:
    """Drop the bounds of rows and let positions count on, as a wrapper could."""
    inner = model.forward

    def forward(input_ids: torch.Tensor, attention_mask: Any = None, **_: Any) -> Any:
        return inner(input_ids=input_ids, attention_mask=attention_mask, use_cache=False)

    model.forward = forward
    return model


def pretend_flash(model: Any) -> Any:
    """Give a model flash attention, without the package: its weights are on a CPU."""
    model.config._attn_implementation_internal = FLASH
    return model


@pytest.mark.parametrize(("attention", "layout"), [("varlen", ONE_LINE), ("sdpa", LINES)])
def test_rows_are_joined_as_the_attention_takes_them(attention: str, layout: str) -> None:
    notes, model = Notes(), tiny_model("qwen3", torch.float32)
    assert choose_layout(config_of(attention), model, notes) == layout
    assert f"{attention} keeps them apart" in notes.notes["padding_free"]
    assert not notes.warnings


@pytest.mark.parametrize(
    ("attention", "kind", "layout"),
    [
        ("varlen", "qwen3", SHARED_LINE),
        ("varlen", "mistral", SHARED_LINE),
        ("sdpa", "qwen3", SHARED),
        ("sdpa", "mistral", LINES),  # the mask of pairs has no window
        ("eager", "qwen3", LINES),
    ],
)
def test_pairs_share_their_prompt_where_that_is_exact(
    attention: str, kind: str, layout: str
) -> None:
    model = tiny_model(kind, torch.float32)
    model.set_attn_implementation(attention if attention == "eager" else "sdpa")
    notes = Notes()
    assert choose_layout(config_of(attention), model, notes, shares=PAIRS) == layout
    assert ("computed once" in notes.notes["prefix_sharing"]) == (layout in (SHARED, SHARED_LINE))


@pytest.mark.parametrize("attention", ["varlen", FLASH, "sdpa"])
def test_a_model_that_leaks_between_rows_is_padded_with_a_warning(attention: str) -> None:
    model = forgetful(tiny_model("qwen3", torch.float32))
    if attention == FLASH:
        pretend_flash(model)
    notes = Notes()
    assert choose_layout(config_of(attention), model, notes) == PADDED
    assert "rows are padded instead" in notes.warnings[-1]
    assert implementation(model) == (FLASH if attention == FLASH else "sdpa")


@pytest.mark.parametrize("attention", ["varlen", FLASH, "sdpa"])
def test_linear_attention_without_its_package_is_padded(attention: str) -> None:
    model = tiny_model("qwen3_next", torch.float32)
    if attention == FLASH:
        pretend_flash(model)
    notes = Notes()
    assert choose_layout(config_of(attention), model, notes) == PADDED
    assert "rows are padded instead" in notes.warnings[-1]


def test_a_leaking_model_is_not_packed_with_a_warning() -> None:
    notes, model = Notes(), forgetful(tiny_model("qwen3", torch.float32))
    assert choose_layout(config_of("varlen", packing=True), model, notes) == PADDED
    assert "rows are padded instead and not packed" in notes.warnings[-1]


@pytest.mark.parametrize(
    ("kind", "layout", "because"),
    [("gemma2", LINES, "scores are capped"), ("gpt_oss", PADDED, "needs s_aux")],
)
def test_models_that_variable_length_attention_cannot_compute_keep_theirs(
    kind: str, layout: str, because: str
) -> None:
    notes, model = Notes(), tiny_model(kind, torch.float32)
    assert choose_layout(config_of("varlen"), model, notes) == layout
    assert implementation(model) == "eager"
    assert because in notes.warnings[0]


def test_flash_attention_is_probed_on_a_cpu_before_sharding() -> None:
    notes, model = Notes(), pretend_flash(tiny_model("qwen3", torch.float32))
    assert choose_layout(config_of(FLASH), model, notes, shares=PAIRS) == ONE_LINE
    assert implementation(model) == FLASH
    assert "computed twice" in notes.notes["prefix_sharing"]


def test_a_model_on_a_cpu_computes_with_masks_in_place_of_flash_attention() -> None:
    model = pretend_flash(tiny_model("qwen3", torch.float32))
    with with_masks(model):
        assert implementation(model) == "sdpa"
        model(input_ids=torch.tensor([[1, 2]]))
    assert implementation(model) == FLASH


def test_the_attention_function_is_registered_only_when_used() -> None:
    choose_layout(config_of("varlen"), tiny_model("qwen3", torch.float32), Notes())
    assert AttentionInterface()["swiftbox_varlen"].func is varlen_attention
