"""Processes that answer training jobs, one a side, restarted after a failure."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
from pathlib import Path
from typing import Any

from gpu.settings import Settings
from gpu.training_jobs import TrainingJob

WORKER = Path(__file__).with_name("training_worker.py")


class Worker:
    """The process of one side."""

    def __init__(self, side: str, settings: Settings, variables: dict[str, str]) -> None:
        self.side = side
        self.settings = settings
        self.variables = variables
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the process, which imports torch meanwhile."""
        with (self.settings.folder / f"worker-{self.side}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(WORKER), self.side, self.settings.to_json()],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, **self.variables},
            )

    def answer(self, job: TrainingJob) -> dict[str, Any]:
        """Return the result of a job; one with `error` if it fails or the time is over."""
        if self.process is None or self.process.poll() is not None:
            self.close()
            self.start()
        process = self.process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{job.to_json()}\n".encode())
        process.stdin.flush()
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            if not selector.select(max(0.0, self.settings.seconds_left())):
                self.close()
                return {"error": "the time of this part was over"}
        line = process.stdout.readline()
        if not line:
            code = process.wait()
            return {"error": f"the process ended with {code}; {self.last_line()}"}
        result: dict[str, Any] = json.loads(line)
        if "error" in result:
            process.wait()
        return result

    def last_line(self) -> str:
        """Return the last line that the process wrote."""
        log = (self.settings.folder / f"worker-{self.side}.log").read_text("utf-8", "replace")
        return (log.strip().splitlines() or ["it wrote nothing"])[-1][:300]

    def close(self) -> None:
        """End the process."""
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None
