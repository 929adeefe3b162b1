"""Which rows of the user an evaluation measures, and the training that reads them.

The rows that a training held out are found through its record, also behind a merge or a
quantization of its result: the same file, split and cut by the same settings.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from swiftbox.config.conversations import ConversationFields
from swiftbox.config.evaluate import EvaluateConfig
from swiftbox.config.groups import DataFields, as_list
from swiftbox.config.own_rows import HELD_OUT, NONE, TEXT_METRICS
from swiftbox.config.references import is_reference
from swiftbox.config.train import TrainConfig
from swiftbox.data.files import dataset_hash
from swiftbox.data.formats import LABELLED
from swiftbox.data.shapes import PAIRED
from swiftbox.errors import ConfigError, UserError
from swiftbox.evaluation.own_rows.text_scores import OF_SACREBLEU, has_sacrebleu
from swiftbox.language import text
from swiftbox.methods import METHODS
from swiftbox.models.adapters import ADAPTER_CONFIG, base_of, read_adapter
from swiftbox.models.location import find_folder
from swiftbox.runs import folder as run_folder
from swiftbox.runs.plain_files import read_record
from swiftbox.tasks.checks import absolute_sources
from swiftbox.tasks.load import load
from swiftbox.tasks.training_check import sources_of, validation_sources

AS_TRAINED = (
    *DataFields.model_fields,
    *ConversationFields.model_fields,
    *("template", "seed", "dtype", "attn_implementation", "per_device_train_batch_size"),
    *("label_smoothing_factor", "quant_bits", "quant_method"),
)
"""Settings of a training by which rows become tokens, and losses numbers."""

NOT_MEASURED = {
    "packing": False,
    "num_devices": 1,
    "distributed": "none",
    "report_to": "none",
    "gradient_checkpointing": "false",
    "optim": "adamw_torch",
}
"""Settings of a training that change no loss, as one process needs them."""

MAX_STEPS = 5
"""Runs between a result and its training: quantized from merged from trained is two."""


@dataclass(frozen=True)
class RowSelection:
    """The user's rows, and the training that reads, splits and encodes them."""

    training: TrainConfig
    held_out: bool
    run: Path | None = None
    """The run whose settings these are."""

    @property
    def stage(self) -> str:
        """Return the stage of the rows."""
        return str(self.training.model_dump()["stage"])

    @property
    def has_answers(self) -> bool:
        """Tell whether rows are conversations, and not texts alone."""
        return METHODS[self.stage].needs_template

    @property
    def title(self) -> str:
        """Return what the report calls the rows."""
        if self.run is None or not self.held_out:
            names = (Path(source.path).name for source in sources_of(self.training))
            return ", ".join(names)
        name = run_folder.run_name(self.run)
        return text(f"held-out rows of {name}", f"{name} 的留出数据")

    @property
    def measured_stage(self) -> str:
        """Return the stage whose loss is measured: that of conversations, or of texts."""
        return "sft" if self.has_answers else "pt"

    def measured(self, model: str) -> TrainConfig:
        """Return the training that measures the loss on these rows."""
        stage = self.measured_stage
        values = self.training.model_dump(mode="json")
        shared = {key: values[key] for key in AS_TRAINED if key in values}
        if self.stage in (*PAIRED, *LABELLED):
            shared |= {"turns": "last", "train_on_prompt": False}
        tuner = "qlora" if values["tuner_type"] == "qlora" else "lora"
        if tuner == "lora":
            shared |= {"quant_bits": None}
        return METHODS[stage].config.model_validate(
            {
                **shared,
                **NOT_MEASURED,
                "stage": stage,
                "model": model,
                "hub": "local",
                "tuner_type": tuner,
            }
        )


def with_absolute_rows(config: EvaluateConfig) -> EvaluateConfig:
    """Return the config with the paths of own rows made absolute."""
    if config.test_dataset is None or not config.names_rows:
        return config
    return config.model_copy(update={"test_dataset": absolute_sources(config.test_dataset)})


def select_rows(config: EvaluateConfig) -> RowSelection | None:
    """Return the rows to measure; None for benchmarks alone.

    Raises ConfigError if the rows that are asked for do not exist.
    """
    if config.test_dataset == NONE:
        return None
    run = None if config.endpoint else next(_training_runs(config), None)
    training = _recorded(run)
    if config.names_rows:
        return RowSelection(_of_names(config, training), False, run)
    fault = _fault_of_held_out(config, run, training)
    if not fault and training is not None:
        return RowSelection(_with_own(config, training), True, run)
    if config.test_dataset == HELD_OUT:
        raise ConfigError(
            text(
                f"test_dataset: no held-out rows: {fault}", f"test_dataset：没有留出数据：{fault}"
            ),
            hint=text("name the rows: test_dataset=FILE", "请指定数据：test_dataset=文件"),
        )
    return None


def rows_left_out(config: EvaluateConfig) -> str:
    """Say which held-out rows are not measured although nobody excluded them, and why.

    Empty if they are measured, or if there are none.
    """
    if config.test_dataset is not None or config.endpoint:
        return ""
    run = next(_training_runs(config), None)
    training = _recorded(run)
    if run is None or (training is not None and not training.holds_out_rows):
        return ""
    fault = _fault_of_held_out(config, run, training)
    if not fault:
        return ""
    return text(f"held-out rows are not measured: {fault}", f"未测留出数据：{fault}")


def _training_runs(config: EvaluateConfig) -> Iterator[Path]:
    """Yield the runs that trained what is evaluated, the adapters first."""
    compared = config.compare or []
    others = compared.values() if isinstance(compared, dict) else compared
    for name in [*as_list(config.adapter or []), *others, config.model]:
        if name and not is_reference(name):
            run = _training_run(str(name))
            if run is not None:
                yield run


def _training_run(name: str) -> Path | None:
    """Return the run whose training a result comes from; None for other weights."""
    for _ in range(MAX_STEPS):
        folder = find_folder(name)
        run = _run_of(folder) if folder is not None else None
        if run is None:
            return None
        if run_folder.task_of(run) == "train":
            return run
        source = _source_of(run)
        if not source:
            return None
        name = source
    return None


def _run_of(folder: Path) -> Path | None:
    """Return the run folder that holds a result or a checkpoint."""
    parents = (folder.parent, folder.parent.parent)
    return next((run for run in parents if (run / run_folder.SETTLED).is_file()), None)


def _source_of(run: Path) -> str:
    """Return the weights that a merge or a quantization started from; empty if there are none."""
    try:
        values = load(run / run_folder.SETTLED).config.model_dump()
    except UserError:
        return ""
    adapter = values.get("adapter")
    names = [*as_list(adapter or []), values.get("model")]
    return next((str(name) for name in names if name), "")


def _has_right_answers(stage: str) -> bool:
    """Tell whether the rows of a stage have a text, or an answer that is the right one."""
    method = METHODS[stage]
    return method.head == "language" and method.reward_functions is None


def _recorded(run: Path | None) -> TrainConfig | None:
    """Return the settings that a training was run with; None if they cannot be read."""
    if run is None:
        return None
    try:
        config = load(run / run_folder.SETTLED).config
    except UserError:
        return None
    return config if isinstance(config, TrainConfig) else None


def _fault_of_held_out(
    config: EvaluateConfig, run: Path | None, training: TrainConfig | None
) -> str:
    """Return why there are no held-out rows to measure; empty if there are."""
    if run is None:
        return text("no training of this model is recorded here", "本机没有该模型的训练记录")
    name = run_folder.run_name(run)
    if training is None:
        return text(f"the settings of {name} cannot be read", f"无法读取 {name} 的设置")
    if not training.holds_out_rows:
        return text(f"{name} held out no rows", f"{name} 没有留出数据")
    stage = str(training.model_dump()["stage"])
    if not _has_right_answers(stage):
        return text(
            f"the rows of {name} (stage: {stage}) have no answer to compare with",
            f"{name} 的数据（stage: {stage}）没有可比较的回答",
        )
    if config.columns or config.max_length is not None:
        return text(
            "columns and max_length are those of the training; remove them",
            "columns 与 max_length 同训练，请去掉",
        )
    return _change_since(run, training)


def _change_since(run: Path, training: TrainConfig) -> str:
    """Return what changed in the rows since a training split them; empty if nothing did."""
    record = read_record(run / run_folder.INPUTS)
    for key, sources in (
        ("dataset", sources_of(training)),
        ("val_dataset", validation_sources(training)),
    ):
        recorded = record.get(f"{key}_sha256")
        if not sources or not all(Path(source.path).exists() for source in sources):
            continue  # an id is fetched again, and a missing file is refused as any other
        if recorded and dataset_hash(sources) != recorded:
            return text(
                f"{key} changed since the training: which rows it did not learn is unknown",
                f"{key} 在训练后有改动：无法确定哪些行未被学习",
            )
    return ""


def _with_own(config: EvaluateConfig, training: TrainConfig) -> TrainConfig:
    """Return a recorded training with what this evaluation decides: it trusts for itself."""
    changes: dict[str, Any] = {"trust_remote_code": config.trust_remote_code}
    if config.chat_template_kwargs:
        changes["chat_template_kwargs"] = config.chat_template_kwargs
    if training.val_dataset is not None:
        changes["val_size"] = 0.0
    return training.model_copy(update=changes)


def _of_names(config: EvaluateConfig, training: TrainConfig | None) -> TrainConfig:
    """Return a training of the named rows, with the settings of the recorded one if it fits."""
    fits = training is not None and _has_right_answers(str(training.model_dump()["stage"]))
    if training is None or not fits:
        values: dict[str, Any] = {"stage": "sft", "tuner_type": "lora", "dtype": config.dtype}
        training = METHODS["sft"].config.model_validate(
            {**values, "model": config.model or "endpoint", "dataset": config.test_dataset}
        )
    named: dict[str, Any] = {
        "dataset": config.test_dataset,
        "val_dataset": None,
        "val_size": 0.0,
        "columns": config.columns,
        "hub": config.hub,
        "max_bad_rows": 0,
    }
    if config.max_length is not None:
        named["max_length"] = config.max_length
    return _with_own(config, training.model_copy(update=named))


def deciding_model(config: EvaluateConfig, selection: RowSelection) -> str:
    """Return the model whose tokenizer reads the rows: that of the training, or the baseline."""
    if selection.run is not None:
        return selection.training.model
    model = str(config.model)
    folder = find_folder(model)
    if folder is not None and (folder / ADAPTER_CONFIG).is_file():
        return base_of(read_adapter(folder)).name
    return model


def metrics_of(config: EvaluateConfig, selection: RowSelection) -> tuple[str, ...]:
    """Return what is measured on the rows; raise ConfigError for a metric that does not fit."""
    chosen = config.metrics
    faults = {name: _fault_of_metric(name, config, selection) for name in _all_metrics()}
    if chosen is None:
        return tuple(name for name, fault in faults.items() if not fault)
    problems = [f"metrics: {name}: {faults[name]}" for name in chosen if faults[name]]
    if problems:
        raise ConfigError(
            "\n".join(problems),
            hint=text(
                "remove it; without metrics, all that fit are measured",
                "请去掉；不设 metrics 则测全部适用的指标",
            ),
        )
    return tuple(chosen)


def metrics_left_out(config: EvaluateConfig, selection: RowSelection) -> str:
    """Say which metrics would fit if a package were installed; empty if none is left out so."""
    missing = _needs_sacrebleu()
    if config.metrics is not None or _fault_of_metric("bleu", config, selection) != missing:
        return ""
    return text(f"BLEU and chrF are not measured: {missing}", f"未测 BLEU 与 chrF：{missing}")


def _needs_sacrebleu() -> str:
    return text(
        "needs sacrebleu: pip install 'swiftbox[text]'",
        "需要 sacrebleu：pip install 'swiftbox[text]'",
    )


def _all_metrics() -> tuple[str, ...]:
    return ("loss", *TEXT_METRICS, "win_rate")


def _fault_of_metric(name: str, config: EvaluateConfig, selection: RowSelection) -> str:
    if name == "loss":
        return text("a server gives no losses", "外部服务不提供损失") if config.endpoint else ""
    if not selection.has_answers:
        return text("the rows are texts, without answers", "数据为纯文本，没有回答")
    if config.backend == "lm_eval":
        return text("backend: lm_eval generates no answers", "backend: lm_eval 不生成回答")
    if name in OF_SACREBLEU and not has_sacrebleu():
        return _needs_sacrebleu()
    if name != "win_rate":
        return ""
    if config.judge_endpoint is None:
        return text("needs judge_endpoint and judge_model", "需要 judge_endpoint 与 judge_model")
    return "" if _compares(config) else text("needs two models", "需要两个模型")


def _compares(config: EvaluateConfig) -> bool:
    if config.endpoint is not None:
        return config.endpoint_models is None or len(config.endpoint_models) > 1
    return bool(config.adapter or config.compare)
