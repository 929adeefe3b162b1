"""The estimate of a training before it starts: memory, disk, time, and changes that would fit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from swiftbox.config.train import TrainConfig
from swiftbox.data.lengths import Lengths
from swiftbox.devices.machine import Machine
from swiftbox.fit.disk import DiskNeed, disk_need
from swiftbox.fit.duration import DurationEstimate, training_duration
from swiftbox.fit.learned import NOTHING_LEARNED, LearnedLimits
from swiftbox.fit.profile import ModelProfile, profile_model, profile_of_row
from swiftbox.fit.remote_rows import UNCERTAINTY, RemoteRows, all_lengths, remote_rows
from swiftbox.fit.speed import Speed, speed
from swiftbox.fit.training import tuning_kind
from swiftbox.fit.verdict import FitVerdict, assess_fit
from swiftbox.fit.workload import Workload
from swiftbox.formatting import size
from swiftbox.language import text
from swiftbox.models.catalogue import family, model

if TYPE_CHECKING:  # of what does not fit alone
    from swiftbox.fit.proposals import Proposal


@dataclass(frozen=True)
class Estimate:
    """What a settled config needs; `proposal` is set only if it does not fit."""

    verdict: FitVerdict
    disk: DiskNeed
    disk_free: float
    speed: Speed | None
    proposal: Proposal | None
    duration: DurationEstimate | None = None
    more_devices: Proposal | None = None
    """More devices of this kind that would suffice, if no cheap change does."""
    other_modalities: str = ""
    """Other modalities of the model, such as image, which are not counted."""

    def lines(self) -> list[str]:
        """Describe the verdict, the memory, changes that would fit, disk, speed and time."""
        lines = [self.verdict.line(), f"  {self.verdict.why()}"]
        lines += [f"  {line}" for line in self.verdict.learned.lines()]
        if self.verdict.outcome != "fits":
            lines += self._proposal_lines()
        if self.other_modalities:
            lines.append(
                text(
                    f"  for text rows only; {self.other_modalities} in the rows is not counted",
                    f"  仅按文本数据估计；未计入数据中的 {self.other_modalities}",
                )
            )
        lines.append(self._disk_line())
        if self.speed is not None:
            tokens, factor = self.speed.tokens_per_s, self.speed.uncertainty
            tokens_text = f"{tokens:,.0f}" if tokens >= 10 else f"{tokens:.2g}"
            lines.append(
                text(
                    f"speed: about {tokens_text} tokens/s (within a factor of {factor:g})",
                    f"速度：约 {tokens_text} token/秒（误差 {factor:g} 倍以内）",
                )
            )
        if self.duration is not None:
            lines.append(self.duration.line())
        return lines

    def _proposal_lines(self) -> list[str]:
        head = text("  what would fit:", "  可行的改动：")
        more_devices = self.more_devices
        if self.proposal is None and more_devices is None:
            return [f"{head} {text('no known change', '未找到')}"]
        lines = [head]
        if self.proposal is not None:
            lines += [f"    {self.proposal.settings()}", f"    {self.proposal.verdict.line()}"]
        if more_devices is not None:
            count = more_devices.changes["num_devices"]
            changes = " ".join(
                f"{k}={v}" for k, v in more_devices.changes.items() if k != "num_devices"
            )
            lines += [
                text(
                    f"    or {count} such devices, {changes}",
                    f"    或 {count} 个同样的设备，{changes}",
                ),
                f"    {more_devices.verdict.line()}",
            ]
        return lines

    def _disk_line(self) -> str:
        need, free = size(self.disk.total), size(self.disk_free)
        heading = text("disk: ", "磁盘：")
        if self.disk.total > self.disk_free:
            heading += text("too small: ", "空间不足：")
        parts = {
            text("download", "下载"): self.disk.download,
            text("rows about", "数据约"): self.disk.data,
            text("checkpoints", "检查点"): self.disk.checkpoints,
            text("result", "结果"): self.disk.result,
        }
        listed = text(", ", "，").join(
            f"{name} {size(part_bytes)}" for name, part_bytes in parts.items() if part_bytes
        )
        names = text(", ", "、").join(self.disk.uncounted)
        uncounted = text(f"; not counted: {names}", f"；未计入：{names}") if names else ""
        needed = text(
            f"{need} to write ({listed}), {free} free", f"将写入 {need}（{listed}），剩余 {free}"
        )
        return heading + needed + uncounted

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            **self.verdict.to_dict(),
            "disk": self.disk.to_dict(),
            "tokens_per_s": float(f"{self.speed.tokens_per_s:.3g}") if self.speed else None,
            **(self.duration.to_dict() if self.duration else {"tokens": None, "seconds": None}),
            "proposal": dict(self.proposal.changes) if self.proposal else None,
            "more_devices": dict(self.more_devices.changes) if self.more_devices else None,
        }


def estimate(
    config: TrainConfig,
    machine: Machine,
    lengths: Lengths | None = None,
    model: ModelProfile | None = None,
    learned: LearnedLimits = NOTHING_LEARNED,
) -> Estimate | None:
    """Estimate a settled config; None if nothing is known about the model.

    `lengths` are those of the rows on this machine; datasets on a hub are estimated from the
    catalogue's numbers of rows, and without such a number there is no duration. `model` describes
    a model that an earlier step of a pipeline will make, `learned` what earlier runs needed.
    """
    profile = model or profile_model(config.model)
    if profile is None:
        return None
    remote = remote_rows(config)
    lengths = all_lengths(remote, lengths)
    verdict = assess_fit(config, profile, machine, lengths, learned)
    proposal = more_devices = None
    if verdict.outcome != "fits":
        from swiftbox.fit.proposals import CHEAP, propose, with_more_devices

        workload = Workload(profile, lengths, learned)
        proposal = propose(config, profile, machine, workload, smaller_models)
        if proposal is None or not proposal.changes.keys() <= CHEAP:
            more_devices = with_more_devices(config, profile, machine, lengths)
    count = verdict.devices if machine.devices else 1
    kind = tuning_kind(config)
    speed_estimate = speed(profile.shape, kind, machine, count)
    return Estimate(
        verdict,
        disk_need(config, profile, remote),
        float(machine.disk_free_bytes),
        speed_estimate,
        proposal,
        _duration(config, lengths, remote, speed_estimate, (kind, count)),
        more_devices,
        _other_modalities(config.model),
    )


def _duration(
    config: TrainConfig,
    lengths: Lengths | None,
    remote: RemoteRows,
    speed_estimate: Speed | None,
    tuning: tuple[str, int],
) -> DurationEstimate | None:
    """Return the duration; assumed lengths of rows on a hub increase the uncertainty."""
    if lengths is None or speed_estimate is None:
        return None
    estimated = training_duration(config, lengths, speed_estimate, *tuning)
    if estimated is None or not remote.rows:
        return estimated
    return replace(estimated, uncertainty=estimated.uncertainty * UNCERTAINTY, guessed=True)


def _other_modalities(name: str) -> str:
    """Return the modalities other than text that a model reads, from the catalogue."""
    row = model(name)
    modalities = row.modality.split("+") if row is not None else []
    return ", ".join(modality for modality in modalities if modality != "text")


def smaller_models(name: str) -> Iterator[tuple[str, ModelProfile]]:
    """Yield the catalogue's smaller models of the same family and kind, the largest first."""
    model_row = model(name)
    if model_row is None or not model_row.params_b:
        return
    candidates = [
        row
        for row in family(model_row.family)
        if row.modality == model_row.modality
        and row.kind == model_row.kind
        and row.quant == model_row.quant
        and (row.params_b or 0) < model_row.params_b
    ]
    for row in sorted(candidates, key=lambda row: (-(row.params_b or 0), row.id)):
        profile = profile_of_row(row)
        if profile is not None:
            yield row.name, profile
