"""Merge adapters into their base in float32, cast, write, and check what was written."""

from __future__ import annotations

import gc
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers.utils.logging import disable_progress_bar

from swiftbox.config.merge import MergeConfig, Quantization
from swiftbox.core.generation import parity
from swiftbox.core.weights.adapters import (
    adapter_shapes,
    attach_adapter,
    name_outputs,
)
from swiftbox.core.weights.cast import (
    Keep,
    WeightTypes,
    cast_weights,
    copy_companions,
    temporary_folder,
    write_weights,
)
from swiftbox.core.weights.compare import (
    ModelOutputs,
    OutputDifference,
    check_prompts,
    compare_outputs,
    rounding_noise,
)
from swiftbox.core.weights.completion import complete_weights, copied_message
from swiftbox.core.weights.load import read_tokenizer
from swiftbox.core.weights.merge_bases import BaseFiles, dequantize, load_merge_base
from swiftbox.core.weights.merge_layers import merge_and_unload
from swiftbox.core.weights.merge_memory import MergeMemory
from swiftbox.core.weights.placement import require_head
from swiftbox.core.weights.score_head import outputs_of
from swiftbox.errors import ResultError, RunError
from swiftbox.language import text
from swiftbox.runs import events
from swiftbox.runs import folder as run_folder
from swiftbox.runs.events import Emit
from swiftbox.templates.closing import added_ends, write_end_ids


@dataclass(frozen=True)
class MergeJob:
    """What to merge: local folders, and the number types of the weights."""

    base_folder: Path
    adapters: tuple[Path, ...]
    tokenizer: Path
    stored: WeightTypes
    """The number types of the base's weights."""
    types: WeightTypes
    """Those of the weights that are written."""
    quantization: Quantization | None
    """How the base was quantized in the training of the adapters."""
    config: MergeConfig
    memory: MergeMemory

    def files(self, folder: Path, types: WeightTypes, labels: int | None) -> BaseFiles:
        """Return how a model is loaded for this merge."""
        return BaseFiles(folder, types, labels, self.config.trust_remote_code)


@dataclass(frozen=True)
class Merged:
    """A merged model in memory, its outputs, and the check of each adapter."""

    model: Any
    outputs: ModelOutputs
    steps: tuple[dict[str, Any], ...]


def merge(job: MergeJob, folder: Path, emit: Emit) -> tuple[Path, dict[str, Any]]:
    """Return the folder of the merged model and the figures of its checks.

    Raises ResultError, and leaves no folder, if the result differs from base and adapters.
    """
    disable_progress_bar()  # log.txt is read by people
    tokenizer = _load_tokenizer(job)
    prompts = check_prompts(tokenizer)
    report: dict[str, Any] = {}
    dequantized = job.config.merge_base == "dequantized"
    other_outputs = _outputs_on_other_base(job, prompts, emit)
    gc.collect()
    emit(events.STAGE, name="merge", detail=_base_name(job, dequantized))
    merged = _merge_adapters(job, dequantized, prompts, emit)
    _require_rows(merged.model, _tokens_of_adapters(job, tokenizer))
    report["steps"] = list(merged.steps)
    if other_outputs is not None:
        difference = compare_outputs(merged.outputs, other_outputs)
        report["bases"] = _report_bases(job, difference, emit)
    final = folder / run_folder.MODEL
    with temporary_folder(folder) as temporary:
        emit(events.STAGE, name="save", detail=run_folder.MODEL)
        dtype = cast_weights(merged.model, job.types, job.memory.store().keep)
        _write(job, merged.model, tokenizer, temporary)
        report["copied"] = _complete(job, merged.model, temporary, emit)
        outputs = job.memory.outputs(merged.model, prompts)
        report["cast"] = _report_cast(dtype, compare_outputs(merged.outputs, outputs), emit)
        del merged
        gc.collect()
        emit(events.STAGE, name="verify", detail=str(final))
        report["written"] = verify(job, temporary, outputs, prompts)
        write_end_ids(temporary, added_ends(job.adapters), job.base_folder)  # not compared above
        shutil.rmtree(final, ignore_errors=True)
        temporary.rename(final)
    report["bytes"] = sum(file.stat().st_size for file in final.rglob("*") if file.is_file())
    report["files"] = sorted(file.name for file in final.glob("*.safetensors"))
    emit(events.MERGED, **report)
    return final, report


def _outputs_on_other_base(
    job: MergeJob, prompts: Sequence[torch.Tensor], emit: Emit
) -> ModelOutputs | None:
    """Return the outputs of a merge into the base that is not chosen; None if there is one base."""
    if job.quantization is None:
        return None
    dequantized = job.config.merge_base != "dequantized"
    emit(events.STAGE, name="merge", detail=_base_name(job, dequantized))
    return _merge_adapters(job, dequantized, prompts, None).outputs


def _load_tokenizer(job: MergeJob) -> Any:
    """Load the tokenizer; without a chat template it gets the base's."""
    tokenizer = _tokenizer_of(job, job.tokenizer)
    if not tokenizer.chat_template and job.tokenizer != job.base_folder:
        tokenizer.chat_template = _tokenizer_of(job, job.base_folder).chat_template
    return tokenizer


def _tokenizer_of(job: MergeJob, folder: Path) -> Any:
    return read_tokenizer(folder, trust_remote_code=job.config.trust_remote_code)


def _base_name(job: MergeJob, dequantized: bool) -> str:
    if not dequantized:
        return str(job.base_folder)
    return text(
        f"{job.base_folder}, {job.quantization} weights in float32",
        f"{job.base_folder}，{job.quantization} 权重还原为 float32",
    )


def _merge_adapters(
    job: MergeJob, dequantized: bool, prompts: Sequence[torch.Tensor], emit: Emit | None
) -> Merged:
    """Merge the adapters in order; with `emit`, compare the model before and after each.

    Each adapter is checked on the model that the adapters before it were merged into.
    """
    shapes = [adapter_shapes(adapter) for adapter in job.adapters]
    files = job.files(job.base_folder, job.stored, outputs_of(shapes))
    model, keep = load_merge_base(files), job.memory.store().keep
    require_head(model, job.base_folder, job.adapters[-1], shapes)
    for adapter in job.adapters:
        name_outputs(model, adapter)
    if dequantized and job.quantization is not None:
        dequantize(model, files, job.quantization, keep)
    steps: list[dict[str, Any]] = []
    after: ModelOutputs | None = None
    for adapter, tensors in zip(job.adapters, shapes, strict=True):
        network = attach_adapter(model, adapter, tensors)
        _require_rows(network, (int(ids.max()) for ids in prompts))
        before = job.memory.outputs(network, prompts) if emit else None
        model = _merge_and_unload(network, adapter, keep)
        if emit is None or before is None:
            continue
        after = job.memory.outputs(model, prompts)
        difference = _difference(job, model, prompts, (before, after))
        _require_rounding(difference, adapter)
        steps.append({"adapter": str(adapter), **difference.figures()})
        emit(events.NOTE, key="merge", message=_step_message(adapter, difference))
    outputs = after if after is not None else job.memory.outputs(model, prompts)
    return Merged(model, outputs, tuple(steps))


def _difference(
    job: MergeJob,
    model: Any,
    prompts: Sequence[torch.Tensor],
    outputs: tuple[ModelOutputs, ModelOutputs],
) -> OutputDifference:
    """Compare expected outputs with those of a model.

    If they are further apart than usual, how much this model amplifies rounding is measured.
    """
    difference = compare_outputs(*outputs)
    if difference.is_rounding:
        return difference
    with rounding_noise(model):
        noisy = job.memory.outputs(model, prompts)
    return compare_outputs(*outputs, reach=compare_outputs(outputs[1], noisy).maximum)


def _tokens_of_adapters(job: MergeJob, tokenizer: Any) -> set[int]:
    """Return the tokens that the base's own tokenizer, which may exceed its rows, does not have."""
    tokens = set(tokenizer.get_vocab().values())
    if job.tokenizer == job.base_folder:
        return set()
    return tokens - set(_tokenizer_of(job, job.base_folder).get_vocab().values())


def _require_rows(network: Any, tokens: Iterable[int]) -> None:
    """Raise RunError if the embeddings have no row for a token."""
    rows = network.get_input_embeddings().weight.shape[0]
    largest = max(tokens, default=-1)
    if largest >= rows:
        raise RunError(
            text(
                f"the tokenizer has token {largest}, the embeddings have {rows} rows",
                f"分词器有 token {largest}，而词嵌入只有 {rows} 行",
            ),
            hint=text(
                "the adapter was saved without its new embeddings: train with "
                "modules_to_save: [embed_tokens, lm_head]",
                "适配器保存时缺少新的词嵌入：训练时请设 modules_to_save: [embed_tokens, lm_head]",
            ),
        )


def _merge_and_unload(network: Any, adapter: Path, keep: Keep) -> Any:
    try:
        return merge_and_unload(network, keep)
    except ValueError as error:  # safe_merge: NaN; or a layer that peft cannot merge
        raise ResultError(
            text(f"{adapter} cannot be merged: {error}", f"{adapter} 无法合并：{error}"),
            hint=text(
                "check the losses of its training for NaN or divergence",
                "请检查其训练损失是否出现 NaN 或发散",
            ),
        ) from error


def _require_rounding(difference: OutputDifference, adapter: Path) -> None:
    if difference.is_rounding:
        return
    raise ResultError(
        text(
            "the merged model differs from base and adapter: "
            f"logits by {difference.maximum:.2g} (limit {difference.limit:.2g}), "
            f"{difference.same_answers} of {difference.answers} answers are equal; "
            f"{adapter} was not merged",
            "合并结果与基座加适配器不一致："
            f"logit 最大差 {difference.maximum:.2g}（上限 {difference.limit:.2g}），"
            f"{difference.answers} 个回答中 {difference.same_answers} 个相同；{adapter} 未合并",
        ),
        hint=text("nothing was written", "未写入任何内容"),
    )


def _step_message(adapter: Path, difference: OutputDifference) -> str:
    return text(
        f"{adapter}: the merged model equals base and adapter: logits differ by "
        f"{difference.maximum:.1e} (largest {difference.scale:.1f}), "
        f"{difference.same_answers} of {difference.answers} greedy answers are equal",
        f"{adapter}：合并结果与基座加适配器一致：logit 差 {difference.maximum:.1e}"
        f"（最大 {difference.scale:.1f}），"
        f"{difference.answers} 个贪心回答中 {difference.same_answers} 个相同",
    )


def _report_bases(job: MergeJob, difference: OutputDifference, emit: Emit) -> dict[str, Any]:
    """Record how far the merge on the chosen base is from the merge on the other one."""
    chosen = job.config.merge_base
    other = "full" if chosen == "dequantized" else "dequantized"
    message = text(
        f"trained on {job.quantization}: merged into the {chosen} base; merged into the {other} "
        f"base, logits would differ by {difference.maximum:.2g} at most, "
        f"{difference.mean:.2g} on average; "
        f"{difference.same_answers} of {difference.answers} greedy answers are equal",
        f"适配器在 {job.quantization} 上训练：合并到 {chosen} 基座与合并到 {other} 基座相比，"
        f"logit 最大差 {difference.maximum:.2g}，平均差 {difference.mean:.2g}；"
        f"{difference.answers} 个贪心回答中 {difference.same_answers} 个相同",
    )
    emit(events.NOTE, key="merge_base", message=message)
    return {"merged": chosen, "compared": other, **difference.figures()}


def _write(job: MergeJob, model: Any, tokenizer: Any, target: Path) -> None:
    """Write all files."""
    write_weights(model, job.base_folder, target, max_shard_size=job.config.max_shard_size)
    tokenizer.save_pretrained(str(target))
    copy_companions(job.base_folder, target, code=job.config.trust_remote_code)
    is_single = len(job.adapters) == 1  # several adapters answer as none of them did
    parity.copy_record(job.adapters[-1], target, dtype=job.types.default, answers=is_single)


def _complete(job: MergeJob, model: Any, target: Path, emit: Emit) -> int:
    """Add the tensors of the base that its class does not load; return their number."""
    names = complete_weights(model, job.base_folder, target)
    if names:
        emit(events.NOTE, key="copied", message=copied_message(names))
    return len(names)


def _report_cast(dtype: str, difference: OutputDifference, emit: Emit) -> dict[str, Any]:
    """Record how far the cast moves the outputs."""
    if dtype != "float32":
        message = text(
            f"cast to {dtype}: logits move by {difference.maximum:.2g} at most, "
            f"{difference.mean:.2g} on average; "
            f"{difference.same_answers} of {difference.answers} greedy answers stay the same",
            f"转换为 {dtype}：logit 最大变化 {difference.maximum:.2g}，平均 {difference.mean:.2g}；"
            f"{difference.answers} 个贪心回答中 {difference.same_answers} 个不变",
        )
        emit(events.NOTE, key="dtype", message=message)
    return {"dtype": dtype, **difference.figures()}


def verify(
    job: MergeJob, folder: Path, expected: ModelOutputs, prompts: Sequence[torch.Tensor]
) -> dict[str, Any]:
    """Load the written model; raise ResultError unless its outputs are those in memory."""
    written_prompts = check_prompts(_tokenizer_of(job, folder))
    if not all(torch.equal(*pair) for pair in zip(written_prompts, prompts, strict=True)):
        raise ResultError(
            text(
                "the written tokenizer encodes the check prompts differently",
                "写出的分词器对核对文本的编码不一致",
            ),
            hint=_to_report(),
        )
    labels = None if expected.answers else expected.logits[0].shape[-1]
    model = load_merge_base(job.files(folder, job.types, labels))
    outputs = job.memory.outputs(model, prompts)
    difference = _difference(job, model, prompts, (expected, outputs))
    if difference.is_rounding:
        return difference.figures()
    raise ResultError(
        text(
            "the written model differs from the merged one: "
            f"logits by {difference.maximum:.2g} (limit {difference.limit:.2g}), "
            f"{difference.same_answers} of {difference.answers} answers are equal",
            "写出的模型与合并结果不一致："
            f"logit 最大差 {difference.maximum:.2g}（上限 {difference.limit:.2g}），"
            f"{difference.answers} 个回答中 {difference.same_answers} 个相同",
        ),
        hint=_to_report(),
    )


def _to_report() -> str:
    return text(
        "the folder was deleted; merge again, and if it repeats, report it with log.txt of the run",
        "该目录已删除；请再合并一次，若仍如此，请附上运行的 log.txt 反馈",
    )
