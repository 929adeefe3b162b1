"""From the blocks of a pipeline to typed steps whose references hold, or to every mistake."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from swiftbox.config.blocks import Block, in_line_order, read_blocks, report
from swiftbox.config.mistakes import did_you_mean
from swiftbox.config.pipeline import FILE_KEYS, PipelineStep
from swiftbox.config.reading import ConfigProblem, Settings, YamlEntry
from swiftbox.config.references import OutputReference, misspelt, references_in
from swiftbox.config.task import TaskConfig
from swiftbox.formatting import nearest
from swiftbox.language import text
from swiftbox.tasks import TASKS
from swiftbox.tasks.unknown_task import check_without_task, unknown_task

PIPELINE = "pipeline"

Made = TaskConfig | None
Make = Callable[[Settings], Made]


def settle_steps(settings: Settings, make: Make) -> None:
    """Put typed steps in the place of the blocks; add all that is wrong with any of them."""
    entry = settings.entries.get("steps")
    if entry is None:
        return
    found = list(read_blocks(entry, settings))
    made: dict[str, Made] = {}
    lines = {block.name: block.where for block in found}
    steps = []
    for block in found:
        said = len(block.settings.problems)
        config = _made(block, make)
        _refer(block, made, lines)
        made[block.name] = config
        if config is not None and len(block.settings.problems) == said:
            steps.append(PipelineStep(name=block.name, config=config))
        report(block, settings)
    settings.entries["steps"] = replace(entry, value=tuple(steps), plain=None)


def _made(block: Block, make: Make) -> Made:
    """Return the typed config of a block, None when something is wrong with it."""
    inner = block.settings
    known = [name for name in TASKS if name != PIPELINE]
    folder = inner.entries.get("output_dir")
    if folder is not None and folder.value != "auto":
        inner.problems.append(_elsewhere(folder))
    for key in FILE_KEYS:
        inner.entries.pop(key, None)
    task = inner.entries.get("task")
    if task is not None and task.value in known:
        return make(inner)
    if task is None:
        listed = ", ".join(known)
        what = text(f"is required: one of {listed}", f"必填，应为其中之一：{listed}")
        inner.problems.append(ConfigProblem(block.where, "task", what, inner.first_line))
    elif task.value == PIPELINE:
        what = text("a pipeline has no pipelines as steps", "流水线的步骤不能是流水线")
        inner.problems.append(ConfigProblem(task.where, "task", what, task.order))
        return None
    else:
        inner.problems.append(unknown_task(task, known))
    check_without_task(inner, known)
    return None


def _elsewhere(folder: YamlEntry) -> ConfigProblem:
    what = text(
        "a step lies in the pipeline's folder; set output_dir of the pipeline",
        "步骤位于流水线目录之内；请设置流水线的 output_dir",
    )
    return ConfigProblem(folder.where, "output_dir", what, folder.order)


def _refer(block: Block, earlier: Mapping[str, Made], lines: Mapping[str, str]) -> None:
    """Add the references of a block that lead nowhere."""
    for key, entry in in_line_order(block.settings.entries):
        wrong = [_wrong(one, block.name, earlier, lines) for one in references_in(entry.value)]
        if odd := misspelt(entry.value):
            form = "${step.output}"
            wrong.append(text(f"{odd}: a reference is {form}", f"{odd}：引用应写成 {form}"))
        for what in filter(None, wrong):
            block.settings.problems.append(ConfigProblem(entry.where, key, what, entry.order))


def _wrong(
    one: OutputReference, own: str, earlier: Mapping[str, Made], lines: Mapping[str, str]
) -> str:
    """Say why a reference leads nowhere; empty when it does not."""
    if one.step == own:
        return text(f"{one} is this step itself", f"{one} 指向本步骤自身")
    if one.step not in earlier and one.step in lines:
        where = lines[one.step]
        return text(
            f"{one}: {one.step} comes later ({where}); a step uses what earlier ones made",
            f"{one}：{one.step} 在其后（{where}）；步骤只能使用前面的结果",
        )
    if one.step not in earlier:
        what = text(f"{one}: no step is named {one.step}", f"{one}：没有名为 {one.step} 的步骤")
        return what + did_you_mean(nearest(one.step, lines, cutoff=0.5))
    config = earlier[one.step]
    if config is None:
        return ""  # what is wrong with that step is said there
    outputs = list(TASKS[config.task].outputs(config))
    if one.output in outputs:
        return ""
    if not outputs:
        return text(
            f"{one}: {one.step} (task: {config.task}) makes nothing that a step could use",
            f"{one}：{one.step}（task: {config.task}）没有可供引用的结果",
        )
    listed = ", ".join(str(OutputReference(one.step, name)) for name in outputs)
    return text(
        f"{one}: {one.step} (task: {config.task}) makes no {one.output}; it makes {listed}",
        f"{one}：{one.step}（task: {config.task}）没有 {one.output}；可用 {listed}",
    )
