"""The law of paths: outside text becomes a part of a path in security/paths.py only.

A join is `folder / name`, `joinpath`, `with_name`, `with_stem`, `os.path.join`, `Path(a, b)` and
`Path(f"...")`. What it joins may be a constant, a name in capitals, or what a loop reads from a
folder or a tuple of constants; everything else stands in ALLOWED with its reason.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

PATH_NAMES = re.compile(
    r"folder|root|path|dir$|directory|parent|home|target|storage|cache|snapshot|into|place|source"
    r"|base$|work|partial|unfinished|temporary|boundary|run$|checkpoint|packages|mount|top$|Path"
    r"|cwd|file|earlier|output|index|store|before|final|steps|container|environment|venv|pipeline"
)
"""Names of folders and files in this house; a join on a path with another name is a bad name."""

FROM_A_FOLDER = "the name was read from a folder or a path"
FROM_A_TABLE = "the name is a row of a table in the package, looked up before"
A_DIGEST = "the name is a hash or a number that we computed"
CHECKED = "the name was checked by security/paths.py, or by the reader that returned it"
READS_ONLY = "the user's own file of another tool names it; it is read, never written"
ITS_TOOL = "the name of a tool is a constant of its caller"

ALLOWED: dict[str, dict[str, str]] = {
    "swiftbox/architectures/tables.py": {"folder / path": "a constant, or one identifier"},
    "swiftbox/cli/runs.py": {"run.folder / step['folder']": CHECKED},
    "swiftbox/cli/unexpected.py": {
        "os.path.join(folder, name if folder != tempfile.gettempdir() else f'swiftbox-{name}')": (
            "the name is built of the time and the process"
        )
    },
    "swiftbox/cli/yaml_files.py": {"home() / f'schema-{task}.json'": FROM_A_TABLE},
    "swiftbox/converters/axolotl.py": {"foreign.folder / str(value)": READS_ONLY},
    "swiftbox/converters/axolotl_datasets.py": {"Path(path) / file": READS_ONLY},
    "swiftbox/converters/dataset_info.py": {
        "parent / folder_name": READS_ONLY,
        "folder / str(file)": READS_ONLY,
    },
    "swiftbox/converters/foreign_file.py": {"folder / name": READS_ONLY},
    "swiftbox/converters/shared_values.py": {"foreign.folder / name": READS_ONLY},
    "swiftbox/converters/token_keys.py": {"folder / name": READS_ONLY},
    "swiftbox/converters/trainer_keys.py": {"foreign.folder / str(value)": READS_ONLY},
    "swiftbox/core/data/cache.py": {
        f"folder / f'{{key}}.{suffix}'": A_DIGEST for suffix in ("arrow", "json", "lock", "partial")
    },
    "swiftbox/core/losses/reference_cache.py": {"self.folder / f'{process}.bin'": A_DIGEST},
    "swiftbox/core/training/atomic_checkpoints.py": {
        "partial / name": A_DIGEST,
        "folder / name": A_DIGEST,
    },
    "swiftbox/core/training/checkpoint.py": {"checkpoint / name": CHECKED},
    "swiftbox/core/training/reference_setup.py": {
        "cache_home() / 'cache' / 'reference' / model_hash(folders, settings)": A_DIGEST
    },
    "swiftbox/core/weights/cast.py": {"target / file.name": "COMPANIONS are constants"},
    "swiftbox/core/weights/completion.py": {"target / file_name": A_DIGEST},
    "swiftbox/core/weights/mix_models.py": {
        "target / FILE.format(number + 1, 0)": A_DIGEST,
        "target / name": A_DIGEST,
    },
    "swiftbox/launch/extension.py": {"target / checkpoint.name": FROM_A_FOLDER},
    "swiftbox/data/files.py": {"Path(folder, name)": FROM_A_FOLDER},
    "swiftbox/data/missing_files.py": {
        "folder / name": FROM_A_FOLDER,
        "written.joinpath(name, *missing[1:])": "a hint shows it; it is never opened",
    },
    "swiftbox/data/source.py": {"path.parent / entry.file_name": CHECKED},
    "swiftbox/devices/container_limits.py": {
        "mount / controller": "the kernel names its controllers",
        "top / path.lstrip('/')": "the kernel names the group of this process",
    },
    "swiftbox/devices/host.py": {
        "home() / 'engines' / name": FROM_A_TABLE,
        "toolkit / f'{platform.machine()}-linux'": "the kernel names the processor",
    },
    "swiftbox/display/chat_session.py": {
        "home() / 'chats' / f\"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}\"": A_DIGEST
    },
    "swiftbox/display/demo.py": {
        "folder / training.file": FROM_A_TABLE,
        "folder / 'runs' / training.name": FROM_A_TABLE,
        "run.with_name(f'{run.name}-{number}')": FROM_A_FOLDER,
    },
    "swiftbox/engines/install.py": {
        "folder.with_name(f'.{name}.removed')": FROM_A_TABLE,
        "engine_folder(name).with_name(f'.{name}.lock')": FROM_A_TABLE,
    },
    "swiftbox/engines/self_test.py": {"packages / path": "pip's RECORD names it; its size is read"},
    "swiftbox/engines/state.py": {
        "home().expanduser().absolute() / 'engines' / name": FROM_A_TABLE
    },
    "swiftbox/engines/tool_runner.py": {
        "folder / f'{run.tool}.request.json'": ITS_TOOL,
        "folder / f'{run.tool}.result.json'": ITS_TOOL,
        "TOOLS / f'{run.tool}.py'": ITS_TOOL,
    },
    "swiftbox/engines/tools/evalscope.py": {
        "work / 'predictions' / path.relative_to(work / 'reviews')": FROM_A_FOLDER,
        "path.with_name(f'.{path.name}.{os.getpid()}')": FROM_A_FOLDER,
    },
    "swiftbox/engines/tools/lm_eval.py": {
        "folder / f'{number}.{split}.jsonl'": "a number, and test or dev",
        "folder / f'{name}.yaml'": "a benchmark of the catalogue, and a number",
        "path.with_name(f'.{path.name}.{os.getpid()}')": FROM_A_FOLDER,
    },
    "swiftbox/evaluation/answer_speed.py": {
        "cache_home() / FOLDER / f'{name}.json'": A_DIGEST,
    },
    "swiftbox/evaluation/benchmarks.py": {
        "root / part": FROM_A_TABLE,
        "root / name": FROM_A_TABLE,
    },
    "swiftbox/evaluation/jobs.py": {
        "self.folder / RESULTS / self.candidate.slug / f'{self.benchmark.name}.json'": FROM_A_TABLE,
        "self.folder / RESULTS / self.candidate.slug": CHECKED,
        "self.folder / WORK / self.candidate.slug / self.benchmark.name": FROM_A_TABLE,
        "self.folder / WORK / self.candidate.slug": CHECKED,
    },
    "swiftbox/evaluation/local_data.py": {"folder / path": CHECKED},
    "swiftbox/evaluation/own_rows/measuring.py": {
        "files.folder / 'work' / files.prompts(served.model).stem": A_DIGEST,
    },
    "swiftbox/evaluation/own_rows/row_files.py": {
        "self.folder / 'answers' / f'{candidate.slug}.jsonl'": CHECKED,
        "self.folder / 'losses' / f'{candidate.slug}.json'": CHECKED,
        "self.folder / 'prompts' / f'{name}.json'": A_DIGEST,
        "self.folder / 'scores' / f'{candidate.slug}.json'": CHECKED,
        "self.folder / 'verdicts' / f'{candidate.slug}.jsonl'": CHECKED,
    },
    "swiftbox/files.py": {
        "cache_home() / 'locks' / plain_name": "letters and digits only, and cut where it is long",
        "folder / entry": FROM_A_FOLDER,
        "Path(path, name)": FROM_A_FOLDER,
        "path.with_name(f'{_temporary_stem(path.name)}{TEMPORARY}{mark}')": FROM_A_FOLDER,
    },
    "swiftbox/tasks/learned_memory.py": {"cache_home() / 'memory' / f'{kind}.json'": A_DIGEST},
    "swiftbox/guide/pages.py": {"FOLDER / language_name / f'{topic}.md'": FROM_A_TABLE},
    "swiftbox/hub/from_folder.py": {"Path(request.id) / file.path": FROM_A_FOLDER},
    "swiftbox/hub/from_huggingface.py": {
        "blob.with_name(own_name(blob.name))": A_DIGEST,
        "Path(constants.HF_HUB_CACHE) / folder_name": CHECKED,
        "blob.with_name(f'{blob.name}.{threading.get_ident()}.link')": FROM_A_FOLDER,
    },
    "swiftbox/hub/from_modelscope.py": {"folder / own_name('')": A_DIGEST},
    "swiftbox/hub/partial_files.py": {"folder / name": FROM_A_FOLDER},
    "swiftbox/hub/listing.py": {
        "place.with_name(place.name.swapcase())": FROM_A_FOLDER,
        "folder / path": CHECKED,
    },
    "swiftbox/launch/disclosure.py": {
        "home() / AGREED / self._digest()": A_DIGEST,
        "folder / self._digest()": A_DIGEST,
    },
    "swiftbox/launch/fingerprint.py": {"Path(folder, file)": FROM_A_FOLDER},
    "swiftbox/models/cache_layouts.py": {"folder / name": FROM_A_FOLDER},
    "swiftbox/models/config_fields.py": dict.fromkeys(
        (
            "folder / 'models' / name / f'configuration_{name}.py'",
            "folder / 'models' / name",
        ),
        "the family is an identifier; a file of transformers is read",
    ),
    "swiftbox/models/gguf_files.py": {"file.with_name(name)": FROM_A_FOLDER},
    "swiftbox/models/local.py": {"folder / entry.name": FROM_A_FOLDER},
    "swiftbox/models/location.py": {
        "folder / required_file": "one of two constants",
        "parent / part": "a part of a path that the user gave; it is looked for, to suggest it",
        "parent / similar": FROM_A_FOLDER,
    },
    "swiftbox/models/tokenizer_files.py": {
        "home() / 'tokenizers' / f'{hashlib.sha256(key).hexdigest()}.json'": A_DIGEST
    },
    "swiftbox/runs/asked_child.py": {
        "cache_home() / self.topic / f'{self._digest()}.json'": A_DIGEST,
        "cache_home() / self.topic": FROM_A_TABLE,
    },
    "swiftbox/models/verified.py": {"folder / path": CHECKED, "self.folder / path": CHECKED},
    "swiftbox/models/weights.py": {"folder / name": CHECKED},
    "swiftbox/quantization/calibration.py": {
        "BUILT_IN / f'{name}.jsonl'": "one of two constants",
        "root / f'{name}.py'": "modules of the standard library, listed in the file",
        "root / name": "modules of the standard library, listed in the file",
    },
    "swiftbox/quantization/processes.py": {
        "folder / f'{command.tool}.request.json'": ITS_TOOL,
        "folder / f'{command.tool}.result.json'": ITS_TOOL,
    },
    "swiftbox/quantization/gguf_steps.py": {"job.work_folder / name": "one of two constants"},
    "swiftbox/quantization/job.py": {
        "job.work_folder / name": "a step's name is a constant",
        "job.work_folder / f'.{name}'": "a step's name is a constant",
    },
    "swiftbox/quantization/run.py": {"job.work_folder / name": "one of two constants"},
    "swiftbox/runs/creation.py": {
        "requested.with_name(f'{requested.name}-{number}')": FROM_A_FOLDER
    },
    "swiftbox/runs/folder.py": {
        "index / f'{folder.name}@{hash_text(str(folder.resolve())):08x}'": FROM_A_FOLDER
    },
    "swiftbox/runs/summary.py": {"folder / str(recorded)": CHECKED},
    "swiftbox/security/paths.py": {"root.joinpath(*segments)": CHECKED, "place / part": CHECKED},
    "swiftbox/security/templates.py": {
        "home() / 'templates' / sha256(content).hexdigest()": A_DIGEST
    },
    "swiftbox/starter/corpus.py": {
        "root / f'{module}.py'": "modules of the standard library",
        "root / module": "modules of the standard library",
    },
    "swiftbox/tasks/chat_servers.py": {"folder / f'server-{number}'": A_DIGEST},
    "swiftbox/tasks/pipeline/run.py": {
        "self.folder / self.records[name].folder": CHECKED,
        "self.folder / record.folder": CHECKED,
        "self.folder / aside": FROM_A_FOLDER,
    },
    "swiftbox/tasks/pipeline/state.py": {
        "earlier / f'{folder.name}-{number}'": FROM_A_FOLDER,
        "pipeline / record.folder": CHECKED,
    },
}
"""Joins of names that are not constant, by file and code, each with the reason why it is safe."""


def unexplained_joins(source: str, allowed: dict[str, str]) -> list[str]:
    """Return the joins of a file that are not allowed, and the allowed ones that it lacks."""
    present = {code for _, code in joins(source)}
    return sorted(present ^ allowed.keys())


JOINING_METHODS = frozenset({"joinpath", "with_name", "with_stem", "with_segments"})
READING_CALLS = frozenset({"iterdir", "glob", "rglob", "scandir", "listdir", "folders_in", "walk"})


def joins(source: str) -> Iterator[tuple[int, str]]:
    """Yield the line and the code of every join of something that is not constant."""
    module = ast.parse(source)
    for function in _scopes(module):
        safe = _safe_names(function)
        for node in _nodes_of(function):
            if any(not _is_constant(part, safe) for part in _joined_parts(node)):
                yield node.lineno, ast.unparse(node)


def _scopes(module: ast.Module) -> Iterator[ast.AST]:
    yield module
    for node in ast.walk(module):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node


def _nodes_of(scope: ast.AST) -> Iterator[ast.expr]:
    """Yield the expressions of a scope, without those of the functions in it."""
    for child in ast.iter_child_nodes(scope):
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        if isinstance(child, ast.expr):
            yield child
        yield from _nodes_of(child)


def _joined_parts(node: ast.AST) -> list[ast.expr]:
    """Return what a join adds to a path; nothing for what is not a join."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        is_path = isinstance(node.right, ast.JoinedStr) or _names_a_path(node.left)
        return [node.right] if is_path and not _is_number(node.right) else []
    if not isinstance(node, ast.Call):
        return []
    called = ast.unparse(node.func)
    if isinstance(node.func, ast.Attribute) and node.func.attr in JOINING_METHODS:
        return list(node.args)
    if called == "os.path.join" or (called.endswith("Path") and len(node.args) > 1):
        return list(node.args[1:])
    if called.endswith("Path"):
        return [part for part in node.args if isinstance(part, ast.JoinedStr)]
    return []


def _names_a_path(node: ast.expr) -> bool:
    """Tell whether the last name of an expression is that of a folder or file."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        return _names_a_path(node.left) or isinstance(node.right, ast.JoinedStr)
    if isinstance(node, ast.Call):
        return _names_a_path(node.func)
    if isinstance(node, ast.Attribute):
        return bool(PATH_NAMES.search(node.attr)) or (
            node.attr in ("expanduser", "resolve", "absolute") and _names_a_path(node.value)
        )
    return isinstance(node, ast.Name) and bool(PATH_NAMES.search(node.id))


def _is_number(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, (int, float))


def _is_constant(node: ast.expr, safe: frozenset[str]) -> bool:
    """Tell whether a part is constant: a text, a name in capitals, or text made of such parts."""
    if isinstance(node, ast.Constant):
        return True
    if isinstance(node, ast.Name):
        return node.id.isupper() or node.id in safe
    if isinstance(node, ast.Attribute):
        return node.attr.isupper() or (node.attr == "name" and _is_constant(node.value, safe))
    if isinstance(node, ast.JoinedStr):
        return all(_is_constant(part, safe) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        return _is_constant(node.value, safe)
    if isinstance(node, ast.IfExp):
        return _is_constant(node.body, safe) and _is_constant(node.orelse, safe)
    return isinstance(node, ast.Starred) and _is_constant(node.value, safe)


def _safe_names(scope: ast.AST) -> frozenset[str]:
    """Return the loop variables that come from a folder, from constants or from counting."""
    safe: set[str] = set()
    for node in ast.walk(scope):
        loops: list[tuple[ast.expr, ast.expr]] = []
        if isinstance(node, (ast.For, ast.AsyncFor)):
            loops = [(node.target, node.iter)]
        elif isinstance(node, (ast.ListComp, ast.SetComp, ast.GeneratorExp, ast.DictComp)):
            loops = [(part.target, part.iter) for part in node.generators]
        for target, iterated in loops:
            if isinstance(target, ast.Name) and _is_safe_to_iterate(iterated):
                safe.add(target.id)
    return frozenset(safe)


def _is_safe_to_iterate(node: ast.expr) -> bool:
    if isinstance(node, (ast.Tuple, ast.List)):
        return all(_is_constant(part, frozenset()) for part in node.elts)
    if isinstance(node, (ast.Name, ast.Attribute)):
        return _is_constant(node, frozenset())
    if not isinstance(node, ast.Call):
        return False
    called = node.func.attr if isinstance(node.func, ast.Attribute) else ast.unparse(node.func)
    if called in ("sorted", "list", "tuple", "reversed") and node.args:
        return _is_safe_to_iterate(node.args[0])
    return called in READING_CALLS or called in ("range", "count")


if __name__ == "__main__":
    from house_laws import name_of, python_files

    for file in python_files():
        allowed = ALLOWED.get(name_of(file), {})
        for code in unexplained_joins(file.read_text("utf-8"), allowed):
            print(f"{name_of(file)}  {code}")
