"""Settings of a new tuner compared with the names and shapes of the weights, before any is loaded.

Modules are named as the weights are stored. Families for which that is not so (experts, several
modalities, code from the repository, quantized weights) are left to the loading.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from swiftbox.architectures.modalities import reads_other_modality
from swiftbox.config.train import TrainConfig
from swiftbox.config.tuners import FULL_TUNERS
from swiftbox.errors import ConfigError, raise_together
from swiftbox.formatting import near
from swiftbox.language import text
from swiftbox.models.config_keys import dimension, language_part
from swiftbox.models.inspection import Inspection
from swiftbox.models.weights import WeightFiles

FUSED = ("num_experts", "num_local_experts", "n_routed_experts")
SUFFIX = ".weight"
REPEATED_GROUP = re.compile(r"\)[*+{]")
REPETITION = re.compile(r"[*+{]")
MAX_REPETITIONS = 3
"""Of a pattern that `check` tries on names: each may multiply the time by the length of a name."""


def require_tuner_fits(config: TrainConfig, inspection: Inspection) -> None:
    """Raise one ConfigError for all settings of the tuner that name nothing in the model."""
    raise_together(list(_problems(config, inspection)))


def _problems(config: TrainConfig, inspection: Inspection) -> Iterator[ConfigError]:
    yield from _expression_errors(config)
    yield from _schedule_errors(config)
    is_quantized = "quantization_config" in inspection.config
    if config.tuner_type == "qlora" and config.quant_method != "bnb" and not is_quantized:
        yield _not_quantized(config)
    if config.tuner_type not in FULL_TUNERS and config.adapter is None:
        yield from _tower_errors(config, inspection)
    if not has_plain_names(inspection):
        return
    names = list(inspection.weights.tensors)
    if config.tuner_type in FULL_TUNERS:
        yield from _parameter_errors(config, names)
        yield from _block_errors(config, inspection.config)
    elif config.adapter is None:
        yield from _target_errors(config, names)
        yield from _width_errors(config, inspection.weights)


def has_plain_names(inspection: Inspection) -> bool:
    """Tell whether the modules of a model are named as its weights are stored."""
    stored = inspection.config
    is_plain = language_part(stored) is stored and not any(stored.get(key) for key in FUSED)
    unusual = ("auto_map", "quantization_config")
    return is_plain and inspection.weights.is_complete and not any(map(stored.get, unusual))


# ---- regular expressions


def _expression_errors(config: TrainConfig) -> Iterator[ConfigError]:
    targets = config.target_modules
    expressions = [("exclude_modules", pattern) for pattern in config.exclude_modules]
    expressions += [("freeze_parameters", pattern) for pattern in config.freeze_parameters]
    expressions += [("trainable_parameters", pattern) for pattern in config.trainable_parameters]
    if isinstance(targets, str) and not targets.isidentifier() and targets != "all-linear":
        expressions.append(("target_modules", targets))
    for key, expression in expressions:
        try:
            re.compile(expression)
        except (re.error, RecursionError, OverflowError) as error:
            yield ConfigError(
                text(
                    f"{key}: {expression} is not a regular expression ({error})",
                    f"{key}：{expression} 不是合法的正则表达式（{error}）",
                ),
                hint=text("write a dot or bracket as \\. or \\(", "点与括号请写成 \\. 或 \\("),
            )


def _schedule_errors(config: TrainConfig) -> Iterator[ConfigError]:
    """Check that AdaLoRA's phases leave steps between them, where the steps are known."""
    steps = config.max_steps
    if config.tuner_type != "adalora" or steps is None:
        return
    first, last = (
        round(part * steps) if part < 1 else int(part)
        for part in (config.adalora_tinit, config.adalora_tfinal)
    )
    if first >= steps - last:
        yield ConfigError(
            text(
                f"adalora_tinit and adalora_tfinal together cover all {steps} steps",
                f"adalora_tinit 与 adalora_tfinal 占满了全部 {steps} 步",
            ),
            hint=text("lower them, or train longer", "减小它们，或增加训练步数"),
        )


# ---- an adapter


def _target_errors(config: TrainConfig, names: Sequence[str]) -> Iterator[ConfigError]:
    targets = config.target_modules
    modules = [name.removesuffix(SUFFIX) for name in names]
    listed = [targets] if isinstance(targets, str) and targets.isidentifier() else targets
    for target in listed if isinstance(listed, list) else []:
        if not any(_is_named(module, target) for module in modules):
            yield _no_layer("target_modules", target, modules)
    for target in config.exclude_modules:
        if target.isidentifier() and not any(_is_named(module, target) for module in modules):
            yield _no_layer("exclude_modules", target, modules)
    numbers = {int(part) for name in names for part in name.split(".") if part.isdecimal()}
    beyond = sorted(set(config.layers_to_transform or ()) - numbers)
    if beyond and numbers:
        yield ConfigError(
            text(
                f"layers_to_transform: the model has no layer {beyond[0]}",
                f"layers_to_transform：模型中没有第 {beyond[0]} 层",
            ),
            hint=text(f"the last layer is {max(numbers)}", f"最后一层为 {max(numbers)}"),
        )


def _tower_errors(config: TrainConfig, inspection: Inspection) -> Iterator[ConfigError]:
    """Yield the targets that name layers of towers or projectors without saying so."""
    targets = config.target_modules
    names = list(inspection.weights.tensors)
    if not isinstance(targets, list) or not any(map(reads_other_modality, names)):
        return
    modules = [name.removesuffix(SUFFIX) for name in names if name.endswith(SUFFIX)]
    for target in targets:
        named = [module for module in modules if f".{module}".endswith(f".{target}")]
        is_meant = reads_other_modality(target) or not all(map(reads_other_modality, named))
        if named and not is_meant:
            yield ConfigError(
                text(
                    f"target_modules: {target} names only layers that read pictures or sound",
                    f"target_modules：{target} 只对应读取图像或声音的层",
                ),
                hint=text(
                    f"name the full path if you mean them, such as {named[0]}",
                    f"若确需训练，请写完整路径，例如 {named[0]}",
                ),
            )


def _is_named(module: str, target: str) -> bool:
    """Tell whether a target is a module or a part of its path, which may be stored otherwise."""
    return module == target or f".{target}." in f".{module}."


def _no_layer(key: str, target: str, modules: Sequence[str]) -> ConfigError:
    endings = sorted({module.rpartition(".")[2] for module in modules})
    similar = ", ".join(near(target, endings, cutoff=0.3) or endings[:8])
    return ConfigError(
        text(f"{key}: the model has no layer {target}", f"{key}：模型中没有层 {target}"),
        hint=text(f"similar names: {similar}", f"相近的名称有 {similar}"),
    )


def _width_errors(config: TrainConfig, weights: WeightFiles) -> Iterator[ConfigError]:
    """Check that OFT's blocks divide the inputs of the layers that are named."""
    if config.tuner_type != "oft" or not isinstance(config.target_modules, list):
        targets: Sequence[str] = ()
        if config.tuner_type != "oft" or config.target_modules != "all-linear":
            return
    else:
        targets = config.target_modules
    widths = {
        shape[1]
        for name, (_dtype, shape) in weights.tensors.items()
        if len(shape) == 2 and _is_adapted(name.removesuffix(SUFFIX), targets)
    }
    size, largest = config.oft_block_size, math.gcd(*widths)
    if widths and largest % size:
        yield ConfigError(
            text(
                f"oft_block_size: {size} does not divide the widths {sorted(widths)}",
                f"oft_block_size：{size} 不能整除各层宽度 {sorted(widths)}",
            ),
            hint=text(f"set a divisor of {largest}", f"请设为 {largest} 的约数"),
        )


def _is_adapted(module: str, targets: Sequence[str]) -> bool:
    if targets:
        return any(module == target or module.endswith(f".{target}") for target in targets)
    return any(part.isdecimal() for part in module.split("."))  # a layer of a block


# ---- full tuning


def _parameter_errors(config: TrainConfig, names: Sequence[str]) -> Iterator[ConfigError]:
    for key in ("freeze_parameters", "trainable_parameters"):
        for pattern in getattr(config, key):
            if _matching(pattern, names) is None:
                yield ConfigError(
                    text(
                        f"{key}: no parameter matches {pattern}", f"{key}：没有参数匹配 {pattern}"
                    ),
                    hint=text(
                        f"a parameter is called for example {names[0]}",
                        f"参数名例如 {names[0]}",
                    ),
                )
    frozen = [_matching(pattern, names) or set() for pattern in config.freeze_parameters]
    if frozen and not config.trainable_parameters and set().union(*frozen) == set(names):
        yield ConfigError(
            text(
                "freeze_parameters: every parameter is frozen",
                "freeze_parameters：所有参数都被冻结",
            ),
            hint=text(
                "narrow it down, or set trainable_parameters", "缩小范围，或设 trainable_parameters"
            ),
        )


def _matching(pattern: str, names: Sequence[str]) -> set[str] | None:
    """Return the names that a pattern matches; None without any, empty for an invalid one.

    Repeated groups and many repetitions may take years: such a pattern is left to the training.
    """
    if REPEATED_GROUP.search(pattern) or len(REPETITION.findall(pattern)) > MAX_REPETITIONS:
        return set()
    try:
        matching = {name for name in names if re.search(pattern, name)}
    except (re.error, RecursionError, OverflowError):
        return set()
    return matching or None


def _block_errors(config: TrainConfig, stored: Mapping[str, Any]) -> Iterator[ConfigError]:
    layers, added = dimension(stored, "layers"), config.llamapro_num_new_blocks
    if config.tuner_type != "llamapro" or layers is None or layers % added == 0:
        return
    divisors = [number for number in range(1, layers + 1) if layers % number == 0]
    yield ConfigError(
        text(
            f"llamapro_num_new_blocks: {added} does not divide {layers} layers",
            f"llamapro_num_new_blocks：{added} 不能整除 {layers} 层",
        ),
        hint=text(f"set one of {divisors}", f"可设为 {divisors} 之一"),
    )


def _not_quantized(config: TrainConfig) -> ConfigError:
    return ConfigError(
        text(
            f"quant_method: {config.quant_method}, but the model is not quantized",
            f"quant_method：{config.quant_method}，但该模型未量化",
        ),
        hint=text(
            "set quant_method: bnb to quantize while loading, or use a quantized model",
            "设 quant_method: bnb 在加载时量化，或换用已量化的模型",
        ),
    )
