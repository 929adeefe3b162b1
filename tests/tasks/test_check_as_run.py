"""`check` refuses whatever the child of a training refuses: every refusal of the core is listed."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from made_up import made_up
from model_folder import write_model
from tiny import train_tokenizer, write_chats, write_config, write_labels, write_pairs

import swiftbox
from swiftbox.errors import UserError
from swiftbox.launch.prepare import check_config, with_absolute_paths
from swiftbox.plan import plan
from swiftbox.tasks.load import load
from swiftbox.tasks.train import TRAIN

ROOT = Path(swiftbox.__file__).parent
ROOMS = (
    "architectures",
    "core/data",
    "core/generation",
    "core/weights",
    "core/tuners",
    "core/training",
    "core/losses",
    "methods",
    "serving/builtin_server.py",
)
ERRORS = {"ConfigError", "DataError", "RunError", "MachineError", "ResultError", "UserError"}


@dataclass(frozen=True)
class Case:
    """Settings that a training refuses, and words of the refusal."""

    message: str
    keys: Mapping[str, Any] = field(default_factory=dict)
    model: str = "qwen3"


PATTERN = r"model\.none\..*"

CASES: dict[str, Case] = {
    "core/data/layouts.py:_joined_layout": Case(
        "packing: requires padding_free", {"packing": True, "padding_free": "false"}
    ),
    "core/tuners/adalora.py:on_train_begin": Case(
        "together cover all 4 steps",
        {"tuner_type": "adalora", "adalora_tinit": 0.5, "adalora_tfinal": 0.5},
    ),
    "core/tuners/full.py:freeze": Case(
        "every parameter is frozen", {"tuner_type": "full", "freeze_parameters": [".*"]}
    ),
    "core/tuners/full.py:_matching_names": Case(
        "no parameter matches none", {"tuner_type": "full", "freeze_parameters": ["none"]}
    ),
    "core/tuners/ia3.py:adapter_config": Case(
        "feedforward_modules: o_proj is not in target_modules",
        {
            "tuner_type": "ia3",
            "target_modules": ["k_proj", "v_proj"],
            "feedforward_modules": ["o_proj"],
        },
    ),
    "core/tuners/llamapro.py:expandable_blocks": Case(
        "llamapro_num_new_blocks: 3 does not divide 2 layers",
        {"tuner_type": "llamapro", "llamapro_num_new_blocks": 3},
    ),
    "core/tuners/oft.py:adapter_config": Case(
        "oft_block_size: 7 does not divide", {"tuner_type": "oft", "oft_block_size": 7}
    ),
    "core/tuners/targets.py:_check_heads": Case(
        "the output head or a router", {"target_modules": r".*(q_proj|m_head)"}
    ),
    "core/tuners/targets.py:_in_layers": Case(
        "layers_to_transform: the", {"layers_to_transform": [9]}
    ),
    "core/tuners/targets.py:_layers_matching": Case(
        f"target_modules: no layer matches {PATTERN}", {"target_modules": PATTERN}
    ),
    "core/tuners/targets.py:_without_excluded": Case(
        "exclude_modules: embed_tokens is not among", {"exclude_modules": ["embed_tokens"]}
    ),
    "core/tuners/targets.py:choose_targets": Case(
        "exclude_modules leaves no layer", {"exclude_modules": [".*"]}
    ),
    "core/tuners/targets.py:compiled": Case(
        "is not a regular expression", {"tuner_type": "full", "freeze_parameters": ["("]}
    ),
    "core/tuners/targets.py:linear_layers": Case("has no linear layer", model="gpt2"),
    "core/tuners/targets.py:require_matches": Case(
        "target_modules: the model has no layer none", {"target_modules": ["none"]}
    ),
    "core/tuners/targets.py:require_parameters": Case(
        "target_parameters: the model has no parameter none", {"target_parameters": ["none"]}
    ),
    "methods/kto.py:_batch_too_small": Case(
        "KTO compares each prompt with other answers",
        {"stage": "kto", "per_device_train_batch_size": 1, "gradient_accumulation_steps": 1},
    ),
}
"""A refusal, by the function that makes it: both `check` and the child refuse these settings."""

SAME_FUNCTION = "`check` calls this very function"
LOADED = "models/trial_loading.py asks by headers; tests/models/test_trial_loading.py"
NUMBERS = "it depends on the numbers that the training computes"
RESULT = "it judges a result that was written"

PAIRS = "models/model_pairs.py compares the headers before; tests/tasks/test_extract.py"
MODULES = "models/extract_modules.py refuses it by headers; tests/tasks/test_extract.py"
WEIGHTS = "it depends on the numbers in the weight files, which `check` does not read"

SERVED = "tests/tasks/test_uncached_models.py: `check` of deploy, chat and evaluate says it"

REASONS: dict[str, str] = {
    "architectures/positions.py:require_positions": SAME_FUNCTION,
    "architectures/stored_outputs.py:_other_outputs": SAME_FUNCTION,
    "architectures/choice.py:require_class": "models/inspection.py: the same choice of a class",
    "architectures/served_limits.py:too_long_error": SERVED + ", but for what memory allows",
    "architectures/served_limits.py:uncached_error": SERVED,
    "core/data/encode.py:require_offsets": "which tokenizer transformers makes of other files "
    "than tokenizer.json is only known when it is loaded",
    "core/generation/network.py:_misfit": "models/merge_checks.py compares them before",
    "core/generation/network.py:add": "models/merge_checks.py compares them before",
    "core/losses/reward_functions.py:require": SAME_FUNCTION,
    "core/losses/reward_functions.py:_parse": SAME_FUNCTION,
    "core/losses/reward_functions.py:split": SAME_FUNCTION,
    "core/training/infinite_loss.py:infinite_loss": NUMBERS,
    "core/training/infinite_loss.py:_infinite_norm": NUMBERS,
    "core/training/parallel.py:for_one_device": "it looks at how the process was started",
    "core/tuners/extract_messages.py:equal_models": WEIGHTS,
    "core/tuners/extract_messages.py:no_such_modules": MODULES,
    "core/tuners/extract_messages.py:rows_without_place": MODULES,
    "core/tuners/extract_messages.py:wrong_layer": RESULT,
    "core/tuners/extract_messages.py:wrong_outputs": RESULT,
    "core/tuners/initialization.py:require_calibration": "a training without rows never starts",
    "core/tuners/initialization.py:forward": NUMBERS,
    "core/tuners/initialization.py:_masked_batches": "it depends on which rows share a batch",
    "core/tuners/llamapro.py:expand": NUMBERS,
    "core/tuners/llamapro.py:_blocks": SAME_FUNCTION,
    "core/tuners/mix_adapters.py:_not_finite": NUMBERS,
    "core/tuners/mix_adapters.py:_wrong_layer": RESULT,
    "core/tuners/model_changes.py:_other_shape": PAIRS,
    "core/tuners/model_changes.py:_other_weights": PAIRS,
    "core/tuners/model_changes.py:_takes_no_factors": MODULES,
    "core/tuners/targets.py:_other_modality": SAME_FUNCTION,
    "core/tuners/written_adapter.py:_overflow": NUMBERS,
    "core/weights/adapters.py:_no_such_rows": "models/merge_checks.py compares the shapes before",
    "core/weights/adapters.py:require_all_loaded": "models/merge_checks.py compares them before",
    "core/weights/cast.py:cast_weights": NUMBERS,
    "core/weights/completion.py:_failure": RESULT,
    "core/weights/load_errors.py:_broken": "tests/launch/test_check_finds.py: by headers",
    "core/weights/merge.py:_merge_and_unload": NUMBERS,
    "core/weights/merge.py:_require_rows": RESULT,
    "core/weights/merge.py:_require_rounding": RESULT,
    "core/weights/merge.py:verify": RESULT,
    "core/weights/mix_models.py:_compare_models": RESULT,
    "core/weights/mix_models.py:_different_numbers": WEIGHTS,
    "core/weights/mix_models.py:_not_finite": NUMBERS,
    "core/weights/mix_models.py:_require_written": RESULT,
    "core/weights/placement.py:_contradiction": LOADED,
    "core/weights/placement.py:_without_head": "which layers make a head is only known once its "
    "class is built; our own adapters always have it",
    "core/weights/quantized_bases.py:quantization_arguments": "tasks/tuner_check.py says it from "
    "config.json; without gptqmodel, as here, the plan already refuses",
    "serving/builtin_server.py:_device_failed": "it depends on what the device does while serving",
}
"""Refusals that `check` makes elsewhere or cannot know, and why. Errors of the disk, of memory and
of devices are not refusals."""


def refusals() -> Iterator[str]:
    """Yield file:function of every error for users that the child raises."""
    rooms = [ROOT / room for room in ROOMS]
    files = [path for room in rooms for path in (room.rglob("*.py") if room.is_dir() else [room])]
    for path in sorted(files):
        for function in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(function, ast.FunctionDef) and _makes_error(function):
                yield f"{path.relative_to(ROOT).as_posix()}:{function.name}"


def _makes_error(function: ast.FunctionDef) -> bool:
    """Tell whether a function itself, not one inside it, makes an error."""
    inner = {
        node
        for part in ast.walk(function)
        if isinstance(part, ast.FunctionDef) and part is not function
        for node in ast.walk(part)
    }
    return any(
        isinstance(node, ast.Call) and getattr(node.func, "id", "") in ERRORS
        for node in ast.walk(function)
        if node not in inner
    )


def test_every_refusal_of_the_child_is_listed() -> None:
    listed = {*CASES, *REASONS}
    found_now = set(refusals())
    assert found_now - listed == set(), "give it a case that `check` refuses too, or a reason"
    assert listed - found_now == set()


@pytest.mark.parametrize(
    ("keys", "is_refused"),
    [
        ({"tuner_type": "full"}, True),
        ({"init_lora_weights": "pissa"}, True),
        ({}, False),
        ({"tuner_type": "full", "precompute_ref_log_probs": "true"}, False),
        ({"tuner_type": "full", "distributed": "ddp"}, False),
    ],
)
def test_check_refuses_a_reference_whose_weights_are_sharded(
    keys: Mapping[str, Any], is_refused: bool, tmp_path: Path
) -> None:
    """As core/training/reference_setup.py does in each of several processes."""
    data = write_pairs(tmp_path / "rows.jsonl", 4)
    settings = {"stage": "dpo", "distributed": "fsdp", "precompute_ref_log_probs": "false", **keys}
    path = write_config(tmp_path / "a.yaml", write_model(tmp_path / "model"), data, **settings)
    message = refusal_of_settings(load(path).config)
    assert ("cannot be restored for the reference policy" in message) == is_refused, message


def refusal_of_settings(config: Any) -> str:
    """What checking settled settings says; empty if it accepts them."""
    try:
        check_config(config)
    except UserError as error:
        return error.message
    return ""


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny GPT-2, whose layers are Conv1D."""
    import transformers

    folder = tmp_path_factory.mktemp("gpt2")
    sizes = {"vocab_size": 600, "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 256}
    transformers.GPT2LMHeadModel(transformers.GPT2Config(**sizes)).save_pretrained(folder)
    train_tokenizer().save_pretrained(folder)
    return folder


def refusal_by_check(path: Path) -> str:
    """What planning and checking say; empty if they accept it."""
    try:
        config = with_absolute_paths(plan(load(path).config, made_up("cpu")).config)
    except UserError as error:
        return error.message
    return refusal_of_settings(config)


def refusal_by_child(path: Path, folder: Path) -> str:
    """What the child says that nobody checked for; empty if it trains."""
    try:
        config = plan(load(path).config, made_up("cpu")).config
        TRAIN.run(config, folder, lambda *_arguments, **_fields: None)
    except UserError as error:
        return error.message
    return ""


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_check_refuses_what_the_child_refuses(
    name: str, tiny: Path, gpt2: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = CASES[name]
    monkeypatch.chdir(tmp_path)
    write = write_labels if case.keys.get("stage") == "kto" else write_chats
    data = write(tmp_path / "rows.jsonl", 8)
    model = gpt2 if case.model == "gpt2" else tiny
    path = write_config(tmp_path / "a.yaml", model, data, **case.keys)
    assert case.message in refusal_by_check(path)
    assert case.message in refusal_by_child(path, tmp_path)
