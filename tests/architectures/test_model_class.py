"""The class that loads a model is the one that config.json names; the rest is refused by name."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import pytest

from swiftbox.architectures.choice import (
    ClassPurpose,
    ModelClass,
    NoClass,
    find_class,
    require_class,
)
from swiftbox.architectures.outside import OUTSIDE, WITHOUT_TEXT_ROWS
from swiftbox.architectures.tables import class_tables, is_encoder_decoder_type, known_types
from swiftbox.errors import ConfigError
from swiftbox.models.catalogue import models

COMPOSITE = {
    "qwen3_5": "Qwen3_5ForConditionalGeneration",
    "llama4": "Llama4ForConditionalGeneration",
    "mllama": "MllamaForConditionalGeneration",
    "emu3": "Emu3ForConditionalGeneration",
    "gemma3": "Gemma3ForConditionalGeneration",
    "qwen2_5_vl": "Qwen2_5_VLForConditionalGeneration",
    "mistral3": "Mistral3ForConditionalGeneration",
    "qwen2_audio": "Qwen2AudioForConditionalGeneration",
}


def of(model_type: str, *architectures: str, **keys: Any) -> dict[str, Any]:
    return {"model_type": model_type, "architectures": list(architectures), **keys}


def refusal(config: dict[str, Any], **purpose: bool) -> NoClass:
    choice = find_class(config, ClassPurpose(**purpose))
    assert isinstance(choice, NoClass), choice
    return choice


@pytest.mark.parametrize("model_type", COMPOSITE)
def test_a_model_of_several_modalities_is_loaded_as_a_whole(model_type: str) -> None:
    expected = ModelClass(COMPOSITE[model_type], "AutoModelForMultimodalLM")
    assert find_class(of(model_type, expected.name)) == expected
    assert find_class(of(model_type)) == expected


def test_a_text_model_that_was_saved_alone_stays_one() -> None:
    choice = find_class(of("qwen3_5", "Qwen3_5ForCausalLM"))
    assert choice == ModelClass("Qwen3_5ForCausalLM", "AutoModelForCausalLM")
    assert find_class(of("qwen3_5_text")) == choice


def test_a_base_model_without_architectures_and_an_old_name_are_loaded_by_type() -> None:
    expected = ModelClass("LlamaForCausalLM", "AutoModelForCausalLM")
    for names in ((), ("LlamaModel",), ("LLaMAForCausalLM",)):
        assert find_class(of("llama", *names)) == expected


def test_a_class_of_another_type_contradicts_the_type() -> None:
    choice = refusal(of("qwen2", "LlamaForCausalLM"))
    assert "model_type qwen2 is loaded as Qwen2ForCausalLM" in choice.reason


@pytest.mark.parametrize(
    ("config", "reason"),
    [
        (
            of("t5", "T5ForConditionalGeneration"),
            "Generation is an encoder-decoder",
        ),
        (of("bart"), "bart is an encoder-decoder"),
        (of("whisper", "WhisperForConditionalGeneration"), "is an encoder-decoder"),
        (of("bert", "BertForMaskedLM"), "BertForMaskedLM does not generate text"),
        (of("clip", "CLIPModel"), "CLIPModel does not generate text"),
        (of("qwen2_5_omni", "Qwen2_5OmniModel"), "cannot be trained on text alone"),
        (of("made_up_9"), "does not know model_type made_up_9"),
    ],
)
def test_a_model_without_a_class_is_refused_in_a_line(config: dict[str, Any], reason: str) -> None:
    choice = refusal(config)
    assert reason in choice.reason
    assert len(choice.reason) < 200
    assert choice.hint


def test_a_decoder_of_an_encoder_decoder_family_may_be_loaded() -> None:
    config = of("bart", "BartForCausalLM", is_encoder_decoder=False)
    assert find_class(config) == ModelClass("BartForCausalLM", "AutoModelForCausalLM")


def test_own_code_is_loaded_only_if_it_is_trusted() -> None:
    auto_map = {"AutoModelForCausalLM": "modeling_baichuan.BaichuanForCausalLM"}
    config = of("baichuan", "BaichuanForCausalLM", auto_map=auto_map)
    assert "trust_remote_code" in refusal(config).hint
    trusted = find_class(config, ClassPurpose(trusted=True))
    assert trusted == ModelClass("", "AutoModelForCausalLM")


def test_a_class_that_only_the_repository_has_is_not_replaced_by_that_of_the_type() -> None:
    auto_map = {"AutoModel": "modeling_reward.Qwen2ForRewardModel"}
    choice = refusal(of("qwen2", "Qwen2ForRewardModel", auto_map=auto_map))
    assert "Qwen2ForRewardModel, a class in the code" in choice.reason


def test_a_score_head_is_chosen_by_type() -> None:
    choice = find_class(of("qwen3_5", COMPOSITE["qwen3_5"]), ClassPurpose(score=True))
    expected = "Qwen3_5ForSequenceClassification", "AutoModelForSequenceClassification"
    assert choice == ModelClass(*expected)
    assert "no score head for model_type llama4" in refusal(of("llama4"), score=True).reason


def test_a_folder_is_named_in_the_error(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(of("clip")), "utf-8")
    with pytest.raises(ConfigError, match="does not generate text") as caught:
        require_class(tmp_path)
    assert str(tmp_path) in caught.value.message


# ---- the tables, held against transformers and the catalogue


def test_every_family_outside_transformers_names_a_model_of_the_catalogue_that_loads() -> None:
    rows = {row.id: row for row in models()}
    for model_type, native in {**OUTSIDE, **WITHOUT_TEXT_ROWS}.items():
        row = rows[native]
        assert row.native == "yes", (model_type, native)
        assert isinstance(find_class({"model_type": row.model_type}), ModelClass), native


def test_the_tables_hold_families_that_transformers_lacks_or_cannot_train_on_text() -> None:
    types = known_types() or frozenset()
    assert not OUTSIDE.keys() & types
    assert WITHOUT_TEXT_ROWS.keys() <= types


def test_every_catalogued_model_of_a_remote_family_has_an_alternative() -> None:
    types = known_types() or frozenset()
    rows = [row for row in models() if row.native == "remote-code" and row.model_type]
    assert not {row.model_type for row in rows} - types - OUTSIDE.keys()


def test_every_class_that_is_chosen_reads_text_alone() -> None:
    import transformers

    tables = class_tables()
    assert tables is not None
    assert len(tables.causal) > 100
    assert len(tables.multimodal) > 50
    for model_type in sorted({*tables.causal, *tables.multimodal}):
        choice = find_class({"model_type": model_type})
        if isinstance(choice, NoClass):
            continue
        forward = inspect.signature(getattr(transformers, choice.name).forward).parameters
        needed = [
            name
            for name, parameter in forward.items()
            if parameter.default is inspect.Parameter.empty
            and parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD
        ]
        assert "input_ids" in forward, model_type
        assert needed in (["self"], ["self", "input_ids"]), (model_type, needed)


def test_encoder_decoders_are_known_by_the_source_of_their_config() -> None:
    assert [is_encoder_decoder_type(name) for name in ("t5", "bart", "llama", "qwen3_5")] == [
        True,
        True,
        False,
        False,
    ]
