"""The planner's figures are those that people know from experience, and follow the settings."""

from __future__ import annotations

from typing import Any

import pytest

from swiftbox.fit.adapters import adapted_width, lora_parameters
from swiftbox.fit.memory import Recipe, training_memory
from swiftbox.fit.profile import size_in_name
from swiftbox.fit.serving import cache_bytes_per_token, merging, quantizing, serving
from swiftbox.fit.shape import (
    ModelShape,
    count_parameters,
    guess_shape,
    shape_from_dimensions,
    shape_of_config,
)

GIB = 2**30

QWEN_7B = shape_from_dimensions(
    {
        "hidden": 3584,
        "layers": 28,
        "heads": 28,
        "kv_heads": 4,
        "intermediate": 18944,
        "vocab": 152064,
    },
    params=7.616e9,
)


def lora(shape: ModelShape, **changes: object) -> Recipe:
    values = {
        "tokens": 2048,
        "length": 2048,
        "trained": lora_parameters(shape, 8),
        "adapted": adapted_width(shape),
    }
    return Recipe(**{**values, **changes})  # type: ignore[arg-type]


def test_the_parameters_of_known_models_are_counted_within_a_hundredth() -> None:
    assert count_parameters(QWEN_7B)[0] == pytest.approx(7.616e9, rel=0.01)
    mixtral = shape_from_dimensions(
        {
            "hidden": 4096,
            "layers": 32,
            "heads": 32,
            "kv_heads": 8,
            "intermediate": 14336,
            "vocab": 32000,
            "experts": 8,
            "active_experts": 2,
        }
    )
    assert mixtral.params == pytest.approx(46.7e9, rel=0.01)
    assert mixtral.active == pytest.approx(12.9e9, rel=0.01)


def test_qlora_of_7b_takes_6_to_10_gib() -> None:
    recipe = lora(QWEN_7B, weights="nf4-dq", outside="float32", stream_bytes=4)
    assert 6 <= training_memory(QWEN_7B, recipe).peak / GIB <= 12
    assert 6 <= training_memory(QWEN_7B, recipe).standing / GIB <= 10


def test_lora_of_7b_in_bfloat16_takes_16_to_20_gib() -> None:
    memory = training_memory(QWEN_7B, lora(QWEN_7B), framework=0.5 * GIB)
    assert 16 <= memory.peak / GIB <= 20


def test_full_tuning_of_7b_with_adamw_takes_110_to_125_gib() -> None:
    recipe = Recipe(
        tokens=2048, length=2048, weights="float32", trained=QWEN_7B.params, is_adapter=False
    )
    assert 110 <= training_memory(QWEN_7B, recipe).peak / GIB <= 125


def test_weights_of_72b_in_16_bits_take_145_gb() -> None:
    shape = guess_shape(72.7e9)
    need = serving(shape, context=1, concurrency=1)
    assert need.device == pytest.approx(145e9, rel=0.02)


def test_the_cache_of_qwen_7b_takes_56_kib_a_token() -> None:
    assert cache_bytes_per_token(QWEN_7B) == 2 * 28 * 4 * 128 * 2


def test_a_cache_of_wider_numbers_and_with_room_to_grow_takes_more() -> None:
    def cache(**changes: Any) -> float:
        both = [
            serving(QWEN_7B, context=4096, concurrency=count, spare=0.0, **changes).device
            for count in (1, 9)
        ]
        return both[1] - both[0] - 8 * QWEN_7B.vocab * 4

    tokens = 8 * 4096
    assert cache() == pytest.approx(tokens * 57_344)
    assert cache(storage="float32") == pytest.approx(2 * tokens * 57_344)
    usual = serving(QWEN_7B, context=4096).device
    tight = serving(QWEN_7B, context=4096, spare=0.0).device
    assert usual - tight == pytest.approx(0.5 * 4096 * 57_344)


def test_a_merge_holds_a_layer_and_the_tables_and_a_quantizer_the_model() -> None:
    at_once = QWEN_7B.inside / QWEN_7B.layers + QWEN_7B.params - QWEN_7B.inside
    assert 4 * at_once <= merging(QWEN_7B).host < 2 * QWEN_7B.params
    assert 2 * QWEN_7B.params <= quantizing(QWEN_7B).host <= 3 * QWEN_7B.params
    assert quantizing(QWEN_7B).device < 0.5 * QWEN_7B.params * 2


@pytest.mark.parametrize(
    ("changes", "term"),
    [
        ({"checkpointing": "none"}, "activations"),
        ({"tokens": 4096}, "activations"),
        ({"logit_bytes": 14.0}, "logits"),
        ({"attention": "eager"}, "work"),
        ({"trained": 1e9}, "states"),
        ({"copies": 1.0}, "reference"),
    ],
)
def test_each_setting_that_costs_memory_changes_its_term(
    changes: dict[str, object], term: str
) -> None:
    before = training_memory(QWEN_7B, lora(QWEN_7B))
    after = training_memory(QWEN_7B, lora(QWEN_7B, **changes))
    assert getattr(after, term) > getattr(before, term)
    assert after.peak > before.peak


def test_sharding_divides_the_static_memory() -> None:
    full_model = Recipe(2048, 2048, weights="float32", trained=QWEN_7B.params, is_adapter=False)
    every = {"weights": 8, "gradients": 8, "states": 8}
    shared = Recipe(
        2048, 2048, weights="float32", trained=QWEN_7B.params, is_adapter=False, shards=every
    )
    name, eight = training_memory(QWEN_7B, full_model), training_memory(QWEN_7B, shared)
    assert eight.standing == pytest.approx(name.standing / 8)


def test_a_config_is_read_under_the_names_of_several_families() -> None:
    shape = shape_of_config(
        {"n_embd": 768, "n_layer": 12, "n_head": 12, "vocab_size": 50257, "model_type": "gpt2"}
    )
    assert shape is not None
    assert shape.params == pytest.approx(124e6, rel=0.01)
    nested = shape_of_config(
        {
            "text_config": {
                "hidden_size": 64,
                "num_hidden_layers": 2,
                "num_attention_heads": 4,
                "vocab_size": 100,
                "intermediate_size": 128,
            }
        }
    )
    assert nested is not None
    assert nested.hidden == 64
    assert shape_of_config({"model_type": "unheard of"}) is None


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("Qwen/Qwen2.5-7B-Instruct", 7e9),
        ("Qwen/Qwen-1_8B-Chat", 1.8e9),
        ("HuggingFaceTB/SmolLM2-360M", 360e6),
        ("owner/model", None),
    ],
)
def test_the_size_is_parsed_from_the_name(name: str, params: float | None) -> None:
    assert size_in_name(name) == params


def test_processes_that_exchange_gradients_hold_them_twice() -> None:
    alone = training_memory(QWEN_7B, Recipe(1024, 1024, trained=1e9, is_adapter=False))
    exchanged = training_memory(
        QWEN_7B, Recipe(1024, 1024, trained=1e9, is_adapter=False, has_buckets=True)
    )
    assert exchanged.standing - alone.standing == pytest.approx(4e9)
