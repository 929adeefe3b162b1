"""The torchrun entry.

torchrun --nproc_per_node=8 scripts/train.py --model_type qwen --train_type fsdp --key value ...

Every `--key value` (or `--key=value`) is a key of the YAML, under our name or a peer's; a bare
`--key` means true; `--config FILE` starts from a YAML. Each process reads and plans alike;
process 0 makes the run folder and tells the others where it is.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path


def main(arguments: Sequence[str] | None = None) -> int:
    """Train in the processes that torchrun made; return the exit code."""
    from swiftbox.errors import UserError

    try:
        return carry_out(*overrides(list(sys.argv[1:] if arguments is None else arguments)))
    except UserError as error:
        if int(os.environ.get("RANK", "0")) == 0:
            sys.stderr.write(f"error: {error.message}\n")
            if error.hint:
                sys.stderr.write(f"hint: {error.hint}\n")
        return 2


def overrides(arguments: list[str]) -> tuple[Path | None, list[str]]:
    """Turn `--key value` into `key=value`; return the YAML of `--config`, and the rest."""
    config: Path | None = None
    found: list[str] = []
    while arguments:
        word = arguments.pop(0)
        key, separator, value = word.removeprefix("--").partition("=")
        if not word.startswith("--"):
            found.append(word)  # key=value as in `swiftbox run`, or a mistake that reading names
            continue
        if not separator:
            bare = not arguments or arguments[0].startswith("--")
            value = "true" if bare else arguments.pop(0)
        if key == "config":
            config = Path(value)
        else:
            found.append(f"{key.replace('-', '_')}={value}")
    return config, found


def carry_out(config: Path | None, given: list[str]) -> int:
    """Read, plan and check as `swiftbox run` does, then do this process's share of the work."""
    from swiftbox import worker
    from swiftbox.launch.prepare import prepare

    processes = int(os.environ.get("WORLD_SIZE", "1"))
    given = [*given, f"num_devices={processes}"]
    if processes > 1 and not any(one.startswith(("distributed=", "train_type=")) for one in given):
        given.append("distributed=ddp")
    prepared = prepare(config, given)
    folder = shared_folder(prepared)
    os.environ.update(prepared.plan.env)
    return worker.main([str(folder)])


def shared_folder(prepared: object) -> Path:
    """Make the run folder in process 0; all others learn its name through torchrun's store."""
    from swiftbox.launch.record import record

    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return record(prepared).folder
    import torch.distributed as dist

    rank = int(os.environ["RANK"])
    store, _, _ = next(dist.rendezvous("env://"))
    store = dist.PrefixStore("swiftbox", store)
    if rank == 0:
        folder = record(prepared).folder
        store.set("folder", str(folder))
        return folder
    return Path(store.get("folder").decode())


if __name__ == "__main__":
    sys.exit(main())
