"""Attach the tuner of a config to a model, and report what is trained."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from peft import PeftModel, get_peft_model, set_peft_model_state_dict
from peft.utils.save_and_load import load_peft_weights

from swiftbox.config.train import TrainConfig
from swiftbox.config.tuners import FULL_TUNERS, TunerFields
from swiftbox.core.tuners import adalora, full, ia3, initialization, llamapro, lora, oft, vera
from swiftbox.core.tuners.initialization import CalibrationBatches, changes_base
from swiftbox.core.tuners.targets import Note, choose_targets, matched
from swiftbox.core.tuners.trained_dtype import train_in_float32
from swiftbox.core.weights.adapters import adapter_shapes, require_all_loaded
from swiftbox.core.weights.load_errors import explain_broken_files
from swiftbox.core.weights.placement import require_head
from swiftbox.core.weights.quantized_bases import is_quantized
from swiftbox.core.weights.score_head import saved_names
from swiftbox.core.weights.vocabulary import rows_message, shares_embeddings, trained_rows
from swiftbox.language import text
from swiftbox.runs import events
from swiftbox.runs.events import Emit

ADAPTERS: Mapping[str, Callable[[Any, Any, dict[str, Any]], Any]] = MappingProxyType(
    {
        "lora": lora.adapter_config,
        "qlora": lora.adapter_config,
        "adalora": adalora.adapter_config,
        "ia3": ia3.adapter_config,
        "oft": oft.adapter_config,
        "vera": vera.adapter_config,
    }
)
"""The function that creates peft's config, by tuner_type."""


@dataclass(frozen=True)
class AdapterStart:
    """How an adapter starts."""

    adapter: Path | None = None
    """The folder of the adapter to continue; None for a new one."""
    task_type: str = "CAUSAL_LM"
    """SEQ_CLS trains and saves the score head together with the adapter."""
    calibration: CalibrationBatches | None = None
    """Training batches, for initializations computed from data."""
    new_rows: tuple[int, ...] = ()
    """The ids of new tokens, whose rows are trained beside the adapter."""


def attach(
    model: Any, config: TunerFields, start: AdapterStart = AdapterStart(), note: Note = print
) -> Any:
    """Return the model with a new adapter, or with the one to continue."""
    if is_quantized(model):
        model.requires_grad_(False)
    if start.adapter is not None:
        return _continued(model, start.adapter)
    adapter_config = new_adapter_config(model, config, start, note)
    init = config.init_lora_weights if initialization.needs_calibration(config) else ""
    if init == "lora_ga":
        batches = initialization.require_calibration(start.calibration, init)
        initialization.estimate_gradients(model, adapter_config, batches)
    network = get_peft_model(model, adapter_config)
    train_in_float32(network)
    initialization.drop_gradients(network)
    if init == "eva":
        batches = initialization.require_calibration(start.calibration, init)
        initialization.initialize_eva(network, batches)
    if changes_base(config):
        initialization.remember_initial_values(network)
    return network


def new_adapter_config(model: Any, config: TunerFields, start: AdapterStart, note: Note) -> Any:
    """Return peft's config of a new adapter; raise ConfigError for what does not fit the model."""
    common: dict[str, Any] = {
        "target_modules": choose_targets(model, config, note),
        "modules_to_save": [*config.modules_to_save, *saved_names(model)] or None,
        "task_type": start.task_type,
    }
    if start.new_rows:
        rows = trained_rows(model, start.new_rows, config.modules_to_save)
        note(rows_message(rows, tied=shares_embeddings(model)))
        common["trainable_token_indices"] = rows or None
    return ADAPTERS[config.tuner_type](model, config, common)


def _continued(model: Any, adapter: Path) -> Any:
    """Return the model with an adapter to continue, which records the base as a new one does.

    Otherwise the base is named as where the adapter was made: peft then asks Hugging Face for its
    config.json at every checkpoint, and a folder of another machine would be recorded again.
    Raises RunError for an adapter that does not fit the model.
    """
    shapes = adapter_shapes(adapter)
    require_head(model, Path(model.name_or_path), adapter, [shapes])
    with explain_broken_files(adapter, key="adapter"), warnings.catch_warnings(record=True) as log:
        warnings.simplefilter("always")
        network = PeftModel.from_pretrained(model, str(adapter), is_trainable=True)
    messages = [str(warning.message) for warning in log]
    require_all_loaded(network, adapter, shapes, messages)
    if train_in_float32(network):  # again, without the rounding to the type of the base
        set_peft_model_state_dict(network, load_peft_weights(str(adapter), device="cpu"))
    network.peft_config["default"].base_model_name_or_path = model.name_or_path
    return network


def adapted_network(base_model: Any, config: TrainConfig, start: AdapterStart, emit: Emit) -> Any:
    """Return the network to train, and report which of its weights are trained."""

    def note(message: str) -> None:
        emit(events.NOTE, key="target_modules", message=message)

    network = base_model
    if config.tuner_type in FULL_TUNERS:
        trained = _choose_weights(base_model, config)
    else:
        network = attach(base_model, config, start, note)
        if start.adapter is not None:
            emit(events.NOTE, key="adapter", message=continued_adapter(network))
        layers = sorted(matched(network).items())
        trained = ", ".join(f"{name} x{count}" for name, count in layers)
    trainable, total = parameter_counts(network)
    message = text(
        f"{trainable:,} of {total:,} parameters are trained ({trained})",
        f"训练 {total:,} 个参数中的 {trainable:,} 个（{trained}）",
    )
    emit(events.NOTE, key="tuner_type", message=message)
    print(message, flush=True)  # noqa: T201 - log.txt is this process's stdout
    return network


def _choose_weights(model: Any, config: TrainConfig) -> str:
    """Expand or freeze a model that is trained without an adapter; describe what is trained."""
    if config.tuner_type == "llamapro":
        llamapro.expand(model, config.llamapro_num_new_blocks)
        count = config.llamapro_num_new_blocks
        return text(f"{count} new blocks", f"{count} 个新层")
    full.freeze(model, config)
    if all(weight.requires_grad for weight in model.parameters()):
        return text("all weights", "全部参数")
    return text("all weights that are not frozen", "未冻结的参数")


def continued_adapter(network: Any) -> str:
    """Describe the continued adapter, whose settings replace those of the YAML."""
    adapter = network.peft_config["default"]
    kind = str(getattr(adapter.peft_type, "value", adapter.peft_type))
    rank, alpha = getattr(adapter, "r", None), getattr(adapter, "lora_alpha", None)
    if kind != "LORA":
        return text(
            f"continues a {kind} adapter; the tuner settings of the YAML are not used",
            f"继续训练 {kind} 适配器；YAML 中的适配器设置不使用",
        )
    return text(
        f"continues an adapter with rank {rank} and alpha {alpha}; "
        "lora_rank, lora_alpha, lora_dropout and target_modules of the YAML are not used",
        f"继续训练秩为 {rank}、alpha 为 {alpha} 的适配器；"
        "YAML 中的 lora_rank、lora_alpha、lora_dropout、target_modules 不使用",
    )


def tuner_callbacks(network: Any, config: TrainConfig) -> list[Any]:
    """Return the callbacks that the tuner needs during training."""
    adapter = getattr(network, "peft_config", {}).get("default")
    if adapter is not None and str(getattr(adapter.peft_type, "value", "")) == "ADALORA":
        return [adalora.AdaLoraCallback(network, config)]
    return []


def parameter_counts(model: Any) -> tuple[int, int]:
    """Count the trainable parameters, and all of them."""
    trainable = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    return trainable, sum(weight.numel() for weight in model.parameters())
