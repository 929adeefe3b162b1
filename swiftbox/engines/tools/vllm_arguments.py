"""Ask vLLM's own parser whether it takes a command line; a script for vLLM's Python.

Usage: `python vllm_arguments.py ARGUMENT...`. Nothing is loaded. The last line of the output is
`{"problem": "..."}`, with an empty text if there is none.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import sys
from collections.abc import Sequence
from typing import Any

MODULES = (
    "vllm.entrypoints.common.cli_args",  # 0.33
    "vllm.entrypoints.launchers.cli_args",  # 0.32
    "vllm.entrypoints.openai.cli_args",  # 0.23
)
"""Where versions have the parser of the server, the newest first."""


def main() -> None:
    """Print the problem of the arguments."""
    problem = problem_of(sys.argv[1:])
    sys.stdout.write("\n" + json.dumps({"problem": problem}) + "\n")


def problem_of(arguments: Sequence[str]) -> str:
    """Return what is wrong with a command line; empty if vLLM takes it."""
    from vllm.utils.argparse_utils import FlexibleArgumentParser

    module = _module()
    parser = module.make_arg_parser(FlexibleArgumentParser(prog="vllm serve"))
    messages = io.StringIO()
    try:
        with contextlib.redirect_stderr(messages):
            module.validate_parsed_serve_args(parser.parse_args(list(arguments)))
    except SystemExit:
        return messages.getvalue().rpartition("error: ")[2].strip() or "refused"
    except (TypeError, ValueError) as error:
        return str(error)
    return ""


def _module() -> Any:
    for name in MODULES[:-1]:
        with contextlib.suppress(ModuleNotFoundError):
            return importlib.import_module(name)
    return importlib.import_module(MODULES[-1])


if __name__ == "__main__":
    main()
