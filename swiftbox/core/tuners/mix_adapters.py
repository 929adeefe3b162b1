"""Several LoRA adapters of one base mixed into one, layer by layer.

The products of the factors are mixed, not the factors: peft's methods on factors would add products
of one adapter's A with another's B, and scale the result of rsLoRA once more.
A linear mix is exact with stacked factors. Other mixes are dense: their factors are the best of the
rank, and the error is measured.
Shapes: E experts (1 for a plain layer), O outputs, I inputs, R rank.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import get_peft_model
from transformers.utils.logging import disable_progress_bar

from swiftbox.config.mix import MixConfig
from swiftbox.core.generation import parity
from swiftbox.core.tuners.low_rank import (
    DTYPE_ROUNDING,
    ROUNDING,
    Factors,
    RankRule,
    error_share,
    factorize,
    lost_energy,
    square,
)
from swiftbox.core.tuners.saved_config import sort_names
from swiftbox.core.tuners.written_adapter import (
    adapted_layers,
    factors_of,
    fill_layers,
    lora_config,
)
from swiftbox.core.weights.adapters import adapter_shapes, attach_adapter
from swiftbox.core.weights.cast import temporary_folder
from swiftbox.core.weights.compare import check_prompts, compare_outputs
from swiftbox.core.weights.load import read_tokenizer
from swiftbox.core.weights.merge_bases import BaseFiles, load_merge_base
from swiftbox.core.weights.merge_memory import MergeMemory
from swiftbox.core.weights.mixing import MixRule
from swiftbox.errors import ResultError
from swiftbox.formatting import counted
from swiftbox.language import text
from swiftbox.runs import events
from swiftbox.runs import folder as run_folder
from swiftbox.runs.events import Emit
from swiftbox.templates.closing import added_ends, write_end_ids

LARGE_ERROR = 0.1
"""From here on the rank is too small to say that the adapter is the mix."""

Pair = tuple[torch.Tensor, torch.Tensor]
"""Factors of a layer: (E, O, R) with its scale, (E, R, I)."""


@dataclass(frozen=True)
class AdapterMixJob:
    """What is mixed: local folders, and what the adapter says about its base."""

    base_files: BaseFiles
    adapters: tuple[Path, ...]
    tokenizer: Path
    """The folder whose tokenizer is written; the base's if no adapter has one."""
    base_name: str
    revision: str | None
    config: MixConfig
    memory: MergeMemory
    emit: Emit

    @property
    def rule(self) -> MixRule:
        """Return how the changes are mixed."""
        config = self.config
        return MixRule(config.method, config.shares, config.density, config.seed)

    @property
    def dtype(self) -> str:
        """Return the number type of the adapter."""
        return "float32" if self.config.dtype == "auto" else self.config.dtype


@dataclass(frozen=True)
class MixedLayer:
    """The factors of one layer in those adapters that have it."""

    name: str
    parts: tuple[int, ...]
    pairs: tuple[Pair, ...]

    def change(self, rule: MixRule) -> torch.Tensor:
        """Return the mixed change of the layer, (E, O, I)."""
        deltas = [outside @ inside for outside, inside in self.pairs]
        return rule.changes(self.name, deltas, self.parts)

    def stacked(self, rule: MixRule) -> Factors:
        """Return the factors of a linear mix, which are exact."""
        shares = [rule.shares[part] for part in self.parts]
        outside = [share * pair[0] for share, pair in zip(shares, self.pairs, strict=True)]
        factors = torch.cat(outside, dim=2), torch.cat([pair[1] for pair in self.pairs], dim=1)
        change = self.change(rule)
        return Factors(*factors, square(change), lost_energy(change, *factors))

    @property
    def ranks(self) -> list[int]:
        """Return the rank in each adapter."""
        return [int(inside.shape[1]) for _, inside in self.pairs]


@torch.no_grad()  # type: ignore[untyped-decorator]  # torch is not read by mypy
def mix_adapters(job: AdapterMixJob, folder: Path) -> dict[str, Any]:
    """Write the mixed adapter into the folder of a run; return the figures of its checks.

    Raises RunError for an adapter that does not fit the base, ResultError, and leaves no folder, if
    a written layer is not the mix.
    """
    disable_progress_bar()  # log.txt is read by people
    job.emit(events.STAGE, name="model", detail=str(job.base_files.folder))
    layers = list(_layers(job))
    job.emit(events.STAGE, name="mix", detail=str(len(layers)))
    factors: dict[str, Factors] = {}
    for number, layer in enumerate(layers, start=1):
        factors[layer.name] = _factors(layer, job)
        job.emit(events.MIXING, done=number, of=len(layers))
    report = _report(factors)
    is_large = report["error"] > LARGE_ERROR
    job.emit(
        events.WARNING if is_large else events.NOTE,
        message=_error_message(report, is_large=is_large),
        **({} if is_large else {"key": "lora_rank"}),
    )
    final = folder / run_folder.MODEL
    with temporary_folder(folder) as temporary:
        job.emit(events.STAGE, name="save", detail=run_folder.MODEL)
        _write(job, factors, temporary)
        job.emit(events.STAGE, name="verify", detail=str(final))
        report["parts"] = _verify(job, layers, report, temporary)
        shutil.rmtree(final, ignore_errors=True)
        temporary.rename(final)
    report["shares"] = list(job.rule.shares)
    job.emit(events.MIXED, **report)
    return report


def _layers(job: AdapterMixJob) -> Iterator[MixedLayer]:
    """Yield the layers of all adapters, with the factors as peft reads them on the base."""
    pairs: dict[str, dict[int, Pair]] = {}
    for part, network in enumerate(_networks(load_merge_base(job.base_files), job.adapters)):
        for name, layer in adapted_layers(network).items():
            pairs.setdefault(name, {})[part] = factors_of(layer)
    for name, parts in pairs.items():
        yield MixedLayer(name, tuple(parts), tuple(parts.values()))


def _networks(base_model: Any, adapters: Sequence[Path]) -> Iterator[Any]:
    """Yield the base with each adapter alone: these add to it, and are taken off it again."""
    for adapter in adapters:
        network = attach_adapter(base_model, adapter, adapter_shapes(adapter))
        yield network
        base_model = network.unload()


def _factors(layer: MixedLayer, job: AdapterMixJob) -> Factors:
    rank, is_linear = job.config.lora_rank, job.config.method == "linear"
    if is_linear and (rank is None or sum(layer.ranks) <= rank):
        return layer.stacked(job.rule)
    change = layer.change(job.rule)
    return factorize(lambda: change, RankRule(rank or max(layer.ranks)))


def _report(factors: Mapping[str, Factors]) -> dict[str, Any]:
    layers = {
        name: {"rank": part.rank, "error": error_share(part.lost, part.total)}
        for name, part in factors.items()
    }
    lost = sum(part.lost for part in factors.values())
    total = sum(part.total for part in factors.values())
    return {"layers": layers, "error": error_share(lost, total)}


def _write(job: AdapterMixJob, factors: Mapping[str, Factors], target: Path) -> None:
    """Write the adapter with peft, the tokenizer, and the ends that the trainings added."""
    base_model = load_merge_base(job.base_files)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of peft: tied layers, which are looked at by the checks
        settings = lora_config(base_model, factors, job.base_name, job.revision)
        network = get_peft_model(base_model, settings)
    fill_layers(network, factors, job.dtype)
    network.peft_config["default"].base_model_name_or_path = job.base_name
    network.save_pretrained(str(target), save_embedding_layers=False)
    sort_names(target)
    code = job.config.trust_remote_code
    tokenizer = read_tokenizer(job.tokenizer, trust_remote_code=code)
    if not tokenizer.chat_template:
        base_tokenizer = read_tokenizer(job.base_files.folder, trust_remote_code=code)
        tokenizer.chat_template = base_tokenizer.chat_template
    tokenizer.save_pretrained(str(target))
    write_end_ids(target, added_ends(job.adapters), job.base_files.folder)
    parity.copy_record(job.adapters[0], target, dtype=job.dtype, answers=False)


def _verify(
    job: AdapterMixJob, layers: Sequence[MixedLayer], report: Mapping[str, Any], folder: Path
) -> dict[str, Any]:
    """Load the written adapter onto the base; measure its layers again, and its logits.

    Raises ResultError if a layer is further from the mix than its factors were, or not finite.
    """
    networks = _networks(load_merge_base(job.base_files), [folder, *job.adapters])
    network = next(networks)
    written = adapted_layers(network)
    for layer in layers:
        outside, inside = factors_of(written[layer.name])
        change = layer.change(job.rule)
        error = error_share(lost_energy(change, outside, inside), square(change))
        limit = report["layers"][layer.name]["error"] + ROUNDING + DTYPE_ROUNDING[job.dtype]
        if not error <= limit:  # NaN too
            raise _wrong_layer(layer.name, error, limit)
    prompts = check_prompts(read_tokenizer(folder, trust_remote_code=job.config.trust_remote_code))
    outputs = job.memory.outputs(network, prompts)
    if not all(torch.isfinite(logits).all() for logits in outputs.logits):
        raise _not_finite()
    rows = {}
    for adapter, part in zip(job.adapters, networks, strict=True):
        difference = compare_outputs(job.memory.outputs(part, prompts), outputs)
        rows[str(adapter)] = difference.figures()
        job.emit(events.NOTE, key="outputs", message=_distance(adapter, difference))
    return rows


# ---- messages


def _error_message(report: Mapping[str, Any], *, is_large: bool) -> str:
    layers = report["layers"]
    rank = max(layer["rank"] for layer in layers.values())
    message = text(
        f"{counted(len(layers), 'layer')}, rank {rank}: the error of the factors is "
        f"{report['error']:.2%} of the mixed change",
        f"{len(layers)} 层，秩 {rank}：分解误差为混合变化的 {report['error']:.2%}",
    )
    if not is_large:
        return message
    return message + text(
        "; a larger lora_rank lowers it, and mixing merged models has none",
        "；增大 lora_rank 可减小误差，先合并再混合模型则没有此误差",
    )


def _distance(adapter: Path, difference: Any) -> str:
    return text(
        f"{adapter}: the mix differs by {difference.mean:.2g} in its logits on average "
        f"(at most {difference.maximum:.2g}); {difference.same_answers} of {difference.answers} "
        "greedy answers are equal",
        f"{adapter}：混合结果的 logit 平均相差 {difference.mean:.2g}"
        f"（最大 {difference.maximum:.2g}）；"
        f"{difference.answers} 个贪心回答中 {difference.same_answers} 个相同",
    )


def _wrong_layer(name: str, error: float, limit: float) -> ResultError:
    return ResultError(
        text(
            f"{name} of the written adapter is off by {error:.3g} of the mix (limit {limit:.3g})",
            f"写出的适配器中 {name} 与混合结果相差 {error:.3g}（上限 {limit:.3g}）",
        ),
        hint=text("nothing was written", "未写入任何内容"),
    )


def _not_finite() -> ResultError:
    return ResultError(
        text("the logits of base and mix are not finite", "基座加混合结果的 logit 不是有限值"),
        hint=text(
            "use smaller weights, and look at each adapter alone", "请减小权重，并逐个检查适配器"
        ),
    )
