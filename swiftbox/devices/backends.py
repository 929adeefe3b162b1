"""One row per backend: what each can do, with the source of every cell (backends.csv)."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

TABLE = Path(__file__).with_name("backends.csv")


@dataclass(frozen=True)
class Cell:
    """What a backend says of one capability, and who says so."""

    supported: str  # yes | partial | no
    condition: str
    install: str
    source: str
    confidence: str


@dataclass(frozen=True)
class Row:
    """What torch calls things on a backend: the cells that are names, not answers."""

    torch_device: str
    collective: str
    visible_devices_env: str
    env: Mapping[str, str]
    plugin: str = ""


ROWS: Mapping[str, Row] = {
    "cuda": Row(
        "cuda",
        "nccl",
        "CUDA_VISIBLE_DEVICES",
        {"PYTORCH_ALLOC_CONF": "expandable_segments:True", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"},
    ),
    "rocm": Row(
        "cuda", "nccl", "HIP_VISIBLE_DEVICES", {"PYTORCH_ALLOC_CONF": "expandable_segments:True"}
    ),
    "npu": Row("npu", "hccl", "ASCEND_RT_VISIBLE_DEVICES", {}, plugin="torch_npu"),
    "mps": Row("mps", "gloo", "", {"PYTORCH_ENABLE_MPS_FALLBACK": "1"}),
    "cpu": Row("cpu", "gloo", "", {}),
}

DTYPES = {"float32": "dtype_fp32", "bfloat16": "dtype_bf16", "float16": "dtype_fp16"}
ATTENTION = {
    "sdpa": "attn_sdpa",
    "flash_attention_2": "attn_flash_attention_2",
    "flash_attention_3": "attn_flash_attention_3",
    "flex_attention": "attn_flex",
}
OPTIMIZERS = {
    "adamw_torch_fused": "fused_adamw",
    "adamw_8bit": "bnb_optim_8bit",
    "paged_adamw_8bit": "bnb_optim_paged",
}
QUANTIZERS = {
    "bnb-nf4": "bnb_nf4",
    "bnb-int8": "bnb_int8",
    "gptq": "gptq_train",
    "awq": "awq",
}
STRATEGIES = {
    "ddp": "ddp",
    "fsdp": "fsdp2",
    "zero1": "deepspeed_zero2",
    "zero2": "deepspeed_zero2",
    "zero3": "deepspeed_zero3",
}
ENGINES = {
    "vllm": "serve_vllm",
    "sglang": "serve_sglang",
    "lmdeploy": "serve_lmdeploy",
    "builtin": "serve_transformers",
}


@dataclass(frozen=True)
class Backend:
    """One kind of device."""

    name: str
    row: Row
    cells: Mapping[str, Cell]

    def can(self, capability: str) -> bool:
        """Tell whether a capability is there, fully or in part."""
        return self.cells[capability].supported != "no"

    def refusal(self, capability: str) -> str:
        """Return why a capability is not there, in the words of its cell."""
        cell = self.cells[capability]
        return cell.condition or f"{capability}: not supported ({cell.source})"

    def _able(self, names: Mapping[str, str], always: tuple[str, ...] = ()) -> tuple[str, ...]:
        return (*always, *(name for name, cell in names.items() if self.can(cell)))

    @cached_property
    def dtypes(self) -> tuple[str, ...]:
        """Return the number types of the backend; a single device may know fewer."""
        return self._able(DTYPES)

    @cached_property
    def attention(self) -> tuple[str, ...]:
        """Return the attention kernels that can train."""
        return self._able(ATTENTION, ("eager",))

    @cached_property
    def optimizers(self) -> tuple[str, ...]:
        """Return the optimizers."""
        return self._able(OPTIMIZERS, ("adamw_torch", "adafactor", "sgd"))

    @cached_property
    def quantizers(self) -> tuple[str, ...]:
        """Return the quantized formats that can be trained on."""
        return self._able(QUANTIZERS)

    @cached_property
    def distributed(self) -> tuple[str, ...]:
        """Return the strategies for several devices."""
        return self._able(STRATEGIES, ("none",))

    @cached_property
    def serve_engines(self) -> tuple[str, ...]:
        """Return the serving engines."""
        return self._able(ENGINES)


def read_table(path: Path = TABLE) -> dict[str, Backend]:
    """Read the table into one backend per name."""
    cells: dict[str, dict[str, Cell]] = {name: {} for name in ROWS}
    with path.open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            cells[line["backend"]][line["capability"]] = Cell(
                line["supported"],
                line["condition"],
                line["install"],
                line["source"],
                line["confidence"],
            )
    return {name: Backend(name, row, cells[name]) for name, row in ROWS.items()}


BACKENDS: Mapping[str, Backend] = read_table()
