"""The torchrun entry.

torchrun --nproc_per_node=8 scripts/train.py --model_type qwen --train_type fsdp --key value ...

Every `--key value` (or `--key=value`) is a key of the YAML, under our name or that of another
tool; `--key` alone means true; `--config FILE` starts from a YAML; `--yes` agrees to run the code
that the YAML names. Every process makes the same plan; process 0 creates the run folder and sends
its path to the others.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path


def main(arguments: Sequence[str] | None = None) -> int:
    """Train in the processes that torchrun started; return the exit code."""
    from swiftbox.cli.output import WRONG, report_error
    from swiftbox.errors import UserError
    from swiftbox.security.private import restrict_umask

    restrict_umask()
    try:
        return train(*settings_of(list(sys.argv[1:] if arguments is None else arguments)))
    except UserError as error:
        if int(os.environ.get("RANK", "0")) == 0:
            report_error(error)
        return WRONG


def settings_of(arguments: list[str]) -> tuple[Path | None, list[str]]:
    """Turn `--key value` into `key=value`; return the file of `--config` and the settings."""
    config: Path | None = None
    settings: list[str] = []
    while arguments:
        word = arguments.pop(0)
        key, separator, value = word.removeprefix("--").partition("=")
        if not word.startswith("--"):
            settings.append(word)  # key=value as for `swiftbox run`; anything else is refused later
            continue
        if not separator:
            bare = not arguments or arguments[0].startswith("--")
            value = "true" if bare else arguments.pop(0)
        if key == "config":
            config = Path(value)
        else:
            settings.append(f"{key.replace('-', '_')}={value}")
    return config, settings


def train(config: Path | None, settings: list[str]) -> int:
    """Read, plan and check as `swiftbox run` does, then train as one of the processes."""
    from swiftbox import worker
    from swiftbox.cli.agreement import show
    from swiftbox.launch.prepare import agreed, prepare
    from swiftbox.security.secrets import drop_secrets
    from swiftbox.tasks.sending import needed_secrets

    processes = int(os.environ.get("WORLD_SIZE", "1"))
    settings = [*settings, f"num_devices={processes}"]
    chosen = any(line.startswith(("distributed=", "train_type=")) for line in settings)
    if processes > 1 and not chosen:
        settings.append("distributed=ddp")
    yes = "yes=true" in settings
    settings = [line for line in settings if line != "yes=true"]
    prepared = prepare(config, settings)
    if int(os.environ.get("RANK", "0")) == 0:
        show(prepared.disclosure)
    prepared = agreed(prepared, lambda _: yes)
    folder = shared_folder(prepared)
    os.environ.update(own_environment(prepared.plan.env, processes))
    drop_secrets(needed_secrets(prepared.plan.config))
    return worker.main([str(folder)])


def own_environment(planned: Mapping[str, str], processes: int) -> dict[str, str]:
    """Return the variables of this process; several processes keep the devices of torchrun.

    Each would select by its own look at the free memory, and two could select the same device.
    """
    from swiftbox.devices.backends import SELECTION_VARIABLES

    left_out = SELECTION_VARIABLES if processes > 1 else frozenset()
    return {name: value for name, value in planned.items() if name not in left_out}


def shared_folder(prepared: object) -> Path:
    """Create the run folder in process 0; the others read its path from torchrun's store."""
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
