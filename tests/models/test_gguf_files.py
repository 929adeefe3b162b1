"""Which file of a folder is the model: one, the first part of a split one, or a refusal."""

from __future__ import annotations

from pathlib import Path

import pytest

from swiftbox.errors import ConfigError
from swiftbox.models.gguf_files import holds_gguf, is_gguf_folder, require_gguf_file


def with_files(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).touch()
    return folder


@pytest.mark.parametrize(
    "names",
    [
        ("model.gguf",),
        ("model.gguf", "mmproj-F16.gguf"),
        ("model-00001-of-00003.gguf", "model-00002-of-00003.gguf", "model-00003-of-00003.gguf"),
    ],
)
def test_the_file_of_the_model_is_found(names: tuple[str, ...], tmp_path: Path) -> None:
    folder = with_files(tmp_path, *names)
    assert is_gguf_folder(folder)
    assert holds_gguf(str(folder))
    assert require_gguf_file(folder).name == names[0]


def test_several_models_in_a_folder_are_refused_by_name(tmp_path: Path) -> None:
    folder = with_files(tmp_path, "a-Q4_K_M.gguf", "a-Q8_0.gguf")
    with pytest.raises(ConfigError, match=r"has 2 GGUF files \(a-Q4_K_M\.gguf, a-Q8_0\.gguf\)"):
        require_gguf_file(folder)


def test_a_split_model_without_one_of_its_parts_is_refused(tmp_path: Path) -> None:
    folder = with_files(tmp_path, "a-00001-of-00003.gguf", "a-00003-of-00003.gguf")
    with pytest.raises(ConfigError, match=r"but not a-00002-of-00003\.gguf"):
        require_gguf_file(folder)


def test_a_model_for_transformers_is_none(tmp_path: Path) -> None:
    folder = with_files(tmp_path, "config.json", "model.gguf")
    assert not is_gguf_folder(folder)
    assert not holds_gguf("owner/name")
    with pytest.raises(ConfigError, match="has no GGUF file"):
        require_gguf_file(with_files(tmp_path / ".."))
