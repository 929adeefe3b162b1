"""The fit estimate compared with published peaks; each framework is modelled by its settings.

Rows and shapes are in tests/fit; the formulas of the estimate do not depend on them.
"""

from __future__ import annotations

import argparse
import csv
import re
import statistics
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from swiftbox.devices.accelerators import find_accelerator
from swiftbox.fit.adapters import ATTENTION, EVERY, adapted_width, lora_parameters
from swiftbox.fit.memory import Memory, Recipe, training_memory
from swiftbox.fit.shape import ModelShape, guess_shape, shape_from_dimensions
from swiftbox.fit.speed import UTILIZATION, work_per_token

DATA = Path(__file__).resolve().parent.parent / "tests" / "fit"
GIB = 2**30
Row = Mapping[str, str]

TARGETS: Mapping[str, tuple[str, ...]] = {
    "q,k,v,o": ATTENTION,
    "DEFAULT(attn qkv)": ("q", "k", "v"),
    "q_proj,v_proj": ("q", "v"),
    "query,value": ("q", "v"),
    "attn q,v": ("q", "v"),
    "attention": ATTENTION,
    "q_proj,v_proj,k_proj,o_proj": ATTENTION,
    "query,key,value,projection,mlp,head": EVERY,
}
"""By the text in the row; anything else means all linear layers."""


DYNAMIC_FILL = 0.8
"""Share of length x rows that the longest batch fills when rows are padded to each other."""


def read(name: str) -> list[dict[str, str]]:
    with (DATA / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def shapes() -> dict[str, Row]:
    return {row["model"]: row for row in read("shapes.csv")}


def shape_of(row: Row, known: Mapping[str, Row]) -> ModelShape | None:
    dimensions = known.get(row["model"]) or known.get(row["model"].split("/")[-1])
    if dimensions is None:
        return None
    values: dict[str, Any] = {
        key: int(value)
        for key, value in dimensions.items()
        if key not in ("model", "tied", "gated") and value
    }
    flags = {key: dimensions[key] == "yes" for key in ("tied", "gated")}
    return shape_from_dimensions({**values, **flags}, params=float(row["params_b"]) * 1e9)


def recipe_of(row: Row, shape: ModelShape) -> Recipe:
    """Describe what the framework of the row does, by its code and the notes of the row."""
    method, tool, notes = row["method"], row["tool"], row["notes"]
    length = int(float(row["seq_len"]))
    tokens = length * int(row["micro_batch"])
    if "dynamic padding up to" in notes:
        tokens = round(tokens * DYNAMIC_FILL)
    storage = _storage(method)
    kbit = storage.startswith(("nf4", "int8")) and not (
        "accelerated-peft" in notes or tool.startswith(("litgpt", "QwenLM", "axolotl"))
    )
    values: dict[str, Any] = {
        "tokens": tokens,
        "length": length,
        "weights": storage,
        "outside": "float32" if kbit else "bfloat16",
        "stream_bytes": 4 if kbit else 2,
        "checkpointing": "full" if row["gradient_checkpointing"] == "yes" else "none",
        "attention": "eager" if row["attention"].startswith("eager") else "fused",
        "logit_bytes": _logits(row, kbit=kbit),
        "state_bytes": _state(row["optimizer"]),
    }
    trained = _full if method.startswith("full") else _adapter
    return Recipe(**{**values, **trained(row, shape)})


def _full(row: Row, shape: ModelShape) -> dict[str, Any]:
    """Return what training every weight takes."""
    weight_bytes = 2.0
    updates = row["optimizer"] in ("adamw_torch", "AdamW")
    values: dict[str, Any] = {
        "is_adapter": False,
        "trained": shape.params,
        "master_bytes": weight_bytes,
        "gradient_bytes": weight_bytes,
        "state_bytes": min(_state(row["optimizer"]), 2 * weight_bytes),
        "update_bytes": weight_bytes if updates else 0.0,
    }
    if row["tool"].startswith("QwenLM"):  # DeepSpeed: float32 weights, gradients, states; buckets
        values |= {"gradient_bytes": 6.0, "state_bytes": 12.0, "extra_bytes": 8 * 5e8}
    return values


def _adapter(row: Row, shape: ModelShape) -> dict[str, Any]:
    """Return what training an adapter takes."""
    method, targets = row["method"], TARGETS.get(row["target_modules"], EVERY)
    rank = int(float(row["lora_rank"] or 8))
    values: dict[str, Any] = {
        "trained": lora_parameters(shape, rank, targets),
        "adapted": adapted_width(shape, targets),
    }
    if method.startswith(("prefix", "prompt", "adapter")):  # no layer keeps the input of an adapter
        values |= {"trained": 1e7, "adapted": 0}
    if "pure" in row["dtype"] or row["tool"].startswith("litgpt"):
        values |= {"master_bytes": 2.0, "gradient_bytes": 2.0, "state_bytes": 4.0}
    if method == "lora+emb":
        values["trained"] += 2 * shape.table
    return values


def _storage(method: str) -> str:
    if method.endswith("-dq") or "dq" in method:
        return "nf4-dq"
    if "nf4" in method or "bnb4" in method or "fp4" in method:
        return "nf4"
    if "int8" in method or "8bit" in method:
        return "int8"
    if "gptq" in method or "awq" in method:
        return "int4"
    return "bfloat16"


def _state(optimizer: str) -> float:
    if "4bit" in optimizer.lower():
        return 1.1
    return 2.06 if "8bit" in optimizer.lower() else 8.0


def _logits(row: Row, *, kbit: bool) -> float | None:
    if row["tool"].startswith("litgpt"):
        return 6.0  # chunks of logits are kept for the backward pass, in 16 bits and float32
    if row["liger_or_fused_ce"] == "yes":
        return None
    if "foak" in row["notes"]:
        return 8.0  # cross entropy whose gradient overwrites the logits
    return 16.0 if kbit else 14.0


def measured(row: Row) -> float:
    return float(row["peak_gib"]) * (1e9 if "1e9" in row["unit_as_published"] else GIB)


def predicted(memory: Memory, row: Row) -> float:
    """Return what the measuring tool of the row would have reported."""
    kind = row["peak_kind"]
    if kind == "allocated":
        return memory.allocated
    context = 0.4 * GIB if kind in ("nvidia-smi", "nvidia-smi-like", "unknown") else 0.0
    return memory.allocated + memory.fragmented + context


def published() -> list[tuple[Row, float, float]]:
    """Return rows with predicted and measured bytes."""
    known = shapes()
    predictions = []
    for row in read("published.csv"):
        shape = shape_of(row, known)
        if shape is not None:
            memory = training_memory(shape, recipe_of(row, shape))
            predictions.append((row, predicted(memory, row), measured(row)))
    return predictions


def outcomes() -> list[tuple[Row, bool, bool]]:
    """Return training rows with: predicted to fit, and did fit."""
    known = shapes()
    verdicts = []
    for row in read("outcomes.csv"):
        shape = shape_of(row, known)
        if shape is None or row["task"] != "train" or not row["seq_len"] or not row["micro_batch"]:
            continue
        size = re.search(r"(\d+)G", row["device"])
        if size is None:
            continue
        defaults = {
            "lora_rank": "",
            "target_modules": "",
            "liger_or_fused_ce": "no",
            "peak_kind": "nvidia-smi",
            "unit_as_published": "",
        }
        recipe = recipe_of({**defaults, **row}, shape)
        if "fsdp" in row["distributed"]:
            devices = int(row["n_devices"])
            shards = dict.fromkeys(("weights", "gradients", "states"), devices)
            recipe = replace(recipe, shards=shards)
        memory = training_memory(shape, recipe, framework=0.5 * GIB)
        fits = memory.peak <= float(size[1]) * GIB * 0.98
        verdicts.append((row, fits, row["result"].startswith("No O")))
    return verdicts


def speeds() -> list[tuple[Row, float, float]]:
    """Return rows with predicted and published tokens per second and device."""
    predictions = []
    for row in read("speeds.csv"):
        device = find_accelerator(row["device"].replace("H100 FP8", "H100 SXM"))
        if device is None or not device.flops:
            continue
        kind = "quantized" if "qlora" in row["method"] else "adapter"
        kind = "full" if "full" in row["method"] else kind
        shape = guess_shape(float(row["params_b"]) * 1e9)
        guess = device.flops * UTILIZATION[kind] / work_per_token(shape, kind)
        predictions.append((row, guess, float(row["tokens_per_s_per_device"])))
    return predictions


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    del parser


def run(options: argparse.Namespace) -> int:
    """Compare the estimate with published figures, then with this machine."""
    import bench_fit_cpu
    import bench_fit_serve

    del options
    table()
    outcomes_table()
    bench_fit_cpu.compare()
    return bench_fit_serve.compare()


def table() -> None:
    by_method: dict[str, list[float]] = defaultdict(list)
    by_tool: dict[str, list[float]] = defaultdict(list)
    for row, guess, truth in published():
        error = guess / truth - 1
        by_method[row["method"]].append(error)
        by_tool[row["tool"]].append(error)
        by_method["all"].append(error)
    for name, groups in (("method", by_method), ("tool", by_tool)):
        print(f"{name:<44}{'rows':>5}{'median |error|':>16}{'90 %':>8}{'bias':>8}")
        for key, errors in sorted(groups.items(), key=lambda item: -len(item[1])):
            sizes = sorted(map(abs, errors))
            high = sizes[min(len(sizes) - 1, int(0.9 * len(sizes)))]
            bias = statistics.median(errors)
            print(
                f"{key:<44}{len(sizes):>5}{statistics.median(sizes):>15.1%}{high:>8.1%}{bias:>+8.1%}"
            )


def outcomes_table() -> None:
    ratios = [guess / truth for _, guess, truth in speeds()]
    near = sum(0.5 <= ratio <= 2 for ratio in ratios) / len(ratios)
    print(f"speeds: {near:.0%} of {len(ratios)} within 2x, median {statistics.median(ratios):.2f}x")
    rows = outcomes()
    right = sum(fits == did for _, fits, did in rows)
    print(f"fits or not: {right} of {len(rows)} right ({right / len(rows):.0%})")
    for row, fits, did in rows:
        if fits != did:
            keys = (
                "model",
                "method",
                "seq_len",
                "micro_batch",
                "distributed",
                "n_devices",
                "device",
            )
            print(
                "  wrong:",
                "predicted to fit" if fits else "predicted not to fit",
                *(row[key] for key in keys),
                row["notes"][:60],
            )


if __name__ == "__main__":
    table()
    outcomes_table()
