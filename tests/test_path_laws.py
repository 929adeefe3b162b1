"""Every join of a name that is not constant is checked or explained; a planted one is found."""

from __future__ import annotations

import pytest
from house_laws import PACKAGE, ROOT, name_of, python_files
from path_laws import ALLOWED, joins, unexplained_joins


def test_no_text_of_a_config_or_a_hub_is_joined_to_a_path_unchecked() -> None:
    unexplained = {
        name_of(path): codes
        for path in python_files()
        if (codes := unexplained_joins(path.read_text("utf-8"), ALLOWED.get(name_of(path), {})))
    }
    assert unexplained == {}, "use security/paths.py, or say in path_laws.ALLOWED why it is safe"


def test_every_explanation_belongs_to_a_file_and_has_a_reason() -> None:
    for name, codes in ALLOWED.items():
        assert (ROOT / name).is_file(), name
        assert all(len(reason) > 10 for reason in codes.values()), name


@pytest.mark.parametrize(
    "planted",
    [
        "def f(self, request): return self._storage(request) / 'refs' / request.revision",
        "def f(folder, file): return folder / file.path",
        "def f(folder, name): return folder / f'{name}.json'",
        "def f(config): return Path(config.local_dir) / config.name",
        "def f(folder, listing): return folder.joinpath('snapshots', listing.commit)",
        "def f(path, name): return path.with_name(name)",
        "def f(folder, name): return os.path.join(folder, name)",
        "def f(folder, name): return Path(folder, name)",
        "def f(name): return Path(f'runs/{name}')",
        "class A:\n    def f(self, event): return self.root / 'x' / event['path']",
        "def f(folder, config):\n    for name in config.names: yield folder / name",
        "def f(home, row): return home() / 'engines' / row.name / 'bin'",
    ],
)
def test_a_join_of_an_unchecked_name_is_found(planted: str) -> None:
    assert len(list(joins(planted))) == 1


@pytest.mark.parametrize(
    "planted",
    [
        "def f(folder): return folder / 'model' / MARKER / run_folder.MODEL",
        "def f(folder): return [folder / name for name in sorted(os.listdir(folder))]",
        "def f(folder):\n    for name in ('a', 'b'): yield folder / f'{name}.json'",
        "def f(total, count): return total / count",
        "def f(folder, name): return paths.inside(folder, name)",
    ],
)
def test_constants_and_what_a_folder_lists_may_be_joined(planted: str) -> None:
    assert list(joins(planted)) == []


def test_the_planted_proof_fails_in_a_file_of_the_package() -> None:
    path = PACKAGE / "hub" / "from_huggingface.py"
    planted = (
        path.read_text("utf-8") + "\n\ndef f(folder, request): return folder / request.revision\n"
    )
    allowed = ALLOWED[name_of(path)]
    assert unexplained_joins(planted, allowed) == ["folder / request.revision"]
