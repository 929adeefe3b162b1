"""Render conversations for a server, in a process that may be killed.

Usage: `python -m swiftbox.templates.rendering_child`. Each line of the standard input is a
conversation as JSON; each line of the output is its text with the form of the answer to it, or why
there is none. The process has
little memory, and a conversation that takes too much processor time ends it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import Any

from swiftbox.errors import DataError
from swiftbox.security.template_trial import limit_process
from swiftbox.templates.abilities import abilities_of
from swiftbox.templates.client_messages import (
    ClientConversation,
    ToolsNotRendered,
    render_to_answer,
)
from swiftbox.templates.template import ConversationTemplate, TemplateRefusal

CPU_S = 2.0
"""The processor time for one conversation; a long one takes hundredths of a second."""

EFFORT = "reasoning_effort"
"""The variable of templates whose models reason as much as the request says (gpt-oss)."""


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


def answer_to(request: dict[str, Any]) -> dict[str, Any]:
    """Return the text of a conversation and the form of its answer, or the template's error.

    A request without messages is about the calls of the template.
    """
    template = ConversationTemplate(request["template"], {}, request["variables"])
    if "messages" not in request:
        abilities = abilities_of(template)
        return {"renders_calls": bool(abilities.arguments), "format": abilities.calls}
    if effort := request.get("effort"):
        if EFFORT not in template.names():
            return {"error": "", "param": EFFORT}
        template = template.with_variables({EFFORT: effort})
    talk = ClientConversation(
        request["messages"],
        request["tools"] or [],
        request["prompted"],
        request.get("tools_in_prompt", False),
    )
    try:
        text, form = render_to_answer(template, talk)
        return {"text": text, "form": form.to_dict()}
    except ToolsNotRendered:
        return {"error": "", "param": "tools"}
    except DataError:
        return {"error": "it takes too much time or memory"}
    except TemplateRefusal as refusal:
        return {"error": str(refusal)[:500]}


if __name__ == "__main__":
    sys.exit(main())
