"""Models that are not here are planned with attention that they can be trained with."""

from __future__ import annotations

import pytest

from swiftbox.devices.hypothetical import hypothetical_machine
from swiftbox.fit.attention_traits import traits_in_name
from swiftbox.fit.profile import profile_model
from swiftbox.fit.workload import Workload
from swiftbox.plan import plan
from swiftbox.tasks.load import loads


def planned_attention(model: str) -> str:
    overrides = [f"model={model}", "dataset=owner/rows", "report_to=none", "val_size=0"]
    config = loads("", source="test", overrides=overrides).config
    workload = Workload(model=profile_model(model))
    result = plan(config, hypothetical_machine("cuda:80"), workload)
    return str(vars(result.config)["attn_implementation"])


@pytest.mark.parametrize("model", ["google/gemma-2-9b-it", "someone/gemma-2-9b-it-tuned"])
def test_capped_scores_are_planned_with_attention_that_has_them(model: str) -> None:
    assert planned_attention(model) == "eager"


def test_attention_in_chunks_is_planned_without_kernels_for_joined_rows() -> None:
    assert planned_attention("meta-llama/Llama-4-Scout-17B-16E-Instruct") == "sdpa"


@pytest.mark.parametrize("name", ["google/gemma-2b", "google/gemma-3-4b", "Qwen/Qwen3-4B"])
def test_similar_names_have_no_special_attention(name: str) -> None:
    assert not any(traits_in_name(name).values())
