"""What is shown of pip's output."""

from __future__ import annotations

from swiftbox.engines.pip import PipProgress


def test_a_size_that_pip_writes_in_decimal_units_is_shown_in_binary_ones() -> None:
    lines: list[str] = []
    progress = PipProgress(lines.append)
    progress.read("  Downloading torch-2.13.0-cp311-linux_x86_64.whl (899.8 MB)")
    progress.read("Downloading vllm-0.9.whl (1.5 GB)")
    assert lines == ["  downloading torch (858.1 MiB)", "  downloading vllm (1.4 GiB)"]
