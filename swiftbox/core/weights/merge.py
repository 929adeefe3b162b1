"""Merge adapters into their base in float32, cast, write, and check what was written."""

from __future__ import annotations

import gc
import shutil
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel, get_peft_model_state_dict
from safetensors import safe_open
from transformers import AutoTokenizer
from transformers.utils.logging import disable_progress_bar

from swiftbox.config.merge import MergeConfig, Quantization
from swiftbox.core.generation import parity
from swiftbox.core.weights.cast import Types, cast, write, write_along, written_aside
from swiftbox.core.weights.compare import Difference, Seen, difference, prompts, see
from swiftbox.core.weights.merge_bases import load_base, untie
from swiftbox.errors import ResultError, RunError
from swiftbox.files import read_json
from swiftbox.language import text
from swiftbox.runs import events
from swiftbox.runs import folder as run_folder
from swiftbox.runs.events import Emit

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class Merge:
    """What to merge: local folders, and the number type of every weight that is written."""

    base: Path
    adapters: tuple[Path, ...]
    tokenizer: Path
    types: Types
    quantization: Quantization | None
    """How the base was quantized when the adapters were trained."""
    config: MergeConfig


def merge(work: Merge, folder: Path, emit: Emit) -> tuple[Path, dict[str, Any]]:
    """Return the folder of the merged model and the figures of its checks.

    Raises ResultError, and leaves no folder, when what was made is not base and adapters.
    """
    disable_progress_bar()  # log.txt is read by people and by `runs logs`
    tokenizer = load_tokenizer(work)
    asked = prompts(tokenizer)
    report: dict[str, Any] = {}
    dequantized = work.config.merge_base == "dequantized"
    other: Seen | None = None
    if work.quantization is not None:
        emit(events.STAGE, name="merge", detail=_base_name(work, not dequantized))
        other = see(_merged(work, not dequantized, asked, None)[0], asked)
        gc.collect()
    emit(events.STAGE, name="merge", detail=_base_name(work, dequantized))
    model, seen, steps = _merged(work, dequantized, asked, emit)
    report["steps"] = steps
    if other is not None:
        report["bases"] = _compare_bases(work, difference(seen, other), emit)
    final = folder / run_folder.MODEL
    with written_aside(folder) as aside:
        emit(events.STAGE, name="save", detail=run_folder.MODEL)
        dtype = cast(model, work.types)
        _write(model, tokenizer, work, aside)
        alone = len(work.adapters) == 1  # a stack answers as none of its adapters did
        parity.carry(work.adapters[-1], aside, dtype=work.types.main, answers=alone)
        memory = see(model, asked)
        report["cast"] = _compare_cast(dtype, difference(seen, memory), emit)
        model = None
        gc.collect()
        emit(events.STAGE, name="verify", detail=str(final))
        report["written"] = verify(work, aside, memory, asked)
        shutil.rmtree(final, ignore_errors=True)
        aside.rename(final)
    report["bytes"] = sum(one.stat().st_size for one in final.rglob("*") if one.is_file())
    report["files"] = sorted(one.name for one in final.glob("*.safetensors"))
    emit(events.MERGED, **report)
    return final, report


def load_tokenizer(work: Merge) -> Any:
    """Load the tokenizer of the last adapter that has one, with the base's template if it must."""
    said = {"trust_remote_code": work.config.trust_remote_code, "local_files_only": True}
    tokenizer = AutoTokenizer.from_pretrained(str(work.tokenizer), **said)
    if not tokenizer.chat_template and work.tokenizer != work.base:
        tokenizer.chat_template = AutoTokenizer.from_pretrained(
            str(work.base), **said
        ).chat_template
    return tokenizer


def _base_name(work: Merge, dequantized: bool) -> str:
    if not dequantized:
        return str(work.base)
    return text(
        f"{work.base}, {work.quantization} weights in float32",
        f"{work.base}，{work.quantization} 权重还原为 float32",
    )


def _merged(
    work: Merge, dequantized: bool, asked: Sequence[torch.Tensor], emit: Emit | None
) -> tuple[Any, Seen, list[dict[str, Any]]]:
    """Merge one adapter after the other; with `emit`, hold each against itself before.

    A stack is checked by its steps: base and first adapter, that merged and the second, and so on.
    """
    found = [shapes_of(one) for one in work.adapters]
    model = load_base(
        work.base,
        work.quantization if dequantized else None,
        labels=_labels(found),
        trust_remote_code=work.config.trust_remote_code,
    )
    steps, after = [], None
    for folder, shapes in zip(work.adapters, found, strict=True):
        network = attach(model, folder, shapes)
        _require_rows(network, asked)
        before = see(network, asked) if emit else None
        model = _merge_one(network, folder)
        if emit is None or before is None:
            continue
        after = see(model, asked)
        step = difference(before, after)
        _require_rounding(step, folder)
        steps.append({"adapter": str(folder), **step.figures()})
        emit(events.NOTE, key="merge", message=_in_words(folder, step))
    return model, after if after is not None else see(model, asked), steps


def shapes_of(folder: Path) -> Shapes:
    """Return the shapes of an adapter's tensors."""
    with safe_open(folder / "adapter_model.safetensors", framework="pt") as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - no mapping


def _labels(found: Sequence[Shapes]) -> int | None:
    """Return the outputs of the score head that an adapter brings; None without one."""
    for shapes in found:
        for name, shape in shapes.items():
            if name.endswith((".score.weight", ".classifier.weight")):
                return shape[0]
    return None


def attach(model: Any, folder: Path, shapes: Shapes) -> Any:
    """Put an adapter on its base, resized and untied as the adapter needs it, all in float32."""
    rows = _rows(model, shapes)
    if rows is not None and rows != model.get_input_embeddings().weight.shape[0]:
        model.resize_token_embeddings(rows, mean_resizing=False)  # the adapter brings the rows
    said = read_json(folder / "adapter_config.json")
    if _touches_tables(model, said, shapes) and not said.get("ensure_weight_tying"):
        untie(model)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        network = PeftModel.from_pretrained(model, str(folder), torch_device="cpu").eval()
    _require_taken(network, folder, shapes, [str(one.message) for one in heard])
    return network


def _names(model: Any) -> tuple[str, str]:
    """Return the names of the input embeddings and of the head; empty for one that is not there."""
    table = model.get_input_embeddings()
    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    names = {id(module): name for name, module in model.named_modules()}
    return names.get(id(table), ""), names.get(id(head), "") if head is not None else ""


def _rows(model: Any, shapes: Shapes) -> int | None:
    """Return the vocabulary that an adapter was trained with; None where it does not say."""
    for name in filter(None, _names(model)):
        own = f"base_model.model.{name}"
        for part, axis in (
            (".weight", 0),
            (".base_layer.weight", 0),
            (".lora_embedding_A", 1),
            (".lora_B.weight", 0),
        ):
            if own + part in shapes:
                return shapes[own + part][axis]
    return None


def _touches_tables(model: Any, said: Mapping[str, Any], shapes: Shapes) -> bool:
    """Tell whether an adapter changes embeddings or head apart: what is tied must be untied.

    Rows that are trained alone (trainable_token_indices) stay tied: peft changes both.
    """
    whole = said.get("modules_to_save") or []
    for name in filter(None, _names(model)):
        if any(name == one or name.endswith(f".{one}") for one in whole):
            return True
        if any(one.startswith(f"base_model.model.{name}.lora_") for one in shapes):
            return True
    return False


def _require_taken(network: Any, folder: Path, shapes: Shapes, heard: Sequence[str]) -> None:
    """Raise RunError when a tensor of the adapter found no place, or a place no tensor."""
    state = set(get_peft_model_state_dict(network, save_embedding_layers=False))
    lost = sorted(set(shapes) - state - set(network.state_dict()))
    # peft saves tables twice where it saves embeddings: by their own name, which it reads, and so.
    again = ".modules_to_save."
    twice = {one for one in lost if again in one and one.replace(again, ".") in shapes}
    lost = [one for one in lost if ".base_layer." not in one and one not in twice]
    if any("missing adapter keys" in one for one in heard):
        lost = lost or sorted(state - set(shapes))
    elif not state <= set(shapes):
        return  # peft has translated the names, as for experts that are fused
    if not lost:
        return
    raise RunError(
        text(
            f"{len(lost)} of the weights of {folder} do not fit the model ({lost[0]} ...)",
            f"{folder} 中有 {len(lost)} 个权重与模型不匹配（{lost[0]} ...）",
        ),
        hint=text("give the base it was trained on: model=...", "请给出其训练基座：model=..."),
    )


def _require_rows(network: Any, asked: Sequence[torch.Tensor]) -> None:
    rows = network.get_input_embeddings().weight.shape[0]
    largest = max(int(ids.max()) for ids in asked)
    if largest >= rows:
        raise RunError(
            text(
                f"the tokenizer has token {largest}, the embeddings {rows} rows",
                f"分词器有 token {largest}，而词嵌入只有 {rows} 行",
            ),
            hint=text(
                "the adapter was saved without its new embeddings: train with "
                "modules_to_save: [embed_tokens, lm_head]",
                "适配器保存时缺少新的词嵌入：训练时请设 modules_to_save: [embed_tokens, lm_head]",
            ),
        )


def _merge_one(network: Any, folder: Path) -> Any:
    try:
        return network.merge_and_unload(safe_merge=True).eval()
    except ValueError as error:  # safe_merge: NaN; or a layer that peft cannot merge
        raise ResultError(
            text(f"{folder} cannot be merged: {error}", f"{folder} 无法合并：{error}"),
            hint=text("was the training sound? look at its losses", "请检查其训练损失是否正常"),
        ) from error


def _require_rounding(step: Difference, folder: Path) -> None:
    if step.is_rounding:
        return
    raise ResultError(
        text(
            f"merged is not base and adapter: logits differ by {step.maximum:.2g} "
            f"(limit {step.limit:.2g}), {step.same_answers} of {step.answers} answers are equal; "
            f"{folder} was not merged",
            f"合并结果与基座加适配器不一致：logit 最大差 {step.maximum:.2g}"
            f"（上限 {step.limit:.2g}），{step.answers} 个回答中 {step.same_answers} 个相同；"
            f"{folder} 未合并",
        ),
        hint=text("nothing was written", "未写入任何内容"),
    )


def _in_words(folder: Path, step: Difference) -> str:
    return text(
        f"{folder}: merged equals base and adapter, logits to {step.maximum:.1e} of "
        f"{step.scale:.1f}, {step.same_answers} of {step.answers} greedy answers",
        f"{folder}：合并结果与基座加适配器一致，logit 差 {step.maximum:.1e}"
        f"（最大 {step.scale:.1f}），{step.answers} 个贪心回答中 {step.same_answers} 个相同",
    )


def _compare_bases(work: Merge, gap: Difference, emit: Emit) -> dict[str, Any]:
    chosen = work.config.merge_base
    other = "full" if chosen == "dequantized" else "dequantized"
    emit(
        events.NOTE,
        key="merge_base",
        message=text(
            f"trained on {work.quantization}: merged on the {chosen} base instead of the {other} "
            f"one, logits differ by {gap.maximum:.2g} at most, {gap.mean:.2g} on average; "
            f"{gap.same_answers} of {gap.answers} greedy answers are equal",
            f"适配器在 {work.quantization} 上训练：合并到 {chosen} 基座与合并到 {other} 基座相比，"
            f"logit 最大差 {gap.maximum:.2g}，平均差 {gap.mean:.2g}；"
            f"{gap.answers} 个贪心回答中 {gap.same_answers} 个相同",
        ),
    )
    return {"merged": chosen, "compared": other, **gap.figures()}


def _write(model: Any, tokenizer: Any, work: Merge, aside: Path) -> None:
    """Write all files; the model in memory then holds the cast numbers in float32."""
    write(model, work.base, aside, max_shard_size=work.config.max_shard_size)
    tokenizer.save_pretrained(str(aside))
    write_along(work.base, aside, code=work.config.trust_remote_code)
    for value in model.parameters():
        value.data = value.data.float()


def _compare_cast(dtype: str, gap: Difference, emit: Emit) -> dict[str, Any]:
    if dtype != "float32":
        message = text(
            f"cast to {dtype}: logits move by {gap.maximum:.2g} at most, {gap.mean:.2g} on "
            f"average; {gap.same_answers} of {gap.answers} greedy answers stay",
            f"转换为 {dtype}：logit 最大变化 {gap.maximum:.2g}，平均 {gap.mean:.2g}；"
            f"{gap.answers} 个贪心回答中 {gap.same_answers} 个不变",
        )
        emit(events.NOTE, key="dtype", message=message)
    return {"dtype": dtype, **gap.figures()}


def verify(work: Merge, aside: Path, memory: Seen, asked: Sequence[torch.Tensor]) -> dict[str, Any]:
    """Load what was written; raise ResultError unless it is what was in memory."""
    said = {"trust_remote_code": work.config.trust_remote_code, "local_files_only": True}
    again = prompts(AutoTokenizer.from_pretrained(str(aside), **said))
    if not all(torch.equal(one, two) for one, two in zip(again, asked, strict=True)):
        raise ResultError(
            text(
                "the written tokenizer encodes the check prompts otherwise",
                "写出的分词器对核对文本的编码不一致",
            ),
            hint=text("the folder was removed", "该目录已删除"),
        )
    labels = None if memory.answers else memory.logits[0].shape[-1]
    model = load_base(aside, None, labels=labels, trust_remote_code=work.config.trust_remote_code)
    gap = difference(memory, see(model, asked))
    if gap.is_rounding:
        return gap.figures()
    raise ResultError(
        text(
            f"what was written is not what was merged: logits differ by {gap.maximum:.2g} "
            f"(limit {gap.limit:.2g}), {gap.same_answers} of {gap.answers} answers are equal",
            f"写出的模型与合并结果不一致：logit 最大差 {gap.maximum:.2g}（上限 {gap.limit:.2g}），"
            f"{gap.answers} 个回答中 {gap.same_answers} 个相同",
        ),
        hint=text("the folder was removed", "该目录已删除"),
    )
