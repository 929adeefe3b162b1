"""Render conversations for a server with transformers, in a process that may be killed.

Usage: `python -m swiftbox.core.generation.rendering_child`. Each line of the standard input is a
conversation as JSON; each line of the output is its text, or why there is none. The process has
little memory, and a conversation that takes too much processor time ends it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any

from transformers.utils.chat_template_utils import render_jinja_template

from swiftbox.security.template_trial import limit_process

CPU_S = 2.0
"""The processor time for one conversation; a long one takes hundredths of a second."""


def main() -> int:
    """Render the conversations of the standard input."""
    output = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    sys.stdout = sys.stderr  # nothing else may write between two answers
    for line in sys.stdin.buffer:
        limit_process(CPU_S)
        answer = json.dumps(answer_to(json.loads(line)))
        signal.setitimer(signal.ITIMER_PROF, 0)
        output.write(answer.encode() + b"\n")
        output.flush()
    return 0


def answer_to(request: dict[str, Any]) -> dict[str, str]:
    """Return the text of a conversation, or the error of its template."""
    try:
        rendered, _ = render_jinja_template(
            conversations=[request["messages"]],
            tools=request["tools"],
            chat_template=request["template"],
            add_generation_prompt=request["prompted"],
            **request["variables"],
        )
    except MemoryError:
        return {"error": "it takes too much memory"}
    except Exception as error:  # noqa: BLE001 - a template may raise whatever Python raises
        return {"error": str(error)[:500] or type(error).__name__}
    return {"text": rendered[0]}


if __name__ == "__main__":
    sys.exit(main())
