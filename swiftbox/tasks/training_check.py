"""Check a training before it starts: model, adapter, template, reward functions, every row."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from swiftbox.config.classification import ClassificationFields
from swiftbox.config.groups import DatasetSource, as_list
from swiftbox.config.references import is_reference
from swiftbox.config.sharded_reference import require_reference
from swiftbox.config.train import TrainConfig
from swiftbox.config.tuners import FULL_TUNERS
from swiftbox.data.check import check_rows
from swiftbox.data.findings import CheckedRows
from swiftbox.data.fitting import require_training_rows
from swiftbox.data.formats import LABELLED
from swiftbox.data.held_out_rows import KEY, errors_under
from swiftbox.data.missing_files import missing_file
from swiftbox.data.sampling import takes_all
from swiftbox.data.source import RowSource, parse_sources
from swiftbox.errors import ConfigError, UserError, raise_together
from swiftbox.language import text
from swiftbox.methods import METHODS
from swiftbox.models.adapters import read_trained
from swiftbox.models.inspection import Inspection
from swiftbox.models.location import find_folder, locate_recorded, looks_like_path
from swiftbox.models.requirements import ERROR
from swiftbox.models.templates import require_bounded_templates
from swiftbox.security.templates import require_bounded
from swiftbox.tasks.checks import (
    OnRemark,
    absolute,
    absolute_function,
    absolute_sources,
    ignored,
    inspect_model,
    report,
    require_loadable,
)
from swiftbox.tasks.model_demands import require_family, require_learned_positions
from swiftbox.tasks.row_remarks import (
    remark_learned_rows,
    remark_unread_variables,
    remark_unstopped_answers,
)
from swiftbox.tasks.row_rendering import rendered_later, renderer_of
from swiftbox.tasks.size_remarks import remark_on_size
from swiftbox.tasks.solved_rows import SolvedRows, compares_answers
from swiftbox.tasks.teacher_check import check_teacher
from swiftbox.tasks.training_vocabulary import (
    remark_known_tokens,
    require_no_trained_rows,
    tokens_from_files,
)
from swiftbox.tasks.tuner_check import require_tuner_fits
from swiftbox.tasks.tuner_trial import require_tuner_fits_layers
from swiftbox.tasks.unused_settings import remark_unused_settings
from swiftbox.tasks.usable_rows import UsableRows
from swiftbox.templates.files import template_file

if TYPE_CHECKING:  # only a classifier loads its rules
    from swiftbox.tasks.classified_rows import RowUsage

Result = TypeVar("Result")


def check(training: TrainConfig, on_remark: OnRemark) -> CheckedRows | None:
    """Check model, adapter, template and rows; raise all problems as one error.

    Returns the result of checking the rows; None while no dataset is on this machine.
    """
    problems: list[UserError] = []
    if training.val_dataset is not None:  # it takes the place of val_size
        training = training.model_copy(update={"val_size": 0.0})

    def collect(check: Callable[[], Result]) -> Result | None:
        try:
            return check()
        except UserError as error:
            problems.append(error)
            return None

    inspection = collect(lambda: _inspect(training, on_remark))
    if inspection is not None:
        collect(lambda: _check_model(training, inspection, on_remark))
        collect(lambda: _check_tuner(training, inspection))
    collect(lambda: check_teacher(training, inspection, on_remark))
    checks = (_check_joined_rows, require_reference, _check_adapter, _check_rewards)
    for require in (*checks, _require_readable_datasets):
        collect(partial(require, training))
    is_here = find_folder(training.model) is not None
    if not is_here or (inspection is not None and not inspection.errors):
        remark_on_size(training, on_remark, is_here=is_here)
    renderer = collect(lambda: _checked_template(training, inspection, on_remark))
    checked = collect(lambda: _check_rows(training, renderer, on_remark))
    validation = collect(lambda: _check_validation(training, renderer))
    if checked is not None and not is_here and _needs_template(training):
        on_remark(rendered_later(training.model))
    _remark_on_datasets(training, on_remark)
    remark_unused_settings(training, on_remark)
    collect(lambda: _check_labels(training, inspection, (checked, validation), on_remark))
    raise_together(problems)
    if checked is not None:
        remark_learned_rows(checked, validation, on_remark)
        checked.validation = validation
    return checked


def _inspect(config: TrainConfig, on_remark: OnRemark) -> Inspection | None:
    """Inspect the model's folder as this training loads it; None if it is not here."""
    return inspect_model(
        config.model,
        config,
        on_remark,
        uses_template=config.template == "auto" and _needs_template(config),
        head=_head(config),
    )


def _check_tuner(config: TrainConfig, inspection: Inspection) -> None:
    """Raise ConfigError for a tuner that does not fit the model's layers, if they are known."""
    if inspection.errors:
        return
    require_tuner_fits(config, inspection)
    require_tuner_fits_layers(config, inspection, score=_head(config) == "score")


def _check_joined_rows(config: TrainConfig) -> None:
    """Raise ConfigError for packing without the layout that it packs."""
    if config.packing and config.padding_free == "false":
        raise ConfigError(
            text("packing: requires padding_free", "packing：需要启用 padding_free"),
            hint=text(
                "set padding_free: true, or packing: false",
                "设 padding_free: true，或 packing: false",
            ),
        )


def with_absolute_paths(config: TrainConfig) -> TrainConfig:
    """Return the config with every existing local path made absolute."""
    changes: dict[str, Any] = {}
    for key in ("model", "adapter", "teacher_model"):
        name = getattr(config, key, None)
        if name and (folder := find_folder(name)) is not None:
            changes[key] = str(folder)
    if Path(config.template).expanduser().exists():
        changes["template"] = absolute(config.template)
    changes |= tokens_from_files(config)
    if names := config.model_dump().get("reward_funcs"):
        changes["reward_funcs"] = [absolute_function(name) for name in as_list(names)]
    changes["dataset"] = absolute_sources(config.dataset)
    if config.val_dataset is not None:
        changes["val_dataset"] = absolute_sources(config.val_dataset)
    return config.model_copy(update=changes)


def _check_model(config: TrainConfig, inspection: Inspection, on_remark: OnRemark) -> None:
    """Raise ConfigError for a model that cannot be trained; remark on lesser findings."""
    remark_known_tokens(config, inspection.folder, on_remark)
    require_loadable(config, inspection, on_remark, head=_head(config))
    if _head(config) == "score":
        from swiftbox.tasks.classified_rows import require_scores

        require_scores(config, inspection)
    require_learned_positions(config, inspection)
    require_family(config, inspection)


def _check_adapter(config: TrainConfig) -> None:
    if config.adapter is None or is_reference(config.adapter):
        return
    if config.tuner_type in FULL_TUNERS:
        raise ConfigError(
            text(
                f"adapter: {config.tuner_type} tuning cannot continue an adapter",
                f"adapter：{config.tuner_type} 训练不能从适配器继续",
            ),
            hint=text(
                "set tuner_type: lora, or merge the adapter first", "设 tuner_type: lora 或先合并"
            ),
        )
    folder = locate_recorded(config.adapter, key="adapter", hub=config.hub)
    if folder is not None:
        _require_continuable(config, folder)


def _require_continuable(config: TrainConfig, folder: Path) -> None:
    """Raise ConfigError for an adapter that is broken, or was not trained on the model."""
    from swiftbox.models.merge_checks import require_adapters_fit, require_matching_name

    adapter = read_trained(folder)
    require_no_trained_rows(dict(adapter.config), folder)
    require_matching_name(adapter, config.model)
    model = locate_recorded(config.model, key="model", hub=config.hub)
    if model is not None:
        require_adapters_fit(model, [adapter], config.model)


def _checked_template(
    config: TrainConfig, inspection: Inspection | None, on_remark: OnRemark
) -> RowUsage | None:
    """Return the renderer of the rows; None without a template, or if the model is not here.

    Raises ConfigError if conversations have no chat template.
    """
    _check_template(config, inspection)
    is_here = inspection is not None and not inspection.errors
    if isinstance(config, ClassificationFields):
        from swiftbox.tasks.classified_rows import UsableClassifiedRows

        folder = inspection.folder if inspection is not None and is_here else None
        if folder is not None:
            require_bounded_templates(folder, used=config.use_chat_template is not False)
        return UsableClassifiedRows.of(config, folder)
    if inspection is None or not is_here or not _needs_template(config):
        return None
    renderer = renderer_of(config, inspection.folder)
    remark_unread_variables(renderer.template, on_remark)
    if _head(config) == "language":
        remark_unstopped_answers(renderer.template, inspection.folder, config, on_remark)
    return UsableRows(renderer, config, inspection.folder)


def _check_template(config: TrainConfig, inspection: Inspection | None) -> None:
    """Raise ConfigError if conversations have no chat template."""
    if config.template == "auto" and _needs_template(config) and inspection is not None:
        missing = inspection.remark_on("template")
        report("template", [replace(missing, level=ERROR)] if missing else [], ignored)
    if config.template in ("auto", "chatml"):
        return
    if not Path(config.template).expanduser().is_file():
        raise ConfigError(
            text(
                f"template: no file {config.template}", f"template：文件 {config.template} 不存在"
            ),
            hint=text("use auto, chatml, or a .jinja file", "可用 auto、chatml 或 .jinja 文件"),
        )
    require_bounded([template_file(Path(config.template).expanduser())])


def _needs_template(config: TrainConfig) -> bool:
    """Tell whether the training renders conversations."""
    return METHODS[config.model_dump()["stage"]].needs_template


def _head(config: TrainConfig) -> str:
    """Return the head that the model is trained with: language or score."""
    return METHODS[config.model_dump()["stage"]].head


def _check_rewards(config: TrainConfig) -> None:
    names = config.model_dump().get("reward_funcs")
    if names is not None:
        from swiftbox.core.losses.reward_functions import require

        require(as_list(names))


def sources_of(config: TrainConfig) -> tuple[RowSource, ...]:
    """Return the sources that the dataset key names."""
    return _sources(config.dataset, config)


def validation_sources(config: TrainConfig) -> tuple[RowSource, ...]:
    """Return the sources that the val_dataset key names; none if it is empty."""
    with errors_under(KEY):
        return _sources(config.val_dataset or [], config)


def _sources(named: Any, config: TrainConfig) -> tuple[RowSource, ...]:
    sources = [
        source.model_dump() if isinstance(source, DatasetSource) else source
        for source in as_list(named)
    ]
    return parse_sources(sources, columns=config.columns)


def _remark_on_datasets(config: TrainConfig, on_remark: OnRemark) -> None:
    """Remark on what the catalogue knows of the datasets that are ids."""
    for key, source in _hub_sources(config):
        from swiftbox.models.known_columns import dataset_remarks

        for remark in dataset_remarks(source, key, str(config.model_dump()["stage"])):
            on_remark(remark)


def _require_readable_datasets(config: TrainConfig) -> None:
    """Raise ConfigError for datasets of the catalogue that the stage cannot learn as they are."""
    if sources := list(_hub_sources(config)):
        from swiftbox.models.known_columns import require_readable

        require_readable(sources, str(config.model_dump()["stage"]))


def _hub_sources(config: TrainConfig) -> Iterator[tuple[str, RowSource]]:
    """Yield the sources that may be ids, each with its key; mistakes in them are left out."""
    named = ((KEY, validation_sources), ("dataset", sources_of))
    for key, sources in named if config.hub != "local" else ():
        with suppress(UserError):  # reported by the check of the rows
            yield from ((key, source) for source in sources(config))


def _local_sources(sources: list[RowSource], config: TrainConfig, key: str) -> list[RowSource]:
    """Return the sources on this machine; raise ConfigError for files that do not exist."""
    local = [source for source in sources if Path(source.path).expanduser().exists()]
    for source in sources:
        if source not in local and (config.hub == "local" or looks_like_path(source.path)):
            raise missing_file(source.path, key, ConfigError)
    return local


def _check_validation(config: TrainConfig, training: RowUsage | None) -> CheckedRows | None:
    """Check the rows that are held out by name; None while none of them is on this machine."""
    sources = [source for source in validation_sources(config) if not is_reference(source.path)]
    local = _local_sources(sources, config, KEY)
    if not local:
        return None
    renderer: RowUsage | None = None
    if isinstance(training, UsableRows):
        renderer = UsableRows(renderer_of(config, training.folder), config, training.folder)
    elif training is not None:
        renderer = training.of(config, training.folder)
    with errors_under(KEY):
        return _checked_rows(local, config, renderer, is_complete=len(local) == len(sources))


def _is_complete(config: TrainConfig) -> bool:
    """Tell whether all rows of a training are on this machine."""
    sources = (*sources_of(config), *validation_sources(config))
    return all(Path(source.path).expanduser().exists() for source in sources)


def _check_labels(
    config: TrainConfig,
    inspection: Inspection | None,
    rows: tuple[CheckedRows | None, CheckedRows | None],
    on_remark: OnRemark,
) -> None:
    """Raise UserError if all rows are here and their labels do not make this classifier."""
    learned, held_out = rows
    if isinstance(config, ClassificationFields) and learned is not None and _is_complete(config):
        from swiftbox.tasks.classified_rows import check_labels

        folder = inspection.folder if inspection is not None else None
        check_labels(config, folder, (learned, held_out), on_remark)


def _check_rows(
    config: TrainConfig, renderer: RowUsage | None, on_remark: OnRemark
) -> CheckedRows | None:
    if isinstance(renderer, UsableRows) and compares_answers(config):
        renderer = SolvedRows(renderer.renderer, config, renderer.folder)
    sources = [source for source in sources_of(config) if not is_reference(source.path)]
    local = _local_sources(sources, config, "dataset")
    if not local:
        return None
    checked = _checked_rows(local, config, renderer, is_complete=len(local) == len(sources))
    if isinstance(renderer, SolvedRows):
        renderer.report(on_remark)
    return checked


def _checked_rows(
    local: list[RowSource], config: TrainConfig, renderer: RowUsage | None, *, is_complete: bool
) -> CheckedRows:
    """Check rows on this machine; without `is_complete` there are further ones."""
    stage = str(config.model_dump()["stage"])
    checked = check_rows(local, stage=stage, max_bad_rows=config.max_bad_rows, renderer=renderer)
    if renderer is not None:
        renderer.require_usable(is_complete=is_complete, takes_all=all(map(takes_all, local)))
    if checked.taken == checked.rows and renderer is not None:
        renderer.require_training_rows(is_complete=is_complete)
    elif is_complete and not METHODS[stage].splits_texts and stage not in LABELLED:
        require_training_rows(config.val_size, checked.taken)
    return checked
