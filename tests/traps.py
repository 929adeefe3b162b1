"""A folder of traps: modules that leave a mark when they are imported from there."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path

MARKS = "marks.txt"

BEFORE_US = frozenset(
    "importlib warnings contextlib collections keyword operator reprlib functools types "
    "swiftbox sitecustomize usercustomize".split()
)
"""What Python imports for `python -m swiftbox` before the first line of swiftbox runs."""

NOT_INSTALLED = (
    "sitecustomize usercustomize conftest torch_npu vllm gguf wandb swanlab deepspeed triton "
    "flash_attn bitsandbytes liger_kernel apex sentencepiece tiktoken tensorboard torchvision "
    "torchaudio PIL sklearn scipy pandas matplotlib jax tensorflow evalscope lm_eval"
).split()
"""Optional modules that are searched, and those that Python searches at every start."""


def set_traps(folder: Path, *, skip: frozenset[str] = frozenset()) -> Path:
    """Write a module for every name that anything here could import; return the file of marks."""
    marks = folder.parent / MARKS
    marks.touch()
    names = {*sys.stdlib_module_names, *importlib.metadata.packages_distributions()}
    names.update(NOT_INSTALLED, ("swiftbox",))
    for number, name in enumerate(sorted(names - skip)):
        if not name.isidentifier() or name == "__main__":
            continue
        is_package = number % 2
        path = folder / name / "__init__.py" if is_package else folder / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(
            f"open({str(marks)!r}, 'a').write({name!r} + '\\n')\nraise ImportError({name!r})\n"
        )
    return marks
