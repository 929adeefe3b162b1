"""Check the user's own rows of an evaluation: what `run` would refuse is refused before it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

from swiftbox.config.evaluate import EvaluateConfig
from swiftbox.config.groups import as_list
from swiftbox.config.own_rows import HELD_OUT, NONE
from swiftbox.config.references import is_reference
from swiftbox.data.check import check_rows
from swiftbox.data.findings import CheckedRows
from swiftbox.data.fitting import held_out_rows
from swiftbox.data.held_out_rows import errors_under
from swiftbox.data.missing_files import missing_file
from swiftbox.data.sampling import takes_all
from swiftbox.data.source import RowSource
from swiftbox.errors import ConfigError, UserError
from swiftbox.evaluation import endpoint
from swiftbox.evaluation.candidates import Candidate, servers
from swiftbox.evaluation.own_rows.measurable import loss_fault
from swiftbox.evaluation.own_rows.row_workload import RowWorkload, rows_remark
from swiftbox.language import text
from swiftbox.models.location import find_folder, looks_like_path
from swiftbox.models.requirements import ERROR, NOTE, Remark
from swiftbox.models.templates import require_bounded_templates
from swiftbox.security.secrets import is_loopback, origin
from swiftbox.serving.client import RequestRefused
from swiftbox.tasks.checks import OnRemark, ignored, inspect_model, report
from swiftbox.tasks.effects import Effect, Effects
from swiftbox.tasks.evaluated_rows import (
    RowSelection,
    deciding_model,
    metrics_left_out,
    metrics_of,
    rows_left_out,
    select_rows,
)
from swiftbox.tasks.row_rendering import rendered_later, renderer_of
from swiftbox.tasks.shared_effects import effects_of
from swiftbox.tasks.training_check import sources_of, validation_sources
from swiftbox.tasks.usable_rows import UsableRows

KEY = "test_dataset"


def check_own_rows(
    config: EvaluateConfig, models: Sequence[Candidate], on_remark: OnRemark
) -> None:
    """Check own rows, their metrics and the judge; raise UserError for what cannot be measured.

    `models` are empty while an earlier step of a pipeline makes them.
    """
    if _is_later(config):
        _check_later(config)
        return
    selection = select_rows(config)
    if selection is None:
        _require_something(config)
        if left_out := rows_left_out(config):
            hint = text("name others: test_dataset=FILE", "可指定其他数据：test_dataset=文件")
            on_remark(Remark(NOTE, KEY, left_out, hint))
        return
    metrics = metrics_of(config, selection)
    if left_out := metrics_left_out(config, selection):
        on_remark(Remark(NOTE, "metrics", left_out))
    checked = _checked_rows(config, selection, models, on_remark)
    for model in models if "loss" in metrics else ():
        if fault := loss_fault(model):
            message = text(
                f"{model.name}: its loss is not measured: {fault}",
                f"{model.name}：不测其损失：{fault}",
            )
            on_remark(Remark(NOTE, "metrics", message))
    if "win_rate" in metrics:
        _check_judge(config, on_remark)
    if checked is not None:
        rows = _number_of_rows(selection, checked)
        workload = RowWorkload(selection.title, rows, checked.lengths)
        on_remark(rows_remark(config, workload, metrics, max(1, len(models))))


def _is_later(config: EvaluateConfig) -> bool:
    """Tell whether what is evaluated does not exist yet."""
    compared = config.compare or []
    others = compared.values() if isinstance(compared, dict) else compared
    names = [config.model, *as_list(config.adapter or []), *others, config.endpoint]
    return any(map(is_reference, names))


def _check_later(config: EvaluateConfig) -> None:
    """Check the files of rows whose model an earlier step makes."""
    if not config.names_rows:
        return
    selection = select_rows(config)
    assert selection is not None
    with errors_under(KEY):
        _check(selection, sources_of(selection.training), None)


def _require_something(config: EvaluateConfig) -> None:
    """Raise ConfigError if there are neither rows nor benchmarks."""
    if as_list(config.benchmarks) != [NONE]:
        return
    fault = "test_dataset: none"
    try:
        if config.test_dataset != NONE:
            select_rows(config.model_copy(update={KEY: HELD_OUT}))
    except ConfigError as error:
        fault = error.message
    raise ConfigError(
        text(
            f"nothing to measure: no benchmarks, and no own rows ({fault})",
            f"没有可测的内容：没有基准，也没有自有数据（{fault}）",
        ),
        hint=text("set test_dataset=FILE, or benchmarks", "请设 test_dataset=文件，或 benchmarks"),
    )


def _number_of_rows(selection: RowSelection, checked: CheckedRows) -> int:
    if not selection.held_out or selection.training.val_dataset is not None:
        return checked.taken
    return held_out_rows(selection.training.val_size, checked.taken)


def _checked_rows(
    config: EvaluateConfig,
    selection: RowSelection,
    models: Sequence[Candidate],
    on_remark: OnRemark,
) -> CheckedRows | None:
    """Check the rows with the template of every model that is here; None if no file is here."""
    training = selection.training
    by_name = selection.held_out and training.val_dataset is not None
    sources = validation_sources(training) if by_name else sources_of(training)
    checked = None
    with errors_under(KEY):
        for name in _templates(config, selection, models):
            renderer = None
            if name and selection.has_answers and not config.endpoint:
                renderer = _renderer(name, selection, on_remark)
            checked = _check(selection, sources, renderer)
    return checked


def _templates(
    config: EvaluateConfig, selection: RowSelection, models: Sequence[Candidate]
) -> Iterator[str]:
    """Yield the models whose tokenizer and template read the rows."""
    if config.endpoint is not None:
        yield ""
        return
    names = [deciding_model(config, selection), *(item.model for item in servers(tuple(models)))]
    folders = {str(find_folder(name) or name): name for name in names}
    yield from folders


def _renderer(name: str, selection: RowSelection, on_remark: OnRemark) -> UsableRows | None:
    """Return the renderer of a model's folder; None for an id that is not here yet."""
    training = selection.training
    inspection = inspect_model(name, training, ignored, uses_template=training.template == "auto")
    if inspection is None:
        on_remark(rendered_later(name))
        return None
    missing = inspection.remark_on("template") if training.template == "auto" else None
    report("template", [replace(missing, level=ERROR)] if missing else [], ignored)
    folder = Path(inspection.folder)
    require_bounded_templates(folder, used=training.template == "auto")
    settings = training.model_copy(update={"val_size": 0.0})
    return UsableRows(renderer_of(settings, folder), settings, folder)


def _check(
    selection: RowSelection, sources: Sequence[RowSource], renderer: UsableRows | None
) -> CheckedRows | None:
    """Check every row of the files on this machine; None if there are none."""
    training = selection.training
    local = [source for source in sources if Path(source.path).expanduser().exists()]
    for source in sources:
        is_path = training.hub == "local" or looks_like_path(source.path)
        if source not in local and is_path:
            raise missing_file(source.path, KEY, ConfigError)
    if not local:
        return None
    checked = check_rows(
        local, stage=selection.stage, max_bad_rows=training.max_bad_rows, renderer=renderer
    )
    if renderer is not None:
        complete = len(local) == len(sources)
        renderer.require_usable(is_complete=complete, takes_all=all(map(takes_all, local)))
    return checked


# ---- the judge


def _check_judge(config: EvaluateConfig, on_remark: OnRemark) -> None:
    """Raise ConfigError for a judge that does not answer or lacks the model; sends no key."""
    address = str(config.judge_endpoint)
    if is_reference(address):
        return
    try:
        available = endpoint.models(endpoint.base_of(address), None)
    except RequestRefused as refused:
        if refused.status == 0:
            raise ConfigError(
                text(
                    f"judge_endpoint: {address} does not answer: {refused.message}",
                    f"judge_endpoint：{address} 无法连接：{refused.message}",
                ),
                hint=text(
                    "check the address and that its server is running",
                    "请检查地址，并确认该服务正在运行",
                ),
            ) from None
        message = text(
            f"{address} lists no models without a key, which is not sent before the run: "
            f"{config.judge_model} is not checked",
            f"{address} 未在无密钥时列出模型，而运行前不发送密钥：未核对 {config.judge_model}",
        )
        on_remark(Remark(NOTE, "judge_model", message))
        return
    if config.judge_model not in available:
        raise ConfigError(
            text(
                f"judge_model: {address} has no {config.judge_model}",
                f"judge_model：{address} 没有 {config.judge_model}",
            ),
            hint=text(f"available: {', '.join(available)}", f"可选：{', '.join(available)}"),
        )


# ---- what is sent


def effects(config: EvaluateConfig) -> Effects:
    """Return what an evaluation executes, sends and writes; own rows leave only with consent."""
    shared = effects_of(config)
    return replace(shared, sends=(*shared.sends, *_rows_sent(config)))


def _rows_sent(config: EvaluateConfig) -> Iterator[Effect]:
    """Yield the servers on other machines that get own rows."""
    hosts = {"endpoint": config.endpoint, "judge_endpoint": config.judge_endpoint}
    for key, address in hosts.items():
        if not address or is_reference(address):
            continue
        host = origin(address)
        if is_loopback(urlsplit(host).hostname or "") or not _has_rows(config):
            continue
        what = text(f"your rows and the answers to them to {host}", f"你的数据及其回答发往 {host}")
        yield Effect((key,), what, True, f"rows {host}")


def _has_rows(config: EvaluateConfig) -> bool:
    """Tell whether there are own rows, or may be."""
    if _is_later(config):
        return config.test_dataset != NONE
    try:
        return select_rows(config) is not None
    except (UserError, OSError):  # the check reports it
        return False
