"""Resolve a training for a machine: every `auto` gets a value, and every value its reason; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from swiftbox.config.combinations import require_compatible
from swiftbox.config.groups import as_list
from swiftbox.config.train import TrainConfig
from swiftbox.config.tuners import FULL_TUNERS
from swiftbox.devices import choices
from swiftbox.devices.attention import EAGER, AttentionNeeds, candidates, choose_attention
from swiftbox.devices.machine import Machine
from swiftbox.devices.optional_kernels import OPTIONAL, require_optional
from swiftbox.errors import ConfigError, MachineError
from swiftbox.fit.candidates import BATCH, PASSES
from swiftbox.fit.micro_batch import MASKLESS, SHARING
from swiftbox.fit.workload import UNKNOWN, Workload
from swiftbox.formatting import counted
from swiftbox.language import text
from swiftbox.methods import METHODS
from swiftbox.tasks.device_reasons import device_reasons
from swiftbox.tasks.fixed_batches import fixed_batch, safe_batch
from swiftbox.tasks.task import Reason, Resolved
from swiftbox.tasks.training_batches import estimated_reasons
from swiftbox.tasks.training_schedule import settled_schedule
from swiftbox.tasks.training_vocabulary import require_tokens_fit


class Settlement:
    """The values settled so far, each with its reason."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.reasons: list[Reason] = []

    def settle(self, reason: Reason) -> None:
        """Set a key of the config for the given reason, in place of an earlier one."""
        self.reasons = [other for other in self.reasons if other.key != reason.key]
        self.values[reason.key] = reason.value
        self.reasons.append(reason)

    def choose(self, key: str, choice: choices.Choice) -> None:
        """Set a key of the config to a choice that depends on the machine."""
        self.settle(Reason(key, choice.value, choice.reason))


def resolve(config: TrainConfig, machine: Machine, workload: Workload = UNKNOWN) -> Resolved:
    """Settle every `auto` for this machine, with the reason; raise UserError if it cannot run.

    What the estimate decides depends on the workload; without one the safe values are taken.
    """
    settlement = Settlement()
    devices = _device_count(config, machine)
    needs = _attention_needs(config, workload)
    _settle_device_choices(config, machine, devices, settlement, needs)
    _settle_tuner(config.model_copy(update=settlement.values), machine, settlement)
    settlement.settle(_padding_free(config, settlement.values["attn_implementation"]))
    _require_reporters(config, machine)
    if "learning_rate" not in config.model_fields_set:
        settlement.settle(_usual_learning_rate(config))
    for reason in settled_schedule(config.model_copy(update=settlement.values)):
        settlement.settle(reason)
    processes = 1 if settlement.values["distributed"] == "none" else devices
    settlement.values["num_devices"] = processes
    if config.val_dataset is not None and config.val_size:
        settlement.settle(_held_out_by_name())
    _settle_reference(config, settlement)
    config = _with_batch(config, machine, workload, settlement)
    _settle_method(config, settlement)
    require_tokens_fit(config.model_copy(update=settlement.values))
    _require_online(config, machine, devices)
    settlement.reasons.append(_rows_per_update(config, processes))
    settlement.reasons += device_reasons(machine, processes, processes)
    env = dict(choices.environment(machine, processes))
    compiles = config.torch_compile or settlement.values["attn_implementation"] == "flex_attention"
    if not compiles:
        env["TORCHDYNAMO_DISABLE"] = "1"  # nothing is compiled, and its import takes a second
    settled = config.model_copy(update=settlement.values)
    return Resolved(settled, tuple(settlement.reasons), processes, env)


def _held_out_by_name() -> Reason:
    why = text(
        "the loss is measured on val_dataset; all rows of dataset are learned",
        "损失在 val_dataset 上测量；dataset 的所有行都用于训练",
    )
    return Reason("val_size", 0.0, why)


def _with_batch(
    config: TrainConfig, machine: Machine, workload: Workload, settlement: Settlement
) -> TrainConfig:
    """Settle what the estimate decides; return the config with its rows per forward pass."""
    requested = config
    for reason in fixed_batch(config):
        settlement.settle(reason)
        requested = requested.model_copy(update={reason.key: reason.value})
    for reason in safe_batch(requested):
        settlement.settle(reason)
    settled = config.model_copy(update=settlement.values)
    kinds = candidates(machine, settled.dtype, _attention_needs(config, workload))
    offered = [name for name in kinds if name != EAGER]  # sdpa computes the same, faster
    for reason in estimated_reasons(requested, settled, machine, workload, offered):
        settlement.settle(reason)
    if settlement.values["padding_free"] == "true":  # its reason names the attention
        settlement.settle(_padding_free(config, settlement.values["attn_implementation"]))
    keys = (BATCH, PASSES)
    batch = {key: settlement.values[key] for key in keys if key in settlement.values}
    return config.model_copy(update=batch)


def _settle_device_choices(
    config: TrainConfig,
    machine: Machine,
    devices: int,
    settlement: Settlement,
    needs: AttentionNeeds,
) -> None:
    """Settle what depends on the devices: parallelism, dtype, attention, optimizer."""
    values, choose = settlement.values, settlement.choose
    choose("distributed", choices.choose_distributed(machine, config.distributed, devices))
    choose("dtype", choices.choose_dtype(machine, _requested_dtype(config)))
    attention = choose_attention(machine, config.attn_implementation, values["dtype"], needs)
    choose("attn_implementation", attention)
    choose("optim", choices.choose_optimizer(machine, config.optim, values["dtype"]))
    checkpointing = choices.choose_checkpointing(machine, config.gradient_checkpointing)
    choose("gradient_checkpointing", checkpointing)
    for key in OPTIONAL:
        if getattr(config, key):
            require_optional(machine, key)


def _requested_dtype(config: TrainConfig) -> str:
    """Return the data type that the config asks for: pure_bf16 asks for bfloat16."""
    is_pure = config.keeps_bfloat16_weights
    return "bfloat16" if is_pure and config.dtype == "auto" else config.dtype


def _rows_per_update(config: TrainConfig, processes: int) -> Reason:
    rows, steps = config.micro_batch, config.gradient_accumulation_steps
    why = text(
        f"{counted(rows, 'row')} x {counted(steps, 'accumulation step')} x "
        f"{counted(processes, 'device')}",
        f"{rows} 行 x 累积 {steps} 次 x {processes} 个设备",
    )
    return Reason(text("rows per update", "每次更新行数"), rows * steps * processes, why)


def _settle_tuner(config: TrainConfig, machine: Machine, settlement: Settlement) -> None:
    """Settle the tuner; raise UserError for settings that cannot be combined."""
    kind = config.tuner_type
    if kind == "lora" and config.quant_bits is not None:
        kind = "qlora"
        why = text("quant_bits is set", "设置了 quant_bits")
        settlement.reasons.append(Reason("tuner_type", kind, why))
    settlement.values["tuner_type"] = kind
    require_compatible(config.model_copy(update={"tuner_type": kind}))
    if kind == "qlora":
        choice = choices.choose_quantizer(machine, config.quant_method, config.quant_bits)
        settlement.choose("quant_bits", choice)
        settlement.values["quant_bits"] = int(choice.value)
    if kind == "adalora" and config.save_steps:
        why = text(
            "checkpoints cannot hold the rank allocation of adalora; saved at the end only",
            "检查点无法保存 adalora 的秩分配；只在结束时保存",
        )
        settlement.settle(Reason("save_steps", 0, why))


def _device_count(config: TrainConfig, machine: Machine) -> int:
    available = max(1, len(machine.devices))
    requested = config.num_devices
    if requested is None:
        return 1 if config.distributed == "none" else available
    if requested > available and machine.devices:
        raise MachineError(
            text(
                f"num_devices: {requested} requested, {available} available",
                f"num_devices：要求 {requested} 个，只有 {available} 个",
            ),
            hint=text(
                f"set num_devices: {available}, or fewer",
                f"设 num_devices: {available} 或更小",
            ),
        )
    return requested


def _attention_needs(config: TrainConfig, workload: Workload) -> AttentionNeeds:
    """Return what the batches and, if it is known, the model need of attention."""
    joined = _joins_rows(config)
    if workload.model is None:
        return AttentionNeeds(joined=joined)
    shape = workload.model.shape
    return AttentionNeeds(shape.head_dim, shape.softcap, shape.chunked, joined)


def _joins_rows(config: TrainConfig) -> bool:
    """Whether our own batches are used, and may hold rows without padding."""
    method = METHODS[config.model_dump()["stage"]]
    return config.padding_free != "false" and method.reward_functions is None


def _padding_free(config: TrainConfig, attention: str) -> Reason:
    """Join rows instead of padding them if the attention keeps documents exactly apart."""
    exact = attention in (*MASKLESS, *SHARING, EAGER)
    if config.padding_free == "false":
        return Reason("padding_free", "false", text("as requested", "按要求"))
    if exact:
        why = text(
            f"{attention} keeps joined rows apart; checked on the model before training",
            f"{attention} 能使拼接的样本互不可见；训练前会在模型上核对",
        )
        return Reason("padding_free", "true", why)
    if config.padding_free == "true":
        raise MachineError(
            text(
                f"padding_free: {attention} does not keep joined rows apart",
                f"padding_free：{attention} 无法使拼接的样本互不可见",
            ),
            hint=text("set attn_implementation: sdpa", "设置 attn_implementation: sdpa"),
        )
    why = text(f"not known to be exact with {attention}", f"使用 {attention} 时未证明精确")
    return Reason("padding_free", "false", why)


def _usual_learning_rate(config: TrainConfig) -> Reason:
    stage = config.model_dump()["stage"]
    rate = METHODS[stage].learning_rate(config.tuner_type)
    why = text(
        f"not set; the usual rate of {stage} with tuner_type: {config.tuner_type}",
        f"未设置；{stage} 配合 tuner_type: {config.tuner_type} 的常用值",
    )
    return Reason("learning_rate", rate, why)


def _settle_reference(config: TrainConfig, settlement: Settlement) -> None:
    """Settle when the reference is computed, which is a part of an update or not."""
    values = config.model_dump()
    if values.get("precompute_ref_log_probs") == "auto":
        settlement.settle(_precompute(config, values, settlement.values["distributed"]))


def _settle_method(config: TrainConfig, settlement: Settlement) -> None:
    """Settle what the method needs; raise ConfigError for settings that contradict it."""
    values = config.model_dump()
    stage = values["stage"]
    if config.packing and not config.can_pack:
        raise ConfigError(
            text(
                f"packing: not available for stage: {stage}, whose batches have no padding",
                f"packing：不适用于 stage: {stage}，其批次本来就没有填充",
            ),
            hint=text("set packing: false", "设 packing: false"),
        )
    config.require_valid_batch_size()
    settled = settlement.values
    if values.get("prefix_sharing") == "auto":
        reason = _prefix_sharing(settled["attn_implementation"], settled["padding_free"])
        settlement.settle(reason)


def _prefix_sharing(attention: str, padding_free: str) -> Reason:
    """Compute the prompt of a pair once if the attention accepts our mask."""
    key = "prefix_sharing"
    if attention in SHARING and padding_free == "true":
        why = text(
            "the prompt of a pair is computed once; checked on the model before training",
            "同一对回答的提示只计算一次；训练前会在模型上核对",
        )
        return Reason(key, "true", why)
    why = text(
        f"{attention} in this layout does not support a mask for a shared prompt",
        f"{attention} 的此种布局不支持共享提示的掩码",
    )
    return Reason(key, "false", why)


def _require_known_to_engine(config: TrainConfig, values: Mapping[str, Any]) -> None:
    """Raise ConfigError for settings that only our own training steps implement."""
    for key, ours in (
        ("optim", config.optim in ("lora_fa", "galore_adamw")),
        *((key, getattr(config, key)) for key in ("pure_bf16", *OPTIONAL)),
        ("gradient_checkpointing", config.gradient_checkpointing == "selective"),
        ("lora_plus_lr_ratio", config.lora_plus_lr_ratio is not None),
        ("neftune_noise_alpha", config.neftune_noise_alpha is not None),
        ("tuner_type", config.tuner_type == "adalora"),
    ):
        if ours:
            value = str(values[key]).lower()
            raise ConfigError(
                text(
                    f"{key}: {value} is not available for stage: {values['stage']}, which "
                    "TRL trains",
                    f"{key}: {value} 不适用于 stage: {values['stage']}：其训练由 TRL 进行",
                ),
                hint=text(f"remove {key}", f"去掉 {key}"),
            )


def _require_online(config: TrainConfig, machine: Machine, devices: int) -> None:
    """Raise UserError if an online method lacks TRL, or its groups do not fill the batches."""
    values = config.model_dump()
    if METHODS[values["stage"]].reward_functions is None:
        return
    if "trl" not in machine.versions:
        raise MachineError(
            text(
                f"stage: {values['stage']}: TRL is not installed",
                f"stage: {values['stage']}：未安装 TRL",
            ),
            hint="pip install 'swiftbox[rl]'",
        )
    if "accuracy" in as_list(values["reward_funcs"]) and "math_verify" not in machine.versions:
        raise MachineError(
            text(
                "reward_funcs: accuracy compares answers with math-verify, which is not installed",
                "reward_funcs：accuracy 用 math-verify 比较答案，但未安装",
            ),
            hint="pip install 'swiftbox[rl]'",
        )
    _require_known_to_engine(config, values)
    per_update = config.micro_batch * config.gradient_accumulation_steps * devices
    if per_update % values["num_generations"]:
        raise ConfigError(
            text(
                f"num_generations: {per_update} answers per update cannot be divided into groups "
                f"of {values['num_generations']}",
                f"num_generations：每次更新的 {per_update} 个回答无法分成每组 "
                f"{values['num_generations']} 个",
            ),
            hint=text(
                "per_device_train_batch_size x gradient_accumulation_steps x devices should be a "
                "multiple of num_generations",
                "per_device_train_batch_size x gradient_accumulation_steps x 设备数应为 "
                "num_generations 的倍数",
            ),
        )


def _precompute(config: TrainConfig, values: dict[str, Any], distributed: str) -> Reason:
    """Decide by cost whether the reference is computed before training."""
    key = "precompute_ref_log_probs"
    if values["reference_free"]:
        return Reason(
            key, "false", text("reference_free: no reference", "reference_free：没有参考模型")
        )
    is_sharded = distributed not in ("none", "ddp")
    if config.tuner_type in FULL_TUNERS or (is_sharded and config.adapter is not None):
        why = text(
            "avoids keeping a second copy of all weights",
            "避免保留全部权重的第二份副本",
        )
        return Reason(key, "true", why)
    if is_sharded:
        why = text(
            "the adapter is disabled for the reference instead", "改为关闭适配器得到参考模型"
        )
        return Reason(key, "false", why)
    if config.num_train_epochs > 1 and config.max_steps is None:
        why = text(
            f"once instead of in each of {config.num_train_epochs:g} epochs; cached for later runs",
            f"只算一次，而不是 {config.num_train_epochs:g} 轮各算一次；供以后的运行复用",
        )
        return Reason(key, "true", why)
    why = text(
        "every pair is used once: the cost is the same, and training starts sooner",
        "每对样本只用一次：开销相同，且更早开始训练",
    )
    return Reason(key, "false", why)


def _require_reporters(config: TrainConfig, machine: Machine) -> None:
    for name in as_list(config.report_to):
        if name != "none" and name not in machine.versions:
            raise MachineError(
                text(f"report_to: {name} is not installed", f"report_to：未安装 {name}"),
                hint=f"pip install {name}",
            )
