"""The selected benchmarks: EvalScope's by name, sample sets, data on this machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from swiftbox.config.own_rows import NONE
from swiftbox.errors import ConfigError, HubError
from swiftbox.formatting import near
from swiftbox.hub.reach import endpoints_of, reachable
from swiftbox.language import home, text
from swiftbox.models.catalogue import Benchmark, benchmarks
from swiftbox.models.local import list_local
from swiftbox.models.requirements import ERROR, NOTE, WARNING, Remark
from swiftbox.security.children import find_program

SAMPLES = {"sample_ceval": "ceval", "sample_mmlu": "mmlu"}
"""The sample sets of swiftbox, and the benchmark whose format each has."""

SAMPLE_DATA = Path(__file__).with_name("sample")

DATA_FILES = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".arrow")

MULTIPLE_CHOICE = ("mcq",)
"""Task types with choices whose likelihoods can be compared."""

NEEDS_JUDGE = frozenset(
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
class SelectedBenchmark:
    """A selected benchmark: its name, its row in the catalogue, and its data."""

    name: str
    row: Benchmark
    folder: Path | None
    """None: EvalScope fetches it from the hub."""

    @property
    def is_sample(self) -> bool:
        """Tell whether it is a sample set of swiftbox."""
        return self.name in SAMPLES

    @property
    def title(self) -> str:
        """Return its title in a report; a sample set is always marked as one."""
        title = self.row.title or self.row.name
        if self.is_sample:
            return text(
                f"{self.name}: a sample set of swiftbox, not {title}",
                f"{self.name}：自带样本集，并非 {title}",
            )
        return title if title.lower() == self.name else f"{self.name}: {title}"


def select_benchmarks(names: Sequence[str], folder: str | None) -> tuple[SelectedBenchmark, ...]:
    """Return the benchmarks with these names; raise ConfigError for all unknown ones.

    The only name `none` stands for no benchmark.
    """
    rows = {row.name.lower(): row for row in benchmarks()}
    if list(names) == [NONE]:
        return ()
    problems, hints, selected = [], [], {}
    for name in dict.fromkeys(names):
        row = rows.get(SAMPLES.get(name, name).lower())
        if row is None:
            problems.append(text(f"benchmarks: unknown name {name}", f"benchmarks：没有 {name}"))
            hints += [hint] if (hint := _similar_names(name)) else []
            continue
        data = _data_folder(name, row, folder, is_only=len(names) == 1)
        selected[name] = SelectedBenchmark(name, row, data)
    if problems:
        raise ConfigError("\n".join(problems), hint="\n".join(hints) or _usual_names())
    return tuple(selected.values())


def _usual_names() -> str:
    usual = ", ".join([*SAMPLES, *sorted(row.name for row in benchmarks())[:8]])
    return text(f"some that exist: {usual}", f"可用的有：{usual} 等")


def _similar_names(name: str) -> str:
    known = [*SAMPLES, *(row.name for row in benchmarks())]
    titles = {(row.title or "").lower(): row.name for row in benchmarks()}
    exact = titles.get(name.lower())
    similar = [exact] if exact else near(name.lower(), known, cutoff=0.5)
    containing = [benchmark for benchmark in known if name.lower() in benchmark][:3]
    listed = ", ".join(dict.fromkeys([*similar, *containing]))
    return text(f"similar to {name}: {listed}", f"与 {name} 相近：{listed}") if listed else ""


def _data_folder(name: str, row: Benchmark, folder: str | None, *, is_only: bool) -> Path | None:
    """Return the folder of a benchmark's data; raise ConfigError if it has no data."""
    if name in SAMPLES:
        return SAMPLE_DATA / SAMPLES[name]
    if folder is None:
        return None
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise ConfigError(
            text(f"benchmark_dir: no folder {folder}", f"benchmark_dir：目录 {folder} 不存在"),
            hint=text(
                "give a folder that exists, or leave it out to download the data",
                "请给出已有的目录；不填则下载数据",
            ),
        )
    tail = (row.dataset_id or row.name).rpartition("/")[2]
    candidates = [root / part for part in dict.fromkeys((name, row.name, tail))]
    data = next((path for path in candidates if path.is_dir()), root if is_only else None)
    if data is None or not _has_data(data):
        raise ConfigError(
            text(
                f"benchmark_dir: no data of {name} in {data or root}",
                f"benchmark_dir：{data or root} 中没有 {name} 的数据",
            ),
            hint=text(
                f"put it into {root / name}: "
                f"swiftbox download {row.dataset_id} --dataset --to {root / name}",
                f"请放入 {root / name}："
                f"swiftbox download {row.dataset_id} --dataset --to {root / name}",
            ),
        )
    return data.resolve()


def _has_data(folder: Path) -> bool:
    return any(path.suffix in DATA_FILES for path in folder.rglob("*") if path.is_file())


@dataclass(frozen=True)
class ScoringSetup:
    """The means of scoring: backend, engine and judge."""

    backend: str
    engine: str
    """The engine that serves the models; `endpoint` for an external server."""
    judged: bool
    """Whether a judge model is set."""


def benchmark_remarks(
    selected: Sequence[SelectedBenchmark], setup: ScoringSetup
) -> Iterator[Remark]:
    """Yield what benchmarks need beyond a server that answers with text."""
    for benchmark in selected:
        yield from _backend_remarks(benchmark, setup)
        if benchmark.row.sandbox:
            docker = find_program("docker") is not None
            yield Remark(
                WARNING if docker else ERROR,
                "benchmarks",
                text(
                    f"{benchmark.name} runs the code that the model writes in Docker",
                    f"{benchmark.name} 会在 Docker 中执行模型写出的代码",
                ),
                text(
                    "it needs a Docker engine and EvalScope's image",
                    "需要 Docker 引擎及 EvalScope 的镜像",
                ),
            )
        if benchmark.row.name in NEEDS_JUDGE and not setup.judged:
            yield Remark(
                ERROR,
                "benchmarks",
                text(
                    f"{benchmark.name} is scored by a judge model",
                    f"{benchmark.name} 由评审模型打分",
                ),
                text(
                    "set judge_endpoint and judge_model",
                    "请设 judge_endpoint 与 judge_model",
                ),
            )
        if benchmark.is_sample:
            yield Remark(NOTE, "benchmarks", benchmark.title)


def _backend_remarks(benchmark: SelectedBenchmark, setup: ScoringSetup) -> Iterator[Remark]:
    if setup.backend == "lm_eval" and benchmark.row.task_type not in MULTIPLE_CHOICE:
        yield Remark(
            ERROR,
            "benchmarks",
            text(
                f"{benchmark.name} has no choices whose likelihoods can be compared",
                f"{benchmark.name} 没有可比较似然的选项",
            ),
            text("set backend: evalscope", "设 backend: evalscope"),
        )
    elif setup.backend == "lm_eval" and benchmark.folder is None:
        yield Remark(
            ERROR,
            "benchmarks",
            text(
                f"{benchmark.name}: backend: lm_eval needs data on this machine",
                f"{benchmark.name}：backend: lm_eval 只使用本机数据",
            ),
            text("set benchmark_dir=FOLDER", "请给出位置：benchmark_dir=目录"),
        )
    elif benchmark.row.category in ("vlm", "aigc") and setup.engine == "builtin":
        yield Remark(
            ERROR,
            "benchmarks",
            text(
                f"{benchmark.name} needs images, audio or video; the builtin server handles text "
                "only",
                f"{benchmark.name} 涉及图像、音频或视频；内置服务只处理文本",
            ),
            text("set engine: vllm, or endpoint: URL", "设 engine: vllm 或 endpoint: 地址"),
        )


def require_reachable(selected: Sequence[SelectedBenchmark], hub: str) -> None:
    """Raise HubError within seconds if data has to be fetched and its hub does not answer."""
    absent = [
        benchmark for benchmark in selected if benchmark.folder is None and not is_cached(benchmark)
    ]
    if not absent:
        return
    if hub == "local":
        where, answers = "hub: local", False
    else:
        where = ", ".join(endpoints_of(hub))
        answers = bool(reachable(endpoints_of(hub)))
    if answers:
        return
    names = ", ".join(benchmark.name for benchmark in absent)
    raise HubError(
        text(
            f"benchmarks: the data of {names} is not on this machine, and {where} does not answer",
            f"benchmarks：本机没有 {names} 的数据，且 {where} 无法连接",
        ),
        hint=text(
            "set benchmark_dir=FOLDER, or try benchmarks=sample_ceval,sample_mmlu",
            "请给出 benchmark_dir=目录，或试用 benchmarks=sample_ceval,sample_mmlu",
        ),
    )


def cache() -> Path:
    """Return the folder of the data that EvalScope fetches."""
    return home() / "benchmarks"


def is_cached(benchmark: SelectedBenchmark) -> bool:
    """Tell whether the data of a benchmark was fetched by EvalScope or as a dataset."""
    if any(dataset.id == benchmark.row.dataset_id for dataset in list_local("dataset")):
        return True
    name = (benchmark.row.dataset_id or benchmark.row.name).replace("/", "?")
    folders = (cache() / "datasets").glob(f"{name}-*")
    return any(folder.is_dir() and _has_data(folder) for folder in folders)
