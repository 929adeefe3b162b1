"""Download a model over loopback: `swiftbox download` compared with `curl` and `sha256sum`."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SHARDS = 4
TARGET = 1.2

SERVE = """
import sys, time
sys.path.insert(0, sys.argv[1])
from fake_hub import Made, Repository, hub
size, count = int(sys.argv[2]), int(sys.argv[3])
shards = {f"model-{n + 1:05}-of-{count:05}.safetensors": Made(size, n) for n in range(count)}
with hub(Repository("o/n", {"config.json": b"{}", **shards}), send_buffer=4 * 2**20) as server:
    [shard.sha256 for shard in shards.values()]
    print(server.address, flush=True)
    sys.stdin.read()
"""


@contextmanager
def served(size: int) -> Iterator[str]:
    """Serve a sharded model in another process; yield the address."""
    command = [sys.executable, "-c", SERVE, str(ROOT / "tests"), str(size), str(SHARDS)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.kill()


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--gigabytes", type=float, default=2.0, help="how much (default 2)")
    parser.add_argument("--runs", type=int, default=3, help="runs of each side (default 3)")


def run(options: argparse.Namespace) -> int:
    """Compare with curl."""
    return compare(options.gigabytes, options.runs)


def compare(gigabytes: float, runs: int) -> int:
    """Print the medians and their ratio; without curl, only our own time."""
    if not shutil.which("curl") or not shutil.which("sha256sum"):
        print("curl or sha256sum is missing: only swiftbox is timed")
    size = round(gigabytes * 1e9 / SHARDS)
    seconds: dict[str, list[float]] = {"ours": [], "again": [], "curl": [], "sha256sum": []}
    with served(size) as address:
        for _ in range(runs):
            with tempfile.TemporaryDirectory() as temporary:
                seconds["ours"].append(ours(address, Path(temporary)))
                seconds["again"].append(ours(address, Path(temporary)))
            if shutil.which("curl") and shutil.which("sha256sum"):
                with tempfile.TemporaryDirectory() as temporary:
                    fetched, hashed = curl(address, Path(temporary))
                    seconds["curl"].append(fetched)
                    seconds["sha256sum"].append(hashed)
    middle = {key: statistics.median(times) for key, times in seconds.items() if times}
    print(f"{gigabytes:g} GB in {SHARDS} shards over loopback   (median of {runs})")
    print(f"swiftbox download            {middle['ours']:7.2f} s")
    print(f"swiftbox download, again     {middle['again']:7.2f} s")
    if "curl" in middle:
        both = middle["curl"] + middle["sha256sum"]
        ratio = middle["ours"] / both
        print(f"curl {middle['curl']:.2f} s, sha256sum {middle['sha256sum']:.2f} s  {both:7.2f} s")
        print(f"ratio                        {ratio:7.2f} x   (at most {TARGET})")
    return 0


def ours(address: str, folder: Path) -> float:
    """Return the wall seconds of the whole command."""
    env = {
        **os.environ,
        "MODELSCOPE_ENDPOINT": address,
        "MODELSCOPE_CACHE": str(folder / "cache"),
        "SWIFTBOX_HOME": str(folder / "home"),
        "HOME": str(folder),
        "NO_PROXY": "127.0.0.1",
    }
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "swiftbox", "download", "o/n", "--plain"],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    elapsed = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(done.stderr)
    return elapsed


def curl(address: str, folder: Path) -> tuple[float, float]:
    """Return the wall seconds of fetching every file with curl, and of hashing all of them."""
    repo = f"{address}/api/v1/models/o/n/repo"
    began = time.perf_counter()
    listed = subprocess.run(
        ["curl", "-sf", "--noproxy", "*", f"{repo}/files?Revision=master&Recursive=True"],
        capture_output=True,
        check=True,
    )
    files = json.loads(listed.stdout)["Data"]["Files"]
    for file in files:
        url = f"{repo}?Revision=master&FilePath={file['Path']}"
        target = str(folder / file["Path"])
        subprocess.run(["curl", "-sf", "--noproxy", "*", "-o", target, url], check=True)
    fetched = time.perf_counter()
    sums = "".join(f"{file['Sha256']}  {file['Path']}\n" for file in files)
    subprocess.run(
        ["sha256sum", "--quiet", "-c", "-"], input=sums, text=True, check=True, cwd=folder
    )
    return fetched - began, time.perf_counter() - fetched
