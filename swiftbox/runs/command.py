"""The command that starts the worker of a run folder; light, because every plan shows it."""

from __future__ import annotations

from swiftbox.security.children import module_command

WORKER = "swiftbox.worker"


def worker_command(folder: str, processes: int) -> list[str]:
    """Return the command of the worker of a run folder, under torchrun for several processes."""
    if processes == 1:
        return module_command(WORKER, folder)
    return module_command(
        "torch.distributed.run",
        f"--nproc-per-node={processes}",
        "--rdzv-backend=c10d",
        "--rdzv-endpoint=127.0.0.1:0",
        "--local-addr=127.0.0.1",
        *("-m", WORKER, folder),
    )
