"""A fetched model's files say what is wrong with it before it is loaded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from model_folder import qwen3_tensors, write_model, write_safetensors

from swiftbox.errors import HubError
from swiftbox.models import requirements, weights
from swiftbox.models.catalogue import model
from swiftbox.models.inspection import id_of, inspect, require_usable_model
from swiftbox.models.verified import Marker, Origin


def remark_of(folder: Path, about: str) -> tuple[str, str]:
    """Return level and message of what was found about a topic."""
    remark = inspect(folder).remark_on(about)
    assert remark is not None, inspect(folder).remarks
    return remark.level, remark.message


def index(folder: Path, **files: str) -> None:
    content = json.dumps({"weight_map": files})
    (folder / weights.INDEX).write_text(content, "utf-8")


def test_an_intact_folder_has_no_errors_or_warnings(tmp_path: Path) -> None:
    remarks = inspect(write_model(tmp_path / "m")).remarks
    assert {remark.level for remark in remarks} == {"note"}
    assert [remark.message for remark in remarks if remark.topic == "precision"] == [
        "the weights are BF16"
    ]


def test_the_folder_of_a_real_model_is_intact(tiny: Path) -> None:
    assert not inspect(tiny).errors


def test_a_truncated_file_is_found(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m")
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[:-7])
    level, message = remark_of(folder, "weights")
    assert level == "error"
    assert f"{len(content) - 7:,} of {len(content):,} bytes" in message


@pytest.mark.parametrize("length", [0, 5, 40])
def test_a_file_truncated_within_its_header_is_found(length: int, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m")
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:length])
    assert remark_of(folder, "weights")[0] == "error"


def test_an_index_that_names_a_missing_file(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m")
    index(folder, a="model.safetensors", b="model-2.safetensors")
    assert "lacks 1 of 2 weight files (model-2" in remark_of(folder, "weights")[1]


def test_an_index_that_names_a_missing_weight(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m")
    index(folder, c="model.safetensors", **{"lm_head.weight": "model.safetensors"})
    assert "lists 1 weights that no file contains (c" in remark_of(folder, "weights")[1]


def test_all_files_of_an_index_are_added_up(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m")
    stored = weights.read_weights(folder).dtypes["BF16"]
    (folder / "model.safetensors").rename(folder / "one.safetensors")
    write_safetensors(folder / "two.safetensors", {"c": 4000}, "F32")
    places = dict.fromkeys(qwen3_tensors(), "one.safetensors")
    index(folder, c="two.safetensors", **places)
    remarks = weights.read_weights(folder)
    assert dict(remarks.dtypes) == {"BF16": stored, "F32": 4000}
    assert not inspect(folder).errors


def test_a_folder_without_tokenizer_is_an_error(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m")
    (folder / "tokenizer.json").unlink()
    assert remark_of(folder, "tokenizer")[0] == "error"


@pytest.mark.parametrize("name", ["special_tokens_map.json", "added_tokens.json", "vocab.txt"])
def test_a_file_without_an_end_is_an_error(name: str, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m")
    (folder / name).symlink_to("/dev/zero")
    level, message = remark_of(folder, "tokenizer")
    assert level == "error"
    assert f"{name}: it is not a regular file" in message


@pytest.mark.parametrize("where", ["chat_template.json", "tokenizer_config.json", None])
def test_a_chat_template_may_stand_in_three_places(where: str | None, tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m")
    (folder / "chat_template.jinja").unlink()
    if where:
        (folder / where).write_text('{"chat_template": "{{ messages }}"}', "utf-8")
    assert (inspect(folder).remark_on("template") is None) == bool(where)


def test_a_type_that_transformers_does_not_know_is_an_error(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m", model_type="made_up_9")
    level, message = remark_of(folder, "type")
    assert level == "error"
    assert "does not know model_type made_up_9" in message


def test_code_in_the_repository_is_named(tmp_path: Path) -> None:
    modules = {
        "AutoModelForCausalLM": "modeling_own.Own",
        "AutoConfig": "a/b--configuration_own.Own",
    }
    folder = write_model(tmp_path / "m", model_type="made_up_9", auto_map=modules)
    (folder / "tokenizer_config.json").write_text(
        '{"auto_map": {"AutoTokenizer": ["tokenization_own.Own", null]}}', "utf-8"
    )
    level, message = remark_of(folder, "code")
    assert level == "warning"
    assert "(configuration_own.py, modeling_own.py, tokenization_own.py)" in message
    assert inspect(folder).remark_on("type") is None


def test_code_is_only_a_remark_if_transformers_has_the_class(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m", auto_map={"AutoModelForCausalLM": "modeling_own.Own"})
    assert remark_of(folder, "code")[0] == "note"


def test_a_model_saved_by_a_newer_transformers_is_reported(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m", transformers_version="99.0.0")
    assert "saved with transformers 99.0.0" in remark_of(folder, "version")[1]
    assert inspect(write_model(tmp_path / "n", transformers_version="4.40.0")).remark_on(
        "version"
    ) is (None)


def test_quantized_weights_name_method_and_package(tmp_path: Path) -> None:
    defect = {"quant_method": "aqlm", "bits": 2}
    folder = write_model(tmp_path / "m", quantization_config=defect)
    assert remark_of(folder, "precision")[1] == "the weights are quantized (aqlm 2 bits)"
    assert remark_of(folder, "loader") == ("warning", "needs aqlm, which is not installed")


def test_bounds_of_the_catalogue_are_compared_with_installed_versions(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    versions = {"transformers": "4.48.0"}
    monkeypatch.setattr(requirements, "version_of", versions.get)
    row = model("Qwen/Qwen3-8B")
    assert row is not None
    (remarks,) = requirements.requirement_remarks(row)
    assert (remarks.level, remarks.topic) == ("warning", "version")
    assert ">=4.51; 4.48.0 is installed" in remarks.message
    versions["transformers"] = "5.23.0"
    assert list(requirements.requirement_remarks(row)) == []


def test_an_upper_bound_matters_only_to_code_of_the_repository(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(requirements, "version_of", {"transformers": "5.23.0"}.get)
    native, remote = model("moonshotai/Moonlight-16B-A3B"), model("ZhipuAI/chatglm2-6b")
    assert native is not None
    assert remote is not None
    levels = [next(iter(requirements.requirement_remarks(row))).level for row in (native, remote)]
    assert levels == ["note", "warning"]


def test_missing_packages_are_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {"transformers": "5.23.0", "qwen_vl_utils": "0.0.1"}
    monkeypatch.setattr(requirements, "version_of", installed.get)
    row = model("Qwen/Qwen3-VL-8B-Instruct")
    assert row is not None
    remarks = list(requirements.requirement_remarks(row))
    assert [remark.hint for remark in remarks] == [
        "pip install 'qwen_vl_utils>=0.0.14'",
        "pip install 'decord'",
    ]


def test_a_folder_of_either_cache_is_known_by_its_id() -> None:
    hf = Path("/x/hub/models--Qwen--Qwen3-0.6B/snapshots/abc")
    assert id_of(hf) == "Qwen/Qwen3-0.6B"
    new = Path("/x/modelscope/models/Qwen--Qwen3-0.6B/snapshots/master")
    assert id_of(new) == "Qwen/Qwen3-0.6B"
    assert id_of(Path("/x/models/Qwen/Qwen3-0___6B")) == "Qwen/Qwen3-0.6B"


def test_a_fetched_folder_is_known_by_its_marker(tmp_path: Path) -> None:
    Marker(tmp_path).begin(Origin("modelscope", "Qwen/Qwen3-8B", "model", "master", None))
    assert id_of(tmp_path) == "Qwen/Qwen3-8B"


def test_a_folder_of_the_cache_is_compared_with_its_row(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "Qwen" / "Qwen3-0___6B")
    assert "no generation_config.json" in remark_of(folder, "generation")[1]


def test_a_run_refuses_an_incomplete_download(tmp_path: Path) -> None:
    folder = write_model(
        tmp_path / "m", model_type="made_up_9", auto_map={"AutoModelForCausalLM": "x.Y"}
    )
    heard: list[dict[str, object]] = []

    def emit(event: str, **values: object) -> None:
        heard.append({"event": event, **values})

    require_usable_model(folder, emit)
    assert [remark["event"] for remark in heard] == ["warning"]
    (folder / "model.safetensors").unlink()
    with pytest.raises(HubError, match="no safetensors weights"):
        require_usable_model(folder, emit)


def test_an_inspection_does_not_import_torch(tmp_path: Path) -> None:
    import subprocess
    import sys

    folder = write_model(tmp_path / "m")
    code = (
        "import sys; from pathlib import Path; from swiftbox.models.inspection import inspect\n"
        f"inspect(Path({str(folder)!r}))\n"
        "print([one for one in ('torch', 'transformers', 'pydantic') if one in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_class_of_another_kind_is_an_error_unless_another_program_loads_it(
    tmp_path: Path,
) -> None:
    folder = write_model(tmp_path / "m", model_type="t5")
    assert remark_of(folder, "type")[0] == "error"
    remark = inspect(folder, head=None).remark_on("type")
    assert remark is not None
    assert remark.level == "warning"


def test_a_family_outside_transformers_names_a_model_to_take(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "m", model_type="chatglm")
    remark = inspect(folder).remark_on("type")
    assert remark is not None
    assert "GLM-4-9B-0414" in remark.hint
    rows = requirements.catalogue_remarks("ZhipuAI/chatglm3-6b", trust_remote_code=False)
    assert any("GLM-4-9B-0414" in remark.hint for remark in rows)


def test_a_model_on_the_hub_without_a_class_is_refused_before_the_fetch() -> None:
    rows = requirements.catalogue_remarks("Qwen/Qwen2.5-Omni-7B", trust_remote_code=False)
    assert [remark.level for remark in rows if remark.topic == "type"] == ["error"]
    other = requirements.catalogue_remarks(
        "Qwen/Qwen2.5-Omni-7B", trust_remote_code=False, head=None
    )
    assert not [remark for remark in other if remark.topic == "type"]
