"""The picker by keys: search, views, families, marks, paths, and what fits a terminal."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from model_folder import write_model
from prompt_toolkit.application import create_app_session
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from swiftbox.devices.hypothetical import hypothetical_machine
from swiftbox.devices.machine import Machine
from swiftbox.formatting import width
from swiftbox.menu.options.datasets import DatasetOptions
from swiftbox.menu.options.models import ModelOptions
from swiftbox.menu.picker import MAX_ROWS, OTHER_LINES, Picker, common_prefix, path_completions
from swiftbox.menu.questions import Back

ENTER, TAB, DOWN, UP, LEFT, RIGHT = "\r", "\t", "\x1b[B", "\x1b[A", "\x1b[D", "\x1b[C"
CTRL_C, CLEAR, BACKSPACE, PAGE_DOWN = "\x03", "\x15", "\x7f", "\x1b[6~"


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty caches, and a current folder with one model in it."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MODELSCOPE_CACHE", str(tmp_path / "ms"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    write_model(tmp_path / "desk" / "mine")
    monkeypatch.chdir(tmp_path / "desk")
    return tmp_path


def accept(_typed: str) -> str:
    return ""


def unknown() -> Machine | None:
    return None


def small_gpu() -> Machine | None:
    return hypothetical_machine("cuda:24")


def pick(
    *pressed: str,
    current: str = "",
    many: bool = False,
    machine: Callable[[], Machine | None] = unknown,
    check: Callable[[str], str] = accept,
) -> list[str]:
    with create_pipe_input() as typed, create_app_session(input=typed, output=DummyOutput()):
        typed.send_text("".join(pressed))
        typed.close()  # what waits for more keys ends
        return Picker("model", ModelOptions(machine), check, current, many).pick()


def test_local_models_come_first() -> None:
    assert pick(ENTER) == ["./mine"]


def test_words_narrow_the_list_to_an_id() -> None:
    assert pick("qwen3 4b instruct 2507", ENTER) == ["Qwen/Qwen3-4B-Instruct-2507"]


def test_a_query_with_missing_letters_finds_the_model() -> None:
    assert pick("qwn3-4b", ENTER)[0].startswith("Qwen/Qwen3-4B")


def test_an_id_that_is_not_in_the_catalogue_is_taken_as_typed() -> None:
    assert pick("my-team/own-model", ENTER) == ["my-team/own-model"]


def test_a_path_is_taken_as_typed() -> None:
    assert pick("./mine", ENTER) == ["./mine"]


def test_tab_completes_a_path() -> None:
    assert pick("./mi", TAB, ENTER) == ["./mine/"]


def test_enter_on_a_folder_of_the_list_leads_into_it(caches: Path) -> None:
    write_model(caches / "desk" / "many" / "first")
    assert pick("./ma", DOWN, ENTER, DOWN, ENTER, ENTER) == ["./many/first/"]


def test_the_current_value_is_offered_first() -> None:
    assert pick(ENTER, current="Qwen/Qwen3-8B") == ["Qwen/Qwen3-8B"]
    assert pick(ENTER, current="./elsewhere") == ["./elsewhere"]


def test_a_wrong_answer_is_refused_and_can_be_corrected() -> None:
    def check(typed: str) -> str:
        return "" if typed == "b/b" else "should be b/b"

    assert pick("a/a", ENTER, CLEAR, "b/b", ENTER, check=check) == ["b/b"]


@pytest.mark.parametrize("key", [CTRL_C, "\x04"])
def test_leaving_goes_one_step_back(key: str) -> None:
    with pytest.raises(Back):
        pick("qwen", key)


def test_tab_marks_several_and_enter_takes_them() -> None:
    assert pick("qwen3-8b", TAB, CLEAR, "qwen3-14b", TAB, CLEAR, ENTER, many=True) == [
        "Qwen/Qwen3-8B",
        "Qwen/Qwen3-14B",
    ]


def test_enter_takes_only_marked_rows_while_a_search_is_typed() -> None:
    (marked,) = pick("qwen3-0.6", TAB, ENTER, many=True)  # the cursor is on the next row
    assert marked == pick("qwen3-0.6", ENTER)[0]


def test_a_typed_path_joins_the_marked_rows() -> None:
    assert pick("qwen3-8b", TAB, CLEAR, "./mine", ENTER, many=True) == ["Qwen/Qwen3-8B", "./mine"]


def test_a_second_tab_removes_the_mark() -> None:
    keys = ("qwen3-8b", TAB, UP, TAB, CLEAR, "qwen3-14b", ENTER)
    assert pick(*keys, many=True) == ["Qwen/Qwen3-14B"]


def test_a_view_shows_models_that_read_audio() -> None:
    (model,) = pick(RIGHT * 6, "qwen2-audio", ENTER)
    assert model.startswith("Qwen/Qwen2-Audio")


def test_families_are_chosen_first_and_then_their_models() -> None:
    keys = (LEFT, "internvl3.5", ENTER, ENTER)
    assert pick(*keys)[0].startswith("OpenGVLab/InternVL3_5")


def test_backspace_without_a_query_leaves_the_family() -> None:
    assert pick(LEFT, "internvl3.5", ENTER, BACKSPACE, ENTER) == ["./mine"]


def shown(picker: Picker) -> list[str]:
    """Return the lines under the question, as the terminal would show them."""
    return "".join(part for _, part, *_ in picker._below()).splitlines()


def picker_of(machine: Callable[[], Machine | None], typed: str, tab: int = 0) -> Picker:
    picker = Picker("model", ModelOptions(machine), accept, view=tab)
    picker.typed.text = typed
    return picker


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("typed", ["", "internvl", "./", "nothing of that kind", "qwen3-8b"])
@pytest.mark.parametrize("tab", [0, 2, 8])
def test_every_view_fits_a_terminal_of_80_by_24(
    typed: str, tab: int, language: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWIFTBOX_LANG", language)
    size = os.terminal_size((80, 24))
    monkeypatch.setattr("shutil.get_terminal_size", lambda *_, **_options: size)
    lines = shown(picker_of(small_gpu, typed, tab))
    assert len(lines) <= MAX_ROWS + OTHER_LINES - 2
    assert max(map(width, lines)) < 80


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("view", [0, 8])
def test_a_narrow_terminal_shows_names_and_fewer_columns(
    view: int, language: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWIFTBOX_LANG", language)
    size = os.terminal_size((40, 24))
    monkeypatch.setattr("shutil.get_terminal_size", lambda *_, **_options: size)
    lines = shown(picker_of(small_gpu, "qwen3", view))
    assert max(map(width, lines)) < 40
    assert any("wen3" in line for line in lines)
    assert any(line.lstrip().startswith("[") or "  [" in line for line in lines)


def test_the_column_of_what_fits_is_filled_once_the_machine_is_known() -> None:
    row = next(line for line in shown(picker_of(unknown, "qwen3-8b")) if "»" in line)
    assert not row.endswith("lora")
    row = next(line for line in shown(picker_of(small_gpu, "qwen3-8b")) if "»" in line)
    assert re.search(r"Qwen/Qwen3-8B .* chat .* lora$", row)


def test_the_view_of_fitting_models_leaves_out_the_others() -> None:
    fits = ModelOptions(small_gpu).find("qwen2.5 72b instruct", "fits")
    every = ModelOptions(small_gpu).find("qwen2.5 72b instruct", "all")
    assert len(fits) < len(every)
    assert all("Int4" in option.name or "AWQ" in option.name for option in fits)


def test_the_details_name_what_a_model_needs() -> None:
    lines = shown(picker_of(unknown, "chatglm3-6b"))
    assert any("needs remote code" in line for line in lines)


def test_a_cached_model_is_named_by_its_id_and_another_tools_by_its_folder(
    caches: Path,
) -> None:
    write_model(caches / "ms/models/Qwen--Qwen3-8B/snapshots/master")
    old = write_model(caches / "ms/hub/o/n")
    values = {option.name: option.value for option in ModelOptions(unknown).find("", "local")}
    assert values == {"Qwen/Qwen3-8B": "Qwen/Qwen3-8B", "o/n": str(old), "./mine": "./mine"}


def test_a_local_model_is_not_listed_twice(caches: Path) -> None:
    write_model(caches / "ms/models/Qwen--Qwen3-8B/snapshots/master")
    names = [option.name for option in ModelOptions(unknown).find("qwen3-8b", "all")]
    assert names.count("Qwen/Qwen3-8B") == 1


def test_downloads_are_named_by_ids_alone(caches: Path) -> None:
    write_model(caches / "ms/hub/o/n")
    options = ModelOptions(unknown, for_download=True).find("", "local")
    assert [option.value for option in options] == ["o/n"]


def test_datasets_of_the_folder_come_before_those_of_the_catalogue(caches: Path) -> None:
    (caches / "desk" / "rows.jsonl").write_text("{}\n")
    (caches / "desk" / "notes.doc").write_text("no rows")
    options = DatasetOptions().find("", "all")
    assert options[0].value == "./rows.jsonl"
    assert not any("notes" in option.name for option in options)
    assert len(options) > 200


def test_plain_text_is_offered_to_trainings_that_read_it(caches: Path) -> None:
    for name in ("a.jsonl", "book.txt"):
        (caches / "desk" / name).write_text("{}\n")
    assert [option.name for option in DatasetOptions().local] == ["./a.jsonl"]
    with_plain_text = DatasetOptions(plain_text=True).local
    assert [option.name for option in with_plain_text] == ["./book.txt", "./a.jsonl"]


def test_paths_are_completed_to_their_common_prefix(caches: Path) -> None:
    for name in ("data-a", "data-b"):
        (caches / "desk" / name).mkdir()
    paths = path_completions("./da")
    assert paths == ["./data-a/", "./data-b/"]
    assert common_prefix(paths) == "./data-"


def test_a_name_that_its_column_cuts_is_shown_below() -> None:
    long, short = "Qwen/Qwen2.5-Coder-0.5B-Instruct-GPTQ-Int4", "Qwen/Qwen3-0.6B"
    offered = ModelOptions(unknown)
    first, second = (offered.find(name, "all")[0] for name in (long, short))
    assert offered.details(first)[0] == long
    assert not any(line == short for line in offered.details(second))


def test_the_machine_is_looked_up_once_for_all_models() -> None:
    probes: list[None] = []

    def machine() -> Machine:
        probes.append(None)
        return hypothetical_machine("cuda:24")

    offered = ModelOptions(machine)
    assert len(offered.find("", "fits")) > 500
    for option in offered.find("qwen", "all"):
        offered.cells(option)
    assert len(probes) == 1


def test_a_model_that_no_method_trains_does_not_fit() -> None:
    offered = ModelOptions(lambda: hypothetical_machine("cuda:80"), for_download=True)
    (model,) = offered.find("Qwen3-Embedding-0.6B", "all")
    assert offered.fit(model) == "no"
