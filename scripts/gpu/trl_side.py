"""TRL's side of a comparison at its best settings: the largest batch that fits, Liger, flash."""

from __future__ import annotations

import contextlib
import importlib.util
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from gpu.models import model_folder
from gpu.our_side import rates, write_rows
from gpu.settings import Settings
from gpu.timing import free_memory, peak_bytes
from gpu.training_jobs import PACKED, TrainingJob

TOKENS_AT_ONCE = {"0.6B": 32_768, "1.7B": 16_384, "4B": 8_192, "8B": 8_192}
"""Of the first attempt: what about fits on 80 GB without recomputation."""


RECOMPUTED_FACTOR = 4
"""How many times more tokens fit with recomputation, about."""

MEAN_CHAT = 300
"""Tokens of a row of the mixture, about."""


def attention() -> str:
    """Return the fastest attention that is installed."""
    installed = importlib.util.find_spec("flash_attn") is not None
    return "flash_attention_2" if installed and torch.cuda.is_available() else "sdpa"


def has_liger() -> bool:
    """Return whether Liger's kernels can be used."""
    return importlib.util.find_spec("liger_kernel") is not None and torch.cuda.is_available()


def train(job: TrainingJob, settings: Settings, out: Path) -> dict[str, Any]:
    """Train with each of the settings that may be best; return the fastest, and all of them.

    `tried` has the rate and the peak of every setting that fits.
    """
    failures: list[str] = []
    results: list[dict[str, Any]] = []
    for liger in (True, False) if has_liger() else (False,):
        for checkpointing in (False, True):
            result = largest_that_fits((job, settings, out), (liger, checkpointing), failures)
            if result is not None:
                results.append(result)
        if results:
            break
    if not results:
        raise torch.OutOfMemoryError("; ".join(failures))
    tried = [{key: result[key] for key in TRIED} for result in results]
    fastest = max(results, key=lambda result: float(result["rows_per_s"]))
    return {**fastest, "tried": tried, "failures": failures}


TRIED = ("settled", "rows_per_s", "peak_bytes")


def largest_that_fits(
    case: tuple[TrainingJob, Settings, Path], choices: tuple[bool, bool], failures: list[str]
) -> dict[str, Any] | None:
    """Train with the largest batch that fits; None if none does, or if Liger fails.

    A later pass names the fastest setting in `job.settled`, and no other is tried.
    """
    job, settings, out = case
    for options in attempts(job, *choices):
        try:
            return {**attempt(job, settings, out, options), "settled": options}
        except torch.OutOfMemoryError:
            failures.append(f"out of memory: {options}")
        except Exception as error:  # Liger does not know every loss and adapter
            if not options["use_liger_kernel"]:
                raise
            failures.append(f"{type(error).__name__}: {str(error)[:200]}: {options}")
            return None
        finally:
            free_memory(settings.device)
    return None


def attempts(job: TrainingJob, liger: bool, checkpointing: bool) -> Iterator[dict[str, Any]]:
    """Yield batch sizes, the largest first; only the settled one in a later pass."""
    if job.settled:
        options = dict(job.settled)
        if (options["use_liger_kernel"], options["gradient_checkpointing"]) == (
            liger,
            checkpointing,
        ):
            yield options
        return
    length = 512 if job.kind == "chat" else int(job.kind)
    rows = job.rows
    if job.packing:  # about as many tokens per update
        length, rows = PACKED, max(1, job.rows * MEAN_CHAT // PACKED)
    tokens = TOKENS_AT_ONCE[job.size] * (RECOMPUTED_FACTOR if checkpointing else 1)
    batch = max(1, min(rows, tokens // length))
    while batch >= 1:
        yield {
            "per_device_train_batch_size": batch,
            "gradient_accumulation_steps": max(1, rows // batch),
            "gradient_checkpointing": checkpointing,
            "use_liger_kernel": liger,
        }
        batch //= 2


def attempt(
    job: TrainingJob, settings: Settings, out: Path, chosen: Mapping[str, Any]
) -> dict[str, Any]:
    """Train once; raise torch.OutOfMemoryError if it does not fit."""
    free_memory(settings.device)
    watcher = Watcher()
    began = time.time()
    options = {**common_options(job, settings, out), **chosen}
    trainer = trainer_of(job, settings, options, watcher)
    with contextlib.suppress(AttributeError):
        trainer.model.config.use_cache = False
    trainer.train()
    rate = rates(watcher.stamps, job)
    if job.packing:  # the update has lines; of each line, the rows that it joins count
        lines = chosen["per_device_train_batch_size"] * chosen["gradient_accumulation_steps"]
        rows_per_line = job.rows * job.updates / len(trainer.train_dataset)
        rate["rows_per_s"] = lines * rows_per_line / rate["update_s"]
    return {
        **rate,
        "first_step_s": watcher.stamps[0] - began,
        "losses": watcher.losses,
        "peak_bytes": peak_bytes(settings.device),
        "attention": attention(),
    }


class Watcher(TrainerCallback):  # type: ignore[misc]
    """Records when each update ended, and its loss."""

    def __init__(self) -> None:
        self.stamps: list[float] = []
        self.losses: list[float] = []

    def on_log(self, *_: Any, logs: Any = None, **__: Any) -> None:
        """Record an update: logging has just read its loss from the device."""
        if "loss" in (logs or {}):
            self.stamps.append(time.time())
            self.losses.append(logs["loss"])


def common_options(job: TrainingJob, settings: Settings, out: Path) -> dict[str, Any]:
    """Return the options that do not depend on the attempt."""
    return {
        "output_dir": str(out),
        "max_steps": job.updates,
        "learning_rate": 1e-4,
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "use_cpu": settings.device == "cpu",
        "bf16": settings.dtype == "bfloat16",
        "fp16": settings.dtype == "float16",
        "disable_tqdm": True,
        "max_length": PACKED if job.packing else None if job.padding_free else 8192,
    }


def trainer_of(
    job: TrainingJob, settings: Settings, options: Mapping[str, Any], watcher: Watcher
) -> Any:
    """Return TRL's trainer."""
    from datasets import load_dataset
    from peft import LoraConfig
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

    folder = model_folder(job.size, settings)
    data, _ = write_rows(job, settings)
    cache = str(settings.folder / "datasets")
    rows = load_dataset("json", data_files=str(data), split="train", cache_dir=cache)
    if job.stage == "sft":
        rows = rows.map(
            lambda row: {"prompt": row["messages"][:1], "completion": row["messages"][1:]},
            remove_columns=["messages"],
        )
        arguments: Any = SFTConfig(**options, padding_free=job.padding_free, packing=job.packing)
        trainer_class: Any = SFTTrainer
    else:
        arguments, trainer_class = DPOConfig(**options), DPOTrainer
    network = AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=getattr(torch, settings.dtype),
        attn_implementation=attention(),
        device_map={"": settings.device},
    )
    lora = LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM")
    return trainer_class(
        model=network,
        args=arguments,
        train_dataset=rows,
        processing_class=AutoTokenizer.from_pretrained(folder),
        peft_config=lora if job.tuner == "lora" else None,
        callbacks=[watcher],
    )
