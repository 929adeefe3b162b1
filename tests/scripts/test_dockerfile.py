"""The Dockerfile, read and carried out step by step without a container engine."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from made_up_checkout import REPOSITORY, Checkout, fake_tools

BACKENDS = ("cuda", "rocm", "npu", "cpu")
# A replay puts these folders under a temporary one; a step that names another is refused.
FOLDERS = ("/opt/swiftbox", "/workspace", "/cache", "/var/lib/apt/lists")
HARMLESS = ("/bin/bash",)


@dataclass(frozen=True)
class Step:
    """One instruction; `stage` is the stage it belongs to, empty before the first FROM."""

    stage: str
    word: str
    rest: str


def read_dockerfile(source: str) -> list[Step]:
    """Split a Dockerfile into its instructions."""
    lines = [line for line in source.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n", " ", "\n".join(lines))
    steps: list[Step] = []
    stage = ""
    for line in filter(None, map(str.strip, joined.splitlines())):
        word, rest = line.split(None, 1)
        if word == "FROM":
            stage = rest.split(" AS ")[1]
        steps.append(Step(stage, word, rest))
    return steps


STEPS = read_dockerfile((REPOSITORY / "Dockerfile").read_text())
LAST = [step for step in STEPS if step.stage == STEPS[-1].stage]


def of(word: str, steps: list[Step] = STEPS) -> list[str]:
    """The arguments of every instruction of one kind."""
    return [step.rest for step in steps if step.word == word]


def arguments() -> dict[str, str]:
    """The defaults of the ARGs before the first FROM."""
    return dict(rest.split("=", 1) for rest in of("ARG", [s for s in STEPS if not s.stage]))


def setup_command() -> str:
    """The RUN that sets the environment up, without its mounts."""
    (command,) = (rest for rest in of("RUN") if "quickstart" in rest)
    return re.sub(r"--mount=\S+ ", "", command)


# ---- what it says


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_backend_is_a_stage_whose_base_can_be_overridden(backend: str) -> None:
    assert f"${{{backend.upper()}_BASE}} AS {backend}" in of("FROM")
    image = arguments()[f"{backend.upper()}_BASE"]
    assert ":" in image, "a base without a tag changes by itself"
    assert not image.endswith(":latest")


def test_the_last_stage_is_built_on_the_chosen_backend() -> None:
    assert of("FROM")[-1] == "${BACKEND} AS swiftbox"
    assert arguments()["BACKEND"] in BACKENDS
    assert "BACKEND" in of("ARG", LAST), "an ARG before FROM is out of sight after it"


def test_the_image_runs_as_a_user_that_it_creates() -> None:
    user = of("USER", LAST)[-1]
    assert user != "root"
    assert any(f"useradd --create-home --shell /bin/bash {user} " in rest for rest in of("RUN"))


def test_it_downloads_nothing_by_address_and_holds_no_secret() -> None:
    assert of("ADD") == []
    text = "\n".join(step.rest for step in STEPS)
    assert "://" not in text
    assert not re.search(r"(?i)token|passw|secret|api_?key", text)


def test_only_named_paths_that_exist_are_copied() -> None:
    for rest in of("COPY"):
        *sources, _ = rest.split()
        for source in sources:
            assert source not in (".", "./")
            assert (REPOSITORY / source).exists(), source


def test_pip_is_cached_while_building_and_models_while_running() -> None:
    (cached,) = (rest for rest in of("RUN") if "--mount=type=cache" in rest)
    assert "/.cache/pip" in cached
    environment = dict(part.split("=", 1) for rest in of("ENV") for part in rest.split())
    volumes = json.loads(of("VOLUME")[0])
    assert volumes == ["/workspace", "/cache"]
    for name in ("HF_HOME", "MODELSCOPE_CACHE", "SWIFTBOX_HOME"):
        assert environment[name].startswith("/cache/")


def test_the_entry_is_the_launcher() -> None:
    assert json.loads(of("ENTRYPOINT")[-1]) == ["bash", "/opt/swiftbox/scripts/yichuidingyin.sh"]
    assert (REPOSITORY / "scripts/yichuidingyin.sh").exists()


# ---- what it does


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_setup_step_plans_on_every_backend(checkout: Checkout, backend: str) -> None:
    done = subprocess.run(
        ["bash", "-c", f"{setup_command()} --print-plan"],
        cwd=checkout.folder,
        env={**checkout.variables, "BACKEND": backend, "SWIFTBOX_TORCH_INDEX": "file:///index"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "pip install torch==2.13.0 --index-url file:///index" in done.stdout
    assert ("torch-npu==2.13.0" in done.stdout) == (backend == "npu")


def moved(text: str, image: Path) -> str:
    """Put the image's folders under `image`; refuse a step that would reach anything else."""
    named = re.findall(r"(?<![\w.$}/])/[\w./-]+", text)
    strange = [p for p in named if not p.startswith(FOLDERS) and p not in HARMLESS]
    assert not strange, f"{strange} would be touched on this machine"
    return re.sub("|".join(map(re.escape, FOLDERS)), lambda match: f"{image}{match[0]}", text)


def replay(checkout: Checkout, image: Path, path: str) -> Path:
    """Carry out the last stage's COPY, RUN and WORKDIR under `image`; return its last folder."""
    folder = image
    for step in LAST:
        if step.word == "WORKDIR":
            folder = Path(moved(step.rest, image))
            folder.mkdir(parents=True, exist_ok=True)
        elif step.word == "COPY":
            *sources, target = step.rest.split()
            for source in sources:
                copy(checkout.folder / source, folder / target, into=target.endswith("./"))
        elif step.word == "RUN":
            command = moved(re.sub(r"--mount=\S+ ", "", step.rest), image)
            done = subprocess.run(
                ["sh", "-c", command],
                cwd=folder,
                env={**checkout.variables, "PATH": path, "BACKEND": "cpu"},
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, f"{command}\n{done.stderr}"
    return folder


def copy(source: Path, target: Path, *, into: bool) -> None:
    """Copy as COPY does: a folder's contents, or a file to a name or into a folder."""
    if source.is_dir():
        shutil.copytree(source, target, dirs_exist_ok=True)
    else:
        goal = target / source.name if into else target
        goal.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, goal)


@pytest.mark.slow
def test_the_steps_of_the_cpu_image_end_in_a_launcher_that_works(
    checkout: Checkout, tmp_path: Path
) -> None:
    calls = tmp_path / "calls"
    only_noted = f'echo "${{0##*/}} $*" >>{shlex.quote(str(calls))}'
    path = fake_tools(
        tmp_path / "tools", apt_get=only_noted, useradd=only_noted, install=only_noted
    )
    image = tmp_path / "image"
    (image / "opt/swiftbox").mkdir(parents=True)
    shutil.copy(checkout.folder / "builder.py", image / "opt/swiftbox")
    folder = replay(checkout, image, path)

    assert (
        "apt-get install -y --no-install-recommends ca-certificates git tmux" in calls.read_text()
    )
    entry = [moved(part, image) for part in json.loads(of("ENTRYPOINT")[-1])]
    answer = subprocess.run(
        [*entry, "run", "my.yaml"],
        cwd=folder,
        env={**checkout.variables, "PIP_FIND_LINKS": "/nowhere"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.stdout == f"swiftbox:|run|my.yaml|{folder}\n", answer.stderr
