"""Several models of one architecture mixed into one, tensor by tensor from file to file.

No model is loaded for it: one tensor of each model is in memory, and the file that is being filled.
What was written is read again and compared bit by bit; then the class loads it and answers.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from transformers.utils.logging import disable_progress_bar

from swiftbox.config.mix import MixConfig
from swiftbox.core.generation import parity
from swiftbox.core.weights.cast import WeightTypes, copy_companions, temporary_folder
from swiftbox.core.weights.compare import check_prompts, compare_outputs
from swiftbox.core.weights.load import read_tokenizer
from swiftbox.core.weights.merge_bases import BaseFiles, load_merge_base
from swiftbox.core.weights.merge_memory import MergeMemory
from swiftbox.core.weights.mixing import MixRule
from swiftbox.core.weights.placement import INDEX, SINGLE_FILE, tensor_files
from swiftbox.errors import ResultError, RunError
from swiftbox.files import read_json, write_json
from swiftbox.language import text
from swiftbox.runs import events
from swiftbox.runs import folder as run_folder
from swiftbox.runs.events import Emit

DTYPE_KEYS = ("dtype", "torch_dtype")
"""Keys of config.json: transformers loads weights in the type that one of them names."""

FILE = "model-{:05d}-of-{:05d}.safetensors"


@dataclass(frozen=True)
class MixJob:
    """What is mixed: local folders, their number types, and what is emitted on the way."""

    models: tuple[Path, ...]
    base_model: Path | None
    """The base, if changes from it are mixed."""
    stored: tuple[WeightTypes, ...]
    types: WeightTypes
    """The number types that are written."""
    tied: frozenset[str]
    """Tensors that are left out, since not all models store them and others have the values."""
    config: MixConfig
    memory: MergeMemory
    emit: Emit

    @property
    def rule(self) -> MixRule:
        """Return how the weights are mixed."""
        config = self.config
        return MixRule(config.method, config.shares, config.density, config.seed)


@torch.no_grad()  # type: ignore[untyped-decorator]  # torch is not read by mypy
def mix_models(job: MixJob, folder: Path) -> dict[str, Any]:
    """Write the mixed model into the folder of a run; return the figures of its checks.

    Raises RunError for tensors that cannot be mixed, ResultError, and leaves no folder, if the
    written model is not the mix or does not answer.
    """
    disable_progress_bar()  # log.txt is read by people
    final = folder / run_folder.MODEL
    with temporary_folder(folder) as temporary:
        job.emit(events.STAGE, name="mix", detail=str(len(job.models)))
        digests = _write_weights(job, temporary)
        _write_companions(job, temporary)
        job.emit(events.STAGE, name="verify", detail=str(final))
        _require_written(temporary, digests)
        report = _compare_models(job, temporary)
        shutil.rmtree(final, ignore_errors=True)
        temporary.rename(final)
    report["bytes"] = sum(file.stat().st_size for file in final.rglob("*") if file.is_file())
    report["files"] = sorted(file.name for file in final.glob("*.safetensors"))
    job.emit(events.MIXED, **report)
    return report


# ---- weights


def _write_weights(job: MixJob, target: Path) -> dict[str, str]:
    """Write the mixed tensors in files of the size that is set; return the digest of each."""
    sources = [tensor_files(folder) for folder in job.models]
    base_files = tensor_files(job.base_model) if job.base_model else None
    names = [name for name in sorted(sources[0]) if name not in job.tied]
    digests: dict[str, str] = {}
    groups: list[list[str]] = []
    shard: dict[str, torch.Tensor] = {}
    limit, size = job.config.shard_bytes, 0
    for number, name in enumerate(names, start=1):
        tensor = _mixed(job, name, [files[name] for files in sources], base_files)
        if shard and size + tensor.nbytes > limit:
            groups.append(_save(shard, target, len(groups)))
            shard, size = {}, 0
        shard[name] = tensor
        size += tensor.nbytes
        digests[name] = digest_of(tensor)
        job.emit(events.MIXING, done=number, of=len(names))
    groups.append(_save(shard, target, len(groups)))
    _name_files(groups, target)
    return digests


def _mixed(
    job: MixJob, name: str, files: Sequence[Path], base_files: Mapping[str, Path] | None
) -> torch.Tensor:
    tensors = [_read(name, file) for file in files]
    if not tensors[0].is_floating_point():
        if any(not torch.equal(tensors[0], other) for other in tensors[1:]):
            raise _different_numbers(name)
        return tensors[0]
    values = [tensor.float() for tensor in tensors]
    if base_files is None:
        mixed = job.rule.values(values)
    else:
        before = _read(name, base_files[name]).float()
        deltas = [value - before for value in values]
        del values
        mixed = before + job.rule.changes(name, deltas, range(len(deltas)))
    cast = mixed.to(getattr(torch, job.types.of(name))).contiguous()
    if not torch.isfinite(cast).all():
        raise _not_finite(name, job.types.of(name))
    return cast


def _read(name: str, file: Path) -> torch.Tensor:
    with safe_open(file, framework="pt") as content:
        tensor: torch.Tensor = content.get_tensor(name)
    return tensor


def _save(shard: Mapping[str, torch.Tensor], target: Path, number: int) -> list[str]:
    save_file(dict(shard), target / FILE.format(number + 1, 0), metadata={"format": "pt"})
    return list(shard)


def _name_files(groups: Sequence[Sequence[str]], target: Path) -> None:
    """Give the files their final names, and write the index of several."""
    files = [target / FILE.format(number + 1, 0) for number in range(len(groups))]
    if len(files) == 1:
        files[0].rename(target / SINGLE_FILE)
        return
    names = [FILE.format(number + 1, len(files)) for number in range(len(files))]
    total = 0
    for file, name in zip(files, names, strict=True):
        total += file.stat().st_size
        file.rename(target / name)
    places = {name: file for group, file in zip(groups, names, strict=True) for name in group}
    write_json(target / INDEX, {"metadata": {"total_size": total}, "weight_map": places})


def digest_of(tensor: torch.Tensor) -> str:
    """Return the hash of a tensor's bytes, type and shape."""
    digest = hashlib.sha256(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
    if tensor.numel():
        digest.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _write_companions(job: MixJob, target: Path) -> None:
    """Write the first model's tokenizer, config.json and other files."""
    first, code = job.models[0], job.config.trust_remote_code
    settings = read_json(first / "config.json")
    _set_dtype(settings, job.types.default)
    write_json(target / "config.json", settings)
    copy_companions(first, target, code=code)
    read_tokenizer(first, trust_remote_code=code).save_pretrained(str(target))
    parity.copy_record(first, target, dtype=job.types.default, answers=False)


def _set_dtype(settings: dict[str, Any], dtype: str) -> None:
    """Name the number type of the weights wherever a config names one, also those of its parts."""
    for key, value in settings.items():
        if key in DTYPE_KEYS and isinstance(value, str):
            settings[key] = dtype
        elif isinstance(value, dict):
            _set_dtype(value, dtype)


# ---- checks


def _require_written(folder: Path, digests: Mapping[str, str]) -> None:
    files = tensor_files(folder)
    wrong = [name for name in digests if name not in files or not _is_same(name, files, digests)]
    if wrong or len(files) != len(digests):
        name = wrong[0] if wrong else next(iter(files.keys() - digests.keys()))
        raise ResultError(
            text(f"{name} was not written as it was mixed", f"{name} 的写出内容与混合结果不同"),
            hint=text(
                "nothing was kept; check the disk, and run it again",
                "未保留任何内容；请检查磁盘后重试",
            ),
        )


def _is_same(name: str, files: Mapping[str, Path], digests: Mapping[str, str]) -> bool:
    return digest_of(_read(name, files[name])) == digests[name]


def _compare_models(job: MixJob, folder: Path) -> dict[str, Any]:
    """Load the written model by its class; return how far its logits are from each part's."""
    code = job.config.trust_remote_code
    prompts = check_prompts(read_tokenizer(folder, trust_remote_code=code))
    written = BaseFiles(folder, job.types, trust_remote_code=code)
    outputs = job.memory.outputs(load_merge_base(written), prompts)
    if not all(torch.isfinite(logits).all() for logits in outputs.logits):
        raise ResultError(
            text("the mixed model's logits are not finite", "混合模型的 logit 不是有限值"),
            hint=text("use smaller weights, or dtype: float32", "请减小权重，或设 dtype: float32"),
        )
    rows = {}
    for model, types in zip(job.models, job.stored, strict=True):
        part = load_merge_base(BaseFiles(model, types, trust_remote_code=code))
        difference = compare_outputs(job.memory.outputs(part, prompts), outputs)
        rows[str(model)] = difference.figures()
        job.emit(events.NOTE, key="outputs", message=_distance(str(model), difference))
    return {"parts": rows, "shares": list(job.rule.shares)}


def _distance(name: str, difference: Any) -> str:
    return text(
        f"{name}: the mix differs by {difference.mean:.2g} in its logits on average "
        f"(at most {difference.maximum:.2g}); {difference.same_answers} of {difference.answers} "
        "greedy answers are equal",
        f"{name}：混合模型的 logit 平均相差 {difference.mean:.2g}"
        f"（最大 {difference.maximum:.2g}）；"
        f"{difference.answers} 个贪心回答中 {difference.same_answers} 个相同",
    )


def _different_numbers(name: str) -> RunError:
    return RunError(
        text(
            f"{name} holds whole numbers that differ between the models",
            f"{name} 是整数张量，各模型的值不同",
        ),
        hint=text("give models of one architecture", "请给出同一架构的模型"),
    )


def _not_finite(name: str, dtype: str) -> ResultError:
    return ResultError(
        text(
            f"{name} is not finite in {dtype}: a part holds NaN, or the mix exceeds the range",
            f"{name} 在 {dtype} 中不是有限值：某个部分含 NaN，或超出范围",
        ),
        hint=text("set dtype: bfloat16 or float32", "设 dtype: bfloat16 或 float32"),
    )
