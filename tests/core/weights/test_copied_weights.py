"""What the class of a model left out is copied from its base into further files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from swiftbox.core.weights import completion
from swiftbox.core.weights.completion import TensorDifference, copy_left_out
from swiftbox.files import read_json


def test_copies_are_written_in_files_of_limited_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("mtp.a", "mtp.b", "mtp.c", "mtp.d")
    extra = {name: torch.randn(4, 8) for name in names} | {"mtp.d": torch.randn(40, 8)}
    stored = {"model.norm.weight": torch.ones(8)}
    source, target = tmp_path / "base", tmp_path / "result"
    for folder, tensors in ((source, stored | extra), (target, stored)):
        folder.mkdir()
        save_file(tensors, folder / "model.safetensors")
    monkeypatch.setattr(completion, "MAX_FILE_BYTES", 2 * 4 * 4 * 8)
    copy_left_out(TensorDifference(names, (), (), ()), source, target)
    files = [load_file(path) for path in sorted(target.glob("model-extra-*.safetensors"))]
    assert [sorted(file) for file in files] == [["mtp.a", "mtp.b"], ["mtp.c"], ["mtp.d"]]
    assert all(torch.equal(file[name], extra[name]) for file in files for name in file)
    places = read_json(target / "model.safetensors.index.json")["weight_map"]
    assert set(places) == {*stored, *names}
    assert all(name in load_file(target / place) for name, place in places.items())
