"""Whether the loss of a candidate can be measured: only weights that training loads have one."""

from __future__ import annotations

from swiftbox.evaluation.candidates import Candidate, quantized
from swiftbox.files import read_json
from swiftbox.language import text
from swiftbox.models.adapters import ADAPTER_CONFIG
from swiftbox.models.location import find_folder

LOADED_METHODS = ("", "bitsandbytes")
"""Methods of quantization whose weights swiftbox loads itself."""


def loss_fault(candidate: Candidate) -> str:
    """Return why the loss of a candidate is not measured; empty if it is."""
    if candidate.kind == "endpoint":
        return text("a server gives no losses", "外部服务不提供损失")
    method = quantized(candidate).partition(" ")[0]
    if method not in LOADED_METHODS:
        return text(f"only its engine reads weights of {method}", f"{method} 权重只有其引擎能读取")
    folder = find_folder(candidate.adapter) if candidate.adapter else None
    if folder is not None and read_json(folder / ADAPTER_CONFIG).get("trainable_token_indices"):
        return text("its adapter has new tokens", "其适配器含新增 token")
    return ""
