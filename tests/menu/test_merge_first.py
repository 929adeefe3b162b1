"""An adapter that vLLM refuses is merged with one key, and the result is served in its place."""

from __future__ import annotations

from pathlib import Path

import pytest
from adapters import make_adapter
from made_up import made_up
from walking import CTRL_C, ENTER, keys

from swiftbox.launch import prepare
from swiftbox.launch.prepare import Prepared
from swiftbox.menu import merge_first
from swiftbox.menu.draft import new_draft
from swiftbox.menu.questions import Back
from swiftbox.menu.review_screen import review
from swiftbox.menu.screens import screen_of

pytestmark = pytest.mark.filterwarnings("ignore")


def test_one_key_merges_and_serves_the_result(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(prepare, "machine_for", lambda *_: made_up("cuda", vllm="0.33.0"))
    adapter = make_adapter(tiny, tmp_path / "dora", use_dora=True)
    merges: list[str] = []

    def run(prepared: Prepared, **_: object) -> Path:
        merges.append(prepared.plan.config.model_dump()["adapter"])
        return tiny  # stands for the folder of the run, which could be served as well

    monkeypatch.setattr(merge_first, "run_prepared", run)
    values = {"adapter": str(adapter), "hub": "local", "engine": "vllm", "port": 0}
    with keys(ENTER, CTRL_C), pytest.raises(Back):
        review(new_draft("deploy", values), screen_of("deploy"))
    output = capsys.readouterr().out
    assert merges == [str(adapter)]
    assert output.index("it is a DoRA") < output.index(f"model: {tiny}")
    after = output[output.index(f"model: {tiny}") :]
    assert "swiftbox run" in after
    assert str(adapter) not in after


def test_it_is_not_offered_for_several_adapters() -> None:
    from swiftbox.models.unservable_adapters import UnservableAdapter

    error = UnservableAdapter("a")
    assert merge_first.can_merge(new_draft("deploy", {"adapters": {"x": "a"}}), error)
    both = new_draft("deploy", {"adapter": ["a"], "adapters": {"x": "b"}})
    assert not merge_first.can_merge(both, error)
    assert not merge_first.can_merge(new_draft("deploy", {"adapter": "a"}), None)
