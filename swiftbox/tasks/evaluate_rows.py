"""The user's own rows in an evaluation: losses first, then answers, then verdicts.

Every result is a file in the run folder before the next one begins, so a run that was stopped or
killed continues where it was and asks nothing twice.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from swiftbox.config.evaluate import EvaluateConfig
from swiftbox.config.own_rows import TEXT_METRICS
from swiftbox.config.train import TrainConfig
from swiftbox.devices.machine import Machine
from swiftbox.engines.tool_runner import ToolStopped
from swiftbox.evaluation import endpoint
from swiftbox.evaluation.answer_speed import remember_speed
from swiftbox.evaluation.candidates import Candidate, ServedWeights
from swiftbox.evaluation.own_rows.asking import (
    AnswerSettings,
    Asking,
    LineFile,
    Report,
    RowQuestion,
)
from swiftbox.evaluation.own_rows.findings import MeasuredCandidate, findings, remarks, tokenizer_of
from swiftbox.evaluation.own_rows.judge_prompt import INSTRUCTIONS, language_of
from swiftbox.evaluation.own_rows.judging import Judge, Pair, judged
from swiftbox.evaluation.own_rows.measurable import loss_fault
from swiftbox.evaluation.own_rows.measuring import LocalRows, measure
from swiftbox.evaluation.own_rows.plain_rows import plain_rows
from swiftbox.evaluation.own_rows.row_files import ChosenRows, RowFiles
from swiftbox.evaluation.own_rows.row_scores import BY_ROW, scored_rows
from swiftbox.evaluation.run_jobs import AnsweringServer
from swiftbox.evaluation.tool_requests import ANSWER_TIMEOUT_S
from swiftbox.files import read_json, write_json
from swiftbox.formatting import counted, duration
from swiftbox.hub.fetch import fetch_dataset, fetch_model
from swiftbox.language import text
from swiftbox.runs import events
from swiftbox.runs.events import Emit
from swiftbox.runs.stop import STOP
from swiftbox.serving.client import Endpoint
from swiftbox.tasks.evaluated_rows import (
    RowSelection,
    deciding_model,
    metrics_left_out,
    metrics_of,
    select_rows,
)


def own_rows_title() -> str:
    """Return what progress lines call the user's rows."""
    return text("own rows", "自有数据")


def verdicts_title() -> str:
    """Return what progress lines call the verdicts of the judge."""
    return text("verdicts", "评审裁决")


@dataclass
class OwnRows:
    """The own rows of a run: what is measured of which models, and where it is kept."""

    config: EvaluateConfig
    selection: RowSelection
    metrics: Sequence[str]
    models: Sequence[Candidate]
    files: RowFiles
    emit: Emit
    _is_estimated: bool = False

    @staticmethod
    def of(
        config: EvaluateConfig, models: Sequence[Candidate], folder: Path, emit: Emit
    ) -> OwnRows | None:
        """Return the own rows of a run; None for benchmarks alone."""
        selection = select_rows(config)
        if selection is None:
            return None
        metrics = metrics_of(config, selection)
        return OwnRows(config, selection, metrics, models, RowFiles(folder), emit)

    @property
    def needs_answers(self) -> bool:
        """Tell whether a metric looks at answers."""
        return bool({*TEXT_METRICS, "win_rate"}.intersection(self.metrics))

    @cached_property
    def chosen(self) -> ChosenRows:
        """The rows, which must have been chosen."""
        rows = ChosenRows.read(self.files.rows)
        assert rows is not None
        return rows

    def _report(self, candidate: Candidate, title: str, total: int) -> Report:
        """Return what records the progress of a candidate."""

        def report(count: int, per_s: float | None, eta_s: float | None) -> None:
            self.emit(
                events.ANSWERS,
                candidate=candidate.name,
                benchmark=title,
                count=count,
                total=total,
                per_s=per_s,
                eta_s=eta_s,
            )
            is_warm = count >= min(self.config.batch_size, total)
            if title == own_rows_title() and per_s and is_warm and not self._is_estimated:
                self._estimate(candidate, total - count, per_s)

        return report

    def _estimate(self, candidate: Candidate, left: int, per_s: float) -> None:
        """Say how long all answers to own rows take, by the first ones; once."""
        self._is_estimated = True
        later = len(self.models) - 1 - list(self.models).index(candidate)
        answers = left + later * len(self.chosen.rows)
        about = duration(answers / per_s)
        message = text(
            f"about {about} for the {counted(answers, 'answer')} left, by the first ones",
            f"剩余 {answers} 个回答约需 {about}（按最初的回答估计）",
        )
        self.emit(events.NOTE, key="test_dataset", message=message)

    # ---- rows and losses

    def prepare(self, groups: Sequence[ServedWeights], machine: Machine) -> bool:
        """Choose the rows, and measure the losses; return False if a stop was requested."""
        if self.config.endpoint is not None:
            self._choose_plain()
            return True
        rows: LocalRows | None = None
        for served in groups:
            if self._is_prepared(served):
                continue
            rows = rows or self._local(machine)
            self.emit(events.STAGE, name="rows", detail=self.selection.title)
            measured = rows.measured.model_copy(update={"model": served.model})
            try:
                measure(
                    replace(rows, measured=measured), served, self.files, self.emit, STOP.requested
                )
            except ToolStopped:
                return False
        return True

    def _is_prepared(self, served: ServedWeights) -> bool:
        if not self.files.rows.is_file() or not self.files.prompts(served.model).is_file():
            return False
        return all(self.files.losses(item).is_file() for item in self._with_loss(served.candidates))

    def _with_loss(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        is_measured = "loss" in self.metrics
        return [item for item in candidates if is_measured and not loss_fault(item)]

    def _local(self, machine: Machine) -> LocalRows:
        """Return the rows with local paths and settled trainings; fetches what is not here."""
        from swiftbox.tasks.train import TRAIN

        config, training = self.config, self.selection.training
        emit, columns, hub = self.emit, training.columns, training.hub
        sources = fetch_dataset(training.dataset, columns=columns, hub=hub, emit=emit)
        named = training.val_dataset or []
        validation = fetch_dataset(named, columns=columns, hub=hub, emit=emit)
        name = deciding_model(config, self.selection)
        revision = training.revision if self.selection.run else config.revision
        model = fetch_model(name, hub=hub, revision=revision, emit=emit).folder
        settled = TRAIN.resolve(self.selection.measured(str(model)), machine).config
        assert isinstance(settled, TrainConfig)
        held_out, with_loss = self.selection.held_out, "loss" in self.metrics
        return LocalRows(training, settled, model, sources, validation, held_out, with_loss)

    def _choose_plain(self) -> None:
        if self.files.rows.is_file():
            return
        training = self.selection.training
        hub, columns = training.hub, training.columns
        sources = fetch_dataset(training.dataset, columns=columns, hub=hub, emit=self.emit)
        self.files.rows.parent.mkdir(parents=True, exist_ok=True)
        write_json(self.files.rows, plain_rows(sources, training.seed))

    # ---- answers

    def open_candidates(self, candidates: Sequence[Candidate]) -> list[Candidate]:
        """Return the candidates whose answers are not complete."""
        if not self.needs_answers:
            return []
        return [item for item in candidates if not self.files.result(item).is_file()]

    def answer(
        self, served: ServedWeights, address: Endpoint, server: AnsweringServer | None
    ) -> bool:
        """Have the candidates of a server answer the rows; return False after a stop."""
        rows = self.chosen.rows
        prompts: Sequence[Any] = [None] * len(rows)
        if self.config.endpoint is None:
            prompts = read_json(self.files.prompts(served.model))["prompts"]
        questions = [RowQuestion(*pair) for pair in zip(rows, prompts, strict=True)]
        for candidate in self.open_candidates(served.candidates):
            title = own_rows_title()
            names = {"candidate": candidate.name, "benchmark": title}
            self.emit(events.ASKING, **names, total=len(rows))
            asking = Asking(address, candidate.served, self._settings(), server)
            answers = LineFile(self.files.answers(candidate))
            report = self._report(candidate, title, len(rows))
            known, began = len(answers.read()), time.monotonic()
            if not asking.answer_all(questions, answers, report, STOP.requested):
                return False
            lines = answers.read()
            self._keep_speed(lines[known:], time.monotonic() - began)
            self._keep_scores(candidate, lines)
        return True

    def _settings(self) -> AnswerSettings:
        config = self.config
        return AnswerSettings(
            config.max_tokens,
            config.temperature,
            config.seed,
            config.batch_size,
            config.chat_template_kwargs,
        )

    def _keep_speed(self, lines: Sequence[Any], seconds: float) -> None:
        """Remember how fast these answers came, for the estimate of the next evaluation."""
        tokens = sum(line.get("tokens") or 0 for line in lines)
        remember_speed(self.config, answers=len(lines), tokens=tokens, seconds=seconds)

    def _keep_scores(self, candidate: Candidate, answers: Sequence[Any]) -> None:
        """Score the answers of a candidate, and write the scores row by row."""
        result = self.files.result(candidate)
        result.parent.mkdir(parents=True, exist_ok=True)
        write_json(result, {"rows": scored_rows(self.chosen.rows, answers, self.metrics)})

    # ---- verdicts

    def judge(self) -> bool:
        """Compare the answers with those of the baseline; return False after a stop."""
        if "win_rate" not in self.metrics:
            return True
        config, rows = self.config, self.chosen.rows
        key = endpoint.key_of(config.judge_key_env, os.environ, "judge_key_env")
        server = Endpoint.at(str(config.judge_endpoint), key)
        address = replace(server, timeout_s=ANSWER_TIMEOUT_S)
        baseline, *others = self.models
        first = self._answers_of(baseline)
        judge = Judge(
            address,
            str(config.judge_model),
            config.judge_max_tokens,
            config.batch_size,
            language_of(rows),
        )
        for candidate in others:
            second = self._answers_of(candidate)
            pairs = [Pair(row, first[row.id], second[row.id]) for row in rows]
            different = sum(pair.baseline != pair.candidate for pair in pairs)
            title = verdicts_title()
            names = {"candidate": candidate.name, "benchmark": title}
            self.emit(events.ASKING, **names, total=2 * different)
            report = self._report(candidate, title, 2 * different)
            lines = LineFile(self.files.verdicts(candidate))
            if not judge.judge(pairs, lines, report, STOP.requested):
                return False
        return True

    def _answers_of(self, candidate: Candidate) -> dict[str, str]:
        return {row["id"]: row["answer"] for row in self._scores_of(candidate)}

    def _scores_of(self, candidate: Candidate) -> list[dict[str, Any]]:
        return list(read_json(self.files.result(candidate)).get("rows", []))

    # ---- the report

    def answers(self) -> dict[str, list[dict[str, Any]]]:
        """Return the answers of each candidate with their scores, row by row."""
        return {item.name: self._scores_of(item) for item in self.models}

    def findings(self) -> dict[str, Any]:
        """Return what was found, as the report and the events hold it."""
        self._add_missing_scores()
        rows = self.chosen.rows
        tokenizer = tokenizer_of(rows)
        measured = [
            MeasuredCandidate(
                item, read_json(self.files.losses(item)), self._scores_of(item), tokenizer
            )
            for item in self.models
        ]
        results = findings(measured, self.metrics)
        faults = {item.name: loss_fault(item) for item in self.models}
        unmeasured = {
            name: fault for name, fault in faults.items() if fault and "loss" in self.metrics
        }
        return {
            "title": self.selection.title,
            "rows": len(rows),
            "cut": self.chosen.cut,
            "left_out": self.chosen.left_out,
            "metrics": list(self.metrics),
            "bleu_tokenizer": tokenizer,
            **results,
            "unmeasured": unmeasured,
            "judge": self._judged(),
            "remarks": [*self._left_out(), *self._loss_remarks(), *remarks(results)],
        }

    def _add_missing_scores(self) -> None:
        """Score answers again by metrics that an earlier start of the run did not have."""
        for item in self.models:
            compared = next((row for row in self._scores_of(item) if row["expected"]), None)
            by_row = BY_ROW.keys() & set(self.metrics)
            if compared is not None and not by_row <= compared.keys():
                self._keep_scores(item, LineFile(self.files.answers(item)).read())

    def _left_out(self) -> list[str]:
        """Say which metrics are not measured because a package is missing."""
        left_out = metrics_left_out(self.config, self.selection)
        return [left_out] if left_out else []

    def _loss_remarks(self) -> list[str]:
        """Say what the loss is of, where the training has another one."""
        stage = self.selection.stage
        if "loss" not in self.metrics or stage == self.selection.measured_stage:
            return []
        return [
            text(
                f"own rows: the loss is the cross-entropy of the right answers, not {stage}'s",
                f"自有数据：损失为正确回答的交叉熵，而非 {stage} 的损失",
            )
        ]

    def _judged(self) -> dict[str, Any] | None:
        if "win_rate" not in self.metrics:
            return None
        language = language_of(self.chosen.rows)
        baseline, *others = self.models
        verdicts = [
            {
                "candidate": item.name,
                "against": baseline.name,
                **judged(LineFile(self.files.verdicts(item)).read()),
            }
            for item in others
        ]
        prompt = INSTRUCTIONS[language]
        model, host = self.config.judge_model, self.config.judge_endpoint
        return {"model": model, "endpoint": host, "prompt": prompt, "verdicts": verdicts}
