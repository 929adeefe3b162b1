"""Everything that can be said of a training before it starts: memory, disk, time, and a cure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from swiftbox.config.train import TrainConfig
from swiftbox.data.lengths import Lengths
from swiftbox.devices.machine import Machine
from swiftbox.fit.disk import Disk, disk_of
from swiftbox.fit.duration import Duration, duration
from swiftbox.fit.proposals import Proposal, propose
from swiftbox.fit.source import Found, find_shape, of_row
from swiftbox.fit.speed import Speed, speed
from swiftbox.fit.training import kind_of
from swiftbox.fit.verdict import GIB, Verdict, judge
from swiftbox.hub.catalogue import model, models
from swiftbox.language import text


@dataclass(frozen=True)
class Estimate:
    """What a settled config needs; `proposal` only where it does not fit."""

    verdict: Verdict
    disk: Disk
    disk_free: float
    speed: Speed | None
    proposal: Proposal | None
    duration: Duration | None = None

    def lines(self) -> list[str]:
        """Say it: the verdict, what takes the memory, the cure, disk and speed."""
        found = [self.verdict.line(), f"  {self.verdict.why()}"]
        if self.verdict.word != "fits":
            found += self._cure()
        found.append(self._disk_line())
        if self.speed is not None:
            tokens, factor = self.speed.tokens_per_s, self.speed.uncertain
            rate = f"{tokens:,.0f}" if tokens >= 10 else f"{tokens:.2g}"
            found.append(
                text(
                    f"speed: about {rate} tokens/s (within a factor of {factor:g})",
                    f"速度：约 {rate} token/秒（误差 {factor:g} 倍以内）",
                )
            )
        if self.duration is not None:
            found.append(self.duration.line())
        return found

    def _cure(self) -> list[str]:
        head = text("  what would fit:", "  可行的改动：")
        if self.proposal is None:
            return [f"{head} {text('nothing that is known here', '未找到')}"]
        return [head, f"    {self.proposal.settings()}", f"    {self.proposal.verdict.line()}"]

    def _disk_line(self) -> str:
        need, free = self.disk.total / GIB, self.disk_free / GIB
        word = text("disk: ", "磁盘：")
        if self.disk.total > self.disk_free:
            word += text("too small: ", "空间不足：")
        return word + text(
            f"{need:.1f} GiB to be written (download {self.disk.download / GIB:.1f}, checkpoints "
            f"{self.disk.checkpoints / GIB:.1f}, result {self.disk.result / GIB:.1f}), "
            f"{free:.1f} GiB free",
            f"将写入 {need:.1f} GiB（下载 {self.disk.download / GIB:.1f}，检查点 "
            f"{self.disk.checkpoints / GIB:.1f}，结果 {self.disk.result / GIB:.1f}），"
            f"剩余 {free:.1f} GiB",
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, as JSON takes it."""
        return {
            **self.verdict.to_dict(),
            "disk": self.disk.to_dict(),
            "tokens_per_s": round(self.speed.tokens_per_s) if self.speed else None,
            **(self.duration.to_dict() if self.duration else {"tokens": None, "seconds": None}),
            "proposal": dict(self.proposal.changes) if self.proposal else None,
        }


def estimate(
    config: TrainConfig,
    machine: Machine,
    lengths: Lengths | None = None,
    model: Found | None = None,
) -> Estimate | None:
    """Estimate a settled config; None where nothing is known of the model.

    Without the lengths of the rows, of a dataset that is not here yet, the time is left out.
    `model` is what is known of a model that is still to be made.
    """
    found = model or find_shape(config.model)
    if found is None:
        return None
    verdict = judge(config, found.shape, machine, exact=found.exact, quantized=found.quantized)
    proposal = None
    if verdict.word != "fits":
        proposal = propose(config, found, machine, smaller_models)
    count = verdict.devices if machine.devices else 1
    kind = kind_of(config)
    pace = speed(found.shape, kind, machine, count)
    return Estimate(
        verdict,
        disk_of(config, found),
        float(machine.disk_free_bytes),
        pace,
        proposal,
        duration(config, lengths, pace, kind, count) if lengths and pace else None,
    )


def smaller_models(name: str) -> Iterator[tuple[str, Found]]:
    """Yield the catalogue's models of the same family and kind, the largest first."""
    own = model(name)
    if own is None or not own.params_b:
        return
    alike = [
        one
        for one in models()
        if one.family == own.family
        and one.modality == own.modality
        and one.kind == own.kind
        and one.quant == own.quant
        and (one.params_b or 0) < own.params_b
    ]
    for one in sorted(alike, key=lambda one: (-(one.params_b or 0), one.id)):
        found = of_row(one)
        if found is not None:
            yield one.name, found
