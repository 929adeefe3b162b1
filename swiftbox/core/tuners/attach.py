"""Put on the model what is trained, record it, and help the trainer where a tuner needs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from peft import PeftModel, get_peft_model

from swiftbox.config.train import TrainConfig
from swiftbox.config.tuners import WHOLE, TunerFields
from swiftbox.core.tuners import adalora, full, ia3, inits, llamapro, lora, oft, vera
from swiftbox.core.tuners.inits import Sample, changes_base
from swiftbox.core.tuners.targets import Note, choose_targets, matched
from swiftbox.core.weights.quantized_bases import is_quantized, make_trainable
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
"""What makes peft's config for each tuner that is an adapter."""


def attach(
    model: Any,
    config: TunerFields,
    adapter: Path | None,
    *,
    task_type: str = "CAUSAL_LM",
    sample: Sample | None = None,
    note: Note = print,
) -> Any:
    """Return the model with a new adapter, or with the one to continue from.

    `task_type` SEQ_CLS trains and saves the score head beside the adapter.
    """
    if is_quantized(model):
        make_trainable(model)
    if adapter is not None:
        return PeftModel.from_pretrained(model, str(adapter), is_trainable=True)
    common = {
        "target_modules": choose_targets(model, config, note),
        "modules_to_save": config.modules_to_save or None,
        "task_type": task_type,
    }
    made = ADAPTERS[config.tuner_type](model, config, common)
    begins = inits.needs_sample(config)
    if begins and config.init_lora_weights == "lora_ga":
        inits.estimate_gradients(model, made, inits.require_sample(sample, "lora_ga"))
    network = get_peft_model(model, made)
    inits.drop_gradients(network)
    if begins and config.init_lora_weights == "eva":
        inits.begin_with_eva(network, inits.require_sample(sample, "eva"))
    if changes_base(config):
        inits.remember(network)
    return network


def with_adapter(
    base: Any,
    config: TrainConfig,
    adapter: Path | None,
    emit: Emit,
    *,
    task_type: str = "CAUSAL_LM",
    sample: Sample | None = None,
) -> Any:
    """Return the network to train, and record what of it is trained."""

    def note(message: str) -> None:
        emit(events.NOTE, key="target_modules", message=message)

    network = base
    if config.tuner_type in WHOLE:
        where = _choose_weights(base, config)
    else:
        network = attach(base, config, adapter, task_type=task_type, sample=sample, note=note)
        if adapter is not None:
            emit(events.NOTE, key="adapter", message=continued(network))
        where = ", ".join(f"{name} x{count}" for name, count in sorted(matched(network).items()))
    if config.gradient_checkpointing == "true" and config.tuner_type != "full":
        network.enable_input_require_grads()
    trainable, total = parameter_counts(network)
    message = text(
        f"{trainable:,} of {total:,} parameters are trained ({where})",
        f"训练 {total:,} 个参数中的 {trainable:,} 个（{where}）",
    )
    emit(events.NOTE, key="tuner_type", message=message)
    print(message, flush=True)  # noqa: T201 - log.txt is this process's stdout
    return network


def _choose_weights(model: Any, config: TrainConfig) -> str:
    """Expand or freeze a model that is trained without an adapter; return what is trained."""
    if config.tuner_type == "llamapro":
        llamapro.expand(model, config.llamapro_num_new_blocks)
        count = config.llamapro_num_new_blocks
        return text(f"{count} new blocks", f"{count} 个新层")
    full.freeze(model, config)
    if all(one.requires_grad for one in model.parameters()):
        return text("all weights", "全部参数")
    return text("what is not frozen", "未冻结的参数")


def continued(network: Any) -> str:
    """Say which adapter goes on: its own shape counts, not the YAML's."""
    own = network.peft_config["default"]
    kind = str(getattr(own.peft_type, "value", own.peft_type))
    rank, alpha = getattr(own, "r", None), getattr(own, "lora_alpha", None)
    if kind != "LORA":
        return text(
            f"continues an adapter of kind {kind}; the YAML's settings of the tuner are not used",
            f"继续训练 {kind} 适配器；YAML 中的适配器设置不使用",
        )
    return text(
        f"continues an adapter of rank {rank}, alpha {alpha}; "
        "lora_rank, lora_alpha, lora_dropout and target_modules of the YAML are not used",
        f"继续训练秩为 {rank}、alpha 为 {alpha} 的适配器；"
        "YAML 中的 lora_rank、lora_alpha、lora_dropout、target_modules 不使用",
    )


def callbacks(network: Any, config: TrainConfig) -> list[Any]:
    """Return what a tuner wants done between the steps."""
    own = getattr(network, "peft_config", {}).get("default")
    if own is not None and str(getattr(own.peft_type, "value", "")) == "ADALORA":
        return [adalora.Ranks(network, config)]
    return []


def parameter_counts(model: Any) -> tuple[int, int]:
    """Count the trainable parameters, and all of them."""
    trainable = sum(one.numel() for one in model.parameters() if one.requires_grad)
    return trainable, sum(one.numel() for one in model.parameters())
