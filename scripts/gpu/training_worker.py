"""A process that trains one job after another: its side and settings are its arguments.

Reads a job as a line of JSON from stdin and answers with a line of JSON; torch is imported once.
A process that failed ends itself, as an error of the device may remain in it.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gpu.settings import Settings
from gpu.timing import free_memory
from gpu.training_jobs import TrainingJob


def main() -> int:
    """Answer jobs until stdin ends."""
    side, settings = sys.argv[1], Settings.from_json(sys.argv[2])
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what the libraries print is no answer
    if side == "ours":
        from gpu.our_side import train
    else:
        from gpu.trl_side import train
    for number, line in enumerate(sys.stdin):
        job = TrainingJob(**json.loads(line))
        out = settings.folder / f"{side}-{os.getpid()}-{number}"
        failure = ""
        try:
            answer = train(job, settings, out)
        except Exception as error:  # noqa: BLE001 - reported as the result of the job
            failure = f"{type(error).__name__}: {str(error)[:300]}"
            answer = {"error": failure, "traceback": traceback.format_exc()[-2000:]}
        free_memory(settings.device)  # the other side gets the device for its job
        answers.write(json.dumps(answer) + "\n")
        answers.flush()
        if failure:
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
