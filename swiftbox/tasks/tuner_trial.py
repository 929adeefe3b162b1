"""Whether a tuner fits the layers of a model, where the names of the weights do not tell.

A child process builds the model without weights, which takes seconds; its answer is kept by what it
depends on. The usual settings are decided by tuner_check.py, without a child.
"""

from __future__ import annotations

import json

from swiftbox.architectures.choice import ClassPurpose, ModelClass, find_class
from swiftbox.architectures.tables import family_source
from swiftbox.config.train import TrainConfig
from swiftbox.config.tuners import FULL_TUNERS, TunerFields
from swiftbox.errors import ConfigError
from swiftbox.language import language, text
from swiftbox.models.inspection import Inspection
from swiftbox.runs.asked_child import ChildQuestion
from swiftbox.tasks.tuner_check import has_plain_names

ATTACH = "swiftbox.core.tuners.trial_attach"
"""The module that tries it."""


def require_tuner_fits_layers(config: TrainConfig, inspection: Inspection, *, score: bool) -> None:
    """Raise ConfigError if a tuner with unusual settings does not fit the layers of the model.

    A child that fails for another reason says nothing: the training will.
    """
    choice = find_class(inspection.config, ClassPurpose(score=score))
    if not (isinstance(choice, ModelClass) and choice.name and _is_undecided(config, inspection)):
        return
    settings = config.model_dump(mode="json", include=set(TunerFields.model_fields))
    folder = str(inspection.folder.resolve())
    arguments = [folder, json.dumps(settings), *(["score"] if score else [])]
    depends_on = [language(), score, inspection.config, settings]
    question = ChildQuestion(ATTACH, arguments, "tuners", depends_on, purpose=_purpose())
    answer = question.answer() or {}
    if answer.get("error"):
        raise ConfigError(str(answer["error"]), hint=str(answer["hint"]))


def _purpose() -> str:
    return text("trying the settings of the tuner on the model", "正在模型上试用微调方式的设置")


def _is_undecided(config: TrainConfig, inspection: Inspection) -> bool:
    """Tell whether the names of the weights do not tell if the tuner fits."""
    if config.adapter is not None:
        return False
    is_plain, targets = has_plain_names(inspection), config.target_modules
    if config.tuner_type in FULL_TUNERS:
        selects = config.freeze_parameters or config.trainable_parameters
        return not is_plain and bool(selects or config.tuner_type == "llamapro")
    if config.exclude_modules or config.layers_to_transform or config.target_parameters:
        return True
    if config.tuner_type == "ia3":
        return True
    if targets != "all-linear":
        return not is_plain or (isinstance(targets, str) and not targets.isidentifier())
    source = family_source(inspection.config)
    return (config.tuner_type == "oft" and not is_plain) or "Conv1D(" in source
