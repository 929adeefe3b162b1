"""task: evaluate. Score a base, its tuned and its quantized versions on the same questions."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from swiftbox.config.evaluate import EvaluateConfig
from swiftbox.config.groups import as_list
from swiftbox.config.own_rows import NONE
from swiftbox.config.references import is_reference
from swiftbox.devices.machine import Machine
from swiftbox.errors import ConfigError
from swiftbox.evaluation import endpoint, local_data
from swiftbox.evaluation.benchmarks import (
    ScoringSetup,
    benchmark_remarks,
    require_reachable,
    select_benchmarks,
)
from swiftbox.evaluation.candidates import (
    Candidate,
    ServedWeights,
    candidates,
    quantized,
    servers,
    with_absolute_paths,
)
from swiftbox.evaluation.jobs import jobs
from swiftbox.evaluation.report_files import ReportContent, write_report
from swiftbox.evaluation.workload import workload_remark
from swiftbox.files import write_json
from swiftbox.fit.forecast import Forecast, RunInputs, forecast_of_shape
from swiftbox.fit.serving import serving as serving_need
from swiftbox.hub.fetch import fetch_model
from swiftbox.language import text
from swiftbox.models.location import short_name
from swiftbox.models.requirements import NOTE, Remark
from swiftbox.models.text_models import require_named_text
from swiftbox.models.unservable_adapters import require_no_new_tokens
from swiftbox.runs import events
from swiftbox.runs import folder as run_folder
from swiftbox.runs.events import Emit
from swiftbox.runs.stop import STOP
from swiftbox.tasks.checks import OnRemark, report
from swiftbox.tasks.deploy import DEPLOY
from swiftbox.tasks.evaluate_rows import OwnRows
from swiftbox.tasks.evaluate_rows_check import check_own_rows, effects
from swiftbox.tasks.evaluated_rows import rows_left_out, with_absolute_rows
from swiftbox.tasks.evaluation_conflicts import require_one_source
from swiftbox.tasks.evaluation_servers import Evaluation, server_config
from swiftbox.tasks.task import Output, Resolved, Task

READABLE_BENCHMARKS = ("ceval", "mmlu")
"""Benchmarks whose rows are checked before anything starts."""


def resolve(config: EvaluateConfig, machine: Machine) -> Resolved:
    """Settle engine and dtype as for a deployment; raise ConfigError for conflicting settings."""
    require_one_source(config)
    if config.endpoint is not None:
        return Resolved(config, (), 1, {})
    served = ServedWeights(config.model or "", config.revision, ())
    server = DEPLOY.resolve(server_config(config, served), machine)
    settled = server.config.model_dump(include={"engine", "dtype"})
    return Resolved(config.model_copy(update=settled), server.reasons, 1, server.env)


def check(config: EvaluateConfig, on_remark: OnRemark) -> None:
    """Raise UserError for every problem that is known before a model is loaded."""
    benchmarks = select_benchmarks(as_list(config.benchmarks), config.benchmark_dir)
    engine = "endpoint" if config.endpoint else config.engine
    means = ScoringSetup(config.backend, engine, config.judge_endpoint is not None)
    report("benchmarks", benchmark_remarks(benchmarks, means), on_remark)
    for benchmark in benchmarks:
        readable = config.backend == "lm_eval" or benchmark.row.name in READABLE_BENCHMARKS
        if benchmark.folder is not None and readable:
            local_data.questions(benchmark.folder)
    if benchmarks:
        on_remark(workload_remark(config, benchmarks))
    endpoint.key_of(config.judge_key_env, os.environ, "judge_key_env")
    endpoint.key_of(config.api_key_env, os.environ, "api_key_env")
    models: tuple[Candidate, ...] = ()
    if config.endpoint is not None:
        if not is_reference(config.endpoint):
            models = _check_endpoint(config, on_remark)
    elif config.model is not None:  # else the base of an adapter that an earlier step makes
        models = candidates(config)
        for model in models:
            require_named_text((("adapter", model.adapter), ("model", model.model)))
        if config.backend == "lm_eval":
            _require_unquantized(models)
            other = text("set backend: evalscope", "设 backend: evalscope")
            adapters = [Path(model.adapter) for model in models if model.adapter]
            require_no_new_tokens(adapters, "lm_eval", other)
        for served in servers(models):
            DEPLOY.check(server_config(config, served), on_remark)
    check_own_rows(config, models, on_remark)
    require_reachable(benchmarks, config.hub)


def _check_endpoint(config: EvaluateConfig, on_remark: OnRemark) -> tuple[Candidate, ...]:
    """Ask the endpoint for its models without sending a key; check and return the models."""
    if not endpoint.asks_for_key(config):
        return candidates(endpoint.with_endpoint_models(config, None))
    on_remark(
        Remark(
            NOTE,
            "endpoint",
            text(
                f"{config.endpoint} lists its models only with a key, which is not sent before "
                "the run: their names are not checked",
                f"{config.endpoint} 仅在有密钥时列出模型，而运行前不发送密钥：未核对模型名称",
            ),
        )
    )
    return candidates(config) if config.endpoint_models else ()


def _require_unquantized(models: Sequence[Candidate]) -> None:
    """Raise ConfigError for quantized weights, which the engine of lm_eval cannot read."""
    names = [f"{model.name} ({quantized(model)})" for model in models if quantized(model)]
    if names:
        raise ConfigError(
            text(
                f"backend: lm_eval cannot read quantized weights: {', '.join(names)}",
                f"backend: lm_eval 不能读取量化权重：{', '.join(names)}",
            ),
            hint=text("set backend: evalscope", "设 backend: evalscope"),
        )


def engines(config: EvaluateConfig, machine: Machine) -> tuple[str, ...]:
    """Return the engine that runs the benchmarks, if any, and those of the models."""
    tools = () if as_list(config.benchmarks) == [NONE] else (config.backend,)
    if config.endpoint is not None or config.backend == "lm_eval":
        return tools
    groups: tuple[ServedWeights, ...] = (ServedWeights("", None, ()),)
    if config.model is not None:  # else the base of an adapter that an earlier step makes
        groups = servers(candidates(config))
    names: list[str] = [*tools]
    for served in groups:
        deployment = server_config(config, served)
        settled = DEPLOY.resolve(deployment, machine).config.model_dump(include={"engine"})
        names += DEPLOY.engines(deployment.model_copy(update=settled), machine)
    return tuple(dict.fromkeys(names))


def run(config: EvaluateConfig, folder: Path, emit: Emit) -> Path | None:
    """Ask all questions without an answer, then write the report; return the run folder."""
    began = time.monotonic()
    config = with_absolute_paths(config)
    if config.endpoint is not None:
        key = endpoint.key_of(config.api_key_env, os.environ, "api_key_env")
        config = endpoint.with_endpoint_models(config, key)
    benchmarks = select_benchmarks(as_list(config.benchmarks), config.benchmark_dir)
    models = candidates(config)
    groups = [ServedWeights("", None, models)]
    if config.endpoint is None:
        groups = _fetch_models(config, models, emit)
    write_json(folder / run_folder.INPUTS, {"candidates": [vars(model) for model in models]})
    scores = jobs(models, benchmarks, folder)
    own_rows = OwnRows.of(config, models, folder, emit)
    STOP.can_save.set()  # results are written one by one: a stop loses at most one
    emit(
        events.EVALUATING,
        candidates=[model.name for model in models],
        benchmarks=[benchmark.name for benchmark in benchmarks],
        rows=own_rows.selection.title if own_rows else None,
    )
    evaluation = Evaluation(config, folder, emit, own_rows)
    if not evaluation.score_all(groups, scores):
        done = sum(job.is_done for job in scores)
        emit(events.STOPPED, step=None, scored=done, of=len(scores))
        return None
    seconds = round(time.monotonic() - began, 1)
    if own_rows is None:
        content = ReportContent(models, seconds, rows_left_out=rows_left_out(config))
    else:
        content = ReportContent(models, seconds, own_rows.findings(), own_rows.answers())
    emit(events.REPORT, **write_report(config, scores, folder, content))
    emit(events.DONE, seconds=seconds, report=str(folder / "report.html"), scored=len(scores))
    return folder


def _fetch_models(
    config: EvaluateConfig, models: Sequence[Candidate], emit: Emit
) -> list[ServedWeights]:
    """Return the servers with local folders for ids; the candidates keep their names."""
    folders: dict[str, str] = {}

    def fetch(name: str, revision: str | None) -> str:
        if name not in folders:
            emit(events.STAGE, name="fetch", detail=name)
            fetched = fetch_model(name, hub=config.hub, revision=revision, emit=emit)
            folders[name] = str(fetched.folder)
        return folders[name]

    return [
        ServedWeights(
            fetch(served.model, served.revision),
            None,
            served.candidates,
            {name: fetch(path, None) for name, path in served.adapters.items()},
        )
        for served in servers(tuple(models))
    ]


def run_name(config: EvaluateConfig) -> str:
    """Name an evaluation after its adapter, model or endpoint."""
    sources = [*as_list(config.adapter or []), config.model, config.endpoint]
    first = next((str(source) for source in sources if source), "models")
    return f"evaluate-{short_name(first).rpartition('/')[2].lower()}"


def outputs(config: EvaluateConfig) -> Mapping[str, Output]:  # noqa: ARG001 - the signature of every task
    """Return the output of an evaluation: the report."""
    return {"report": lambda folder: str(folder / "report.html")}


def forecast(config: EvaluateConfig, machine: Machine, before: RunInputs) -> Forecast | None:  # noqa: ARG001
    """Estimate the memory of the server that answers; the questions are small."""
    context = config.max_model_len or 4096
    return forecast_of_shape(
        before,
        disk=lambda _shape: 0.0,
        memory=lambda shape: (
            serving_need(
                shape, storage=config.dtype, context=context, concurrency=config.batch_size
            ).device
        ),
    )


EVALUATE: Task[EvaluateConfig] = Task(
    name="evaluate",
    discriminator="task",
    default="evaluate",
    config_classes={"evaluate": EvaluateConfig},
    resolve=resolve,
    run=run,
    run_name=run_name,
    effects=effects,
    check=check,
    with_absolute_paths=lambda config: with_absolute_rows(with_absolute_paths(config)),
    engines=engines,
    outputs=outputs,
    forecast=forecast,
)
