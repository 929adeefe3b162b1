"""Render chat templates once, in a child process that may be killed.

Usage: `python -m swiftbox.security.template_trial`, templates as a JSON list on standard input.
Writes a line of JSON per template: its problem, or null. The process has little memory and
processor time: a template that takes more ends it, and the templates after that have no line.

The environment is that in which conversations are rendered later; the output is counted and
thrown away.
"""

from __future__ import annotations

import contextlib
import json
import signal
import sys
from collections.abc import Iterator
from typing import Any

import jinja2

from swiftbox.security.template_environment import environment

CPU_S = 1.5
"""The processor time for one template; real ones take up to 0.3 s."""

MEMORY_BYTES = 512 * 2**20
"""The memory for all templates, beyond that of the process at its start."""

LONGEST_CHARACTERS = 8 * 2**20
"""The longest output; the longest conversation has 20,000 characters."""

LENGTHS = (0, 1, 100, 1_000, 5_000, 20_000)
"""Characters of the one message of a conversation."""

TURNS = (2, 3, 5, 9, 33, 129)
"""Messages of a conversation of short messages."""

SPECIAL = ("bos_token", "eos_token", "pad_token", "unk_token")

TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Return the weather.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "A city."}},
            "required": ["city"],
        },
    },
}
CALL = {
    "id": "call00001",
    "type": "function",
    "function": {"name": "weather", "arguments": {"city": "Paris"}},
}


def main() -> int:
    """Try the templates of the standard input."""
    for template in json.load(sys.stdin):
        limit_process(CPU_S)
        sys.stdout.write(json.dumps(problem_of(template)) + "\n")
        sys.stdout.flush()
    return 0


def limit_process(cpu_s: float) -> None:
    """Limit the processor time and the memory that this process takes from now on."""
    import resource

    signal.setitimer(signal.ITIMER_PROF, cpu_s)  # its signal ends the process
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    with contextlib.suppress(ValueError, OSError):  # some systems have no such limit
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        largest = _address_space() + MEMORY_BYTES
        if hard == resource.RLIM_INFINITY or largest < hard:
            resource.setrlimit(resource.RLIMIT_AS, (largest, hard))


def _address_space() -> int:
    """Return the bytes of this process's address space."""
    import resource

    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[0]) * resource.getpagesize()


def problem_of(template: str) -> tuple[str, str] | None:
    """Return what is wrong with a template: a kind, and the message of an error."""
    try:
        compiled = environment().from_string(template)
    except jinja2.TemplateSyntaxError as error:
        return "syntax", f"{error.message} (line {error.lineno})"
    except MemoryError:
        return "memory", ""
    except (ValueError, RecursionError, SyntaxError, OverflowError) as error:
        return "syntax", _described(error)
    failure: tuple[str, str] | None = None
    renders = False
    for conversation in conversations():
        try:
            count = 0
            for part in compiled.generate(**conversation):
                count += len(part)
                if count > LONGEST_CHARACTERS:
                    return "long", ""
            renders = True
        except MemoryError:
            return "memory", ""
        except jinja2.TemplateError:
            renders = True  # it refuses this conversation, and says why
        except Exception as error:  # noqa: BLE001 - a template may raise whatever Python raises
            failure = failure or ("fails", _described(error))
    return None if renders else failure


def _described(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:500]


def conversations() -> Iterator[dict[str, Any]]:
    """Yield the variables of the conversations that a template is tried on."""
    special = {name: f"<{name}>" for name in SPECIAL}
    for length in LENGTHS:
        yield {**special, **_talk([_turn("user", "word " * (length // 5) + "w" * (length % 5))])}
    for count in TURNS:
        roles = ["user", "assistant"] * (count // 2) + ["user"] * (count % 2)
        turns = [_turn(role, f"Message {index}.") for index, role in enumerate(roles)]
        yield {**special, **_talk(turns)}
        yield {**special, **_talk([_turn("system", "Be brief."), *turns])}
    question, answer = _turn("user", "Weather?"), _turn("assistant", "Sunny.")
    called = {"role": "assistant", "content": "", "tool_calls": [CALL]}
    result = {"role": "tool", "name": "weather", "tool_call_id": "call00001", "content": "{}"}
    yield {**special, **_talk([question, called, result, answer], tools=[TOOL])}
    yield {**special, **_talk([_turn("user", [{"type": "text", "text": "Hello."}])])}
    yield {**special, **_talk([_turn("user", [{"type": "image"}, {"type": "text", "text": "A"}])])}


def _turn(role: str, content: Any) -> dict[str, Any]:
    return {"role": role, "content": content}


def _talk(messages: list[dict[str, Any]], tools: Any = None) -> dict[str, Any]:
    prompted = messages[-1]["role"] == "user"
    return {
        "messages": messages,
        "tools": tools,
        "documents": None,
        "add_generation_prompt": prompted,
    }


if __name__ == "__main__":
    sys.exit(main())
