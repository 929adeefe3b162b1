"""The trainings that are measured, in the order of what they are worth."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

TOKENS_PER_UPDATE = 32_768
CHAT_ROWS = 32
WARM_UP_UPDATES = 2
PACKED = 2048


@dataclass(frozen=True)
class TrainingJob:
    """One training: model size, tuner, stage, and the kind of its rows."""

    size: str
    tuner: str
    stage: str
    kind: str
    """Tokens per row, or chat: the mixture."""
    rows: int
    """Rows (pairs) per update."""
    updates: int
    padding_free: bool = False
    """TRL only: join the rows of a batch instead of padding them."""
    packing: bool = False
    """TRL only: join rows of the dataset to lines of PACKED tokens before training."""
    keys: tuple[tuple[str, str | bool], ...] = ()
    """Ours only: settings that are not auto."""
    settled: tuple[tuple[str, bool | int], ...] = ()
    """TRL only: the batch and the other settings of a repeated pass; empty: find the fastest."""

    @property
    def name(self) -> str:
        """Return the name of the job in the table."""
        unit = "chat mixture" if self.kind == "chat" else f"{int(self.kind):,} tokens"
        settings = "".join(f", {key}: {str(value).lower()}" for key, value in self.keys)
        return f"{self.stage} {self.tuner} {self.size}, {unit}{settings}"

    def to_json(self) -> str:
        """Return the job as a line of JSON."""
        return json.dumps(asdict(self))


def job(size: str, tuner: str, kind: str, *, stage: str = "sft", tiny: bool = False) -> TrainingJob:
    """Return a job whose updates have the same number of tokens for every length."""
    if tiny:
        kind = "chat" if kind == "chat" else "96"
        return TrainingJob(size, tuner, stage, kind, 4, WARM_UP_UPDATES + 1)
    per_row = 1024 if kind == "chat" else int(kind)
    rows = CHAT_ROWS if kind == "chat" else max(4, TOKENS_PER_UPDATE // per_row)
    if stage == "dpo":
        rows = max(2, rows // 4)
    return TrainingJob(size, tuner, stage, kind, rows, 12 if kind == "chat" else 6)


def compared_jobs(*, tiny: bool) -> list[TrainingJob]:
    """Return the jobs that both sides run: those with a target."""
    chat = job("1.7B", "lora", "chat", tiny=tiny)
    pairs = job("1.7B", "lora", "1024", stage="dpo", tiny=tiny)
    if tiny:
        return [chat, pairs]
    return [chat, job("8B", "lora", "2048"), pairs, job("1.7B", "lora", "2048")]


def our_jobs(*, tiny: bool) -> Iterator[TrainingJob]:
    """Yield the jobs that only we run: rates, peaks, and the estimate against both."""
    if tiny:
        yield job("0.6B", "full", "512", tiny=True)
        yield job("0.6B", "qlora", "512", tiny=True)
        return
    for tuner, size, kind in (
        ("qlora", "8B", "2048"),
        ("full", "1.7B", "2048"),
        ("lora", "0.6B", "512"),
        ("lora", "4B", "chat"),
        ("lora", "1.7B", "8192"),
        ("qlora", "4B", "chat"),
        ("full", "0.6B", "chat"),
        ("lora", "8B", "512"),
        ("lora", "8B", "8192"),
        ("lora", "0.6B", "2048"),
        ("qlora", "1.7B", "512"),
        ("full", "1.7B", "8192"),
        ("qlora", "8B", "8192"),
        ("full", "0.6B", "512"),
        ("lora", "8B", "chat"),
        ("lora", "4B", "8192"),
    ):
        yield job(size, tuner, kind)
        if (tuner, size) == ("full", "1.7B") and kind == "2048":
            yield job("4B", "lora", "1024", stage="dpo")


KEYS: tuple[tuple[tuple[str, str | bool], ...], ...] = (
    (),
    (("use_liger_kernel", True),),
    (("gradient_checkpointing", "false"),),
    (("gradient_checkpointing", "selective"),),
    (("gradient_checkpointing", "true"),),
    (("activation_offload", True),),
    (("torch_compile", True),),
)
"""Settings that save time or memory, each compared with what auto chooses."""


def key_jobs(*, tiny: bool) -> Iterator[TrainingJob]:
    """Yield one job with each of the settings, and pairs whose references are precomputed."""
    plain = job("1.7B", "lora", "2048", tiny=tiny)
    on_cpu = [(), (("gradient_checkpointing", "selective"),)]
    for keys in on_cpu if tiny else KEYS:
        yield replace(plain, keys=keys)
    pairs = job("1.7B", "lora", "1024", stage="dpo", tiny=tiny)
    yield replace(pairs, keys=(("precompute_ref_log_probs", "true"),))
