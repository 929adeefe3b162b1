"""Downloads as a user runs them: `swiftbox download` in a child process with separate caches."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from box import HANG_S
from fake_hub import Made, Repository, contents, nobody

SHARDS: dict[str, bytes | Made] = {
    "config.json": b'{"model_type": "qwen3"}',
    "tokenizer.json": b"{}" * 1000,
    "model-00001-of-00003.safetensors": Made(12_000_001, 1),
    "model-00002-of-00003.safetensors": Made(12_000_002, 2),
    "model-00003-of-00003.safetensors": Made(12_000_003, 3),
}
FIRST, SECOND, THIRD = sorted(name for name in SHARDS if name.startswith("model-"))


def shards() -> Repository:
    return Repository("o/n", SHARDS)


@dataclass
class Desk:
    """A machine of one's own: a home, caches, and where the hubs are."""

    folder: Path
    modelscope: str = field(default_factory=nobody)
    huggingface: str = field(default_factory=nobody)
    env: dict[str, str] = field(default_factory=dict)

    def environment(self) -> dict[str, str]:
        inherited = {
            key: value
            for key, value in os.environ.items()
            if not key.lower().endswith("_proxy") and key not in ("HF_HUB_OFFLINE", "HF_TOKEN")
        }
        return {
            **inherited,
            "HOME": str(self.folder),
            "SWIFTBOX_HOME": str(self.folder / "state"),
            "SWIFTBOX_LANG": "en",
            "MODELSCOPE_CACHE": str(self.folder / "ms"),
            "HF_HOME": str(self.folder / "hf"),
            "MODELSCOPE_ENDPOINT": self.modelscope,
            "HF_ENDPOINT": self.huggingface,
            "MODELSCOPE_DOWNLOAD_TIMEOUT": "1",
            "HF_HUB_DOWNLOAD_TIMEOUT": "1",
            "NO_PROXY": "127.0.0.1",
            **self.env,
        }

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "swiftbox", *arguments],
            cwd=self.folder,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def box(self, *arguments: str) -> Done:
        with self.start(*arguments) as process:
            try:
                out, err = process.communicate(timeout=HANG_S)
            finally:
                process.kill()
        return Done(process.returncode, out, err)

    def download(self, *arguments: str) -> Done:
        return self.box("download", *arguments, "--plain", "--json")

    def python(self, code: str) -> Done:
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=self.folder,
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=HANG_S,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    @property
    def snapshot(self) -> Path:
        return self.folder / "ms" / "models" / "o--n" / "snapshots" / "master"


@dataclass(frozen=True)
class Done:
    """How a child ended."""

    code: int
    out: str
    err: str

    @property
    def answer(self) -> dict[str, Any]:
        record: dict[str, Any] = json.loads(self.out.splitlines()[-1])
        return record

    @property
    def path(self) -> Path:
        return Path(self.answer["fetched"][0]["path"])

    def fine(self) -> Done:
        assert self.code == 0, self.out + self.err
        return self


def same(folder: Path, repository: Repository, names: list[str] | None = None) -> bool:
    """Tell whether the files are those of the repository, byte by byte."""
    return all(
        (folder / name).read_bytes() == contents(repository.files[name]).data()
        for name in names or repository.files
    )
