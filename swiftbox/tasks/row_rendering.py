"""The renderer with which `check` looks at every row of a training, as the training will."""

from __future__ import annotations

from pathlib import Path

from swiftbox.config.references import is_reference
from swiftbox.config.train import TrainConfig
from swiftbox.language import text
from swiftbox.models.requirements import NOTE, Remark
from swiftbox.templates.examples import ExampleRenderer
from swiftbox.templates.folder import template_of_folder


def renderer_of(config: TrainConfig, folder: Path) -> ExampleRenderer:
    """Return the renderer of a training whose model is in a folder.

    Raises DataError if conversations have no chat template. The template must have passed its
    trial (security/templates.py).
    """
    return ExampleRenderer.of(template_of_folder(folder, config), config)


def rendered_later(model: str) -> Remark:
    """Return the note that the rows of a model that is not here yet were not rendered."""
    if is_reference(model):
        message = text(
            f"{model} does not exist yet: how its chat template renders the rows is checked when "
            "the training starts",
            f"{model} 尚不存在：训练开始时会用其对话模板检查各行",
        )
        return Remark(NOTE, "template", message)
    message = text(
        f"{model} is not on this machine: how its chat template renders the rows is checked after "
        "the download, before the training starts",
        f"{model} 不在本机：下载之后、训练开始之前，会用其对话模板检查各行",
    )
    return Remark(NOTE, "template", message)
