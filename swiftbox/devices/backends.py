"""One row per backend: its names, and what it supports according to which source.

The names are here, the capabilities in backends.csv: one line per backend and capability, with the
condition in both languages, the devices that have it, the package it needs, and the source.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path

from swiftbox.language import text

TABLE = Path(__file__).with_name("backends.csv")

DTYPES = {"float32": "dtype_fp32", "bfloat16": "dtype_bf16", "float16": "dtype_fp16"}
ATTENTION = {
    "sdpa": "attn_sdpa",
    "varlen": "attn_varlen",
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
PLAIN = {
    "attention": ("eager",),
    "optimizers": ("adamw_torch", "adafactor", "sgd"),
    "distributed": ("none",),
}
"""Values of plain torch, which every backend supports: they have no cell."""


@dataclass(frozen=True)
class Cell:
    """Whether a backend has one capability, under which condition, and the source."""

    supported: str  # yes | partial | no
    condition: str = ""
    condition_zh: str = ""
    devices: str = ""
    """A pattern of the device capabilities that have it; empty: all of them."""
    package: str = ""
    """The distribution that must be installed, as Machine.versions names it; empty: none."""
    install: str = ""
    """Arguments of `pip install` to get it; empty if pip cannot install it."""
    source: str = ""
    confidence: str = ""

    def reason(self) -> str:
        """Return the condition in the current language."""
        return text(self.condition, self.condition_zh)

    def covers(self, capability: str) -> bool:
        """Return whether a device of this capability has it."""
        return re.search(self.devices, capability) is not None


@dataclass(frozen=True)
class DeviceRule:
    """Variables that several devices of one kind need, up to a version of the driver."""

    device: str
    """A part of the name of the device."""
    fixed_in: str
    """The first driver that does not need them."""
    env: Mapping[str, str]

    def applies(self, device: str, driver: str) -> bool:
        """Return whether a device with this driver needs the variables; no without a version."""
        return self.device in device and bool(driver) and _number(driver) < _number(self.fixed_in)


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(digits) for digits in re.findall(r"\d+", version))


@dataclass(frozen=True)
class Backend:
    """One kind of device: its names in torch, and its cells by capability."""

    name: str
    torch_device: str
    collective: str
    visible_devices_env: str
    cells: Mapping[str, Cell] = field(default_factory=dict)
    plugin: str = ""
    """The module that adds this device to torch; empty if torch supports it itself."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Environment variables that its processes need before torch is imported."""
    vllm_env: Mapping[str, str] = field(default_factory=dict)
    """Environment variables by which vLLM knows the backend."""
    visible_devices_fallbacks: tuple[str, ...] = ()
    """Variables that select devices if the first is not set."""
    rules: tuple[DeviceRule, ...] = ()
    """What several of certain devices need in addition; the reason is the cell peer_transfer."""
    shares_memory: bool = False
    """Device memory is main memory, as on Apple silicon."""
    toolkit: str = ""
    """The entry in Machine.versions of a torch that is built for this backend."""
    tool: str = ""
    """The driver's command, which shows whether the devices work."""
    container: str = ""
    """Options that make the devices visible in a container."""

    def cell(self, capability: str) -> Cell:
        """Return the cell of a capability such as bnb_nf4 or attn_sdpa."""
        return self.cells[capability]

    def can(self, capability: str) -> bool:
        """Return whether a capability is supported, fully or in part."""
        return self.cells[capability].supported != "no"

    def refusal(self, capability: str) -> str:
        """Return why a capability is not supported, or not everywhere, from its cell."""
        reason = self.cells[capability].reason()
        if reason:
            return reason
        return text(f"{self.name} has no {capability}", f"{self.name} 不支持 {capability}")

    @property
    def install(self) -> str:
        """Return the arguments of `pip install` for this backend's torch."""
        return self.cells["torch_wheel"].install

    @cached_property
    def dtypes(self) -> tuple[str, ...]:
        """Return the data types of the backend; a device may support fewer."""
        return self._supported(DTYPES)

    @cached_property
    def attention(self) -> tuple[str, ...]:
        """Return the attention kernels that can train."""
        return PLAIN["attention"] + self._supported(ATTENTION)

    @cached_property
    def optimizers(self) -> tuple[str, ...]:
        """Return the optimizers."""
        return PLAIN["optimizers"] + self._supported(OPTIMIZERS)

    @cached_property
    def quantizers(self) -> tuple[str, ...]:
        """Return the quantized formats that can be trained on."""
        return self._supported(QUANTIZERS)

    @cached_property
    def distributed(self) -> tuple[str, ...]:
        """Return the strategies for several devices."""
        return PLAIN["distributed"] + self._supported(STRATEGIES)

    def _supported(self, capabilities: Mapping[str, str]) -> tuple[str, ...]:
        return tuple(value for value, cell in capabilities.items() if self.can(cell))


def read_table(path: Path = TABLE) -> dict[str, dict[str, Cell]]:
    """Read the cells by backend and capability."""
    cells: dict[str, dict[str, Cell]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for line in csv.DictReader(file):
            backend, capability = line.pop("backend"), line.pop("capability")
            cells.setdefault(backend, {})[capability] = Cell(**line)
    return cells


EXPANDABLE = {"PYTORCH_ALLOC_CONF": "expandable_segments:True"}

_NAMES = (
    Backend(
        "cuda",
        torch_device="cuda",
        collective="nccl",
        visible_devices_env="CUDA_VISIBLE_DEVICES",
        env={**EXPANDABLE, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"},
        rules=(
            DeviceRule("RTX 40", "550.40.07", {"NCCL_P2P_DISABLE": "1", "NCCL_IB_DISABLE": "1"}),
        ),
        toolkit="cuda",
        tool="nvidia-smi",
        container="--gpus all",
    ),
    Backend(
        "rocm",
        torch_device="cuda",
        collective="nccl",
        visible_devices_env="HIP_VISIBLE_DEVICES",
        visible_devices_fallbacks=("CUDA_VISIBLE_DEVICES",),
        env=EXPANDABLE,
        toolkit="hip",
        tool="rocm-smi",
        container="--device=/dev/kfd --device=/dev/dri",
    ),
    Backend(
        "npu",
        torch_device="npu",
        collective="hccl",
        visible_devices_env="ASCEND_RT_VISIBLE_DEVICES",
        plugin="torch_npu",
        vllm_env={"VLLM_PLUGINS": "ascend"},
        tool="npu-smi info",
        container="--device=/dev/davinci0 --device=/dev/davinci_manager",
    ),
    Backend(
        "mps",
        torch_device="mps",
        collective="gloo",
        visible_devices_env="",
        env={"PYTORCH_ENABLE_MPS_FALLBACK": "1"},
        shares_memory=True,
    ),
    Backend(
        "cpu",
        torch_device="cpu",
        collective="gloo",
        visible_devices_env="",
        vllm_env={"VLLM_TARGET_DEVICE": "cpu"},
    ),
)
"""The backends without their cells, in the order in which a machine is asked for them."""

SELECTION_VARIABLES = frozenset(row.visible_devices_env for row in _NAMES) - {""}
"""A plan chooses among the devices that these variables leave; its value replaces the user's."""


@cache
def rows() -> Mapping[str, Backend]:
    """Return the backends with their cells, by name."""
    cells = read_table()
    return {row.name: replace(row, cells=cells[row.name]) for row in _NAMES}


class _Rows(Mapping[str, Backend]):
    """The rows as a mapping that reads the table at first use."""

    def __getitem__(self, name: str) -> Backend:
        return rows()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(rows())

    def __len__(self) -> int:
        return len(rows())


BACKENDS: Mapping[str, Backend] = _Rows()
