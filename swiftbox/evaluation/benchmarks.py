"""Which benchmarks are asked for: EvalScope's by name, our own samples, data on this machine."""

from __future__ import annotations

import difflib
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from swiftbox.errors import ConfigError, HubError
from swiftbox.hub.reach import endpoints_of, reachable
from swiftbox.language import home, text
from swiftbox.models.catalogue import Benchmark, benchmarks
from swiftbox.models.local import list_local
from swiftbox.models.requirements import ERROR, NOTE, WARNING, Remark

SAMPLES = {"sample_ceval": "ceval", "sample_mmlu": "mmlu"}
"""Our own sample sets, and the benchmark whose shape each has."""

SAMPLE_DATA = Path(__file__).with_name("sample")

DATA_FILES = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".arrow")

BY_LIKELIHOOD = ("mcq",)
"""Kinds of benchmarks with choices to compare."""

JUDGED = frozenset(
    """
    air_bench_chat arena_hard baby_vision browsecomp charxiv chinese_simpleqa cl_bench cmmu
    deepsearchqa docmath drivel_writing frames gedit general_arena health_bench hipho hle
    imo_answerbench job_bench longmemeval math_verse mcp_atlas mia_bench minerva_math
    needle_haystack perception_bench phyx_oe plawbench researchrubrics simple_qa simple_vqa
    wide_search world_vqa zerobench
    """.split()
)
"""Benchmarks that EvalScope 1.14.1 refuses without a judge model (requires_judge of its rows)."""


@dataclass(frozen=True)
class Asked:
    """One benchmark that is asked for: its name here, EvalScope's row, where its data is."""

    name: str
    row: Benchmark
    folder: Path | None
    """None: EvalScope fetches it from the hub."""

    @property
    def is_sample(self) -> bool:
        """Tell whether it is one of our own sets."""
        return self.name in SAMPLES

    @property
    def title(self) -> str:
        """Return what a report calls it; a sample set is called one wherever it shows."""
        of = self.row.title or self.row.name
        if self.is_sample:
            return text(
                f"{self.name}: swiftbox's own sample, not {of}",
                f"{self.name}：自带样本集，并非 {of}",
            )
        return of if of.lower() == self.name else f"{self.name}: {of}"


def chosen(names: Sequence[str], folder: str | None) -> tuple[Asked, ...]:
    """Return the benchmarks of these names; raise ConfigError with all that are none."""
    rows = {one.name.lower(): one for one in benchmarks()}
    problems, hints, found = [], [], {}
    for name in dict.fromkeys(names):
        row = rows.get(SAMPLES.get(name, name).lower())
        if row is None:
            problems.append(text(f"benchmarks: {name} is not known", f"benchmarks：没有 {name}"))
            hints += [near] if (near := _near(name)) else []
            continue
        found[name] = Asked(name, row, _data_of(name, row, folder, alone=len(names) == 1))
    if problems:
        raise ConfigError("\n".join(problems), hint="\n".join(hints))
    return tuple(found.values())


def _near(name: str) -> str:
    known = [*SAMPLES, *(one.name for one in benchmarks())]
    titles = {(one.title or "").lower(): one.name for one in benchmarks()}
    exact = titles.get(name.lower())
    near = [exact] if exact else difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.5)
    inside = [one for one in known if name.lower() in one][:3]
    listed = ", ".join(dict.fromkeys([*near, *inside]))
    return text(f"near {name}: {listed}", f"与 {name} 相近：{listed}") if listed else ""


def _data_of(name: str, row: Benchmark, folder: str | None, *, alone: bool) -> Path | None:
    """Return the folder of a benchmark's data; raise ConfigError where there is none."""
    if name in SAMPLES:
        return SAMPLE_DATA / SAMPLES[name]
    if folder is None:
        return None
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise ConfigError(
            text(f"benchmark_dir: no folder {folder}", f"benchmark_dir：目录 {folder} 不存在")
        )
    tail = (row.dataset_id or row.name).rpartition("/")[2]
    places = [root / one for one in dict.fromkeys((name, row.name, tail))]
    found = next((one for one in places if one.is_dir()), root if alone else None)
    if found is None or not _has_data(found):
        raise ConfigError(
            text(
                f"benchmark_dir: no data of {name} in {found or root}",
                f"benchmark_dir：{found or root} 中没有 {name} 的数据",
            ),
            hint=text(
                f"put it into {root / name}: "
                f"swiftbox download {row.dataset_id} --dataset --to {root / name}",
                f"请放入 {root / name}："
                f"swiftbox download {row.dataset_id} --dataset --to {root / name}",
            ),
        )
    return found.resolve()


def _has_data(folder: Path) -> bool:
    return any(one.suffix in DATA_FILES for one in folder.rglob("*") if one.is_file())


@dataclass(frozen=True)
class Means:
    """What an evaluation has to score with."""

    backend: str
    engine: str
    """What serves the models; `endpoint` where the server is somebody's own."""
    judged: bool
    """Whether a judge model is named."""


def findings(asked: Sequence[Asked], means: Means) -> Iterator[Remark]:
    """Yield what a benchmark needs beyond a server that answers with text."""
    for one in asked:
        yield from _of_backend(one, means)
        if one.row.sandbox:
            docker = shutil.which("docker") is not None
            yield Remark(
                WARNING if docker else ERROR,
                "benchmarks",
                text(
                    f"{one.name} runs the code that the model writes, in Docker",
                    f"{one.name} 会在 Docker 中执行模型写出的代码",
                ),
                text(
                    "it needs a Docker engine and EvalScope's image",
                    "需要 Docker 引擎及 EvalScope 的镜像",
                ),
            )
        if one.row.name in JUDGED and not means.judged:
            yield Remark(
                ERROR,
                "benchmarks",
                text(f"{one.name} is scored by a judge model", f"{one.name} 由评审模型打分"),
                text(
                    "set judge_endpoint and judge_model",
                    "请设 judge_endpoint 与 judge_model",
                ),
            )
        if one.is_sample:
            yield Remark(NOTE, "benchmarks", one.title)


def _of_backend(one: Asked, means: Means) -> Iterator[Remark]:
    if means.backend == "lm_eval" and one.row.task_type not in BY_LIKELIHOOD:
        yield Remark(
            ERROR,
            "benchmarks",
            text(
                f"{one.name} has no choices whose likelihood could be compared",
                f"{one.name} 没有可比较似然的选项",
            ),
            text("set backend: evalscope", "设 backend: evalscope"),
        )
    elif means.backend == "lm_eval" and one.folder is None:
        yield Remark(
            ERROR,
            "benchmarks",
            text(
                f"{one.name}: backend: lm_eval takes data on this machine",
                f"{one.name}：backend: lm_eval 只使用本机数据",
            ),
            text("say where it is: benchmark_dir=FOLDER", "请给出位置：benchmark_dir=目录"),
        )
    elif one.row.category in ("vlm", "aigc") and means.engine == "builtin":
        yield Remark(
            ERROR,
            "benchmarks",
            text(
                f"{one.name} asks with or for images, sound or video; the builtin server reads "
                "and writes text",
                f"{one.name} 涉及图像、音频或视频；内置服务只处理文本",
            ),
            text("set engine: vllm, or endpoint: URL", "设 engine: vllm 或 endpoint: 地址"),
        )


def require_reachable(asked: Sequence[Asked], hub: str) -> None:
    """Raise HubError, in seconds, when data is to be fetched and its hub does not answer."""
    absent = [one for one in asked if one.folder is None and not is_cached(one)]
    if not absent:
        return
    if hub == "local":
        where, answers = "hub: local", False
    else:
        where = ", ".join(endpoints_of(hub))
        answers = bool(reachable(endpoints_of(hub)))
    if answers:
        return
    names = ", ".join(one.name for one in absent)
    raise HubError(
        text(
            f"benchmarks: the data of {names} is not here, and {where} does not answer",
            f"benchmarks：本机没有 {names} 的数据，且 {where} 无法连接",
        ),
        hint=text(
            "give benchmark_dir=FOLDER, or try benchmarks=sample_ceval,sample_mmlu",
            "请给出 benchmark_dir=目录，或试用 benchmarks=sample_ceval,sample_mmlu",
        ),
    )


def cache() -> Path:
    """Return where EvalScope keeps the data it fetches for us."""
    return home() / "benchmarks"


def is_cached(one: Asked) -> bool:
    """Tell whether the data of a benchmark was fetched before: by EvalScope, or as a dataset."""
    if any(found.id == one.row.dataset_id for found in list_local("dataset")):
        return True
    name = (one.row.dataset_id or one.row.name).replace("/", "?")
    folders = (cache() / "datasets").glob(f"{name}-*")
    return any(folder.is_dir() and _has_data(folder) for folder in folders)
