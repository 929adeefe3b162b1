"""The fit estimate compared with real trainings on this CPU: the allocator's peak, a child each.

The child samples glibc's count of allocated bytes (mallinfo2) every millisecond from when the
model is about to be loaded, and adds the weights that stay pages of their file. The estimate's
`allocated` is compared with that.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
MIB = 2**20

SIZES: dict[str, dict[str, int]] = {
    "5M": {"hidden": 192, "layers": 6, "heads": 6, "kv_heads": 3, "intermediate": 512},
    "20M": {"hidden": 384, "layers": 8, "heads": 6, "kv_heads": 2, "intermediate": 1024},
    "60M": {"hidden": 640, "layers": 10, "heads": 10, "kv_heads": 5, "intermediate": 1728},
    "120M": {"hidden": 768, "layers": 12, "heads": 12, "kv_heads": 4, "intermediate": 2560},
    "300M": {"hidden": 1024, "layers": 20, "heads": 16, "kv_heads": 8, "intermediate": 3072},
}
Job = tuple[str, str, int, int, str, int]
"""Size, tuner, rows, tokens per row, gradient checkpointing, vocabulary."""

JOBS: tuple[Job, ...] = (
    ("5M", "lora", 2, 256, "false", 8_000),
    ("5M", "full", 8, 512, "false", 8_000),
    ("20M", "lora", 4, 512, "false", 32_000),
    ("20M", "full", 4, 512, "true", 32_000),
    ("60M", "lora", 2, 1024, "true", 32_000),
    ("60M", "lora", 4, 512, "false", 32_000),
    ("60M", "full", 2, 512, "false", 32_000),
    ("60M", "qlora", 4, 512, "false", 32_000),
    ("120M", "lora", 2, 512, "false", 100_000),
    ("120M", "lora", 4, 1024, "true", 100_000),
    ("120M", "full", 2, 512, "true", 32_000),
    ("120M", "qlora", 2, 1024, "true", 100_000),
    ("300M", "lora", 1, 512, "true", 32_000),
    ("300M", "full", 1, 256, "true", 32_000),
    ("300M", "qlora", 1, 512, "false", 32_000),
)


class Mallinfo2(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
        ).split()
    ]


def allocated() -> int:
    """Return the bytes that malloc has allocated and not freed."""
    info = MALLINFO()
    return int(info.uordblks + info.hblkhd)


def mapped() -> int:
    """Return the bytes of parameters that lie in memory as pages of their file, outside malloc."""
    import torch

    ranges = [
        tuple(int(end, 16) for end in line.split()[0].split("-"))
        for line in Path("/proc/self/maps").read_text().splitlines()
        if line.endswith(".safetensors")
    ]
    sizes = {
        tensor.data_ptr(): tensor.nbytes
        for tensor in gc.get_objects()
        if isinstance(tensor, torch.nn.Parameter)
        and any(low <= tensor.data_ptr() < high for low, high in ranges)
    }
    return sum(sizes.values())


def sampler(stop: threading.Event, peak: list[int]) -> None:
    while not stop.is_set():
        peak[0] = max(peak[0], allocated())
        time.sleep(0.001)


def child(options: argparse.Namespace) -> int:
    """Train one job in this process; write what was predicted and measured."""
    from swiftbox.devices.probe import probe
    from swiftbox.fit.profile import profile_model
    from swiftbox.fit.verdict import assess_fit
    from swiftbox.plan import plan
    from swiftbox.tasks import TASKS
    from swiftbox.tasks.load import load

    config = plan(load(Path(options.config)).config, probe(Path.cwd())).config
    profile = profile_model(config.model)
    assert profile is not None
    verdict = assess_fit(config, profile, probe(Path.cwd()))
    peak, before, weights, stop = [0], [0], [0], threading.Event()
    sampling = threading.Thread(target=sampler, args=(stop, peak), daemon=True)

    def emit(event: str, **values: Any) -> None:
        if event == "stage" and values.get("name") == "model":
            before[0] = peak[0] = allocated()
            sampling.start()
        if event == "start":
            weights.append(mapped())

    folder = Path(options.folder)
    folder.mkdir(exist_ok=True)
    TASKS["train"].run(config, folder, emit)
    stop.set()
    result = {
        "measured": peak[0] - before[0] + max(weights),
        "predicted": verdict.memory.allocated,
        "terms": verdict.to_dict()["terms"],
    }
    (folder / "peak.json").write_text(json.dumps(result))
    return 0


def make(size: str, vocabulary: int, folder: Path) -> Path:
    """Save a random model of that size with a tokenizer of 1,000 tokens."""
    sys.path.insert(0, str(HERE.parent / "tests"))
    import tiny
    from transformers import Qwen3Config, Qwen3ForCausalLM

    model = folder / f"{size}-{vocabulary}"
    if model.exists():
        return model
    dims = SIZES[size]
    network = Qwen3ForCausalLM(
        Qwen3Config(
            hidden_size=dims["hidden"],
            num_hidden_layers=dims["layers"],
            num_attention_heads=dims["heads"],
            num_key_value_heads=dims["kv_heads"],
            head_dim=dims["hidden"] // dims["heads"],
            intermediate_size=dims["intermediate"],
            vocab_size=vocabulary,
            tie_word_embeddings=True,
            max_position_embeddings=4096,
        )
    )
    network.save_pretrained(model)
    tiny.train_tokenizer().save_pretrained(model)
    return model


def compare(only: str = "") -> int:
    """Run the jobs one after another; print predicted and measured peaks."""
    errors = []
    print(f"{'job':<44}{'predicted':>14}{'measured':>14}{'error':>9}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        text = " ".join(f"word{n} is not word{n * 7 % 1000}." for n in range(4000))
        (folder / "text.jsonl").write_text((json.dumps({"text": text}) + "\n") * 16)
        for number, job in enumerate(JOBS):
            size, tuner, rows, length, checkpointing, vocabulary = job
            if only not in f"{size} {tuner}":
                continue
            result = measure(job, folder, number)
            error = result["predicted"] / result["measured"] - 1
            errors.append(error)
            name = f"{size} {tuner} {rows}x{length} checkpointing {checkpointing} V {vocabulary:,}"
            print(
                f"{name:<44}{result['predicted'] / MIB:>10.0f} MiB"
                f"{result['measured'] / MIB:>10.0f} MiB"
                f"{error:>+9.1%}",
                flush=True,
            )
    print(
        f"median |error| {statistics.median(map(abs, errors)):.1%}, "
        f"lowest {min(errors):+.1%}, highest {max(errors):+.1%}"
    )
    return 0


def measure(job: Job, folder: Path, number: int) -> dict[str, float]:
    """Train one job in a child; return what it predicted and measured."""
    size, tuner, rows, length, checkpointing, vocabulary = job
    run, config = folder / f"run-{number}", folder / f"{number}.yaml"
    values = {
        "task": "train",
        "stage": "pt",
        "hub": "local",
        "model": str(make(size, vocabulary, folder)),
        "dataset": str(folder / "text.jsonl"),
        "tuner_type": tuner,
        "per_device_train_batch_size": rows,
        "gradient_accumulation_steps": 1,
        "max_length": length,
        "gradient_checkpointing": checkpointing,
        "dtype": "float32",
        "max_steps": 3,
        "val_size": 0,
        "save_steps": 0,
        "report_to": "none",
        "output_dir": str(run),
    }
    config.write_text("".join(f"{key}: {value}\n" for key, value in values.items()))
    command = [sys.executable, __file__, "--config", str(config), "--folder", str(run)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    result: dict[str, float] = json.loads((run / "peak.json").read_text())
    return result


MALLINFO = ctypes.CDLL("libc.so.6").mallinfo2
MALLINFO.restype = Mallinfo2

if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--config")
    parser.add_argument("--folder")
    parser.add_argument("--only", default="", help="jobs with this in their name")
    options = parser.parse_args()
    sys.exit(child(options) if options.config else compare(options.only))
