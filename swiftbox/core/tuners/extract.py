"""A fully trained model as a LoRA on its base: each layer's change in factors, written by peft.

Both models stay in their files. After the factors of a layer are computed, in float32, only these
remain in memory. What is written is loaded onto the base again and measured once more, layer by
layer, and by the logits of a few prompts.
"""

from __future__ import annotations

import gc
import shutil
import warnings
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from peft import get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.constants import EMBEDDING_LAYER_NAMES
from peft.utils.other import ModulesToSaveWrapper
from transformers.utils.logging import disable_progress_bar

from swiftbox.config.extract import ExtractConfig
from swiftbox.core.generation import parity
from swiftbox.core.tuners.extract_checks import ExtractJob, verify
from swiftbox.core.tuners.extract_messages import (
    dropped_message,
    equal_models,
    no_such_modules,
    rows_without_place,
    total_message,
)
from swiftbox.core.tuners.low_rank import Factors, error_share, factorize
from swiftbox.core.tuners.model_changes import (
    ChangedLayer,
    ModelChanges,
    OtherChange,
    compare_weights,
)
from swiftbox.core.tuners.saved_config import sort_names
from swiftbox.core.tuners.written_adapter import (
    cast_finite,
    ending_in,
    fill_layers,
    lora_config,
)
from swiftbox.core.weights.adapters import untie_embeddings
from swiftbox.core.weights.cast import temporary_folder
from swiftbox.core.weights.load import read_tokenizer
from swiftbox.core.weights.merge_bases import load_merge_base
from swiftbox.core.weights.score_head import PREFIX
from swiftbox.core.weights.vocabulary import language_head, shares_embeddings
from swiftbox.runs import events
from swiftbox.runs import folder as run_folder
from swiftbox.templates.closing import end_ids, write_end_ids


@dataclass(frozen=True)
class SavedParts:
    """What an adapter holds beside its factors, and what is left out."""

    modules: tuple[str, ...]
    biases: bool
    dropped: tuple[OtherChange, ...]


@torch.no_grad()  # type: ignore[untyped-decorator]  # torch is not read by mypy
def extract(job: ExtractJob, folder: Path) -> dict[str, Any]:
    """Write the adapter into the folder of a run; return the figures of its checks.

    Raises ConfigError for settings that do not fit the models, RunError for models that do not
    belong together, ResultError, and leaves no folder, if the written adapter has other errors
    than its factors.
    """
    disable_progress_bar()  # log.txt is read by people
    emit = job.emit
    emit(events.STAGE, name="model", detail=str(job.tuned_files.folder))
    base_model, tuned = load_merge_base(job.base_files), load_merge_base(job.tuned_files)
    changes = compare_weights(base_model, tuned, job.config.target_modules)
    saved = parts_to_save(base_model, changes, job.config)
    if not changes.layers and not saved.modules:
        raise equal_models(job.tuned_files.folder, saved.dropped)
    factors, report = _factorize_all(changes.layers, job)
    report["saved"] = list(saved.modules)
    report["dropped"] = {change.name: change.share for change in saved.dropped}
    emit(events.NOTE, key="lora_rank", message=total_message(report))
    if saved.dropped:
        message = dropped_message(saved.dropped, job.config.other_changes)
        emit(events.WARNING, message=message)
    network = _network(base_model, tuned, factors, saved, job)
    final = folder / run_folder.MODEL
    with temporary_folder(folder) as temporary:
        emit(events.STAGE, name="save", detail=run_folder.MODEL)
        _write(network, job, temporary)
        del network, base_model
        gc.collect()
        emit(events.STAGE, name="verify", detail=str(final))
        report |= verify(job, tuned, changes.layers, temporary, report)
        shutil.rmtree(final, ignore_errors=True)
        temporary.rename(final)
    report["bytes"] = sum(file.stat().st_size for file in final.rglob("*") if file.is_file())
    emit(events.EXTRACTED, **report)
    return report


# ---- factors


def _factorize_all(
    layers: Sequence[ChangedLayer], job: ExtractJob
) -> tuple[dict[str, Factors], dict[str, Any]]:
    """Return the factors of each layer, and the figures of the layers and their sum."""
    job.emit(events.STAGE, name="extract", detail=str(len(layers)))
    factors, rows = {}, {}
    seconds: defaultdict[str, float] = defaultdict(float)
    for number, layer in enumerate(layers, start=1):
        began = perf_counter()
        layer_factors = factors[layer.name] = factorize(layer.deltas, job.rule)
        seconds[" x ".join(map(str, layer.before.shape))] += perf_counter() - began
        rows[layer.name] = {
            "rank": layer_factors.rank,
            "change": layer_factors.total**0.5,
            "error": error_share(layer_factors.lost, layer_factors.total),
        }
        job.emit(events.EXTRACTING, done=number, of=len(layers))
    total = sum(part.total for part in factors.values())
    lost = sum(part.lost for part in factors.values())
    counts = Counter(" x ".join(map(str, layer.before.shape)) for layer in layers)
    by_size = {size: seconds[size] / counts[size] for size in counts}
    return factors, {"layers": rows, "error": error_share(lost, total), "seconds_by_size": by_size}


# ---- what is beside them


def parts_to_save(model: Any, changes: ModelChanges, config: ExtractConfig) -> SavedParts:
    """Return which changes beside the layers an adapter holds.

    Raises ConfigError for modules that the model does not have, and for new rows of the embeddings
    that nothing holds.
    """
    modules = dict(model.named_modules())
    missing = [end for end in config.modules_to_save if not ending_in(modules, end)]
    if missing:
        raise no_such_modules(missing, modules)
    layers = {_module_of(layer) for layer in changes.layers}
    chosen = {name for end in config.modules_to_save for name in ending_in(modules, end)}
    biases = False
    if config.other_changes == "save":
        leaves = {change.module for change in changes.others}
        chosen |= {name for name in leaves - layers if name and not any(modules[name].children())}
        biases = any(_is_bias(change, layers) for change in changes.others)
    chosen |= _separate_head(model, modules, chosen)
    dropped = [
        change
        for change in changes.others
        if change.module not in chosen and not (biases and _is_bias(change, layers))
    ]
    if resized := [change for change in dropped if change.rows]:
        raise rows_without_place(resized)
    return SavedParts(tuple(sorted(chosen)), biases, tuple(dropped))


def _separate_head(model: Any, modules: Mapping[str, Any], chosen: set[str]) -> set[str]:
    """Return the head of saved embeddings that share it, if peft would not let it follow them."""
    embeddings, head = model.get_input_embeddings(), language_head(model)
    saved = [name for name in chosen if modules[name] is embeddings]
    if not saved or not shares_embeddings(model) or head is None:
        return set()
    if saved[0].rpartition(".")[2] in EMBEDDING_LAYER_NAMES:
        return set()
    return {name for name, module in modules.items() if module is head}


def _is_bias(change: OtherChange, layers: set[str]) -> bool:
    return change.module in layers and change.name.endswith(".bias")


def _module_of(layer: ChangedLayer) -> str:
    return layer.name.rpartition(".")[0] if layer.is_parameter else layer.name


# ---- the adapter


def _network(
    base_model: Any, tuned: Any, factors: Mapping[str, Factors], saved: SavedParts, job: ExtractJob
) -> Any:
    """Put an adapter with these factors on the base."""
    rows = tuned.get_input_embeddings().weight.shape[0]
    if rows != base_model.get_input_embeddings().weight.shape[0]:
        base_model.resize_token_embeddings(rows, mean_resizing=False)  # the adapter has the rows
    if any(base_model.get_submodule(name) is language_head(base_model) for name in saved.modules):
        untie_embeddings(base_model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of peft: tied layers, which are looked at by the checks
        network = get_peft_model(base_model, _adapter_config(base_model, factors, saved, job))
    fill_layers(network, factors, job.dtype)
    for name, module in network.named_modules():
        if isinstance(module, ModulesToSaveWrapper):
            source = tuned.get_submodule(name.removeprefix(PREFIX)).state_dict()
            _copy(module.modules_to_save["default"], source, job.dtype)
        elif saved.biases and _has_bias(module):
            bias = tuned.get_submodule(name.removeprefix(PREFIX)).bias.detach()
            module.get_base_layer().bias.data = cast_finite(name, bias, job.dtype)
    return network


def _has_bias(module: Any) -> bool:
    """Tell whether a module of a network is an adapted layer with a bias."""
    return isinstance(module, BaseTunerLayer) and getattr(module, "bias", None) is not None


def _adapter_config(
    base_model: Any, factors: Mapping[str, Factors], saved: SavedParts, job: ExtractJob
) -> Any:
    config = lora_config(base_model, factors, job.base_name, job.revision)
    modules = list(saved.modules)
    config.modules_to_save = _short_saved(base_model, modules) or None
    config.bias = "lora_only" if saved.biases else "none"
    config.ensure_weight_tying = _keeps_tie(base_model, saved)
    return config


def _short_saved(base_model: Any, modules: Sequence[str]) -> list[str]:
    """Return the last parts of names if these select the same modules, otherwise the names.

    peft takes every module whose name ends in them, also within a word: `proj` means `q_proj` too.
    """
    ends = sorted({name.rpartition(".")[2] for name in modules})
    names = [name for name, _ in base_model.named_modules()]
    selected = {name for name in names if any(name.endswith(end) for end in ends)}
    return ends if selected == set(modules) else list(modules)


def _keeps_tie(base_model: Any, saved: SavedParts) -> bool:
    """Tell whether a head that shares the embeddings follows those that the adapter saves."""
    modules = [base_model.get_submodule(name) for name in saved.modules]
    saves_embeddings = base_model.get_input_embeddings() in modules
    return (
        saves_embeddings
        and shares_embeddings(base_model)
        and language_head(base_model) not in modules
    )


def _copy(module: Any, source: Mapping[str, torch.Tensor], dtype: str) -> None:
    owners = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    for name, value in source.items():
        is_float = value.is_floating_point()
        owners[name].data = cast_finite(name, value.detach(), dtype) if is_float else value.clone()


def _write(network: Any, job: ExtractJob, target: Path) -> None:
    """Write the adapter, and the tokenizer and the ends of the tuned model."""
    network.peft_config["default"].base_model_name_or_path = job.base_name
    network.save_pretrained(str(target), save_embedding_layers=False)
    sort_names(target)
    trust = job.config.trust_remote_code
    tokenizer = read_tokenizer(job.tuned_files.folder, trust_remote_code=trust)
    if not tokenizer.chat_template:
        base_tokenizer = read_tokenizer(job.base_files.folder, trust_remote_code=trust)
        tokenizer.chat_template = base_tokenizer.chat_template
    tokenizer.save_pretrained(str(target))
    added = [
        token
        for token in end_ids(job.tuned_files.folder)
        if token not in end_ids(job.base_files.folder)
    ]
    write_end_ids(target, added, job.base_files.folder)
    parity.copy_record(job.tuned_files.folder, target, dtype=job.dtype, answers=False)
