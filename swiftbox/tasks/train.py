"""task: train. Resolve what `auto` means on a machine, then fetch, check, train, save."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from swiftbox.config.combinations import require_compatible
from swiftbox.config.groups import as_list
from swiftbox.config.train import TrainConfig
from swiftbox.config.tuners import FULL_TUNERS
from swiftbox.devices import choices
from swiftbox.devices.machine import Machine
from swiftbox.errors import ConfigError, MachineError, RunError
from swiftbox.files import read_json, write_json
from swiftbox.fit.forecast import training
from swiftbox.language import text
from swiftbox.lazy import Table
from swiftbox.methods import METHODS
from swiftbox.runs import events
from swiftbox.runs.events import Emit
from swiftbox.runs.folder import INPUTS, MODEL, checkpoints
from swiftbox.tasks.task import Output, Reason, Resolved, Task
from swiftbox.tasks.training_check import check, with_absolute_paths


def resolve(config: TrainConfig, machine: Machine) -> Resolved:
    """Settle every `auto` for this machine, with the reason; refuse what cannot work."""
    reasons: list[Reason] = []
    settled: dict[str, Any] = {}

    def settle(key: str, choice: choices.Choice) -> None:
        settled[key] = choice.value
        reasons.append(Reason(key, choice.value, choice.reason))

    devices = _device_count(config, machine)
    settle("distributed", choices.choose_distributed(machine, config.distributed, devices))
    settle("dtype", choices.choose_dtype(machine, config.dtype))
    settle(
        "attn_implementation",
        choices.choose_attention(machine, config.attn_implementation, settled["dtype"]),
    )
    settle("optim", choices.choose_optimizer(machine, config.optim, settled["dtype"]))
    settle(
        "gradient_checkpointing",
        choices.choose_checkpointing(machine, config.gradient_checkpointing),
    )
    _tuner(config.model_copy(update=settled), machine, settled, reasons)
    padding_free = _padding_free(config, settled["attn_implementation"])
    reasons.append(padding_free)
    settled["padding_free"] = padding_free.value
    _require_reporters(config, machine)
    if "learning_rate" not in config.model_fields_set:
        usual = _usual_learning_rate(config)
        settled["learning_rate"] = usual.value
        reasons.append(usual)
    reasons += _for_method(config, settled)
    _require_online(config, machine, devices)
    processes = 1 if settled["distributed"] == "none" else devices
    settled["num_devices"] = processes
    per_update = config.per_device_train_batch_size * config.gradient_accumulation_steps * processes
    reasons.append(
        Reason(
            text("rows per update", "每次更新行数"),
            per_update,
            text(
                f"{config.per_device_train_batch_size} rows x "
                f"{config.gradient_accumulation_steps} accumulated x {processes} device(s)",
                f"{config.per_device_train_batch_size} 行 x 累积 "
                f"{config.gradient_accumulation_steps} 次 x {processes} 个设备",
            ),
        )
    )
    env = dict(choices.environment(machine, processes))
    if settled["attn_implementation"] != "flex_attention":
        env["TORCHDYNAMO_DISABLE"] = "1"  # nothing is compiled; looking at that costs a second
    return Resolved(config.model_copy(update=settled), tuple(reasons), processes, env)


def _tuner(
    config: TrainConfig, machine: Machine, settled: dict[str, Any], reasons: list[Reason]
) -> None:
    """Settle what the tuner means here; refuse what cannot go together, and what is not there."""
    kind = config.tuner_type
    if kind == "lora" and config.quant_bits is not None:
        kind = "qlora"
        why = text("quant_bits is given", "给出了 quant_bits")
        reasons.append(Reason("tuner_type", kind, why))
    settled["tuner_type"] = kind
    require_compatible(config.model_copy(update={"tuner_type": kind}))
    if kind == "qlora":
        choice = choices.choose_quantizer(machine, config.quant_method, config.quant_bits)
        settled["quant_bits"] = int(choice.value)
        reasons.append(Reason("quant_bits", choice.value, choice.reason))
    if kind == "adalora" and config.save_steps:
        settled["save_steps"] = 0
        why = text(
            "what adalora knows of its ranks is in no checkpoint; saved at the end only",
            "检查点不含 adalora 对秩的评估；只在结束时保存",
        )
        reasons.append(Reason("save_steps", 0, why))


def _device_count(config: TrainConfig, machine: Machine) -> int:
    there = max(1, len(machine.devices))
    wanted = config.num_devices
    if wanted is None:
        return 1 if config.distributed == "none" else there
    if wanted > there and machine.devices:
        raise MachineError(
            text(
                f"num_devices: {wanted} asked for, {there} found",
                f"num_devices：要求 {wanted} 个，只有 {there} 个",
            ),
            hint=text(f"set num_devices to {there} or less", f"将 num_devices 设为不超过 {there}"),
        )
    return wanted


def _padding_free(config: TrainConfig, attention: str) -> Reason:
    """Join rows instead of padding wherever the attention keeps documents apart exactly."""
    exact = attention in ("sdpa", "eager", "flash_attention_2", "flash_attention_3")
    if config.padding_free == "false":
        why = text("asked for", "按要求")
        return Reason("padding_free", "false", why)
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
    why = text(f"not shown to be exact with {attention}", f"使用 {attention} 时未证明精确")
    return Reason("padding_free", "false", why)


def _usual_learning_rate(config: TrainConfig) -> Reason:
    stage = config.model_dump()["stage"]
    rate = METHODS[stage].learning_rate(config.tuner_type)
    why = text(
        f"not given; usual for {stage} with tuner_type: {config.tuner_type}",
        f"未填写；{stage} 配合 tuner_type: {config.tuner_type} 的常用值",
    )
    return Reason("learning_rate", rate, why)


def _for_method(config: TrainConfig, settled: dict[str, Any]) -> list[Reason]:
    """Settle what the method needs into `settled`; return the reasons.

    Raises ConfigError for settings that contradict the method.
    """
    values = config.model_dump()
    stage = values["stage"]
    if config.packing and stage not in ("pt", "sft"):
        raise ConfigError(
            text(
                f"packing: stage: {stage} does not pack; its batches have no padding anyway",
                f"packing：stage: {stage} 不打包；其批次本来就没有填充",
            ),
            hint=text("set packing: false", "设 packing: false"),
        )
    if stage == "kto":
        _require_others(config, values)
    found = []
    if values.get("prefix_sharing") == "auto":
        found.append(_sharing(settled["attn_implementation"], settled["padding_free"]))
    if values.get("precompute_ref_log_probs") == "auto":
        found.append(_precompute(config, values, settled["distributed"]))
    settled.update({one.key: one.value for one in found})
    return found


def _sharing(attention: str, padding_free: str) -> Reason:
    """Let the prompt of a pair stand once where the attention takes a mask of ours."""
    key = "prefix_sharing"
    if attention == "sdpa" and padding_free == "true":
        why = text(
            "the prompt of a pair is computed once; checked on the model before training",
            "同一对回答的提示只计算一次；训练前会在模型上核对",
        )
        return Reason(key, "true", why)
    why = text(
        f"{attention} in this layout takes no mask that lets two answers share a prompt",
        f"{attention} 的此种布局不支持共享提示的掩码",
    )
    return Reason(key, "false", why)


def _require_others(config: TrainConfig, values: dict[str, Any]) -> None:
    if values["loss_type"] == "kto" and config.per_device_train_batch_size < 2:
        raise ConfigError(
            text(
                "per_device_train_batch_size: KTO compares prompts with the answers of others in "
                f"the batch (got {config.per_device_train_batch_size})",
                "per_device_train_batch_size：KTO 需要与同批其他回答作比较"
                f"（当前为 {config.per_device_train_batch_size}）",
            ),
            hint=text(
                "set it to 2 or more, or loss_type: apo_zero_unpaired",
                "设为 2 或更大，或设 loss_type: apo_zero_unpaired",
            ),
        )


def _require_known_to_engine(config: TrainConfig, values: Mapping[str, Any]) -> None:
    """Raise ConfigError for settings that only our own steps know."""
    for key, ours in (
        ("optim", config.optim in ("lora_fa", "galore_adamw")),
        ("lora_plus_lr_ratio", config.lora_plus_lr_ratio is not None),
        ("neftune_noise_alpha", config.neftune_noise_alpha is not None),
        ("tuner_type", config.tuner_type == "adalora"),
    ):
        if ours:
            raise ConfigError(
                text(
                    f"{key}: {values[key]} is not for stage: {values['stage']}, whose steps are "
                    "another engine's",
                    f"{key}: {values[key]} 不适用于 stage: {values['stage']}：其训练由另一引擎进行",
                ),
                hint=text(f"drop {key}", f"去掉 {key}"),
            )


def _require_online(config: TrainConfig, machine: Machine, devices: int) -> None:
    """Raise when the engine of an online method is missing, or its groups do not fill batches."""
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
    _require_known_to_engine(config, values)
    per_update = config.per_device_train_batch_size * config.gradient_accumulation_steps * devices
    if per_update % values["num_generations"]:
        raise ConfigError(
            text(
                f"num_generations: {per_update} answers per update are no whole groups of "
                f"{values['num_generations']}",
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
            key, "false", text("reference_free: there is none", "reference_free：没有参考模型")
        )
    if config.tuner_type in FULL_TUNERS:
        why = text(
            "a second copy of all weights would have to be kept otherwise",
            "否则需要保留全部权重的第二份副本",
        )
        return Reason(key, "true", why)
    if distributed not in ("none", "ddp"):
        why = text("the adapter is switched off instead", "改为关闭适配器得到参考模型")
        return Reason(key, "false", why)
    if config.num_train_epochs > 1 and config.max_steps is None:
        why = text(
            f"once instead of in each of {config.num_train_epochs:g} epochs; kept for later runs",
            f"只算一次，而不是 {config.num_train_epochs:g} 轮各算一次；供以后的运行复用",
        )
        return Reason(key, "true", why)
    why = text(
        "every pair is seen once: beside the policy it costs the same and training starts sooner",
        "每对样本只用一次：与策略模型一同计算开销相同，且更早开始训练",
    )
    return Reason(key, "false", why)


def _require_reporters(config: TrainConfig, machine: Machine) -> None:
    for name in as_list(config.report_to):
        if name != "none" and name not in machine.versions:
            raise MachineError(
                text(f"report_to: {name} is not installed", f"report_to：未安装 {name}"),
                hint=f"pip install {name}",
            )


def run(config: TrainConfig, folder: Path, emit: Emit) -> Path | None:
    """Train in this process; return the folder of the trained model, None when stopped early."""
    gc.disable()  # imports make no garbage; looking for it among their objects costs a second
    from swiftbox.core.training.parallel import destroy_process_group
    from swiftbox.core.training.session import train
    from swiftbox.core.training.trainer_inputs import LocalInputs

    gc.freeze()
    gc.enable()
    from swiftbox.data.check import dataset_hash
    from swiftbox.hub.fetch import fetch_dataset, fetch_model
    from swiftbox.models.inspection import require_sound

    method = METHODS[str(getattr(config, "stage"))]  # noqa: B009 - the discriminator of the union
    emit(events.STAGE, name="fetch", detail=config.model)
    fetched = fetch_model(config.model, hub=config.hub, revision=config.revision, emit=emit)
    model = fetched.folder
    if not Path(config.model).exists():  # what was here has been looked at before it started
        require_sound(model, emit, known=config.model)
    adapter = None
    if config.adapter:
        adapter = fetch_model(
            config.adapter, hub=config.hub, revision=None, emit=emit, key="adapter"
        ).folder
    sources = fetch_dataset(config.dataset, columns=config.columns, hub=config.hub, emit=emit)
    data_hash = dataset_hash(sources)
    found = {
        "model": str(model),
        "revision": fetched.commit or config.revision,
        "adapter": str(adapter) if adapter else None,
        "dataset_sha256": data_hash,
    }
    require_same_inputs(folder, found)
    emit(events.INPUTS, **found)
    local = LocalInputs(model, adapter, sources, data_hash)
    made = train(config, method, folder, emit, local)
    destroy_process_group()
    return made


def require_same_inputs(folder: Path, found: Mapping[str, Any]) -> None:
    """Keep what goes in beside the record; raise RunError when a resumed run's has changed."""
    kept = read_json(folder / INPUTS)
    if not kept or not checkpoints(folder):
        write_json(folder / INPUTS, found)
        return
    unknown = {"revision"} if None in (kept.get("revision"), found.get("revision")) else set()
    changed = [key for key, value in found.items() if kept.get(key) != value]
    changed = [key for key in changed if key not in unknown]
    if changed:
        names = ", ".join(key.split("_")[0] for key in changed)
        raise RunError(
            text(
                f"{names}: changed since the checkpoint; rows would be repeated or skipped",
                f"{names}：在保存检查点之后有改动；继续会重复或跳过数据",
            ),
            hint=text(
                "put the file back, or start anew (`swiftbox runs rerun`)",
                "恢复原文件，或重新开始（`swiftbox runs rerun`）",
            ),
        )


def run_name(config: TrainConfig) -> str:
    """Name a training by its method, its tuner and its model."""
    stage = config.model_dump()["stage"]
    return f"{stage}-{config.tuner_type}-{Path(config.model).name.lower()}"


def _config_of(stage: str) -> Callable[[], type[TrainConfig]]:
    return lambda: METHODS[stage].config


def outputs(config: TrainConfig) -> Mapping[str, Output]:
    """Name what a training makes: a whole model, or an adapter."""
    kind = "model" if config.tuner_type in FULL_TUNERS else "adapter"
    return {kind: lambda folder: str(folder / MODEL)}


TRAIN: Task[TrainConfig] = Task(
    name="train",
    discriminator="stage",
    default="sft",
    config_classes=Table({name: _config_of(name) for name in METHODS}),
    resolve=resolve,
    run=run,
    run_name=run_name,
    check=check,
    with_absolute_paths=with_absolute_paths,
    outputs=outputs,
    forecast=training,
)
