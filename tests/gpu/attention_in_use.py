"""Which attention the layers of a model ask for while a training runs."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from transformers import AttentionInterface


@contextlib.contextmanager
def counted_attention(calls: Counter[str]) -> Iterator[None]:
    """Count the calls of each attention by its name; compiled layers are not counted."""
    original = AttentionInterface.get_interface

    def get_interface(interface: AttentionInterface, name: str, default: Any) -> Any:
        if not torch.compiler.is_dynamo_compiling():
            calls[name] += 1
        return original(interface, name, default)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AttentionInterface, "get_interface", get_interface)
        yield
