"""Everything that can be said of a training before it starts: memory, disk, time, and a cure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from swiftbox.config.train import TrainConfig
from swiftbox.data.lengths import Lengths
from swiftbox.devices.machine import Machine
from swiftbox.fit.disk import DiskNeed, disk_need
from swiftbox.fit.duration import Duration, training_duration
from swiftbox.fit.profile import ModelProfile, profile_model, profile_of_row
from swiftbox.fit.proposals import CHEAP, Proposal, propose, with_more_devices
from swiftbox.fit.remote_rows import UNCERTAIN, RemoteRows, remote_rows
from swiftbox.fit.speed import Speed, speed
from swiftbox.fit.training import tuning_kind
from swiftbox.fit.verdict import GIB, FitVerdict, assess_fit
from swiftbox.language import text
from swiftbox.models.catalogue import family, model


@dataclass(frozen=True)
class Estimate:
    """What a settled config needs; `proposal` only where it does not fit."""

    verdict: FitVerdict
    disk: DiskNeed
    disk_free: float
    speed: Speed | None
    proposal: Proposal | None
    duration: Duration | None = None
    more_devices: Proposal | None = None
    """How many more devices of this kind would do, where nothing cheap on these does."""
    other_modalities: str = ""
    """Other senses of the model, such as image, which no term stands for."""

    def lines(self) -> list[str]:
        """Say it: the verdict, what takes the memory, the cure, disk and speed."""
        found = [self.verdict.line(), f"  {self.verdict.why()}"]
        if self.verdict.outcome != "fits":
            found += self._cure()
        if self.other_modalities:
            found.append(
                text(
                    f"  for text rows only; {self.other_modalities} in the rows is not counted",
                    f"  仅按文本数据估计；未计入数据中的 {self.other_modalities}",
                )
            )
        found.append(self._disk_line())
        if self.speed is not None:
            tokens, factor = self.speed.tokens_per_s, self.speed.uncertainty
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
        more = self.more_devices
        if self.proposal is None and more is None:
            return [f"{head} {text('nothing that is known here', '未找到')}"]
        lines = [head]
        if self.proposal is not None:
            lines += [f"    {self.proposal.settings()}", f"    {self.proposal.verdict.line()}"]
        if more is not None:
            count = more.changes["num_devices"]
            how = " ".join(f"{k}={v}" for k, v in more.changes.items() if k != "num_devices")
            lines += [
                text(f"    or {count} such devices, {how}", f"    或 {count} 个同样的设备，{how}"),
                f"    {more.verdict.line()}",
            ]
        return lines

    def _disk_line(self) -> str:
        need, free = self.disk.total / GIB, self.disk_free / GIB
        word = text("disk: ", "磁盘：")
        if self.disk.total > self.disk_free:
            word += text("too small: ", "空间不足：")
        parts = {
            text("download", "下载"): self.disk.download,
            text("rows about", "数据约"): self.disk.data,
            text("checkpoints", "检查点"): self.disk.checkpoints,
            text("result", "结果"): self.disk.result,
        }
        shown = ", ".join(
            f"{name} {size / GIB:.1f}"
            for name, size in parts.items()
            if size > 0.05 * GIB or size != self.disk.data
        )
        names = ", ".join(self.disk.uncounted)
        return (
            word
            + text(
                f"{need:.1f} GiB to be written ({shown}), {free:.1f} GiB free",
                f"将写入 {need:.1f} GiB（{shown}），剩余 {free:.1f} GiB",
            )
            + (text(f"; not counted: {names}", f"；未计入：{names}") if names else "")
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, as JSON takes it."""
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
) -> Estimate | None:
    """Estimate a settled config; None where nothing is known of the model.

    `lengths` are those of the rows that are here; of datasets still on a hub the catalogue's
    number of rows makes a guess, and where there is none the time is left out. `model` is what is
    known of a model that is still to be made.
    """
    found = model or profile_model(config.model)
    if found is None:
        return None
    verdict = assess_fit(config, found.shape, machine, exact=found.exact, quantized=found.quantized)
    proposal = more = None
    if verdict.outcome != "fits":
        proposal = propose(config, found, machine, smaller_models)
        if proposal is None or not proposal.changes.keys() <= CHEAP:
            more = with_more_devices(config, found, machine)
    count = verdict.devices if machine.devices else 1
    kind = tuning_kind(config)
    pace = speed(found.shape, kind, machine, count)
    fetched = remote_rows(config)
    return Estimate(
        verdict,
        disk_need(config, found, fetched),
        float(machine.disk_free_bytes),
        pace,
        proposal,
        _duration(config, lengths, fetched, pace, (kind, count)),
        more,
        _unseen(config.model),
    )


def _duration(
    config: TrainConfig,
    here: Lengths | None,
    fetched: RemoteRows,
    pace: Speed | None,
    how: tuple[str, int],
) -> Duration | None:
    """Return the time; rows that are still on a hub are guessed, and widen what is uncertain."""
    lengths = fetched.lengths(here) if fetched.rows or fetched.unknown else here
    if lengths is None or pace is None:
        return None
    found = training_duration(config, lengths, pace, *how)
    if found is None or not fetched.rows:
        return found
    return replace(found, uncertainty=found.uncertainty * UNCERTAIN, guessed=True)


def _unseen(name: str) -> str:
    """Return what a model reads beside text, by the catalogue."""
    row = model(name)
    senses = row.modality.split("+") if row is not None else []
    return ", ".join(one for one in senses if one != "text")


def smaller_models(name: str) -> Iterator[tuple[str, ModelProfile]]:
    """Yield the catalogue's models of the same family and kind, the largest first."""
    own = model(name)
    if own is None or not own.params_b:
        return
    alike = [
        one
        for one in family(own.family)
        if one.modality == own.modality
        and one.kind == own.kind
        and one.quant == own.quant
        and (one.params_b or 0) < own.params_b
    ]
    for one in sorted(alike, key=lambda one: (-(one.params_b or 0), one.id)):
        found = profile_of_row(one)
        if found is not None:
            yield one.name, found
